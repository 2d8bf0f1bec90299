"""The chat client of the terminal. It connects to a running Ponte over the home's Unix socket.

It serves a person at a terminal, or a script through a pipe. At a terminal, Ctrl-C stops an answer.
`@sales.csv` in a message sends that file, and files of answers are saved in a folder.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import re
import signal
import stat
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

from adapters.terminal.screen import DownloadedFile, LineEditor, Screen, local_zone
from core.base.errors import BadInput, PonteError, TooLarge
from core.base.http import HttpAnswer, HttpClient, HttpError
from core.base.i18n import LANGUAGE, format_size, say
from core.base.private_files import create_file, has_content, open_folder
from core.base.splitting import fence_after_line
from core.base.tasks import cancel_all, retry, wait_after_each
from core.base.text import clean_text, safe_file_name

STOP_TIMEOUT_SECONDS = 1.0
"""The timeout of the request that stops a turn."""
MAX_UPLOAD_BYTES = 20 * 1024 * 1024
"""The limit of a file that is sent. The server accepts no larger one (MAX_FILE_BYTES in
`adapters/web/http_io.py`; importing that module would load Starlette)."""
DOWNLOAD_FOLDER = Path("ponte-files")
SOCKET_ORIGIN = "http://localhost"
"""The origin of every URL on the home's Unix socket."""
CODE_FILE_TYPE = "text/x-python"
"""The media type of the code that ran."""
SCHEDULE = "schedule"
"""The origin of a schedule's messages."""
_READ_BYTES = 65_536
_SUFFIX = re.compile(
    r"\.(7z|csv|docx?|eml|gif|gz|heic|html?|ipynb|jpe?g|json|log|m4a|md|mov|mp[34]|od[pst]|ogg"
    r"|parquet|pdf|png|pptx?|py|rtf|sql|svg|tar|toml|tsv|txt|wav|webp|xlsx?|xml|ya?ml|zip)$",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?:~|\.\.?)?/")
"""A word that begins so is surely a path. `here/maps` is a package of npm."""
_WORD = re.compile(r"(?:^|(?<=[\s(]))@(\"[^\"]+\"|[^\s\"]+)")

T = TypeVar("T")
StopWork = Callable[[], Coroutine[Any, Any, None] | None]
"""What the first Ctrl-C runs, or None if there is nothing to stop."""


class Quit(Exception):
    """Ctrl-C leaves the chat, because no answer is under way."""


class Unreadable(PonteError):
    """A file that the message names exists but cannot be read, so nothing is sent."""

    code = "unreadable"
    sentence = "Couldn't read the file {name} ({cause}). Nothing was sent."


