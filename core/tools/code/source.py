"""The tool `run_python`, for both backends: input files, the run, and output files."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.base import text
from core.base.errors import ToolError
from core.base.i18n import say, use_locale
from core.base.splitting import make_code_block
from core.domain.messages import File, name_run_code
from core.domain.ports import Tool
from core.domain.records import Health, Outcome, ToolContext
from core.domain.rights import Viewer
from core.tools.code.port import (
    CODE_TYPE,
    CodeBackend,
    Fault,
    RunResult,
    find_python_block,
    list_input_files,
    strip_fence,
)
from core.tools.tool import MAX_OUTCOME_CHARACTERS, FunctionTool

RUN_PYTHON_TOOL = "run_python"
RUNNING_PYTHON = "is running Python…"
MAX_SHOWN_CHARACTERS = 3_000
"""Characters of output in a person's answer. The rest comes as a file."""
MAX_EQUAL_LINES = 20
"""Equal lines of one output that are shown one by one: several tables have equal headers."""
_LINE_UP = re.compile(r"\A\x1b\[1?[AF](?:\x1b\[\d*K|\r)*")
"""Sequences that move the cursor to the line above, which what follows overwrites."""
_RESERVED_CHARACTERS = 1_000

STATE_RESET = (
    "Python was restarted because {why}. Earlier variables are lost. The files of this "
    "conversation were restored."
)
CODE_CHANGED = (
    "The code that ran differs from the code that was requested. The code that ran is attached."
)
NOTHING_PRINTED = "The code ran and printed nothing."
STOPPED_BY: dict[Fault, str] = {
    "timeout": "The code was stopped because it took too long.",
    "memory": "The code was stopped because it used too much memory.",
    "flooded": "The code was stopped because it printed too much.",
    "died": "The Python process ended before the code finished.",
}
VARIABLES_LOST = "All earlier variables were lost."
NO_CODE_GIVEN = "There is no code to run. Write Python code, or put it in a code block."


def format_for_model(ran: RunResult, files: Sequence[File]) -> str:
    """Return a result for the model as plain text: what was lost or changed, the output, the value,
    the error, and the names of files. Output is cut in its middle, so that everything else fits."""
    with use_locale("en"):
        limits = _describe_limits(ran)
    changed = f"[Different code ran instead of yours:]\n{ran.changed_code}"
    parts = [f"[{STATE_RESET.format(why=ran.why_reset)}]"] if ran.reset else []
    parts += [changed] if ran.changed_code else []
    after = [ran.value, ran.error, *(f"[{note}]" for note in limits)]
    if files:
        after.append(f"[The person has: {', '.join(file.name for file in files)}]")
    room = MAX_OUTCOME_CHARACTERS - _RESERVED_CHARACTERS - sum(map(len, (*parts, *after)))
    # The reserve is for the breaks between the parts and the like. At least as many characters
    # of the output are shown, however long the other parts are.
    printed = cut_middle(ran.printed.strip("\n"), max(_RESERVED_CHARACTERS, room))
    return _join_parts([*parts, printed, *after]) or NOTHING_PRINTED


def format_for_person(ran: RunResult, files: Sequence[File]) -> str:
    """All untrusted text is in code blocks."""
    printed, value, error = map(text.clean_text, (ran.printed, ran.value, ran.error))
    blocks = [cut_middle(printed.strip("\n"), MAX_SHOWN_CHARACTERS)]
    blocks += [text.truncate_with_note(block, MAX_SHOWN_CHARACTERS) for block in (value, error)]
    parts = [*notices(ran), *(make_code_block(block) for block in blocks if block.strip())]
    parts += [f"_{note}_" for note in _describe_limits(ran)]
    return _join_parts(parts) or ("" if files else say(NOTHING_PRINTED))


def notices(ran: RunResult) -> tuple[str, ...]:
    """For a person who reads the run even if a model describes it: earlier variables were lost, or
    other code ran than was asked for."""
    sentences = [say(STATE_RESET, why=say(ran.why_reset))] if ran.reset else []
    sentences += [say(CODE_CHANGED)] if ran.changed_code else []
    return tuple(f"_{sentence}_" for sentence in sentences)


def cut_middle(printed: str, max_characters: int) -> str:
    """The beginning and the end of an output say most."""
    if len(printed) <= max_characters:
        return printed
    head, tail = max_characters * 2 // 3, max_characters // 4
    return f"{printed[:head]}\n[… {len(printed) - head - tail:,} characters …]\n{printed[-tail:]}"


