"""A person (or a pipe) talks with a running Ponte over its Unix socket.

A terminal gives lines, Ctrl-C as something to act on, and files both ways: `@sales.csv` in a
message sends it, what comes back is saved in a folder.
"""

from __future__ import annotations

import asyncio
import codecs
import io
import itertools
import json
import os
import re
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

from rich.cells import cell_len

from core.changes.cards import describe_differences
from core.clients.http import HttpAnswer, HttpClient, HttpError
from core.domain.errors import PonteError, TooLarge
from core.runtime.private_files import create_file, has_content, open_folder
from core.runtime.retry import after_each, retry
from core.text.commonmark import parser
from core.text.i18n import moment, say, size
from core.text.markdown import ended, is_plain, unclickable
from core.text.text import after, clean, file_name

MOMENT = 1.0
"""Seconds that `stop` has to come to its own end."""
LARGEST = 20 * 1024 * 1024
"""Bytes of one file; `adapters/web/requests.py` takes no more."""
FOLDER = Path("ponte-files")
HOST = "http://localhost"
"""Of every URL over the home's Unix socket."""
CODE = "text/x-python"
"""The type of the code that ran."""
_READ = 65_536
_SUFFIX = re.compile(
    r"\.(csv|docx?|gif|html?|jpe?g|json|md|pdf|png|pptx?|py|tsv|txt|xlsx?|xml|zip)$", re.IGNORECASE
)
_DEEP = re.compile(r"^(?:[ \t]*(?:>|[-*+]|\d{1,9}[.)])){10}", re.MULTILINE)
"""Markdown is read 20 levels deep, and what is in deeper ones is left out (markdown-it)."""
WIDEST = 100
"""Columns of drawn Markdown."""
_WORD = re.compile(r"(?:^|(?<=\s))@(\"[^\"]+\"|[^\s\"]+)")
_DIM, _PLAIN, _WIPE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"
T = TypeVar("T")
Stop = Callable[[], Coroutine[Any, Any, None] | None]
"""What the first Ctrl-C does; None where there is nothing to stop."""


class Quit(Exception):
    """Ctrl-C where nothing is left to stop."""