class InterruptHandler:
    """Handles Ctrl-C of one terminal while `catch_interrupts` is active. The first one stops an
    answer, the next one leaves the chat."""

    def __init__(self) -> None:
        self._interrupted = asyncio.Event()

    @contextmanager
    def catch_interrupts(self) -> Iterator[None]:
        """Receive Ctrl-C as an event instead of KeyboardInterrupt."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted.set)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def run(self, work: Coroutine[Any, Any, T], stop: StopWork = lambda: None) -> T:
        """Return the result of `work`. The first Ctrl-C runs `stop` and waits for `work`; another
        one, or the first if there is nothing to stop, raises Quit."""
        # After Ctrl-C, also the task that stops the work.
        task = asyncio.create_task(work)
        tasks: list[asyncio.Task[Any]] = [task]
        try:
            while True:
                interrupt = asyncio.create_task(self._interrupted.wait())
                try:
                    await asyncio.wait({task, interrupt}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    interrupt.cancel()
                self._interrupted.clear()
                if task.done():
                    break
                # The first Ctrl-C begins to stop the work, which then ends by itself.
                stopping = stop() if len(tasks) == 1 else None
                if stopping is None:
                    raise Quit
                tasks.append(asyncio.create_task(stopping))
            # Wait for the response to `stop`. Cancelling a read of a Unix socket in the moment in
            # which data arrives makes asyncio log an error (anyio 4, `UNIXSocketStream.receive`).
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT_SECONDS)
            return task.result()
        finally:
            await cancel_all(tasks)


def decode_input(data: bytes) -> str | None:
    """Return the text of a pipe or file, or None if it is not UTF-8 text."""
    with suppress(UnicodeDecodeError):
        text = data.decode("utf-8-sig")
        return None if "\0" in text else text
    return None


class PipeInput:
    """Reads lines from a pipe or a file without blocking the event loop.

    A thread in `readline` cannot be cancelled: after Ctrl-C the process would wait for one more
    line. So a descriptor that can be polled is read when it has data. A file is always ready.
    """

    shows_prompt = False

    def __init__(self, stdin: TextIO) -> None:
        self._stdin = stdin
        self._data = b""
        """What was read and not returned yet."""
        self._ended = False

    async def read_line(self, in_code: bool = False) -> str | None:
        """Return the next line without its end, or None at the end of the input. Raises BadInput if
        it is not UTF-8 text. `in_code` is for the prompt of a terminal."""
        while b"\n" not in self._data and not self._ended:
            data = await self._read()
            self._ended = not data
            self._data += data
        # The last line may have no line break.
        line, newline, self._data = self._data.partition(b"\n")
        text = decode_input(line)
        if text is None:
            raise BadInput(
                "Standard input isn't UTF-8 text. The rest wasn't sent. Convert it to UTF-8 first."
            )
        return text.removesuffix("\r") if line or newline else None

    async def _read(self) -> bytes:
        """Return the next bytes, b"" at the end of the input. The event loop waits for a pipe, so
        that Ctrl-C can end the wait; what cannot be polled is read in a thread."""
        try:
            descriptor = self._stdin.fileno()
        except (OSError, ValueError):  # a stream in memory has no descriptor
            return (await asyncio.to_thread(self._stdin.readline)).encode()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError  # macOS: kqueue(2) never reports the end of a file
            loop.add_reader(descriptor, ready.set)
        except OSError:  # epoll(7): a file is always ready and cannot be polled
            return await asyncio.to_thread(os.read, descriptor, _READ_BYTES)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)
        return os.read(descriptor, _READ_BYTES)


class LineSource(Protocol):
    """A source of messages. `shows_prompt`: it prints its own prompt."""

    shows_prompt: bool

    async def read_line(self, in_code: bool = False) -> str | None:
        """Return the next message without its line break, or None at the end of the input.
        `in_code`: the line is part of an open code block."""


@dataclass(frozen=True)
class DownloadFolder:
    """Saves files of answers in `folder`, which is created when needed. It never replaces a file. A
    name that is taken gets a number, unless that file has equal contents.
    """

    _http: HttpClient
    _folder: Path = DOWNLOAD_FOLDER

    async def fetch(self, file: Mapping[str, Any], headers: Mapping[str, str]) -> DownloadedFile:
        """Download a file of an answer and save it. One that cannot be downloaded or saved has no
        `path`. Code that Ponte ran is not saved, but returned to be shown."""
        name, size = safe_file_name(str(file["name"])), int(file["size"])
        try:
            data = await self._http.get_bytes(f"{SOCKET_ORIGIN}{file['url']}", headers)
        except HttpError:
            return DownloadedFile(name, size)
        if file["type"] == CODE_FILE_TYPE:
            code = clean_text(data.decode(errors="replace")).rstrip()
            return DownloadedFile(name, size, code=code)
        try:
            path = str(await asyncio.to_thread(self._save, name, data))
        except OSError:
            path = ""
        return DownloadedFile(name, size, path)

    def _save(self, name: str, data: bytes) -> Path:
        """Save the bytes under a free name. Raises OSError."""
        stem, dot, extension = name.rpartition(".")
        with open_folder(self._folder) as folder:
            for number in itertools.count():
                numbered = f"{stem}-{number}.{extension}" if dot else f"{name}-{number}"
                each = numbered if number else name
                try:
                    with create_file(each, folder) as out:
                        out.write(data)
                except FileExistsError:
                    # Equal contents were saved before, so they are not saved twice.
                    if not has_content(each, folder, data):
                        continue
                return self._folder / each
        raise FileExistsError(name)  # never reached: for type checkers, as the loop has no end


def _expand_home(name: str) -> Path:
    with suppress(RuntimeError):
        return Path(name).expanduser()
    return Path(name)


def read_attachments(text: str) -> list[tuple[str, bytes]]:
    """Return the name and bytes of each file that `text` names with @. A word counts if such
    a file exists, or if it begins like a path (`_PATH`) or ends like a file name (`_SUFFIX`). Other
    words, such as `@ana`, are left out.

    Raises Unreadable if a file cannot be read or does not exist, or TooLarge above
    MAX_UPLOAD_BYTES.
    """
    attachments = []
    for word in _WORD.findall(text):
        # A file name may end with a punctuation mark; else that belongs to the sentence.
        name = word.strip('"')
        if not _expand_home(name).is_file():
            name = name.rstrip(".,;:!?)")
        path = _expand_home(name)
        if not (path.is_file() or _PATH.match(name) or _SUFFIX.search(name)):
            continue
        try:
            if path.stat().st_size > MAX_UPLOAD_BYTES:
                size = format_size(path.stat().st_size)
                raise TooLarge(size=size, limit=format_size(MAX_UPLOAD_BYTES))
            # A pipe or a device may never end. Reading a folder fails with a reason of its own.
            if not (path.is_file() or path.is_dir()):
                raise OSError(errno.EINVAL, "Not a regular file")
            attachments.append((path.name, path.read_bytes()))
        except FileNotFoundError:
            raise Unreadable("File {name} not found. Nothing was sent.", name=name) from None
        except OSError as error:
            raise Unreadable(name=path.name, cause=error.strerror or "unreadable") from None
    return attachments


STREAM_TIMEOUT_SECONDS = 60.0
"""The longest silence of a stream. The server sends a comment every 15 seconds."""
RECONNECT_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""The pauses between attempts to reach Ponte. A restart takes less than their sum."""
QUIT_WORDS = frozenset({"sair", "exit", "quit", "quitter", ":q"})
"""They end the chat, with or without a slash before them."""
SHOW_TIME_AFTER_SECONDS = 5
"""After this time, the line of progress shows how long the turn has run."""
FormFile = tuple[str, tuple[str, bytes]]
"""A form's field, then the file's name and bytes."""


