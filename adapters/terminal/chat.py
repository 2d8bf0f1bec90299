"""A person (or a pipe) talks with a running Ponte over its Unix socket."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TextIO

from adapters.terminal.screen import (
    FOLDER,
    HOST,
    Downloads,
    Interrupts,
    Keyboard,
    Quit,
    Screen,
    attached,
)
from core.errors import PonteError
from core.http import HttpAnswer, HttpClient, HttpError
from core.i18n import say
from core.text import after, clean

SILENCE = 60.0
"""Seconds; the stream sends a comment every 15."""
WAITS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Seconds before each new try to reach Ponte: a restart takes less than their sum."""
QUIT = frozenset({"sair", "exit", "quit"})
Upload = tuple[str, tuple[str, bytes]]
"""The form's field, then the file's name and bytes."""


class Unreachable(PonteError):
    code = "unreachable"
    sentence = "Ponte does not answer. Your last message may be kept; start `ponte chat` again."


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
    """Talk until `sair`, `exit`, `quit`, Ctrl-D or the end of a pipe; the exit code.

    The files of answers are saved in `folder`.
    """
    screen = Screen(stdout, locale)
    async with HttpClient(socket=str(socket_path)) as http:
        talk = Talk(http, screen, locale, Downloads(http, folder))
        try:
            with talk.interrupts.heard():
                await talk.until_end(Keyboard(stdin))
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
        self._headers = {"Accept-Language": locale}
        self.interrupts = Interrupts()
        self._turn = ""

    async def until_end(self, keyboard: Keyboard) -> None:
        """Raises Quit, Unreachable."""
        if self._screen.live:
            self._screen.line(say("Ctrl-C stops an answer; exit or Ctrl-D ends.", self._locale))
        while True:
            self._screen.prompt()
            line = await self.interrupts.outlast(_message(keyboard))
            text = clean(line or "").strip()
            if line is None or text.lower() in QUIT:
                if line is None and self._screen.live:
                    self._screen.line("")
                return
            if text:
                await self.say(text)

    async def say(self, text: str) -> None:
        """One message and its answer. Ctrl-C stops the turn; a second one raises Quit."""
        try:
            await self.interrupts.outlast(self._ask(text, uuid.uuid4().hex), self._stopping)
        finally:
            self._turn = ""

    async def _ask(self, text: str, key: str) -> None:
        """Asked again with the same key after a lost connection, so it is one turn."""
        try:
            files = await asyncio.to_thread(attached, text)
        except PonteError as error:
            self._screen.line(error.words(self._locale))
            return
        body = {"message": text, "conversation": "main", "event_key": key}
        self._screen.progress(say("is thinking…", self._locale))
        for wait in (*WAITS, None):
            try:
                await self._follow(body, [("file", file) for file in files])
                return
            except HttpAnswer as refused:
                if refused.status != 503 or wait is None:
                    self._screen.line(_words(refused))
                    return
            except HttpError:
                if wait is None:
                    raise Unreachable from None
            self._screen.progress(say("Connection lost; trying again…", self._locale))
            await asyncio.sleep(wait)

    async def _follow(self, body: Mapping[str, str], files: Sequence[Upload]) -> None:
        """Show one turn as it goes. Raises HttpError also where the stream ends before the turn."""
        thinking, text = say("is thinking…", self._locale), ""
        events = turn_stream(self._http, body, files, self._headers)
        async with aclosing(events):
            async for name, data in events:
                match name:
                    case "progress":
                        self._turn = data["turn"]
                        self._screen.progress(data["text"] or thinking)
                    case "delta":
                        text = data["text"] if data.get("reset") else text + data["text"]
                        self._screen.grow(text)
                    case "done":
                        await self._show(data)
                    case "error":
                        self._screen.line(data["message"])

    async def _show(self, body: Mapping[str, Any]) -> None:
        files = [await self._downloads.fetch(file, self._headers) for file in body["files"]]
        self._screen.answer(body, files)

    def _stopping(self) -> Coroutine[Any, Any, None] | None:
        return self._stop(self._turn) if self._turn else None

    async def _stop(self, turn: str) -> None:
        self._screen.progress(say("Stopping…", self._locale))
        with suppress(HttpError):
            await self._http.post_json(f"{HOST}/turns/{turn}/stop", {}, headers=self._headers)


async def _message(keyboard: Keyboard) -> str | None:
    """A line; or all the lines of a code block, where one begins."""
    line = await keyboard.line()
    if line is None or not line.lstrip().startswith(("```", "~~~")):
        return line
    lines, fence = [line], after(line, None, len(line))
    while fence is not None and (more := await keyboard.line()) is not None:
        lines.append(more)
        fence = after(more, fence, len(more))
    return "\n".join(lines)


def _words(refused: HttpAnswer) -> str:
    """The sentence of an error body, which the server has worded for us."""
    try:
        return str(refused.json["error"]["message"])
    except (TypeError, KeyError):
        return f"HTTP {refused.status}"