def shorten_output(printed: str) -> str:
    """Return what was printed as a terminal shows it: of a line that overwrites itself, such as a
    progress bar, the last state. That saves tokens. Such programs write a carriage return,
    backspaces, or a sequence that moves the cursor up. A line that comes more than
    `MAX_EQUAL_LINES` times is there once, with its count."""
    lines = list[str]()
    for line in printed.split("\n"):
        state = _LINE_UP.sub("", line)
        if state and state != line:
            # The line moves the cursor up, so its text, if any, replaces the line before.
            del lines[-1:]
        # Only what follows the last carriage return, and the last two backspaces in a row. One
        # backspace alone is kept.
        lines.append(state.rstrip("\r\b").rpartition("\r")[2].rpartition("\b\b")[2])
    counts = {
        line: count for line, count in Counter(lines).items() if line and count > MAX_EQUAL_LINES
    }
    shown_lines: list[str] = []
    for line in lines:
        if count := counts.get(line, 1):
            shown_lines.append(line if count == 1 else f"{line} (×{count})")
        # 0: it was shown, and is left out from here on.
        if line in counts:
            counts[line] = 0
    return "\n".join(shown_lines)


@dataclass(frozen=True, slots=True)
class CodeRun:
    """The result of running code, with the files that the code made, which are stored already.
    `code` is the code itself as a file."""

    ran: RunResult
    files: tuple[File, ...]
    code: File | None = None


class CodeRunner:
    """Runs code with one of the backends (a sandbox here, or containers at OpenAI), and stores the
    files that it creates."""

    def __init__(self, backend: CodeBackend) -> None:
        self.backend = backend

    async def run(self, ctx: ToolContext, code: str, message: str = "") -> CodeRun:
        """Run `code`, or the code block in the person's `message` if `code` is empty, and store the
        files that it made, a long output, and the code itself.

        Raise ToolError, and NotStored if a file cannot be stored.
        """
        source = strip_fence(code)
        source = source if source.strip() else find_python_block(message)
        if not source.strip():
            raise ToolError(NO_CODE_GIVEN, code="bad_arguments", hint="pass the code as `code`")
        inputs = await list_input_files(ctx)
        # Names have composed letters (é as one character) in the work folder, but a model may write
        # them in two.
        for file in inputs:
            source = source.replace(unicodedata.normalize("NFD", file.name), file.name)
        ran = await self.backend.run(ctx, source, inputs)
        ran = replace(ran, printed=shorten_output(ran.printed))
        # Nothing can be stored in this conversation.
        if ctx.files is None:
            return CodeRun(ran, ())
        keep = ctx.files.save
        files = [await keep(file.name, file.type, file.data) for file in ran.output_files]
        if len(ran.printed) > MAX_SHOWN_CHARACTERS:
            files.append(await keep("output.txt", "text/plain", ran.printed.encode()))
        # A model that passes the code on (hosted Python) may have changed it: what ran is stored.
        # "replace": UTF-8 cannot encode half of a surrogate pair.
        data = ((ran.changed_code or source).strip("\n") + "\n").encode(errors="replace")
        # By the hash, each code has a file name of its own.
        name = name_run_code(hashlib.sha256(data).hexdigest())
        return CodeRun(ran, tuple(files), await keep(name, CODE_TYPE, data))


class CodeSource:
    """The source of the tool `run_python`. `description` replaces the backend's own description if
    it is set."""

    name = "code"

    def __init__(self, backend: CodeBackend, description: str = "") -> None:
        self.runner = CodeRunner(backend)
        self.backend = backend
        about = description or backend.description
        self._tool = FunctionTool(
            self._run, name=RUN_PYTHON_TOOL, effect="code", doing=RUNNING_PYTHON, description=about
        )
        self._tool.costs = getattr(backend, "costs", None)

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        return (self._tool,) if await self.backend.is_available() else ()

    async def health(self) -> Health:
        return await self.backend.health()

    async def close(self) -> None:
        await self.backend.close()

    async def _run(self, ctx: ToolContext, code: str = "") -> Outcome:
        """Run Python.

        Args:
            code: null runs the code block in the person's message
        """
        run = await self.runner.run(ctx, code, ctx.message.text)
        ran = run.ran
        failed = bool(ran.error or ran.fault)  # `fault`: the run was ended from outside
        # The code that ran (`run.code`, a file) goes with the answer, so that people can look at
        # it. Code that failed does not.
        files = run.files if run.code is None or failed else (*run.files, run.code)
        # A long output is formatted in a thread; its length (`printed`) decides.
        answer = await text.run_off_loop(lambda _: format_for_model(ran, run.files), ran.printed)
        return Outcome(
            "error" if failed else "ok", answer, files=files, sources=notices(ran), usage=ran.usage
        )


def _describe_limits(ran: RunResult) -> list[str]:
    notes = [say(STOPPED_BY[ran.fault])] if ran.fault else []
    notes += [say(VARIABLES_LOST)] if ran.is_state_lost else []
    return [*notes, *(text.clean_text(note) for note in ran.left_out)]


def _join_parts(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part.strip())
