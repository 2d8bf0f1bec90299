"""Level 2: `POST /responses` with Ponte's own history. The server stores nothing (the private
mode).

Level 1 shares `ResponsesReader`, which reads a Responses stream. Level 3 shares `OwnHistoryRounds`,
which sends the transcript with every question.
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
from core.models.model_input import (
    drop_unanswered_turns,
    estimate_max_tokens,
    estimate_tokens,
    find_turn_starts,
    keep_newest_turns,
    pair_calls,
)
from core.models.model_server import (
    AnswerSize,
    ModelAnswer,
    ModelServer,
    is_against_policy,
    is_too_long,
    read_events,
    read_response,
)
from core.text.text import PieceJoiner

RESPONSES_PATH = "/responses"
MAX_OUTPUT_FIELD = "max_output_tokens"
START_EVENTS = ("response.created", "response.queued", "response.in_progress")
END_EVENTS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
TEXT_EVENTS = ("response.output_text.delta", "response.refusal.delta")


class AnswerReader(Protocol):
    """Reads the stream of one answer."""

    has_ended: bool
    response: str

    def read_event(self, event: Json) -> Sequence[ModelEvent]:
        """Add a server event and return the model events that it causes. Raise Fault."""

    def read_answer(self) -> ModelAnswer:
        """Return the whole answer. Raise Fault if it failed or is incomplete."""


class OwnHistoryApi(Protocol):
    """An API to which Ponte sends the whole history: its path, its request body and its reader."""

    path: str

    @property
    def max_tokens_field(self) -> str:
        """The name of the field that limits the tokens of the answer."""

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """Return the request's JSON body."""

    def new_reader(self) -> AnswerReader:
        """Return a reader for one stream."""


class ResponsesReader:
    """Reads a Responses stream. Accepts every kind of last event that servers send.

    The text of a refusal is shown like any other text, because it is the model's answer.
    """

    def __init__(self) -> None:
        self.response = ""
        self.has_ended = False
        self._has_text = False
        self._items: list[Json] = []
        self._final: Json | None = None
        self._text_size, self._item_size = AnswerSize(), AnswerSize()
        self._pieces = PieceJoiner()

    def read_event(self, event: Json) -> Sequence[ModelEvent]:
        """Add an event and return the events for the listener. Raise Fault for an error event."""
        kind = event.get("type")
        if kind in TEXT_EVENTS:
            self._has_text = True
            words = str(event.get("delta", ""))
            self._text_size.add(len(words))
            return self._read_text(words)
        if kind in START_EVENTS:
            return self._read_start(event.get("response"))
        if kind in END_EVENTS:
            self._final, self.has_ended = event.get("response") or {}, True
        elif kind == "response.output_item.done":
            item = event.get("item") or {}
            self._item_size.add(len(json.dumps(item)), 1)
            self._items.append(item)
        elif kind == "response.output_item.added":
            return self._start_paragraph(event.get("item") or {})
        elif kind == "error":
            raise ModelServerFault("broken", body=event)
        return ()

    def read_answer(self) -> ModelAnswer:
        """Return the whole answer. Raise Fault if it failed or has no last event."""
        if self._final is None:
            raise ModelServerFault("lost")
        # Some servers leave the output out of the last event.
        output = self._final.get("output") or self._items
        AnswerSize().add(0, len(output))
        return read_response({**self._final, "output": output})

    def _read_start(self, response: Any) -> Sequence[ModelEvent]:
        if self.response or not isinstance(response, dict) or not response.get("id"):
            return ()
        self.response = read_id(response)
        return (ResponseStarted(self.response),)

    def _start_paragraph(self, item: Json) -> Sequence[ModelEvent]:
        """Begin a new paragraph for the second message of one response."""
        return self._read_text("\n\n") if item.get("type") == "message" and self._has_text else ()

    def _read_text(self, words: str) -> Sequence[ModelEvent]:
        shown = self._pieces.add(words)
        return (TextDelta(shown),) if shown else ()