class Unreachable(PonteError):
    """Ponte did not answer after all attempts to reconnect."""

    code = "unreachable"
    sentence = (
        "Ponte isn't responding. Your last message may have been saved. Start `ponte chat` again."
    )


def headers_for(*, is_terminal: bool, is_typed: bool) -> dict[str, str]:
    """Return the headers of each request. Without a terminal, they say that addresses in the output
    do not become links. Only text that a person typed may be a command."""
    headers = {"Accept-Language": LANGUAGE.get(), "X-Ponte-Typed": str(is_typed).lower()}
    return headers if is_terminal else headers | {"Prefer": "links=none"}


async def read_events(
    http: HttpClient, method: str, path: str, headers: Mapping[str, str], **content: Any
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Yield the events of a stream with their data until it ends. Raises HttpError."""
    # Server-sent events: a line with the name of an event, one with its data.
    async with http.stream_lines(
        method,
        f"{SOCKET_ORIGIN}{path}",
        headers={**headers, "Accept": "text/event-stream"},
        silence=STREAM_TIMEOUT_SECONDS,
        **content,
    ) as lines:
        name = ""
        async for line in lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":  # our server writes the data as one line of JSON
                yield name, json.loads(value)


async def turn_stream(
    http: HttpClient, body: Mapping[str, str], files: Sequence[FormFile], headers: Mapping[str, str]
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Send a message and yield the events of its turn with their data, up to `done` or `error`.
    Raises HttpError, also if the stream ends before the turn does.
    """
    content: dict[str, Any] = {"form": body, "files": files} if files else {"body": body}
    async with aclosing(read_events(http, "POST", "/chat", headers, **content)) as events:
        async for name, data in events:
            yield name, data
            if name in ("done", "error"):
                return
    raise HttpError("the stream ended early")


async def chat(
    socket_path: Path, stdin: TextIO, stdout: TextIO, folder: Path = DOWNLOAD_FOLDER
) -> int:
    """Run a dialogue with the Ponte that listens at `socket_path`, until `sair`, `exit`, `quit`,
    Ctrl-D or the end of a pipe, and return the exit code.

    It is 1 if Ponte could not be reached, and for a pipe also if any message failed. Files of
    answers are saved in `folder`. Where input is a pipe, cards name commands of the shell: what
    comes from a pipe is never a command.
    """
    screen = Screen(stdout, shows_shell_commands=not stdin.isatty())
    async with HttpClient(socket=str(socket_path)) as http:
        talk = TerminalChat(http, screen, DownloadFolder(http, folder), is_typed=stdin.isatty())
        try:
            with talk.interrupts.catch_interrupts():
                source = await talk.open_input(stdin)
                reminding = asyncio.create_task(talk.show_reminders(source))
                try:
                    await talk.talk(source)
                finally:
                    await cancel_all([reminding])
                # At a terminal (`live`), a person has seen what failed.
                if talk.has_failed and not (screen.live and stdin.isatty()):
                    return 1
        except Quit:
            screen.write_line("")  # for the shell's prompt
        except PonteError as error:
            screen.write_line(error.words())
            return 1
    return 0


class TerminalChat:
    """The dialogue of one terminal or pipe with Ponte, over its HTTP API. `is_typed`: a person
    types the messages."""

    def __init__(
        self, http: HttpClient, screen: Screen, downloads: DownloadFolder, *, is_typed: bool
    ) -> None:
        # `http` reaches Ponte's HTTP API, and `downloads` is where files of answers are saved.
        # `is_typed`: a person types the messages, in contrast to a script.
        self._http = http
        self._downloads = downloads
        self._screen = screen
        self._headers = headers_for(is_terminal=screen.live, is_typed=is_typed)
        self.interrupts = InterruptHandler()
        self.has_failed = False
        """A message was not answered. Scripts read it from the exit code."""
        self._turn = ""
        """The turn that is shown now, which Ctrl-C stops; "" for none."""
        self._doing = ""
        """What the line of progress says."""
        self._typed_seq = 0
        """The number of the last message in the conversation that no schedule sent."""
        self._screen_lock = asyncio.Lock()
        """This lock is held while a turn is shown, so that answers of schedules do not mix with
        it."""
        self._suggestions: list[str] = []
        """What a new conversation may begin with."""
        self._choices: dict[str, str] = {}
        """Typed numbers that choose an answer to the last question."""

    async def open_input(self, stdin: TextIO) -> LineSource:
        """Return the source of lines. At a terminal, it has editing, history and completion."""
        if not (self._screen.live and stdin.isatty()):
            return PipeInput(stdin)
        messages = await self._read_list("/conversations/main", "messages")
        # The messages of schedules are not the person's own, nor are choices.
        hidden = (SCHEDULE, "choice")
        typed = [m for m in messages if m["role"] == "user" and m["origin"] not in hidden]
        past = [one["text"] for one in typed]
        # Later answers of schedules are shown above the prompt.
        self._typed_seq = max((one["seq"] for one in typed), default=0)
        if not past:
            suggestions = await self._read_list("/welcome", "suggestions")
            self._suggestions = [suggestion["text"] for suggestion in suggestions]
        commands = await self._read_list("/quick-commands", "commands")
        return LineEditor(past, [command["slug"] for command in commands])

    async def _read_list(self, path: str, field: str) -> list[Any]:
        with suppress(HttpError):
            answer = await self._http.get_json(f"{SOCKET_ORIGIN}{path}", headers=self._headers)
            return list(answer[field])
        return []

    async def talk(self, source: LineSource) -> None:
        """Send each message until the input ends, and show its answer before the next one is read.
        At a terminal, begin with the keys and with suggestions. Raises Quit or Unreachable."""
        if self._screen.live:
            keys = say("Press Ctrl-C to stop an answer. Type exit or press Ctrl-D to quit.")
            self._screen.write_line(keys)
            if self._suggestions:
                self._screen.write_line(say("Try one of these"))
            for message in self._suggestions:
                self._screen.write_line(f"  {message}")
        while True:
            if self._screen.live:
                self._screen.write_line("")
            # A pipe prints no prompt of its own. The screen does, if the output is a terminal.
            if not source.shows_prompt:
                self._screen.show_prompt()
            line = await self.interrupts.run(_read_message(source))
            text = clean_text(line or "").strip()
            if line is None or text.lower().removeprefix("/") in QUIT_WORDS:
                # At the end of a pipe, the screen's prompt has no line break, and the shell's would
                # follow on the same line.
                if line is None and self._screen.live and not source.shows_prompt:
                    self._screen.write_line("")
                return
            if text:
                # Keys that are pressed during an answer must not show up in it. A source that
                # prints its own prompt reads from a terminal.
                with disable_echo() if source.shows_prompt else nullcontext():
                    async with self._screen_lock:
                        await self.say(text)

    async def show_reminders(self, source: LineSource) -> None:
        """Show the answers of schedules in this conversation since the last typed message, above
        the prompt, until cancelled. A script has no prompt: then return at once."""
        # The turns whose message came, and those whose answer was shown: after a lost connection,
        # the stream sends them once more.
        waiting, shown = set[str](), set[str]()
        path = f"/conversations/main/events?after={self._typed_seq}"
        while isinstance(source, LineEditor):
            with suppress(HttpError):
                async with aclosing(read_events(self._http, "GET", path, self._headers)) as events:
                    async for name, data in events:
                        if name == "message" and data["origin"] == SCHEDULE:
                            waiting.add(data["turn"])
                        elif name == "done" and data["turn"] in waiting - shown:
                            shown.add(data["turn"])
                            files = await self._fetch_files(data)
                            async with self._screen_lock:
                                await source.print_above(
                                    partial(self._screen.show_answer, data, files)
                                )
            # The stream is opened again after the longest pause.
            await asyncio.sleep(RECONNECT_PAUSES_SECONDS[-1])

    async def _fetch_files(self, answer: Mapping[str, Any]) -> Sequence[DownloadedFile]:
        return [await self._downloads.fetch(one, self._headers) for one in answer["files"]]

    async def say(self, text: str) -> None:
        """Send one message and show its answer. Ctrl-C stops the turn; another one raises Quit."""
        self._doing = say("Ponte is thinking…")
        counting = asyncio.create_task(self._show_elapsed_time())
        try:
            # The key makes one turn of repeated requests. Before the turn is known there is nothing
            # to stop, so Ctrl-C leaves the chat.
            await self.interrupts.run(
                self._send(text, uuid.uuid4().hex),
                lambda: self._stop(self._turn) if self._turn else None,
            )
        finally:
            self._turn = ""
            counting.cancel()

    async def _show_elapsed_time(self) -> None:
        for seconds in itertools.count(1):
            await asyncio.sleep(1)
            if seconds >= SHOW_TIME_AFTER_SECONDS:
                self._screen.show_progress(f"{seconds} s · {self._doing}")

    def _update_progress(self, words: str) -> None:
        self._doing = words
        self._screen.show_progress(words)

    async def _send(self, text: str, key: str) -> None:
        """Send the message with the files that it names, and show its answer or a refusal. After a
        lost connection it is sent again with the key unchanged, so that it remains one turn. Raises
        Unreachable if no attempt succeeds."""
        try:
            files = await asyncio.to_thread(read_attachments, text)
        except PonteError as error:
            self._fail(error.words())
            return
        # A block of code below a line with only names of files is sent alone: Ponte runs it on the
        # files, without a model.
        head, _, block = text.partition("\n")
        if files and not _WORD.sub("", head).strip() and block.startswith(("```", "~~~")):
            text = block
        body = {
            "message": text,
            "conversation": "main",
            "event_key": key,
            "time_zone": local_zone(),
            "choice": self._choices.get(text, ""),
        }
        self._choices = {}
        self._update_progress(say("Ponte is thinking…"))

        def wait(error: HttpError, pause: float) -> float | None:
            # 503: Ponte stops or starts. Any other answer is a refusal.
            if isinstance(error, HttpAnswer) and error.status != 503:
                return None
            self._update_progress(say("Connection lost. Reconnecting…"))
            return pause

        try:
            await retry(
                lambda: self._show_turn(body, [("file", file) for file in files]),
                HttpError,
                wait_after_each(RECONNECT_PAUSES_SECONDS, wait),
            )
        except HttpAnswer as refused:
            try:  # the server has worded the error for the reader
                words = str(refused.json["error"]["message"])
            except (TypeError, KeyError):
                words = f"HTTP {refused.status}"
            self._fail(words)
        except HttpError:
            raise Unreachable from None

    async def _show_turn(self, body: Mapping[str, str], uploads: Sequence[FormFile]) -> None:
        """Show one turn as it runs. Raises HttpError, also if the stream ends before the turn."""
        thinking, text = say("Ponte is thinking…"), ""
        events = turn_stream(self._http, body, uploads, self._headers)
        async with aclosing(events):
            async for name, data in events:
                match name:
                    case "progress":
                        self._turn = data["turn"]
                        self._update_progress(data["text"] or thinking)
                    case "delta":  # text to add, or with `reset` text in place of all so far
                        text = data["text"] if data.get("reset") else text + data["text"]
                        self._screen.show_text(text)
                    case "done":
                        self.has_failed = self.has_failed or data["status"] == "failed"
                        count = len(data.get("choices", ())) if self._screen.live else 0
                        self._choices = {
                            str(n + 1): f"{n + 1}:{data['turn']}" for n in range(count)
                        }
                        self._screen.show_answer(data, await self._fetch_files(data))
                    case "error":
                        self._fail(data["message"])

    def _fail(self, words: str) -> None:
        self.has_failed = True
        self._screen.write_line(words)

    async def _stop(self, turn: str) -> None:
        self._update_progress(say("Stopping…"))
        with suppress(HttpError):
            url = f"{SOCKET_ORIGIN}/turns/{turn}/stop"
            await self._http.post_json(url, {}, headers=self._headers)


@contextmanager
def disable_echo() -> Iterator[None]:
    """Turn off the terminal's echo: typed keys must not mix with an answer."""
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO  # index 3: the local modes (`lflag`)
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


async def _read_message(source: LineSource) -> str | None:
    """Return a line, or a whole code block. None at the end of the input, and "" for a block that a
    person discards."""
    text = await source.read_line()
    if text is None:
        return None
    # At a terminal, one message can have several lines. `fence` is that of the open code block. The
    # last argument is the longest fence that counts: here, any.
    lines, fence = text.split("\n"), None
    for line in lines:
        fence = fence_after_line(line, fence, len(line))
    while fence is not None:
        if (code_line := await source.read_line(in_code=True)) is None:
            # A person pressed Ctrl-D in the block. At the end of a pipe, the block counts all the
            # same.
            if source.shows_prompt:
                return ""
            break
        lines.append(code_line)
        fence = fence_after_line(code_line, fence, len(code_line))
    return "\n".join(lines)
