"""Level 2: `POST /responses` with Ponte's own history. The server stores nothing (the private
mode).

Level 1 shares `ResponsesReader`, which reads a Responses stream. Level 3 shares `OwnHistoryApi`,
which sends the transcript with every question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from core.base.openai import END_EVENT, Json, ModelServerFault, read_id
from core.domain.messages import Item
from core.domain.records import ModelEvent, RoundRequest, TextWithdrawn
from core.models.answer_reader import (
    CUT_REASONS,
    END_OF_STREAM,
    ERROR_REASONS,
    AnswerReader,
    ModelAnswer,
    read_list,
    read_object,
    read_objects,
    read_text,
    read_word,
)
from core.models.model_input import estimate_max_tokens
from core.models.model_server import COMPACT_TOKENS, ModelServer, read_events
from core.models.round_history import RoundHistory

RESPONSES_PATH = "/responses"
MAX_OUTPUT_FIELD = "max_output_tokens"
MIN_WINDOW_TOKENS = 1_000
"""Tokens of history that each server takes. What is less was refused for another reason, such as
one long message, and says nothing about other conversations."""
START_EVENTS = ("response.created", "response.queued", "response.in_progress")
END_EVENTS = (
    "response.completed", "response.incomplete", "response.failed", "response.cancelled",
    "response.done",
)  # fmt: skip


class ResponsesReader(AnswerReader):
    """Reads a Responses stream, or the whole response in place of a stream.

    The text of a refusal is shown like any other text, because it is the model's answer. Events
    without a number and an item's id belong to the last item.
    """

    _last: object = None

    def read_event(self, event: Json) -> Sequence[ModelEvent]:
        """Add an event and return the events for the listener. Raise ModelServerFault for an error
        event."""
        kind = read_word(event.get("type"))
        number, item = self._number(event), read_object(event.get("item"))
        part = event.get("content_index", 0)
        if event is END_EVENT:
            self.finish = self.finish or END_OF_STREAM
        elif not kind and "choices" in event:  # a gateway that has only Chat Completions
            raise ModelServerFault("refused", status=404)
        elif kind in START_EVENTS:
            return self.add_start(read_id(read_object(event.get("response"))))
        elif kind in END_EVENTS or (not kind and "output" in event):
            return self._read_response(read_object(event.get("response")) or event, kind)
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            return self.add_text(read_text(event.get("delta")), number, part)
        elif kind in ("response.output_text.done", "response.refusal.done"):
            return self._read_part(event, number, part)
        elif kind == "response.content_part.done":
            return self._read_part(event.get("part"), number, part)
        elif kind == "response.output_text.annotation.added":
            self.add_sources({"annotations": [event.get("annotation")]})
        elif kind == "response.output_item.added" and item.get("type") == "function_call":
            id, name = read_id(item, "call_id"), read_word(item.get("name"))
            self.add_call(number, id, name, item.get("arguments"))
        elif kind == "response.function_call_arguments.delta":
            self.add_call(number, arguments=event.get("delta"))
        elif kind == "response.function_call_arguments.done":
            if not any(call.arguments for call in self.calls if call.index == number):
                self.add_call(number, arguments=event.get("arguments"))
        elif kind == "response.output_item.done":
            return self._read_item(item, number)
        return ()

    def _number(self, event: Json) -> object:
        """Return the number of the item to which an event belongs, or its id; None if unknown."""
        item = read_object(event.get("item"))
        ids = (event.get("output_index"), event.get("item_id"), item.get("id"))
        number = next((word for id in ids if (word := read_word(id))), None)
        if number or item:
            self._last = number
        return self._last

    def _read_response(self, response: Json, kind: str) -> Sequence[ModelEvent]:
        status = read_word(response.get("status")) or kind.removeprefix("response.")
        reason = read_word(read_object(response.get("incomplete_details")).get("reason"))
        self.finish = "stop"
        if status == "incomplete":
            self.finish = reason if reason in CUT_REASONS else "length"
        elif status in ERROR_REASONS:
            self.finish, self.error = status, read_object(response.get("error")) or {"code": status}
        self.has_ended = True
        self.model, self.usage = read_word(response.get("model")), response.get("usage")
        events = list(self.add_start(read_id(response)))
        output = response.get("output") or response.get("output_text")
        output = {"content": output} if isinstance(output, str) else output

        def read_output() -> Sequence[ModelEvent]:
            pairs = enumerate(read_objects(output))
            return [event for n, item in pairs for event in self._read_item(item, str(n))]

        return [*events, *self.take_whole(read_output)]

    def _read_item(self, item: Json, number: object) -> Sequence[ModelEvent]:
        """Take a whole item."""
        kind, content = item.get("type", "message"), item.get("content")
        if kind == "message" and item.get("role", "assistant") == "assistant":
            self.phases[number] = read_word(item.get("phase"))
            parts = [content] if isinstance(content, str) else read_list(content)
            pairs = enumerate(parts)
            return [event for n, part in pairs for event in self._read_part(part, number, n)]
        if kind == "function_call":
            id = read_id(item, "call_id") or read_id(item)
            self.add_whole_call(number, id, read_word(item.get("name")), item.get("arguments"))
        elif kind in ("reasoning", "compaction") and item.get("encrypted_content"):
            self.add_opaque(item)
        return ()

    def _read_part(self, part: object, number: object, index: object) -> Sequence[ModelEvent]:
        self.add_sources(read_object(part))
        return self.add_whole_text(read_text(part), number, index)


def read_response(response: Json) -> ModelAnswer:
    """Return the answer in a stored response. Raise ModelServerFault if it failed or was
    cancelled."""
    reader = ResponsesReader()
    reader.read_event({"type": "response.done", "response": response})
    return reader.read_answer()


class OwnHistoryApi:
    """Asks rounds of an API to which Ponte sends the whole history. Two APIs are derived from it.

    `max_tokens_field` is the field that limits the tokens of the answer, `new_reader` makes the
    reader of an answer.
    """

    path: str
    max_tokens_field: str
    new_reader: type[AnswerReader]

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """Return the request's JSON body."""
        raise NotImplementedError

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask one round and yield its events. Raise ModelError.

        A lost answer is asked for once more: the server keeps nothing, so a second request costs
        only money.
        """
        server, tries = self._server, Counter[str]()
        transcript = [*await ask.history(), *ask.input]
        history = RoundHistory(server, ask.thread.id, server.window_tokens)
        while True:
            items = history.choose(transcript)
            body = server.without_refused_fields(await self.build_body(ask, items))
            if ask.payment and (most := await ask.payment(estimate_max_tokens(body))) is not None:
                server.limit_output(body, self.max_tokens_field, most)
            model = body["model"]
            reader = self.new_reader(
                [tool.name for tool in ask.tools],
                holds_start=model in server.thinking_models,
                is_continued=ask.number > 1,
            )
            try:
                async with aclosing(self._events(body, reader)) as events:
                    async for event in events:
                        yield event
                said = reader.read_answer()
                break
            except ModelServerFault as fault:
                if rescued := reader.rescue(fault):
                    said = rescued
                    break
                if reader.has_shown:
                    yield TextWithdrawn()
                if ask.payment and server.is_unpaid(fault, bool(reader.parts)):
                    ask.payment.on_refused_request()
                # Each of the first two changes what is sent, so that the loop ends.
                if not (
                    server.adapt_to_refusal(fault, body)
                    or history.leave_out(fault, transcript, body)
                    or await server.wait_before_retry(fault, tries)
                ):
                    raise await server.explain_fault(fault) from None
        (server.thinking_models.add if any(text.growing.is_unopened for text in reader.texts) else
         server.thinking_models.discard)(model)  # fmt: skip
        history.on_answer()
        if MIN_WINDOW_TOKENS <= history.limit < server.window_tokens and not server.official:
            server.window_tokens = history.limit
        yield server.complete_round(ask, body, reader.response, said)

    async def _events(self, body: Json, reader: AnswerReader) -> AsyncGenerator[ModelEvent, None]:
        client, silence = self._server.client, self._server.options.silence_seconds
        async with aclosing(client.stream(self.path, body)) as source:
            async for event in read_events(source, silence, lambda: bool(reader.finish)):
                for told in reader.read_event(event):
                    yield told
                if reader.has_ended:
                    return


class ResponsesApi(OwnHistoryApi):
    """Asks rounds over `POST /responses`.

    Encrypted reasoning arrives with each answer and is sent back with the next question.
    """

    path = RESPONSES_PATH
    max_tokens_field = MAX_OUTPUT_FIELD
    new_reader = ResponsesReader

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """Return the request's JSON body."""
        input = self._server.input
        told = await input.build_items(
            input.drop_compacted(items), preface=ask.preface, with_names=has_other_speakers(ask)
        )
        body = build_response_body(self._server, ask, told)
        body["store"] = False
        if self._server.official:
            body["include"] = ["reasoning.encrypted_content"]
        return body


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
        definitions = [server.tool_definition(tool) for tool in ask.tools]
        body["tools"] = [{"type": "function", "strict": False, **each} for each in definitions]
    if effort := server.reasoning_effort(ask):
        body["reasoning"] = {"effort": effort}
    if server.official:
        body["truncation"] = "auto"
        compaction = {"type": "compaction", "compact_threshold": COMPACT_TOKENS}
        body["context_management"] = [compaction]
        body["stream_options"] = {"include_obfuscation": False}
    return body
