"""The client of the process that holds the home: HTTP over its Unix socket."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any

from adapters.terminal.chat import (
    RECONNECT_PAUSES_SECONDS,
    SOCKET_ORIGIN,
    DownloadFolder,
    FormFile,
    InterruptHandler,
    Quit,
    headers_for,
    turn_stream,
)
from adapters.terminal.screen import DownloadedFile, Screen, local_zone
from bot.home import Start
from bot.operations import OPERATIONS
from core.base.errors import NotFound, PonteError
from core.base.http import HttpAnswer, HttpClient, HttpDown, HttpError, HttpTimeout
from core.base.i18n import say
from core.base.tasks import retry, wait_after_each
from core.base.text import to_one_line

Json = Mapping[str, Any]


class TurnRefused(PonteError):
    """A turn ended in an error with these `words`."""

    sentence = "{words}"


class HolderLost(PonteError):
    """The connection to the Ponte that holds the data folder broke during a quick command, and
    could not be made again."""

    code = "unreachable"
    sentence = (
        "Ponte stopped responding. The quick command is saved and will continue when Ponte runs "
        "again. Don't start it a second time."
    )


class AnswerLost(HolderLost):
    """The connection to the running Ponte broke before it answered a prompt."""

    sentence = (
        "Ponte stopped responding. Your prompt is saved and will be answered when Ponte runs "
        "again. `ponte threads list` shows the conversation."
    )


class SingleTurn:
    """Sends one message, a quick command or a prompt, in a conversation of its own, and shows its
    answer.

    Progress is shown on `screen` if that is a terminal, and the growing answer on `answer`. Ctrl-C
    stops the turn, whose partial result is then its answer; a second Ctrl-C stops waiting. If the
    Ponte that answers restarts, this waits for it; if that takes too long, it raises `lost`.
    """

    def __init__(
        self,
        http: HttpClient,
        screen: Screen,
        answer: Screen | None = None,
        lost: type[HolderLost] = HolderLost,
    ) -> None:
        self._http = http
        self._screen = screen
        self._answer = answer
        """Where the answer's text is shown while it grows; None if only its end is."""
        # It is raised if the process ends before it answers.
        self._lost = lost
        self._headers: Mapping[str, str] = {}
        self._interrupts = InterruptHandler()
        """Turns the first Ctrl-C into a stop of the turn, the second into the end."""
        self._turn = ""
        self._turn_known = asyncio.Event()

    async def run(self, message: str, files: Sequence[FormFile], kind: str) -> Json:
        """Send the message and return the JSON of its answer, as `POST /chat` does. The
        conversation's name begins with `kind`. The message can be a command only if `kind` is
        "command". Raises HttpError, TurnRefused, HolderLost, and KeyboardInterrupt if the person
        does not want to wait."""
        # A repeated request has the same key, so the message is answered once.
        key = uuid.uuid4().hex
        # Without a terminal, the headers ask for plain addresses in place of links.
        self._headers = headers_for(is_terminal=sys.stdout.isatty(), is_typed=kind == "command")
        body = {
            "message": message,
            "conversation": f"{kind}-{key[:12]}",
            "event_key": key,
            "time_zone": local_zone(),
        }
        try:
            # `_interrupts` runs the request; the first Ctrl-C calls `_stop`, which stops the turn.
            with self._interrupts.catch_interrupts():
                return await self._interrupts.run(self._ask_with_retries(body, files), self._stop)
        except Quit:  # the second Ctrl-C
            raise KeyboardInterrupt from None
        finally:
            self._screen.show_progress("")

    async def _ask_with_retries(self, asked: Mapping[str, str], files: Sequence[FormFile]) -> Json:
        """Send the message, and send it again with the same `event_key` after a lost connection, so
        that it runs once: Ponte may restart meanwhile. `_turn` is set once Ponte has stored it; an
        error after that becomes `_lost`, which tells the person not to send it again."""

        def is_lost(error: HttpError) -> bool:
            if isinstance(error, HttpAnswer):
                return error.status == 503  # it is stopping
            return bool(self._turn)

        def wait(error: HttpError, pause: float) -> float | None:
            return pause if is_lost(error) else None

        try:
            return await retry(
                lambda: self._follow(asked, files),
                HttpError,
                wait_after_each(RECONNECT_PAUSES_SECONDS, wait),
            )
        except HttpError:
            if self._turn:  # else nothing was saved; the caller says why
                raise self._lost from None
            raise

    async def _follow(self, asked: Mapping[str, str], files: Sequence[FormFile]) -> Json:
        """Send the prompt, show progress and text while they arrive, and return the JSON of the
        turn's last event. Raises TurnRefused if the turn failed, HttpError if the stream ends
        before that. `_answer` shows the growing text; None if the caller wants only the end."""
        stream, text = turn_stream(self._http, asked, files, self._headers), ""
        async with aclosing(stream):
            async for name, data in stream:
                if name == "progress":
                    self._turn = data["turn"]
                    # `_stop` waits for it.
                    self._turn_known.set()
                    self._screen.show_progress(data["text"])
                elif name == "delta" and self._answer is not None:
                    # `reset`: the new text replaces the old one.
                    text = data["text"] if data.get("reset") else text + data["text"]
                    self._answer.show_text(text)
                elif name == "error":
                    raise TurnRefused(words=data["message"])
                elif name == "done":
                    return data
        raise HttpError("the stream ended early")

    async def _stop(self) -> None:
        self._screen.show_progress(say("Stopping…"))
        await self._turn_known.wait()
        with suppress(HttpError):
            await self._http.post_json(
                f"{SOCKET_ORIGIN}/turns/{self._turn}/stop", {}, headers=self._headers
            )


