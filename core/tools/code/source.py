"""The tool `run_python`: from a person's files to what a run made, wherever it runs.

What came of a run is worded for the model, and for a person who ran it without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.domain.errors import ToolError
from core.domain.messages import File
from core.domain.records import Health, Outcome, ToolContext
from core.ports.tools import Tool
from core.text import text
from core.text.i18n import say
from core.text.text import make_code_block
from core.tools.code.port import CODE_TYPE, CodeBackend, Fault, Ran, bare, block, code_name, given
from core.tools.tool import MAX_OUTCOME_CHARACTERS, FunctionTool

NAME = "run_python"
DOING = "is running Python…"
SHOWN = 3_000
"""Characters of output that a person reads in the answer; all of it comes as a file."""
_OTHERS = 1_000
"""Characters that are kept for everything but the output."""

RESET = (
    "Python began anew, because {why}: variables from before are gone, and the files of this "
    "conversation were put back."
)
CHANGED = "The code that ran is not the code that was asked for; what ran is attached."
NOTHING = "It ran, and printed nothing."
STOPPED_BY: dict[Fault, str] = {
    "timeout": "It was stopped, because it took too long.",
    "memory": "It was stopped, because it took too much memory.",
    "flooded": "It was stopped, because it printed without end.",
    "died": "Its process ended before it was done.",
}
LOST = "Variables are gone now."
NO_CODE = "There is no code to run. Write Python code, or put it into a code block."


def for_model(ran: Ran, files: Sequence[File]) -> str:
    """Plain text; what was printed is cut in its middle so that all of the rest is read."""
    parts = [f"[{RESET.format(why=ran.why_reset)}]" if ran.reset else ""]
    parts.append(f"[Not your code ran, but this:]\n{ran.changed}" if ran.changed else "")
    after = [ran.value, ran.error, *(f"[{note}]" for note in _notes(ran, "en"))]
    if files:
        after.append(f"[The person has: {', '.join(file.name for file in files)}]")
    room = MAX_OUTCOME_CHARACTERS - _OTHERS - sum(len(part) for part in (*parts, *after))
    told = [*parts, middle_cut(ran.printed.strip("\n"), max(_OTHERS, room)), *after]
    return _joined(told) or NOTHING


def for_person(ran: Ran, files: Sequence[File], locale: str) -> str:
    """Markdown; all that code wrote stands in blocks, where nothing of it is markup."""
    printed = text.clean_text(ran.printed).strip("\n")
    blocks = [
        middle_cut(printed, SHOWN),
        text.truncate_with_note(text.clean_text(ran.value), SHOWN),
    ]
    blocks.append(text.truncate_with_note(text.clean_text(ran.error), SHOWN))
    parts = [*notices(ran, locale), *(make_code_block(block) for block in blocks if block.strip())]
    parts += [f"_{note}_" for note in _notes(ran, locale)]
    return _joined(parts) or ("" if files else say(NOTHING, locale))


def notices(ran: Ran, locale: str) -> tuple[str, ...]:
    """What a person must know of a run even where a model tells of it."""
    told = [say(RESET, locale, why=say(ran.why_reset, locale))] if ran.reset else []
    told += [say(CHANGED, locale)] if ran.changed else []
    return tuple(f"_{each}_" for each in told)


def middle_cut(printed: str, longest: int) -> str:
    """The beginning and the end of what is too long."""
    if len(printed) <= longest:
        return printed
    head, tail = longest * 2 // 3, longest // 4
    return f"{printed[:head]}\n[… {len(printed) - head - tail:,} characters …]\n{printed[-tail:]}"


@dataclass(frozen=True, slots=True)
class Run:
    """`files` are what it made, kept; `code` is the code itself as a file to unfold."""

    ran: Ran
    files: tuple[File, ...]
    code: File | None = None


class Runner:
    """The one caller of a backend."""

    def __init__(self, backend: CodeBackend) -> None:
        self.backend = backend

    async def run(self, ctx: ToolContext, code: str, said: str = "") -> Run:
        """Run `code`; where there is none, the code block that the person `said`.

        Raises ToolError, worded; NotStored where what it made cannot be kept.
        """
        source = bare(code)
        source = source if source.strip() else block(said)
        if not source.strip():
            raise ToolError(NO_CODE, code="bad_arguments", hint="pass the code as `code`")
        ran = await self.backend.run(ctx, source, await given(ctx))
        if ctx.files is None:
            return Run(ran, ())
        keep = ctx.files.save
        files = [await keep(made.name, made.type, made.data) for made in ran.made]
        if len(ran.printed) > SHOWN:
            files.append(await keep("output.txt", "text/plain", ran.printed.encode()))
        told = ((ran.changed or source).strip("\n") + "\n").encode(errors="replace")
        name = code_name(hashlib.sha256(told).hexdigest())
        return Run(ran, tuple(files), await keep(name, CODE_TYPE, told))


class CodeSource:
    """A ToolSource. `description` replaces what the backend says of the tool, where it is set."""

    name = "code"

    def __init__(self, backend: CodeBackend, description: str = "") -> None:
        self.runner = Runner(backend)
        self.backend = backend
        self._tool = FunctionTool.of(
            self._run,
            name=NAME,
            effect="code",
            doing=DOING,
            description=description or backend.description,
        )
        self._tool.costs = getattr(backend, "costs", None)

    async def tools(self) -> Sequence[Tool]:
        return (self._tool,) if await self.backend.offered() else ()

    async def health(self) -> Health:
        return await self.backend.health()

    async def close(self) -> None:
        await self.backend.close()

    async def _run(self, ctx: ToolContext, code: str = "") -> Outcome:
        """Run Python.

        Args:
            code: the Python code; null runs the code block in the person's own message
        """
        run = await self.runner.run(ctx, code, ctx.message_text)
        ran = run.ran
        failed = bool(ran.error or ran.fault)
        files = run.files if run.code is None or failed else (*run.files, run.code)
        told = await text.run_off_loop(lambda printed: for_model(ran, run.files), ran.printed)
        return Outcome(
            "error" if failed else "ok",
            told,
            files=files,
            sources=notices(ran, ctx.locale),
            usage=ran.usage,
        )


def _notes(ran: Ran, locale: str) -> list[str]:
    notes = [say(STOPPED_BY[ran.fault], locale)] if ran.fault else []
    notes += [say(LOST, locale)] if ran.lost else []
    return [*notes, *(text.clean_text(note) for note in ran.left_out)]


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part.strip())
