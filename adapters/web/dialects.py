"""The two formats of OpenAI's API for an answer: whole, and as server-sent events while it grows.

Source: developers.openai.com/api/reference (Chat Completions: "The chat completion chunk object";
Responses: "Streaming events"), and the types of the package `openai` 3.51.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.domain.messages import ClientCall, ClientOptions, Usage

Json = dict[str, Any]
DONE_EVENT = b"data: [DONE]\n\n"
RESPONSE_ID_PREFIX, COMPLETION_ID_PREFIX = "resp_", "chatcmpl-"
"""The prefixes of the id of an answer; the turn's id follows."""
CALL_ID_PREFIX = "call_"
"""The prefix of the id of a call. The turn's id follows, then `_` and the number of the call."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The fields of an answer that are known before its text. `created` is in seconds since the
    epoch."""

    turn: str
    created: int
    model: str
    previous: str | None = None
    """The response that this one continues."""
    options: ClientOptions | None = None
    """What the client asked of the answer; a response repeats it."""


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """A successful answer.

    `is_stopped`: a person stopped it. `is_cut`: it reached the limit of tokens. `calls` have the
    ids that the client knows. `refusal` takes the place of `text` if that does not have the format
    that was asked for.
    """

    text: str
    usage: Usage
    is_stopped: bool = False
    is_cut: bool = False
    calls: Sequence[ClientCall] = ()
    refusal: str = ""


