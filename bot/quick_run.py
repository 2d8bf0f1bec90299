"""A quick command that runs at whoever holds the home, as a shell waits for it.

How far it is shows on stderr where a person sits there. Ctrl-C stops the run, and what that left
comes back as its answer; a second one no longer waits. A restart of the holder is waited out.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from adapters.interrupts import Interrupts, Quit
from adapters.screen import Screen
from adapters.turn_stream import WAITS, Upload, turn_stream
from core.errors import PonteError
from core.http import HttpAnswer, HttpClient, HttpError
from core.words import say

Json = Mapping[str, Any]


class Refused(PonteError):
    """`words` are those that the turn ended in."""

    sentence = "{words}"


class Lost(PonteError):
    code = "unreachable"
    sentence = (
        "Ponte does not answer any more. The quick command is kept, and goes on when Ponte runs "
        "again: do not start it a second time."
    )


class QuickRun:
    def __init__(self, http: HttpClient, host: str, screen: Screen, locale: str) -> None:
        self._http = http
        self._host = host
        self._screen = screen
        self._locale = locale
        self._headers = {"Accept-Language": locale}
        self._interrupts = Interrupts()
        self._turn = ""
        self._begun = asyncio.Event()
        """The turn is known."""

    async def answer(self, message: str, files: Sequence[Upload]) -> Json:
        """What `POST /chat` answers. Raises HttpError, Refused, Lost, KeyboardInterrupt."""
        key = uuid.uuid4().hex
        asked = {"message": message, "conversation": f"command-{key[:12]}", "event_key": key}
        try:
            with self._interrupts.heard():
                return await self._interrupts.outlast(self._patient(asked, files), self._stop)
        except Quit:
            raise KeyboardInterrupt from None
        finally:
            self._screen.progress("")

    async def _patient(self, asked: Mapping[str, str], files: Sequence[Upload]) -> Json:
        """Asked again with the same key after a lost connection, so that it runs once."""
        for wait in WAITS:
            try:
                return await self._followed(asked, files)
            except HttpAnswer as error:
                if error.status != 503:
                    raise
            except HttpError:
                if not self._turn:  # nothing was taken; the caller says why
                    raise
            await asyncio.sleep(wait)
        raise Lost

    async def _followed(self, asked: Mapping[str, str], files: Sequence[Upload]) -> Json:
        stream = turn_stream(self._http, f"{self._host}/chat", asked, files, self._headers)
        async with aclosing(stream):
            async for name, data in stream:
                if name == "progress":
                    self._turn = data["turn"]
                    self._begun.set()
                    self._screen.progress(data["text"])
                elif name == "error":
                    raise Refused(words=data["message"])
                elif name == "done":
                    return data
        raise HttpError("the stream ended early")

    async def _stop(self) -> None:
        self._screen.progress(say("Stopping…", self._locale))
        await self._begun.wait()
        with suppress(HttpError):
            await self._http.post_json(
                f"{self._host}/turns/{self._turn}/stop", {}, headers=self._headers
            )