class OwnHistoryRounds:
    """Asks rounds of an API to which Ponte sends the whole history."""

    def __init__(self, server: ModelServer, api: OwnHistoryApi) -> None:
        self._server = server
        self._api = api

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask one round and yield its events. Raise ModelError.

        A lost answer is asked for once more: the server keeps nothing, so a second request costs
        only money.
        """
        server, tries = self._server, Counter[str]()
        transcript = pair_calls([*await ask.history(), *ask.input])
        limit = server.window_tokens
        while True:
            items = keep_newest_turns(transcript, limit)
            body = server.without_refused_fields(await self._api.build_body(ask, items))
            if ask.payment and (most := await ask.payment(estimate_max_tokens(body))) is not None:
                body[self._api.max_tokens_field] = most
            reader = self._api.new_reader()
            try:
                async with aclosing(self._events(body, reader)) as events:
                    async for event in events:
                        yield event
                said = reader.read_answer()
                break
            except ModelServerFault as fault:
                if ask.payment and fault.is_undone:
                    ask.payment.on_refused_request()
                # Each of these changes what is sent, so that the loop ends.
                if is_too_long(fault) and len(find_turn_starts(items)) > 1:
                    limit = min(limit, estimate_tokens(items)) // 2
                elif is_against_policy(fault) and len(drop_unanswered_turns(transcript)) < len(
                    transcript
                ):
                    transcript = drop_unanswered_turns(transcript)
                else:
                    await self._recover_or_raise(fault, body, tries)
        if limit < server.window_tokens and not server.official:
            server.window_tokens = limit
        yield server.complete_round(ask, body, reader.response, said)

    async def _events(self, body: Json, reader: AnswerReader) -> AsyncGenerator[ModelEvent, None]:
        client, silence = self._server.client, self._server.options.silence_seconds
        async with aclosing(client.stream(self._api.path, body)) as source:
            async for event in read_events(source, silence):
                for told in reader.read_event(event):
                    yield told
                if reader.has_ended:
                    return

    async def _recover_or_raise(
        self, fault: ModelServerFault, body: Json, tries: Counter[str]
    ) -> None:
        """Return if the question can be sent again; raise ModelError otherwise."""
        if self._server.adapt_to_refusal(fault, body) or await self._server.wait_before_retry(
            fault, tries
        ):
            return
        tries[fault.kind] += 1
        if fault.kind not in ("lost", "broken") or tries[fault.kind] > 1 or fault.code:
            raise await self._server.explain_fault(fault) from None


class ResponsesApi:
    """Asks rounds over `POST /responses`.

    Encrypted reasoning arrives with each answer and is sent back with the next question.
    """

    level = "responses"
    path = RESPONSES_PATH
    max_tokens_field = MAX_OUTPUT_FIELD

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._history = OwnHistoryRounds(server, self)

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask one round and yield its events. Raise ModelError."""
        return self._history.ask(ask)

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """Return the request's JSON body."""
        input = self._server.input
        told = await input.build_items(
            input.drop_compacted(items),
            preface=ask.preface,
            with_names=has_other_speakers(ask),
        )
        body = build_response_body(self._server, ask, told)
        body["store"] = False
        if self._server.official:
            body["include"] = ["reasoning.encrypted_content"]
        return body

    def new_reader(self) -> ResponsesReader:
        """Return a reader for one stream."""
        return ResponsesReader()


def has_other_speakers(ask: RoundRequest) -> bool:
    """Return whether anybody other than the asker takes part in this thread."""
    return any(person != ask.asker.key for person in ask.thread.participants)


def build_response_body(server: ModelServer, ask: RoundRequest, input: Sequence[Json]) -> Json:
    """Return the body of `POST /responses`, without the fields that say where its history is.

    Fields that only OpenAI knows are sent only to OpenAI: other servers refuse or ignore them.
    """
    options = server.options
    body: Json = {
        "model": ask.model or options.model,
        "instructions": ask.instructions,
        "input": list(input),
        "stream": True,
        **server.user_pseudonyms(ask),
    }
    if ask.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": server.is_strict(tool),
            }
            for tool in ask.tools
        ]
    if effort := server.reasoning_effort(ask):
        body["reasoning"] = {"effort": effort}
    if server.official:
        body["truncation"] = "auto"
        body["context_management"] = [
            {"type": "compaction", "compact_threshold": options.compact_tokens}
        ]
        body["stream_options"] = {"include_obfuscation": False}
    return body
