"""Level 2: `POST /responses` with our own history; nothing is stored (the private mode).

Here too is what other levels share with it: how a Responses stream is read (1), and how a round is
asked where the server keeps nothing and the transcript goes along with every question (3).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from core.clients.openai import Json, ModelServerFault, read_id
from core.domain.messages import Item
from core.domain.records import ModelEvent, ResponseStarted, RoundRequest, TextDelta
from core.models.input import answered, cut, paired, size, starts, weight
from core.models.server import (
    Said,
    Server,
    Weight,
    is_against_policy,
    is_too_long,
    listen,
    read_response,
)
from core.text.text import PieceJoiner

PATH = "/responses"
MOST = "max_output_tokens"
BEGINNINGS = ("response.created", "response.queued", "response.in_progress")
ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
WORDS = ("response.output_text.delta", "response.refusal.delta")


class Stream(Protocol):
    """How a dialect's stream is read."""

    over: bool
    response: str

    def take(self, event: Json) -> Sequence[ModelEvent]: ...

    def finished(self) -> Said: ...


class Dialect(Protocol):
    """One API: where it is, how a question is put, how its answer is read."""

    path: str

    @property
    def most(self) -> str:
        """The field that says how many tokens an answer may have."""

    async def body(self, ask: RoundRequest, items: Sequence[Item]) -> Json: ...

    def reading(self) -> Stream: ...


class Reading:
    """One stream, whatever shape its end has.

    A refusal's words are shown like any others: they are the model's answer.
    """

    def __init__(self) -> None:
        self.response = ""
        self.over = False
        self._spoken = False
        self._items: list[Json] = []
        self._final: Json | None = None
        self._words, self._whole = Weight(), Weight()
        self._pieces = PieceJoiner()

    def take(self, event: Json) -> Sequence[ModelEvent]:
        """What a listener gets to know of this event. Raises Fault for an error event."""
        kind = event.get("type")
        if kind in WORDS:
            self._spoken = True
            words = str(event.get("delta", ""))
            self._words.add(len(words))
            return self._grow(words)
        if kind in BEGINNINGS:
            return self._begin(event.get("response"))
        if kind in ENDS:
            self._final, self.over = event.get("response") or {}, True
        elif kind == "response.output_item.done":
            item = event.get("item") or {}
            self._whole.add(len(json.dumps(item)), 1)
            self._items.append(item)
        elif kind == "response.output_item.added":
            return self._paragraph(event.get("item") or {})
        elif kind == "error":
            raise ModelServerFault("broken", body=event)
        return ()

    def finished(self) -> Said:
        """What was said. Raises Fault when it failed, or ended without saying that it ended."""
        if self._final is None:
            raise ModelServerFault("lost")
        # Some servers leave the output out of the last event.
        output = self._final.get("output") or self._items
        Weight().add(0, len(output))
        return read_response({**self._final, "output": output})

    def _begin(self, response: Any) -> Sequence[ModelEvent]:
        if self.response or not isinstance(response, dict) or not response.get("id"):
            return ()
        self.response = read_id(response)
        return (ResponseStarted(self.response),)

    def _paragraph(self, item: Json) -> Sequence[ModelEvent]:
        """A second message of one response begins a paragraph."""
        return self._grow("\n\n") if item.get("type") == "message" and self._spoken else ()

    def _grow(self, words: str) -> Sequence[ModelEvent]:
        shown = self._pieces.add(words)
        return (TextDelta(shown),) if shown else ()


class OwnHistory:
    """Asks one round in a dialect until it is answered or cannot be."""

    def __init__(self, server: Server, dialect: Dialect) -> None:
        self._server = server
        self._dialect = dialect

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """A lost answer costs nothing but money here, so the question is put once more."""
        server, tries = self._server, Counter[str]()
        transcript = paired([*await ask.history(), *ask.input])
        limit = server.window
        while True:
            items = cut(transcript, limit)
            body = server.fitting(await self._dialect.body(ask, items))
            if ask.payment and (most := await ask.payment(weight(body))) is not None:
                body[self._dialect.most] = most
            reading = self._dialect.reading()
            try:
                async with aclosing(self._events(body, reading)) as events:
                    async for event in events:
                        yield event
                said = reading.finished()
                break
            except ModelServerFault as fault:
                if ask.payment and fault.is_undone:
                    ask.payment.on_refused_request()
                if is_too_long(fault) and len(starts(items)) > 1:
                    limit = min(limit, size(items)) // 2
                elif is_against_policy(fault) and len(answered(transcript)) < len(transcript):
                    transcript = answered(transcript)
                else:
                    await self._mend(fault, body, tries)
        if limit < server.window and not server.official:
            server.window = limit
        yield server.completed(ask, body, reading.response, said)

    async def _events(self, body: Json, reading: Stream) -> AsyncGenerator[ModelEvent, None]:
        client, silence = self._server.client, self._server.options.silence
        async with aclosing(client.stream(self._dialect.path, body)) as source:
            async for event in listen(source, silence):
                for told in reading.take(event):
                    yield told
                if reading.over:
                    return

    async def _mend(self, fault: ModelServerFault, body: Json, tries: Counter[str]) -> None:
        """Returns when the question may be put again; raises a ModelError otherwise."""
        if self._server.learn(fault, body) or await self._server.rest(fault, tries):
            return
        tries[fault.kind] += 1
        if fault.kind not in ("lost", "broken") or tries[fault.kind] > 1 or fault.code:
            raise await self._server.explain(fault) from None


class Responses:
    """Encrypted reasoning comes along with each answer and goes back with the next question."""

    level = "responses"
    path = PATH
    most = MOST

    def __init__(self, server: Server) -> None:
        self._server = server
        self._history = OwnHistory(server, self)

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        return self._history.ask(ask)

    async def body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        input = self._server.input
        told = await input.items(input.compacted(items), preface=ask.preface, company=company(ask))
        body = question(self._server, ask, told)
        body["store"] = False
        if self._server.official:
            body["include"] = ["reasoning.encrypted_content"]
        return body

    def reading(self) -> Reading:
        return Reading()


def company(ask: RoundRequest) -> bool:
    """Whether somebody else than the asker speaks in this thread."""
    return any(person != ask.asker.key for person in ask.thread.participants)


def question(server: Server, ask: RoundRequest, input: Sequence[Json]) -> Json:
    """The body of a `POST /responses`, without where its history is.

    Fields that only OpenAI knows go only there: others refuse them, or pretend.
    """
    options = server.options
    body: Json = {
        "model": ask.model or options.model,
        "instructions": ask.instructions,
        "input": list(input),
        "stream": True,
        **server.names(ask),
    }
    if ask.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": server.strict(tool),
            }
            for tool in ask.tools
        ]
    if effort := ask.effort or options.effort or ("low" if server.official else ""):
        body["reasoning"] = {"effort": effort}
    if server.official:
        body["truncation"] = "auto"
        body["context_management"] = [{"type": "compaction", "compact_threshold": options.compact}]
        body["stream_options"] = {"include_obfuscation": False}
    return body
