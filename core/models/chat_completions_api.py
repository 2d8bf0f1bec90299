"""Level 3: `POST /chat/completions`, which every server offers. Ponte sends the history itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from core.base.openai import END_EVENT, Json, read_id
from core.domain.messages import Item
from core.domain.records import ModelEvent, RoundRequest
from core.models.answer_reader import (
    END_OF_STREAM,
    AnswerReader,
    dump_arguments,
    read_arguments,
    read_object,
    read_objects,
    read_text,
    read_word,
)
from core.models.model_server import ModelServer
from core.models.responses_api import OwnHistoryApi, has_other_speakers

FUNCTION_CALL = "function_call"
"""The index of the only call of the older kind."""


class ChatCompletionsReader(AnswerReader):
    """Reads the chunks of a chat completion, or the whole one in place of a stream.

    Some servers call the pieces of a chunk `message` instead of `delta`, and repeat the whole
    message at the end. Only the first choice counts.
    """

    _choice = ""

    def read_event(self, event: Json) -> Sequence[ModelEvent]:
        """Add a chunk and return the events that it causes. Raise ModelServerFault for an oversized
        answer."""
        if event is END_EVENT:
            self.finish = self.finish or END_OF_STREAM
            return ()
        self.model = read_word(event.get("model")) or self.model
        groq = read_object(event.get("x_groq"))
        self.usage = event.get("usage") or groq.get("usage") or self.usage
        self.add_sources(event)
        events = list(self.add_start(read_id(event)))
        for choice in read_objects(event.get("choices")):
            number = read_word(choice.get("index")) or "0"
            self._choice = self._choice or number
            if number != self._choice:
                continue
            message, delta = read_object(choice.get("message")), read_object(choice.get("delta"))
            finish = read_word(choice.get("finish_reason")).lower()
            events += self._read_pieces({"content": choice.get("text"), **delta})
            # Perplexity sends the whole message so far with each delta.
            is_whole = not delta and event.get("object") == "chat.completion"
            if message and (is_whole or (finish and self._is_whole(message))):
                events += self.take_whole(functools.partial(self._read_pieces, message))
            elif message and not delta:
                events += self._read_pieces(message)
            self.usage = choice.get("usage") or self.usage  # Moonshot
            self.finish = self.finish if finish in ("", "null", "none") else finish
        return events

    def _is_whole(self, message: Json) -> bool:
        """Return whether a message at the end repeats the pieces before it."""
        calls = read_calls(message.get("tool_calls"))
        functions = [read_object(call.get("function")) for call in calls]
        whole = [(each.get("name"), dump_arguments(each.get("arguments"))) for each in functions]
        known = [(call.name, call.arguments) for call in self.calls]
        is_same = not known or known == whole[: len(known)]
        return is_same and self.starts_with_known_text(read_text(message.get("content")))

    def _read_pieces(self, delta: Json) -> Sequence[ModelEvent]:
        self.add_carried(delta)
        self.add_sources(delta)
        events = self.add_text(read_text(delta.get("content")) + read_text(delta.get("refusal")))
        calls = read_calls(delta.get("tool_calls"))
        for number, piece in enumerate(calls):
            function = read_object(piece.get("function")) or piece
            index = read_word(piece.get("index")) or (str(number) if len(calls) > 1 else None)
            name = read_word(function.get("name"))
            call = self.add_call(index, read_id(piece), name, read_arguments(function))
            call.carried |= self.carried_fields(piece)
        # Before tools, and at some gateways, which may send both.
        function = read_object(delta.get("function_call"))
        if function and all(call.index == FUNCTION_CALL for call in self.calls):
            name = read_word(function.get("name"))
            self.add_call(FUNCTION_CALL, "", name, read_arguments(function))
        return events


class ChatCompletionsApi(OwnHistoryApi):
    """Asks rounds over `POST /chat/completions`."""

    path = "/chat/completions"
    new_reader = ChatCompletionsReader

    def __init__(self, server: ModelServer) -> None:
        super().__init__(server)
        # `max_tokens` is deprecated at OpenAI, and not known to its reasoning models (types of the
        # openai package); others know nothing else.
        self.max_tokens_field = "max_completion_tokens" if server.official else "max_tokens"

    async def build_body(self, ask: RoundRequest, items: Sequence[Item]) -> Json:
        """Return the request's JSON body."""
        server, model = self._server, ask.model or self._server.options.model
        input = await server.input.build_items(
            items, preface=ask.preface, with_names=has_other_speakers(ask), with_carried=True
        )
        messages = build_chat_messages(ask.instructions, input)
        body: Json = {
            "model": model,
            "messages": messages if server.takes_roles else merge_roles(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **server.user_pseudonyms(ask),
        }
        if ask.tools:
            functions = [server.tool_definition(tool) for tool in ask.tools]
            body["tools"] = [{"type": "function", "function": each} for each in functions]
        # gpt-6-luna accepts function tools over this API only without reasoning (its model page).
        takes_none = bool(ask.tools) and model.startswith("gpt-6")
        if effort := "none" if takes_none else server.reasoning_effort(ask):
            body["reasoning_effort"] = effort
        return body


def build_chat_messages(instructions: str, input: Sequence[Json]) -> list[Json]:
    """Return chat messages for Responses input.

    The only system message comes first, because some servers' chat templates demand that.
    """
    chat: list[Json] = [{"role": "system", "content": instructions}]
    for item in input:
        if item["type"] == "message" and item["role"] == "user":
            chat.append({"role": "user", "content": _message_content(item["content"])})
        elif item["type"] == "message":
            chat.append({"role": "assistant", "content": item["content"]})
        elif item["type"] == "function_call":
            if chat[-1]["role"] != "assistant":
                chat.append({"role": "assistant", "content": None})
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            carried = item.get("carried", {}).get("call", {})
            chat[-1].setdefault("tool_calls", []).append({**carried, **call})
        elif item["type"] == "function_call_output":
            output = {"tool_call_id": item["call_id"], "content": item["output"]}
            chat.append({"role": "tool", **output})
        if carried := item.get("carried", {}).get("message"):
            chat[-1] = {**carried, **chat[-1]}
    return chat


def merge_roles(messages: Sequence[Json]) -> list[Json]:
    """Return chat messages without a system message, with one message of a role in a row: some
    chat templates take nothing else."""
    merged: list[Json] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        last = merged[-1] if merged else {}
        if role != "tool" and role == last.get("role") and message["content"]:
            parts = [*_as_parts(last["content"]), *_as_parts(message["content"])]
            is_text = all(part["type"] == "text" for part in parts)
            texts = "\n\n".join(part.get("text", "") for part in parts)
            last |= {**message, "role": role, "content": texts if is_text else parts}
        else:
            merged.append({**message, "role": role})
    return merged


def _as_parts(content: str | list[Json] | None) -> list[Json]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def read_calls(value: object) -> Sequence[Json]:
    """Return the pieces of calls in a delta: a list, one object, or objects by their numbers."""
    if isinstance(value, dict) and not {"function", "name"} & value.keys():
        return read_objects(list(value.values()))
    return read_objects(value)


def _message_content(parts: Sequence[Json]) -> str | list[Json]:
    """Return plain text if there is only text, because small servers accept nothing else."""
    if all(part["type"] == "input_text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return [_content_part(part) for part in parts]


def _content_part(part: Json) -> Json:
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": "auto"}}
    if part["type"] == "input_file":
        named = {"filename": part["filename"], "file_data": part["file_data"]}
        return {"type": "file", "file": named}
    return {"type": "text", "text": part["text"]}