class LocalClient:
    """Calls the HTTP API of the Ponte that holds the data folder, over the Unix socket there. Every
    call raises PonteError with a sentence for the operator."""

    def __init__(self, http: HttpClient, start: Start) -> None:
        self._http = http
        self._start = start
        self._headers = headers_for(is_terminal=sys.stdout.isatty(), is_typed=True)

    async def run(self, message: str, file: tuple[str, bytes] | None = None) -> Json:
        """Send a command that may take long, in a conversation of its own. `file` is a name and its
        bytes."""
        turn = SingleTurn(self._http, Screen(sys.stderr))
        with self._explain_errors("threads list"):
            return await turn.run(message, [("file", file)] if file else [], "command")

    async def ask(
        self,
        prompt: str,
        files: Sequence[tuple[str, bytes]],
        answer: Screen | None,
        other: Screen,
        saved: str = "",
    ) -> tuple[Json, Sequence[DownloadedFile]]:
        """Send a prompt, or what shows the question `saved`, in a conversation of its own. Return
        the JSON of the answer, and its files, which are downloaded and saved.

        `answer` shows the answer as it grows; progress goes there if it is a terminal, else to
        `other`. Raises AnswerLost if the connection breaks after the prompt was stored.
        """
        progress = answer if answer and answer.live else other
        turn = SingleTurn(self._http, progress, answer, AnswerLost)
        # If the answer is lost, the error says that `ponte threads list` may show it. "ask" begins
        # the conversation's name.
        with self._explain_errors("threads list"):
            if saved:
                await self._require_saved(saved)
                body = await turn.run(f"show {saved}", [], "command")
            else:
                body = await turn.run(prompt, [("file", file) for file in files], "ask")
        return body, await self.save_files(body)

    async def save_files(self, answer: Json) -> Sequence[DownloadedFile]:
        downloads = DownloadFolder(self._http)
        return [await downloads.fetch(file, self._headers) for file in answer["files"]]

    async def _require_saved(self, name: str) -> None:
        """Raise NotFound: a model would get the name of an unknown question as a message."""
        # Loaded only by a command that comes here, so that the others start faster.
        from core.saved.questions import MAX_SAVED_NAME, NO_SUCH_QUESTION, fold_name

        url = f"{SOCKET_ORIGIN}/quick-commands"
        known = (await self._http.get_json(url, headers=self._headers))["saved"]
        if fold_name(name) not in map(fold_name, known):
            raise NotFound(NO_SUCH_QUESTION, name=to_one_line(name, MAX_SAVED_NAME))

    async def fetch_table(self, turn: str, number: int, form: str) -> bytes | None:
        """Return None if the answer has no such table."""
        url = f"{SOCKET_ORIGIN}/turns/{turn}/tables/{number}?format={form}"
        with self._explain_errors(""):
            try:
                return await self._http.get_bytes(url, self._headers)
            except HttpAnswer as error:
                if error.status == 404:
                    return None
                raise

    async def result(self, body: Json) -> str:
        """Return the result of a quick command: the answer's text, or the whole file if the result
        was so long that it became one."""
        files = [file for file in body.get("files", ()) if _is_text(str(file["type"]))]
        if len(files) != 1:
            return str(body.get("response", ""))
        url = f"{SOCKET_ORIGIN}{files[0]['url']}"
        try:
            async with self._http.stream_lines("GET", url, headers=self._headers) as lines:
                return "\n".join([line async for line in lines])
        except HttpError as error:
            raise PonteError("Can't read the result file ({why}).", why=error.reason) from None

    async def run_operation(
        self, name: str, /, *, output: str = "", timeout: float | None = None, **arguments: Any
    ) -> Any:
        """Run one of OPERATIONS in the running Ponte, and return its result as JSON. With an
        `output` ("text" or "json"), return what the shell prints, as `Operator.describe` does.
        `timeout` in seconds replaces that of the operation."""
        own = OPERATIONS[name]
        # `shown_by`: the command that tells whether this one took effect.
        with self._explain_errors(own.shown_by.format(**arguments)):
            return await self._http.request_json(
                "POST",
                f"{SOCKET_ORIGIN}/operator/{own.path}",
                headers=self._headers,
                timeout=own.timeout_seconds if timeout is None else timeout,
                body={"arguments": arguments, "output": output},
            )

    @contextmanager
    def _explain_errors(self, shown_by: str) -> Iterator[None]:
        """Raise PonteError for an HttpError in the block, with a sentence that says what to do.
        `shown_by` is the command that shows whether the request was carried out, "" if it changes
        nothing: a sent request may have taken effect, although its answer was lost."""
        try:
            yield
        except HttpAnswer as error:
            raise _holder_error(error) from None
        except HttpError as error:
            if shown_by and error.sent:
                raise PonteError(
                    "The answer to this command was lost. The command may have taken effect. Check "
                    "with `ponte {command}` before you try again.",
                    command=shown_by,
                ) from error
            if isinstance(error, HttpDown | HttpTimeout):
                home = self._start.home
                raise PonteError(
                    "Ponte (process {pid}) is using {home} but doesn't respond. It may be "
                    "starting or stopping. Try again in a moment.",
                    pid=home.holder() or "unknown",
                    home=home.path,
                ) from error
            raise PonteError(
                "Ponte sent an unexpected response ({why}).", why=error.reason
            ) from None


@asynccontextmanager
async def connect(socket: str, start: Start) -> AsyncIterator[LocalClient]:
    async with HttpClient(socket=socket) as http:
        yield LocalClient(http, start)


def _is_text(type: str) -> bool:
    return type.startswith("text/") or type == "application/json"


def _holder_error(error: HttpAnswer) -> PonteError:
    """Return an error with the sentence of an HTTP response, whose body is `{"error": {"code",
    "message"}}`."""
    body = error.json
    error_fields = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error_fields, dict):
        return PonteError(f"Ponte answered with HTTP {error.status}.")
    holder_error = PonteError("{words}", words=error_fields.get("message"))
    holder_error.code = str(error_fields.get("code"))
    return holder_error