class Unreadable(PonteError):
    code = "unreadable"
    sentence = "The file {name} cannot be read ({cause}), so I sent nothing."


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file of an answer: `path` is where it was saved ("" where it could not be), `code` its
    text where it is the code that ran."""

    name: str
    size: int
    path: str = ""
    code: str = ""


class Interrupts:
    """One for a terminal; Ctrl-C is an event of ours within `heard`."""

    def __init__(self) -> None:
        self._came = asyncio.Event()

    @contextmanager
    def heard(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._came.set)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def outlast(self, work: Coroutine[Any, Any, T], stop: Stop = lambda: None) -> T:
        """What `work` gives. The first Ctrl-C calls `stop`, and is waited through; else Quit."""
        task = asyncio.create_task(work)
        tasks: list[asyncio.Task[Any]] = [task]
        try:
            while not await self._ended(task):
                stopping = stop() if len(tasks) == 1 else None
                if stopping is None:
                    raise Quit
                tasks.append(asyncio.create_task(stopping))
            # What `stop` asked is being answered: a Unix socket that is left in the moment in which
            # it can be read makes asyncio log an error (anyio 4, `UNIXSocketStream.receive`).
            await asyncio.wait(tasks, timeout=MOMENT)
            return task.result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ended(self, task: asyncio.Task[Any]) -> bool:
        """False where Ctrl-C came first."""
        came = asyncio.create_task(self._came.wait())
        try:
            await asyncio.wait({task, came}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            came.cancel()
        self._came.clear()
        return task.done()


class Keyboard:
    """Lines from a pipe or a file, without blocking the event loop.

    A thread in `readline` could not be ended: at Ctrl-C the process would wait for one more line.
    So a descriptor that can be polled is read when it has something; a file never makes anybody
    wait.
    """

    prompts = False

    def __init__(self, stdin: TextIO) -> None:
        self._stdin = stdin
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._ended = False

    async def line(self) -> str | None:
        """The next line without its end; None when there are no more."""
        while "\n" not in self._text and not self._ended:
            data = await self._read()
            self._ended = not data
            self._text += self._decoder.decode(data, final=not data)
        line, newline, self._text = self._text.partition("\n")
        return line.removesuffix("\r") if line or newline else None

    async def _read(self) -> bytes:
        try:
            descriptor = self._stdin.fileno()
        except (OSError, ValueError):  # in memory
            return (await asyncio.to_thread(self._stdin.readline)).encode()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(descriptor, ready.set)
        except PermissionError:  # epoll(7): a file is always ready and cannot be polled
            return await asyncio.to_thread(os.read, descriptor, _READ)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)
        return os.read(descriptor, _READ)


class Lines(Protocol):
    """Where messages come from; `prompts` where it asks for them itself."""

    prompts: bool

    async def line(self) -> str | None: ...


class Downloads:
    """Saves what answers bring into `folder`, made when it is needed; replaces nothing."""

    def __init__(self, http: HttpClient, folder: Path = FOLDER) -> None:
        self._http = http
        self._folder = folder

    async def fetch(self, file: Mapping[str, Any], headers: Mapping[str, str]) -> Fetched:
        name, size = file_name(str(file["name"])), int(file["size"])
        try:
            data = await self._http.get_bytes(f"{HOST}{file['url']}", headers=headers)
        except HttpError:
            return Fetched(name, size)
        if file["type"] == CODE:
            return Fetched(name, size, code=clean(data.decode(errors="replace")).rstrip())
        try:
            return Fetched(name, size, str(await asyncio.to_thread(self._save, name, data)))
        except OSError:
            return Fetched(name, size)

    def _save(self, name: str, data: bytes) -> Path:
        stem, dot, extension = name.rpartition(".")
        with open_folder(self._folder) as folder:
            for number in itertools.count():
                numbered = f"{stem}-{number}.{extension}" if dot else f"{name}-{number}"
                each = numbered if number else name
                try:
                    with create_file(each, folder) as out:
                        out.write(data)
                except FileExistsError:
                    if not has_content(each, folder, data):
                        continue
                return self._folder / each
        raise FileExistsError(name)


class Screen:
    """Answers as they grow, one live line of progress, cards, files.

    Everything that came from outside is cleaned first: escape sequences in it would obey their
    author. Without a terminal (a pipe) it is plain text, and only what is final.
    """

    def __init__(self, stdout: TextIO, locale: str) -> None:
        self.live = stdout.isatty()
        self._stdout = stdout
        self._locale = locale
        self._progress = False
        self._shown = ""
        """The answer so far, of which `_rendered` characters stand there as they stay."""
        self._rendered = 0

    def prompt(self) -> None:
        if self.live:
            self._write(say("You: ", self._locale))

    def line(self, text: str) -> None:
        """A line of its own, from us or from outside."""
        self._wipe()
        self._write(f"{clean(text)}\n")

    def progress(self, words: str) -> None:
        """Over the line that was there before, until text comes."""
        if not self.live or self._shown:
            return
        words = clean(words).replace("\n", " ")
        width = shutil.get_terminal_size().columns - 1
        self._write(f"{_WIPE}{_DIM}{words[:width]}{_PLAIN}" if words else _WIPE)
        self._progress = bool(words)

    def grow(self, text: str) -> None:
        """The answer so far: each block of its Markdown is drawn when it has ended, and what comes
        after the last one stands as it is written."""
        text = clean(text)
        if not self.live or self._shown.startswith(text):
            return
        self._wipe()
        if not text.startswith(self._shown[: self._rendered]):
            self._write("\n")
            self._shown, self._rendered = "", 0
        if end := ended(text[self._rendered :]):
            self._settle(text[: self._rendered + end])
        tail, stands = text[self._rendered :], self._shown[self._rendered :]
        if not tail.startswith(stands):
            self._take_back(stands)
            stands = ""
        self._write(tail[len(stands) :])
        self._shown = text

    def _settle(self, text: str, last: bool = False) -> None:
        """Draw what is not drawn yet of `text`, which will not change any more."""
        raw, stands = text[self._rendered :], self._shown[self._rendered :]
        wanted = drawn_markdown(raw) + ("\n" if last else "\n\n")
        if wanted.startswith(stands):
            self._write(wanted[len(stands) :])
        elif self._take_back(stands):
            self._write(wanted)
        elif stands.startswith(raw):  # too long to be drawn anew: it stays as it is written
            self._rendered = len(text)
            return
        else:
            self._write(raw[len(stands) :])
        self._shown, self._rendered = text, len(text)

    def _take_back(self, stands: str) -> bool:
        """Wipe the last lines; False where they are more than the screen shows."""
        columns, height = shutil.get_terminal_size()
        rows = sum(max(1, -(-cell_len(line) // columns)) for line in stands.split("\n"))
        if rows >= height:
            return False
        self._write(f"\r\x1b[{rows - 1}A\x1b[J" if rows > 1 else _WIPE)
        return True

    def answer(self, body: Mapping[str, Any], files: Sequence[Fetched] = ()) -> None:
        """The whole answer: what `done` says, and its files."""
        text = clean(str(body["response"]))
        if self.live:
            self.grow(text)
            self._wipe()
            if self._shown[self._rendered :].strip():
                self._settle(self._shown, last=True)
        else:
            self._write(f"{text}\n")
        self._shown, self._rendered = "", 0
        for card in body["cards"]:
            self._card(card)
        for file in files:
            self._file(file)

    def _file(self, file: Fetched) -> None:
        """What was saved is told by its path; the code that ran is shown, dim where that works."""
        if file.code:
            dim, plain = (_DIM, _PLAIN) if self.live else ("", "")
            lines = "\n".join(f"  | {line}" for line in file.code.splitlines())
            self._write(f"{dim}{lines}{plain}\n")
            return
        size = max(1, round(file.size / 1000))
        where = file.path or say("it could not be saved", self._locale)
        self.line(f"  [{file.name}, {size} kB] {where}")

    def _card(self, card: Mapping[str, Any]) -> None:
        self.line(self._readable(f"  # {card['title']} ({say(card['state'], self._locale)})"))
        if card["text"]:
            self.line(self._readable(f"    {card['text']}"))
        for row in card["rows"]:
            for change in describe_differences(row):
                self.line(self._readable(f"    {change}"))
        if card["state"] == "open" and (expires := card.get("expires_at")):
            # In the zone of this machine, at which the reader sits.
            when = moment(datetime.fromtimestamp(expires, UTC).astimezone(), self._locale)
            self.line("    " + say("Expires {when}.", self._locale, when=when))
        if card["actions"]:
            hints = " · ".join(f"{action} {card['id']}" for action in card["actions"])
            self.line("    " + say("Type: {hints}", self._locale, hints=hints))

    def _readable(self, text: str) -> str:
        """Somebody's words on a card; a pipe links nothing, and nothing is changed there."""
        return unclickable(text) if self.live else text

    def _wipe(self) -> None:
        if self._progress:
            self._write(_WIPE)
            self._progress = False

    def _write(self, text: str) -> None:
        self._stdout.write(text)
        self._stdout.flush()


