"""Streams over Conversations, each read to its end by a task of its own.

A stream that is cut after a call was streamed can leave a response that its conversation does not
have (openai-python issue 3561). So whoever stops listening only stops listening.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from core.model.listening import listen
from core.model.reading import BEGINNINGS, ENDS
from core.openai import Json

log = structlog.get_logger("model")
Late = Callable[[str], Awaitable[None]]
MOST_UNHEARD = 4
"""Events that wait for the listener; then the server waits too."""


class OwnedStream:
    """One stream, iterated once. `late` hears the response's id if its listener was gone."""

    def __init__(
        self, source: AsyncIterator[Json], silence: float, grace: float, late: Late
    ) -> None:
        self._source = source
        self._silence = silence
        self._grace = grace
        self._late = late
        self._heard: asyncio.Queue[Json | Exception | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._left = False
        self._untold = ""
        self.over = False
        """The server said its last word, or the stream broke."""
        self.task = asyncio.create_task(self._read())

    def __aiter__(self) -> AsyncIterator[Json]:
        return self

    async def __anext__(self) -> Json:
        heard = await self._heard.get()
        self._room.set()
        if heard is None:
            raise StopAsyncIteration
        if isinstance(heard, Exception):
            raise heard
        if heard.get("type") in BEGINNINGS:
            self._untold = ""
        return heard

    def leave(self) -> None:
        """Nobody listens from here on; what is left is read for at most `grace` seconds."""
        self._left = True
        self._room.set()
        while not self._heard.empty():
            self._heard.get_nowait()
        asyncio.get_running_loop().call_later(self._grace, self.task.cancel)

    async def tell_late(self) -> None:
        if self._left and self._untold:
            response, self._untold = self._untold, ""
            await self._late(response)

    async def _read(self) -> None:
        end: Exception | None = None
        named = False
        try:
            async for event in listen(self._source, self._silence):
                kind = event.get("type")
                self.over = self.over or kind in ENDS
                if not self._left:
                    self._heard.put_nowait(event)
                if kind in BEGINNINGS and not named:
                    named = True
                    self._untold = str((event.get("response") or {}).get("id", ""))
                    await self.tell_late()
                while self._heard.qsize() >= MOST_UNHEARD and not self._left:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:
            # Raised again where the stream is listened to; drained streams have no use for it.
            end = error
        finally:
            self.over = True
            self._heard.put_nowait(end)


class Streams:
    """All streams of the process that are still open, by conversation."""

    def __init__(self, silence: float, grace: float) -> None:
        self._silence = silence
        self._grace = grace
        self._open: dict[str, set[OwnedStream]] = {}
        self._untidy: set[str] = set()
        self._late: set[asyncio.Task[None]] = set()

    def open(self, source: AsyncIterator[Json], conversation: str, late: Late) -> OwnedStream:
        stream = OwnedStream(source, self._silence, self._grace, late)
        self._open.setdefault(conversation, set()).add(stream)
        stream.task.add_done_callback(lambda _: self._closed(stream, conversation))
        return stream

    def draining(self, conversation: str) -> bool:
        """Whether something is still being said there."""
        return any(not stream.over for stream in self._open.get(conversation, ()))

    def untidy(self, conversation: str) -> bool:
        """Whether a stream there was left before its end: nobody knows what it holds now."""
        return conversation in self._untidy

    def tidied(self, conversation: str) -> None:
        self._untidy.discard(conversation)

    def leave(self, stream: OwnedStream, conversation: str) -> None:
        """Its listener is gone, before the end or after it."""
        if stream.task.done():
            return
        stream.leave()
        if not stream.over:
            self._untidy.add(conversation)
            task = asyncio.create_task(stream.tell_late())
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def settled(self, conversation: str) -> None:
        """Wait until nothing is being said there any more."""
        if tasks := {stream.task for stream in self._open.get(conversation, ())}:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Cut what is open; the ids are journalled, so the next process finds the responses."""
        tasks = {stream.task for streams in self._open.values() for stream in streams}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._late, return_exceptions=True)

    def _closed(self, stream: OwnedStream, conversation: str) -> None:
        streams = self._open[conversation]
        streams.discard(stream)
        if not streams:
            del self._open[conversation]