class ApiDialect(Protocol):
    """One answer in the format of an API.

    `begin` comes first, then `add_text` for each new piece, then `end` or `fail`. `end` gets the
    complete text. Each yields whole events. `whole_answer` returns an answer that is not streamed.
    """

    def begin(self) -> Iterator[bytes]:
        """Yield the events that come before the text."""

    def add_text(self, piece: str) -> Iterator[bytes]:
        """Yield the events for a new piece of the text."""

    def end(self, answer: FinalAnswer) -> Iterator[bytes]:
        """Yield the events that end a successful answer. Its text was added before, complete."""

    def fail(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the events that end the answer with an error in the format of OpenAI's API."""

    def whole_answer(self, answer: FinalAnswer) -> Json:
        """Return the JSON of an answer that is not streamed."""


@dataclass(slots=True)
class CompletionDialect:
    """The format of Chat Completions. `includes_usage` adds the usage at the end of a stream."""

    head: AnswerHead
    includes_usage: bool = False

    def begin(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def add_text(self, piece: str) -> Iterator[bytes]:
        yield self._chunk({"content": piece})

    def end(self, answer: FinalAnswer) -> Iterator[bytes]:
        if answer.refusal:
            yield self._chunk({"refusal": answer.refusal})
        for index, call in enumerate(answer.calls):
            yield self._chunk({"tool_calls": [{"index": index, **_completion_call(call)}]})
        yield self._chunk({}, _finish_reason(answer))
        if self.includes_usage:
            yield _format_data(
                self._body("chat.completion.chunk", [], usage=_completion_usage(answer.usage))
            )
        yield DONE_EVENT

    def fail(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        yield _format_data({"error": dict(error)})
        yield DONE_EVENT

    def whole_answer(self, answer: FinalAnswer) -> Json:
        is_empty = answer.refusal or (answer.calls and not answer.text)
        message: Json = {
            "role": "assistant", "content": None if is_empty else answer.text,
            "refusal": answer.refusal or None, "annotations": [],
        }  # fmt: skip
        if answer.calls:
            message["tool_calls"] = [_completion_call(call) for call in answer.calls]
        choice = {
            "index": 0, "message": message, "logprobs": None,
            "finish_reason": _finish_reason(answer),
        }  # fmt: skip
        return self._body("chat.completion", [choice], usage=_completion_usage(answer.usage))

    def _chunk(self, delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        more = {"usage": None} if self.includes_usage else {}
        return _format_data(self._body("chat.completion.chunk", [choice], **more))

    def _body(self, kind: str, choices: list[Json], **more: Any) -> Json:
        head = self.head
        return {
            "id": f"{COMPLETION_ID_PREFIX}{head.turn}", "object": kind, "created": head.created,
            "model": head.model, "choices": choices, "service_tier": "default",
            "system_fingerprint": None, **more,
        }  # fmt: skip


@dataclass(slots=True)
class ResponseDialect:
    """The format of Responses: one message with one text, whatever tools Ponte used for it, and the
    calls that the client must run."""

    head: AnswerHead
    _number: int = field(default=0, init=False)
    _has_text: bool = field(default=False, init=False)

    def begin(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._body("in_progress"))
        yield self._event("response.in_progress", response=self._body("in_progress"))

    def add_text(self, piece: str) -> Iterator[bytes]:
        if not self._has_text:
            yield from self._begin_message(_text_part(""))
        self._has_text = True
        fields: Json = {"delta": piece, "logprobs": []}
        yield self._event("response.output_text.delta", **self._place, **fields)

    def end(self, answer: FinalAnswer) -> Iterator[bytes]:
        whole = self.whole_answer(answer)
        for index, item in enumerate(whole["output"]):
            if item["type"] == "function_call":
                yield from self._call_events(item, index)
                continue
            part = item["content"][0]
            kind, fields = "output_text", {"text": answer.text, "logprobs": []}
            if answer.refusal:
                kind, fields = "refusal", {"refusal": answer.refusal}
                yield from self._begin_message({"type": kind, "refusal": ""})
                yield self._event("response.refusal.delta", **self._place, delta=answer.refusal)
            elif not self._has_text:
                yield from self._begin_message(_text_part(""))
            yield self._event(f"response.{kind}.done", **self._place, **fields)
            yield self._event("response.content_part.done", **self._place, part=part)
            yield self._event("response.output_item.done", output_index=index, item=item)
        yield self._event(f"response.{whole['status']}", response=whole)

    def fail(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        fields = {name: error[name] for name in ("code", "message", "param")}
        yield self._event("error", **fields)
        yield self._event("response.failed", response=self.failed_answer(error))

    def whole_answer(self, answer: FinalAnswer) -> Json:
        status = "incomplete" if answer.is_stopped or answer.is_cut else "completed"
        details = {"reason": "max_output_tokens"} if answer.is_cut else None
        output: list[Json] = []
        if answer.text or answer.refusal or not answer.calls:
            refusal = {"type": "refusal", "refusal": answer.refusal}
            part = refusal if answer.refusal else _text_part(answer.text)
            output.append(self._message([part], status))
        output += [_response_call(call) for call in answer.calls]
        return self._body(status) | {
            "output": output, "usage": _response_usage(answer.usage),
            "incomplete_details": details,
        }  # fmt: skip

    def failed_answer(self, error: Mapping[str, Any]) -> Json:
        """Return the JSON of a response that failed with this error."""
        code = "rate_limit_exceeded" if error["type"] == "rate_limit_error" else "server_error"
        return self._body("failed") | {"error": {"code": code, "message": error["message"]}}

    def unfinished_answer(self) -> Json:
        """Return the JSON of a response that is still being made."""
        return self._body("in_progress")

    def _begin_message(self, part: Json) -> Iterator[bytes]:
        item = self._message([], "in_progress")
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=part)

    def _call_events(self, item: Json, index: int) -> Iterator[bytes]:
        begun = item | {"arguments": "", "status": "in_progress"}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        place: Json = {"item_id": item["id"], "output_index": index}
        kind, arguments = "response.function_call_arguments", item["arguments"]
        yield self._event(f"{kind}.delta", **place, delta=arguments)
        yield self._event(f"{kind}.done", **place, name=item["name"], arguments=arguments)
        yield self._event("response.output_item.done", output_index=index, item=item)

    @property
    def _place(self) -> Json:
        return {"item_id": f"msg_{self.head.turn}", "output_index": 0, "content_index": 0}

    def _message(self, content: list[Json], status: str) -> Json:
        return {
            "id": f"msg_{self.head.turn}", "type": "message", "role": "assistant",
            "status": status, "content": content,
        }  # fmt: skip

    def _body(self, status: str) -> Json:
        head = self.head
        return {
            "id": f"{RESPONSE_ID_PREFIX}{head.turn}", "object": "response",
            "created_at": head.created, "status": status, "background": False, "error": None,
            "incomplete_details": None, "instructions": None, "max_output_tokens": None,
            "max_tool_calls": None, "metadata": {}, "model": head.model, "output": [],
            "parallel_tool_calls": True, "previous_response_id": head.previous,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default", "store": True, "temperature": None,
            "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_logprobs": 0, "top_p": None, "truncation": "disabled", "usage": None,
            "user": None, **_repeat_options(head.options),
        }  # fmt: skip

    def _event(self, kind: str, **more: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return f"event: {kind}\n".encode() + _format_data(data)


def _repeat_options(options: ClientOptions | None) -> Json:
    """Return the fields of a response that repeat what the request asked for."""
    if options is None:
        return {}
    tools = [
        {
            "type": "function", "name": tool.name, "description": tool.description,
            "parameters": json.loads(tool.parameters), "strict": tool.strict,
        }
        for tool in options.tools
    ]  # fmt: skip
    named = options.tool_choice not in ("", "required")
    choice = {"type": "function", "name": options.tool_choice} if named else options.tool_choice
    format = json.loads(options.format) if options.format else {"type": "text"}
    return {
        "tools": tools, "tool_choice": choice or "auto", "text": {"format": format},
        "parallel_tool_calls": options.parallel,
    }  # fmt: skip


def _finish_reason(answer: FinalAnswer) -> str:
    if answer.calls:
        return "tool_calls"
    return "length" if answer.is_cut else "stop"


def _completion_call(call: ClientCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _response_call(call: ClientCall) -> Json:
    return {
        "id": f"fc_{call.call_id.removeprefix(CALL_ID_PREFIX)}", "type": "function_call",
        "status": "completed", "call_id": call.call_id, "name": call.name,
        "arguments": call.arguments,
    }  # fmt: skip


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _completion_usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input, "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }  # fmt: skip


def _response_usage(usage: Usage) -> Json:
    cached = {"cached_tokens": usage.cached, "cache_write_tokens": usage.written}
    return {
        "input_tokens": usage.input, "input_tokens_details": cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }  # fmt: skip


def _format_data(data: Mapping[str, Any]) -> bytes:
    """Return the data line of an event. JSON contains no line break, so one line is enough."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode(errors="replace")