def drawn_markdown(text: str) -> str:
    """As a terminal shows it: bold, lists, tables, code; an address stands in full."""
    if is_plain(text) or _DEEP.search(text):
        return text.strip("\n")
    from rich.console import Console
    from rich.markdown import Markdown

    out = io.StringIO()
    width = min(shutil.get_terminal_size().columns, WIDEST)
    console = Console(file=out, force_terminal=True, color_system="standard", width=width)
    drawn = Markdown(text, hyperlinks=False)
    drawn.parsed = parser().parse(text)  # its own parser takes HTML for such, and leaves it out
    console.print(drawn)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n")).strip("\n")


def attached(text: str) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Name and bytes of each file that `text` names, and the names that look like files and are
    none; `@ana` stays a word.

    Raises Unreadable, TooLarge.
    """
    found, missing = [], []
    for word in _WORD.findall(text):
        path = Path(word.strip('"')).expanduser()
        if path.is_file():
            found.append((path.name, _read(path)))
        elif "/" in word or _SUFFIX.search(word):
            missing.append(word.strip('"'))
    return found, missing


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise TooLarge(size=size(path.stat().st_size), limit=size(LARGEST))
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(name=path.name, cause=error.strerror or "unreadable") from None


SILENCE = 60.0
"""Seconds; the stream sends a comment every 15."""
RECONNECT_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Pauses between attempts to reach Ponte: a restart takes less than their sum."""
QUIT = frozenset({"sair", "exit", "quit", "quitter", ":q"})
"""Also after a slash."""
NO_FILE = "There is no file {name} here; your words go without it."
SLOW = 5
"""Seconds of work from which on it is said for how long."""
Upload = tuple[str, tuple[str, bytes]]
"""The form's field, then the file's name and bytes."""


