"""The port that both places where Python runs stand behind: hosted by OpenAI, or a sandbox here.

A backend knows neither the model nor the platform.
"""

from __future__ import annotations

import mimetypes
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from os.path import splitext
from typing import Literal, Protocol

import structlog

from core.base.errors import ToolError
from core.base.splitting import Fence, fence_after_line
from core.base.text import safe_file_name
from core.domain.messages import Usage
from core.domain.records import Health, ToolContext

log = structlog.get_logger("code")

MAX_OUTPUT_FILES, MAX_OUTPUT_FILE_BYTES, MAX_OUTPUT_BYTES = 20, 8 << 20, 32 << 20
"""What is taken of one run: files and pictures, bytes of one, bytes of all. The kernel in the
sandbox, which imports nothing of ours, holds the same caps."""
CODE_TYPE = "text/x-python"
_PYTHON_INFOS = ("python", "py", "python3", "")
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
}
_PICTURES = frozenset(_MAGIC.values()) - {"application/pdf"}
_SCRIPT_TYPES = ("text/html", "image/svg+xml", "application/xhtml+xml")
"""Media types that can contain script."""

Fault = Literal["", "timeout", "memory", "flooded", "died"]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a person attached in this thread, to be put into the work folder before the run.

    `id` is its id in `Files`. `name` is a safe file name, unique in this thread. `read` returns the
    bytes. A backend that already holds this `id` need not call `read`; after its state was lost, it
    puts all files back.
    """

    id: str
    name: str
    type: str
    size: int
    read: Callable[[], Awaitable[bytes]]


InputFiles = Sequence[InputFile]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file or picture that the code created. Its name and type come from the code: untrusted."""

    name: str
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one run. Its texts are untrusted, complete and not translated.

    `printed` is stdout and stderr, `value` the last expression as a REPL shows it, `error` the
    traceback (only lines of the code that ran). `left_out` says in English sentences what was cut
    or refused.
    """

    printed: str = ""
    value: str = ""
    error: str = ""
    output_files: tuple[OutputFile, ...] = ()
    left_out: tuple[str, ...] = ()
    fault: Fault = ""
    """Why the run was ended from outside, or ""."""
    is_state_lost: bool = False
    """Whether this run's state is gone, so that the next run starts without it."""
    reset: bool = False
    """Whether state of an earlier run was lost before this run."""
    why_reset: str = ""
    """Why it was lost, as an English phrase: "it was idle for 20 minutes"."""
    changed_code: str = ""
    """The code that ran, if it is not the code that was asked for."""
    usage: Usage = field(default_factory=Usage)
    """The cost of the run; zero on this machine."""


class CodeBackend(Protocol):
    """Runs Python for threads, each with a state that lasts from run to run.

    Runs of different threads are parallel; runs of one thread wait for each other. A cancelled run
    (a person said stop) ends completely, and the next run's `reset` reports the state that this
    cost.
    """

    @property
    def name(self) -> Literal["hosted", "local"]: ...

    @property
    def description(self) -> str:
        """Return the description of the tool `run_python` for the model, in English. A setting can
        replace it."""

    def start(self) -> None:
        """Start slow preparations of the backend in the background."""

    async def is_available(self) -> bool:
        """Return whether the tool can be offered now. Waits a moment if that is not known yet.

        It sends no request, so it may be called in each turn.
        """

    async def run(self, ctx: ToolContext, code: str, files: InputFiles) -> RunResult:
        """Run `code` for `ctx.memory_id` with the files in its work folder.

        `ctx.doing` gets words for the person during a long preparation. Code that fails gives a
        result with `error`. Raise ToolError if the code could not be run at all.
        """

    async def forget(self, thread: str) -> None:
        """Delete the variables and files of the thread with this id, because the thread is
        forgotten."""

    async def health(self) -> Health:
        """Return the state of the backend, named "code": which one it is, and why it is on or
        off."""

    async def close(self) -> None:
        """Stop all runs and background work of the backend."""


async def measure_run(name: str, running: Awaitable[RunResult]) -> RunResult:
    """Log how the run ended and how long it took, also if it fails or is cancelled."""
    began, outcome = time.monotonic(), "cancelled"
    try:
        ran = await running
        # A fault ended the run from outside, such as a timeout; an error is the code's own.
        outcome = ran.fault or ("error" if ran.error else "ok")
        return ran
    except ToolError as error:
        outcome = error.code
        raise
    finally:
        seconds = round(time.monotonic() - began, 3)
        log.info("code run ended", backend=name, outcome=outcome, seconds=seconds)


def detect_type(name: str, data: bytes) -> str:
    """Pictures are detected by their first bytes only, because a name proves nothing. Types that
    can contain script are never returned: such a file counts as text, so that no browser runs
    it."""
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    guessed = mimetypes.guess_type(name)[0] or ""
    if guessed and guessed not in _PICTURES and guessed not in _SCRIPT_TYPES:
        return guessed
    try:
        return "text/plain" if "\0" not in data.decode() else "application/octet-stream"
    except UnicodeDecodeError:
        return "application/octet-stream"


async def list_input_files(ctx: ToolContext) -> tuple[InputFile, ...]:
    """Return the files of the conversation that code can read, the oldest first. Files with code
    that ran before are not among them.

    Of several files with one name, the newest keeps it. An older `a.csv` becomes `a-1.csv`.
    """
    files = ctx.files
    if files is None:  # a call outside of a conversation, such as that of an MCP client
        return ()
    candidates = [file for file in await files.list_files() if not file.is_run_code]
    copies = Counter(safe_file_name(file.name) for file in candidates)
    names = set(copies)
    named = []
    for file in candidates:
        name = safe_file_name(file.name)
        # Now the count of newer files with this name; the newest itself is left with 0.
        copies[name] -= 1
        if copies[name]:
            stem, extension = splitext(name)
            # A file may have this name already.
            numbered = (f"{stem}-{number}{extension}" for number in count(1))
            name = next(candidate for candidate in numbered if candidate not in names)
            names.add(name)
        named.append(InputFile(file.id, name, file.type, file.size, partial(files.read, file)))
    return tuple(named)


def strip_fence(code: str) -> str:
    """Some models put a Markdown fence around code. Code with anything else beside one fence stays
    as it is: the fence may be part of a text in it."""
    blocks, beside = _split_blocks(code)
    return blocks[0][1] if len(blocks) == 1 and not beside.strip() else code


def find_python_block(text: str) -> str:
    """A block without a language counts as Python."""
    blocks, _ = _split_blocks(text)
    python = (
        code for info, code in blocks if info.strip().lower() in _PYTHON_INFOS and code.strip()
    )
    return next(python, "")


def _split_blocks(text: str) -> tuple[list[tuple[str, str]], str]:
    """Return each closed block as info and content, and the text outside of blocks (without line
    breaks: callers only ask whether there is any).

    If the last block is not closed, the text outside is the whole text, so that nobody takes a part
    of code that was cut off for all of it.
    """
    blocks, beside, lines = list[tuple[str, str]](), "", list[str]()
    fence: Fence | None = None
    for line in text.splitlines():
        # The fence that is open before this line, and after it; None outside of blocks.
        # The third argument limits the length of a fence's mark; here any length is allowed.
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
