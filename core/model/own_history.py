"""Levels 2 and 3: the server keeps nothing, the transcript goes along with every question."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from core.messages import Item
from core.model import faults
from core.model.listening import listen
from core.model.pairs import paired
from core.model.said import Said
from core.model.server import Server
from core.model.window import answered, cut, size, starts
from core.openai import Fault, Json
from core.records import Ask, ModelEvent


class Stream(Protocol):
    """How a dialect's stream is read."""

    over: bool
    response: str

    def take(self, event: Json) -> Sequence[ModelEvent]: ...

    def finished(self) -> Said: ...


class Dialect(Protocol):
    """One API: where it is, how a question is put, how its answer is read."""

    path: str

    async def body(self, ask: Ask, items: Sequence[Item]) -> Json: ...

    def reading(self) -> Stream: ...


class OwnHistory:
    """Asks one round in a dialect until it is answered or cannot be."""

    def __init__(self, server: Server, dialect: Dialect) -> None:
        self._server = server
        self._dialect = dialect

    async def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]:
        """A lost answer costs nothing but money here, so the question is put once more."""
        server, tries = self._server, Counter[str]()
        transcript = paired([*await ask.history(), *ask.input])
        limit = server.window
        while True:
            items = cut(transcript, limit)
            body = server.fitting(await self._dialect.body(ask, items))
            reading = self._dialect.reading()
            try:
                async with aclosing(self._events(body, reading)) as events:
                    async for event in events:
                        yield event
                said = reading.finished()
                break
            except Fault as fault:
                if faults.too_long(fault) and len(starts(items)) > 1:
                    limit = min(limit, size(items)) // 2
                elif faults.policy(fault) and len(answered(transcript)) < len(transcript):
                    transcript = answered(transcript)
                else:
                    await self._mend(fault, body, tries)
        if limit < server.window and not server.official:
            server.window = limit
        yield server.completed(reading.response, said)

    async def _events(self, body: Json, reading: Stream) -> AsyncGenerator[ModelEvent, None]:
        client, silence = self._server.client, self._server.options.silence
        async with aclosing(client.stream(self._dialect.path, body)) as source:
            async for event in listen(source, silence):
                for told in reading.take(event):
                    yield told
                if reading.over:
                    return

    async def _mend(self, fault: Fault, body: Json, tries: Counter[str]) -> None:
        """Returns when the question may be put again; raises a ModelError otherwise."""
        if self._server.learn(fault, body) or await self._server.rest(fault, tries):
            return
        tries[fault.kind] += 1
        if fault.kind not in ("lost", "broken") or tries[fault.kind] > 1 or fault.code:
            raise await self._server.worded(fault) from None