class Unreachable(PonteError):
    code = "unreachable"
    sentence = "Ponte does not answer. Your last message may be kept; start `ponte chat` again."


def headers_for(locale: str, *, is_terminal: bool) -> dict[str, str]:
    """Those of each request; `is_terminal`: answers are shown where addresses become links."""
    return {"Accept-Language": locale} | ({} if is_terminal else {"Prefer": "links=none"})


async def turn_stream(
    http: HttpClient,
    asked: Mapping[str, str],
    files: Sequence[Upload],
    headers: Mapping[str, str],
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """One turn, as `POST /chat` streams it: events with their data, the last one `done` or `error`.

    Raises HttpError, also where the stream ends before the turn.
    """
    accepts = {**headers, "Accept": "text/event-stream"}
    sent: dict[str, Any] = {"form": asked, "files": files} if files else {"body": asked}
    async with http.lines(
        "POST", f"{HOST}/chat", headers=accepts, silence=SILENCE, **sent
    ) as lines:
        name = ""
        async for line in lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":  # our server writes each as one line of JSON
                yield name, json.loads(value)
                if name in ("done", "error"):
                    return
    raise HttpError("the stream ended early")


async def chat(
    socket_path: Path, locale: str, stdin: TextIO, stdout: TextIO, folder: Path = FOLDER
) -> int:
    """Talk until `sair`, `exit`, `quit`, Ctrl-D or the end of a pipe, and return the exit code: 1
    where Ponte could not be reached, and for a pipe where any of its messages failed.

    The files of answers are saved in `folder`.
    """
    screen = Screen(stdout, locale)
    async with HttpClient(socket=str(socket_path)) as http:
        talk = Talk(http, screen, locale, Downloads(http, folder))
        try:
            with talk.interrupts.heard():
                await talk.until_end(await talk.lines(stdin))
                if talk.has_failed and not (screen.live and stdin.isatty()):
                    return 1
        except Quit:
            screen.line("")
        except PonteError as error:
            screen.line(error.words(locale))
            return 1
    return 0


class Talk:
    def __init__(self, http: HttpClient, screen: Screen, locale: str, downloads: Downloads) -> None:
        self._http = http
        self._downloads = downloads
        self._screen = screen
        self._locale = locale
        self._headers = headers_for(locale, is_terminal=screen.live)
        self.interrupts = Interrupts()
        self.has_failed = False
        """Whether any message so far was not answered: a script asks for the exit code."""
        self._turn = ""
        self._doing = ""

    async def lines(self, stdin: TextIO) -> Lines:
        """A terminal's have editing, history and completion."""
        if not (self._screen.live and stdin.isatty()):
            return Keyboard(stdin)
        from adapters.terminal.prompt import Prompt

        return Prompt(self._locale, await self._said(), await self._slugs())

    async def _said(self) -> list[str]:
        """What was asked here before, oldest first: it goes with `forget`."""
        with suppress(HttpError):
            read = await self._http.get_json(f"{HOST}/conversations/main", headers=self._headers)
            return [one["text"] for one in read["messages"] if one["role"] == "user"]
        return []

    async def _slugs(self) -> list[str]:
        with suppress(HttpError):
            read = await self._http.get_json(f"{HOST}/quick-commands", headers=self._headers)
            return [one["slug"] for one in read["commands"]]
        return []

    async def until_end(self, keyboard: Lines) -> None:
        """Raises Quit, Unreachable."""
        if self._screen.live:
            self._screen.line(say("Ctrl-C stops an answer; exit or Ctrl-D ends.", self._locale))
        while True:
            if not keyboard.prompts:
                self._screen.prompt()
            line = await self.interrupts.outlast(_message(keyboard))
            text = clean(line or "").strip()
            if line is None or text.lower().removeprefix("/") in QUIT:
                if line is None and self._screen.live:
                    self._screen.line("")
                return
            if text:
                with unechoed() if keyboard.prompts else nullcontext():
                    await self.say(text)

    async def say(self, text: str) -> None:
        """One message and its answer. Ctrl-C stops the turn; a second one raises Quit."""
        self._doing = say("is thinking…", self._locale)
        counting = asyncio.create_task(self._count())
        try:
            await self.interrupts.outlast(self._ask(text, uuid.uuid4().hex), self._stopping)
        finally:
            self._turn = ""
            counting.cancel()

    async def _count(self) -> None:
        for seconds in itertools.count(1):
            await asyncio.sleep(1)
            if seconds >= SLOW:
                self._screen.progress(f"{seconds} s · {self._doing}")

    def _progress(self, words: str) -> None:
        self._doing = words
        self._screen.progress(words)

    async def _ask(self, text: str, key: str) -> None:
        """Asked again with the same key after a lost connection, so it is one turn."""
        try:
            files, missing = await asyncio.to_thread(attached, text)
        except PonteError as error:
            self._fail(error.words(self._locale))
            return
        for name in missing:
            self._screen.line(say(NO_FILE, self._locale, name=name))
        body = {"message": text, "conversation": "main", "event_key": key}
        self._progress(say("is thinking…", self._locale))

        def wait(error: HttpError, pause: float) -> float | None:
            if isinstance(error, HttpAnswer) and error.status != 503:
                return None
            self._progress(say("Connection lost; trying again…", self._locale))
            return pause

        uploads = [("file", file) for file in files]
        try:
            await retry(
                lambda: self._follow(body, uploads), HttpError,
                after_each(RECONNECT_PAUSES_SECONDS, wait),
            )  # fmt: skip
        except HttpAnswer as refused:
            self._fail(_error_words(refused))
        except HttpError:
            raise Unreachable from None

    async def _follow(self, body: Mapping[str, str], files: Sequence[Upload]) -> None:
        """Show one turn as it goes. Raises HttpError also where the stream ends before the turn."""
        thinking, text = say("is thinking…", self._locale), ""
        events = turn_stream(self._http, body, files, self._headers)
        async with aclosing(events):
            async for name, data in events:
                match name:
                    case "progress":
                        self._turn = data["turn"]
                        self._progress(data["text"] or thinking)
                    case "delta":
                        text = data["text"] if data.get("reset") else text + data["text"]
                        self._screen.grow(text)
                    case "done":
                        await self._show(data)
                    case "error":
                        self._fail(data["message"])

    def _fail(self, words: str) -> None:
        self.has_failed = True
        self._screen.line(words)

    async def _show(self, body: Mapping[str, Any]) -> None:
        self.has_failed = self.has_failed or body["status"] == "failed"
        files = [await self._downloads.fetch(file, self._headers) for file in body["files"]]
        self._screen.answer(body, files)

    def _stopping(self) -> Coroutine[Any, Any, None] | None:
        return self._stop(self._turn) if self._turn else None

    async def _stop(self, turn: str) -> None:
        self._progress(say("Stopping…", self._locale))
        with suppress(HttpError):
            await self._http.post_json(f"{HOST}/turns/{turn}/stop", {}, headers=self._headers)


@contextmanager
def unechoed() -> Iterator[None]:
    """What is typed while an answer is written is shown with the next prompt, not within it."""
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


async def _message(keyboard: Lines) -> str | None:
    """A line; or all the lines of a code block, where one begins."""
    text = await keyboard.line()
    if text is None or not text.lstrip().startswith(("```", "~~~")):
        return text
    lines, fence = text.split("\n"), None
    for line in lines:
        fence = after(line, fence, len(line))
    while fence is not None and (more := await keyboard.line()) is not None:
        lines.append(more)
        fence = after(more, fence, len(more))
    return "\n".join(lines)


def _error_words(refused: HttpAnswer) -> str:
    """The sentence of an error body, which the server has worded for us."""
    try:
        return str(refused.json["error"]["message"])
    except (TypeError, KeyError):
        return f"HTTP {refused.status}"
