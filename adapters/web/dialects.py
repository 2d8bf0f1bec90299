"""The two formats of OpenAI's API for an answer: whole, and as server-sent events while it grows.

Source: developers.openai.com/api/reference (Chat Completions: "The chat completion chunk object";
Responses: "Streaming events"), and the types of the package `openai` 3.51.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.domain.messages import Usage

Json = dict[str, Any]
DONE_EVENT = b"data: [DONE]\n\n"
RESPONSE_ID_PREFIX, COMPLETION_ID_PREFIX = "resp_", "chatcmpl-"
"""The prefixes of the id of an answer; the turn's id follows."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The fields of an answer that are known before its text. `created` is in seconds since the
    epoch."""

    turn: str
    created: int
    model: str
    previous: str | None = None
    """The response that this one continues."""


class ApiDialect(Protocol):
    """One answer in the format of an API.

    `begin` comes first, then `add_text` for each new piece, then `end` or `fail`. `end` gets the
    complete text. Each yields whole events. `whole_answer` returns an answer that is not streamed.
    """

    def begin(self) -> Iterator[bytes]:
        """Yield the events that come before the text."""

    def add_text(self, piece: str) -> Iterator[bytes]:
        """Yield the events for a new piece of the text."""

    def end(self, text: str, usage: Usage, stopped: bool) -> Iterator[bytes]:
        """Yield the events that end a successful answer. `text` is the complete text."""

    def fail(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the events that end the answer with an error in the format of OpenAI's API."""

    def whole_answer(self, text: str, usage: Usage, stopped: bool) -> Json:
        """Return the JSON of an answer that is not streamed. `stopped`: a person stopped it."""


@dataclass(slots=True)
class CompletionDialect:
    """The format of Chat Completions. `includes_usage` adds the usage at the end of a stream."""

    head: AnswerHead
    includes_usage: bool = False

    def begin(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def add_text(self, piece: str) -> Iterator[bytes]:
        yield self._chunk({"content": piece})

    def end(self, text: str, usage: Usage, stopped: bool) -> Iterator[bytes]:
        yield self._chunk({}, "stop")
        if self.includes_usage:
            yield _format_data(
                self._body("chat.completion.chunk", [], usage=_completion_usage(usage))
            )
        yield DONE_EVENT

    def fail(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        yield _format_data({"error": dict(error)})
        yield DONE_EVENT

    def whole_answer(self, text: str, usage: Usage, stopped: bool) -> Json:
        message: Json = {
            "role": "assistant", "content": text, "refusal": None, "annotations": []
        }  # fmt: skip
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return self._body("chat.completion", [choice], usage=_completion_usage(usage))

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
    """The format of Responses: one message with one text, whatever tools Ponte used for it."""

    head: AnswerHead
    _number: int = field(default=0, init=False)

    def begin(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._body("in_progress"))
        yield self._event("response.in_progress", response=self._body("in_progress"))
        item = self._message("", "in_progress") | {"content": []}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=_text_part(""))

    def add_text(self, piece: str) -> Iterator[bytes]:
        fields: Json = {"delta": piece, "logprobs": []}
        yield self._event("response.output_text.delta", **self._place, **fields)

    def end(self, text: str, usage: Usage, stopped: bool) -> Iterator[bytes]:
        fields: Json = {"text": text, "logprobs": []}
        yield self._event("response.output_text.done", **self._place, **fields)
        yield self._event("response.content_part.done", **self._place, part=_text_part(text))
        whole = self.whole_answer(text, usage, stopped)
        item = whole["output"][0]
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event(f"response.{whole['status']}", response=whole)

    def fail(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        fields = {name: error[name] for name in ("code", "message", "param")}
        yield self._event("error", **fields)
        code = "rate_limit_exceeded" if error["type"] == "rate_limit_error" else "server_error"
        why = {"code": code, "message": error["message"]}
        yield self._event("response.failed", response=self._body("failed") | {"error": why})

    def whole_answer(self, text: str, usage: Usage, stopped: bool) -> Json:
        status = "incomplete" if stopped else "completed"
        fields = {"output": [self._message(text, status)], "usage": _response_usage(usage)}
        return self._body(status) | fields

    @property
    def _place(self) -> Json:
        return {"item_id": f"msg_{self.head.turn}", "output_index": 0, "content_index": 0}

    def _message(self, text: str, status: str) -> Json:
        return {
            "id": f"msg_{self.head.turn}", "type": "message", "role": "assistant",
            "status": status, "content": [_text_part(text)],
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
            "user": None,
        }  # fmt: skip

    def _event(self, kind: str, **more: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return f"event: {kind}\n".encode() + _format_data(data)


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
