"""The port that both places where Python runs stand behind: hosted by OpenAI, or a sandbox here.

`core/tools/code/source.py` is the one caller: it names the files, asks for the run, words what came
of it and keeps the files that were made. A backend knows neither the model nor the platform.
"""

from __future__ import annotations

import mimetypes
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

import structlog

from core.domain.errors import ToolError
from core.domain.messages import Usage
from core.domain.records import Health, ToolContext
from core.observability import metrics
from core.text.text import Fence, fence_after_line, safe_file_name

log = structlog.get_logger("code")

MADE_COUNT, MADE_BYTES, MADE_TOTAL = 20, 8 << 20, 32 << 20
"""What is taken of one run: files and pictures, bytes of one, bytes of all. The kernel in the
sandbox, which imports nothing of ours, holds the same caps."""
CODE_TYPE = "text/x-python"
_OUR_CODE = re.compile(r"code-[0-9a-f]{6}\.py")
"""What we attach ourselves, for people to read."""
_INFOS = ("python", "py", "python3", "")
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
}
_PICTURES = frozenset(_MAGIC.values()) - {"application/pdf"}
_SCRIPTED = ("text/html", "image/svg+xml", "application/xhtml+xml")
"""They can hold script."""

Fault = Literal["", "timeout", "memory", "flooded", "died"]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a person attached in this thread, to lie in the work folder before the run.

    `id` is its id in `Files`; `name` is safe as a file's name and is no other one's in this
    thread; `size` in bytes. `read` gets the bytes only where they are needed: a backend that has
    put this `id` there already need not ask; after its state was lost it puts all of them back.
    """

    id: str
    name: str
    type: str
    size: int
    read: Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file or picture that the code left. Its name and type are the code's own: untrusted."""

    name: str
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one run. None of its texts is trusted, trimmed for a platform or translated.

    `printed` is stdout and stderr as they came, `value` the last expression as a REPL shows it,
    `error` the traceback (the lines of the code that ran, not of the machinery). `left_out` says
    in English, one sentence each, what was cut or not taken: output over the cap, a file too
    large.
    """

    printed: str = ""
    value: str = ""
    error: str = ""
    made: tuple[OutputFile, ...] = ()
    left_out: tuple[str, ...] = ()
    fault: Fault = ""
    """Why the run was ended from outside."""
    lost: bool = False
    """Nothing of the state is left after this run: the next one begins anew."""
    reset: bool = False
    """State that this thread had before was lost, so this run began with none of it."""
    why_reset: str = ""
    """The English source of a few words: "it was idle for 20 minutes"."""
    changed: str = ""
    """The code that ran, where it is not the code that was asked for."""
    usage: Usage = field(default_factory=Usage)
    """What the run itself cost; all zero for one on this machine."""


class CodeBackend(Protocol):
    """Runs Python for threads, each with a state of its own that lasts from run to run.

    Runs of different threads stand side by side; those of one thread wait for each other. Where a
    run is cancelled (a person said stop) nothing of it goes on, and what it cost of the state is
    told by `Ran.reset` of the next one.
    """

    @property
    def name(self) -> Literal["hosted", "local"]: ...

    @property
    def description(self) -> str:
        """What the model is told of `run_python` here; English, a setting can replace it."""

    def start(self) -> None:
        """Begin what takes time, in the background."""

    async def offered(self) -> bool:
        """Whether it can be offered to a model now; waits a moment where that is being found out.

        It asks nobody, so it may be called each turn.
        """

    async def run(self, ctx: ToolContext, code: str, given: Sequence[InputFile]) -> Ran:
        """Run `code` for `ctx.thread.id` with the files in its work folder.

        `ctx.doing` takes words for the person while a long preparation lasts. Code that fails
        is a Ran with `error`. Raises ToolError, worded, where the code could not be run at all
        (nothing safe to run it in, server refuses, no output).
        """

    async def forget(self, thread: str) -> None:
        """Drop the state and files of the thread of this id; nothing of it is left afterwards."""

    async def health(self) -> Health:
        """Named "code"; its words say which backend this is, and why it is on or not."""

    async def close(self) -> None: ...


async def measured(name: str, running: Awaitable[Ran], clock: Callable[[], float]) -> Ran:
    """What `running` gives: counted and logged for the backend of that name, however it ends."""
    began, outcome = clock(), "cancelled"
    try:
        ran = await running
        outcome = ran.fault or ("error" if ran.error else "ok")
        return ran
    except ToolError as error:
        outcome = error.code
        raise
    finally:
        seconds = clock() - began
        metrics.code_runs.labels(name, outcome).inc()
        metrics.code_seconds.labels(name).observe(seconds)
        log.info(f"{name} run ended", outcome=outcome, seconds=round(seconds, 3))


def type_of(name: str, data: bytes) -> str:
    """A media type. Pictures are known by their first bytes alone: a name proves none."""
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    guessed = mimetypes.guess_type(name)[0] or ""
    if guessed and guessed not in _PICTURES and guessed not in _SCRIPTED:
        return guessed
    try:
        return "text/plain" if "\0" not in data.decode() else "application/octet-stream"
    except UnicodeDecodeError:
        return "application/octet-stream"


async def given(ctx: ToolContext) -> tuple[InputFile, ...]:
    """Oldest first. Of several with one name the newest has it; `a.csv` before it is `a-1.csv`."""
    files = ctx.files
    if files is None:
        return ()
    found = [file for file in await files.list_files() if not _OUR_CODE.fullmatch(file.name)]
    left = Counter(safe_file_name(file.name) for file in found)
    older: Counter[str] = Counter()
    named = []
    for file in found:
        name = safe_file_name(file.name)
        left[name] -= 1
        if left[name]:
            older[name] += 1
            number = older[name]
            stem, dot, extension = name.rpartition(".")
            name = f"{stem}-{number}.{extension}" if dot else f"{name}-{number}"
        named.append(InputFile(file.id, name, file.type, file.size, partial(files.read, file)))
    return tuple(named)


def code_name(digest: str) -> str:
    """A file's name that `given` knows as one of ours."""
    return f"code-{digest[:6]}.py"


def bare(code: str) -> str:
    """`code` without the fence that some models put around it."""
    blocks, beside = _blocks(code)
    return blocks[0][1] if len(blocks) == 1 and not beside.strip() else code


def block(text: str) -> str:
    """The first block of Python in `text`, "" where there is none."""
    blocks, _ = _blocks(text)
    python = (code for info, code in blocks if info.strip().lower() in _INFOS and code.strip())
    return next(python, "")


def _blocks(text: str) -> tuple[list[tuple[str, str]], str]:
    """Each closed block as its info and its content, and all that stands beside them."""
    blocks, beside, lines = list[tuple[str, str]](), "", list[str]()
    fence: Fence | None = None
    for line in text.splitlines():
        before, fence = fence, fence_after_line(line, fence, len(line))
        if before is None and fence is None:
            beside += line
        elif before is None:
            lines = []
        elif fence is not None:
            lines.append(line)
        else:
            blocks.append((before.info, "\n".join(lines)))
    return blocks, beside if fence is None else text
