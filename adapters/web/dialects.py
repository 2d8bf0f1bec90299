"""How OpenAI's two APIs tell an answer: whole, and as server-sent events while it grows.

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
DONE = b"data: [DONE]\n\n"
RESPONSE, COMPLETION = "resp_", "chatcmpl-"
"""Before a turn's id: what an answer is called."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an answer before there is any: `created` in seconds since the epoch."""

    turn: str
    created: int
    model: str
    previous: str | None = None
    """The response that it goes on from."""


class Dialect(Protocol):
    """One answer: what goes out, as whole events. `begins` comes first, then either `ends`, with
    all that was sent by `grows` and what is sent now, or `fails`."""

    def begins(self) -> Iterator[bytes]: ...
    def grows(self, piece: str) -> Iterator[bytes]: ...
    def ends(self, text: str, usage: Usage, stopped: bool) -> Iterator[bytes]: ...
    def fails(self, error: Mapping[str, Any]) -> Iterator[bytes]: ...
    def whole(self, text: str, usage: Usage, stopped: bool) -> Json: ...


@dataclass(slots=True)
class Completion:
    """Chat Completions; `counts`: the usage is told at the end of a stream, too."""

    head: Head
    counts: bool = False

    def begins(self) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def grows(self, piece: str) -> Iterator[bytes]:
        yield self._chunk({"content": piece})

    def ends(self, text: str, usage: Usage, stopped: bool) -> Iterator[bytes]:
        yield self._chunk({}, "stop")
        if self.counts:
            yield _event(self._body("chat.completion.chunk", [], usage=_counted(usage)))
        yield DONE

    def fails(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        yield _event({"error": dict(error)})
        yield DONE

    def whole(self, text: str, usage: Usage, stopped: bool) -> Json:
        message: Json = {
            "role": "assistant", "content": text, "refusal": None, "annotations": []
        }  # fmt: skip
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return self._body("chat.completion", [choice], usage=_counted(usage))

    def _chunk(self, delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        more = {"usage": None} if self.counts else {}
        return _event(self._body("chat.completion.chunk", [choice], **more))

    def _body(self, kind: str, choices: list[Json], **more: Any) -> Json:
        head = self.head
        return {
            "id": f"{COMPLETION}{head.turn}", "object": kind, "created": head.created,
            "model": head.model, "choices": choices, "service_tier": "default",
            "system_fingerprint": None, **more,
        }  # fmt: skip


@dataclass(slots=True)
class Response:
    """Responses: one message of one text, whatever tools Ponte used for it."""

    head: Head
    _number: int = field(default=0, init=False)

    def begins(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._body("in_progress"))
        yield self._event("response.in_progress", response=self._body("in_progress"))
        item = self._message("", "in_progress") | {"content": []}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place, part=_part(""))

    def grows(self, piece: str) -> Iterator[bytes]:
        told: Json = {"delta": piece, "logprobs": []}
        yield self._event("response.output_text.delta", **self._place, **told)

    def ends(self, text: str, usage: Usage, stopped: bool) -> Iterator[bytes]:
        told: Json = {"text": text, "logprobs": []}
        yield self._event("response.output_text.done", **self._place, **told)
        yield self._event("response.content_part.done", **self._place, part=_part(text))
        whole = self.whole(text, usage, stopped)
        item = whole["output"][0]
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event(f"response.{whole['status']}", response=whole)

    def fails(self, error: Mapping[str, Any]) -> Iterator[bytes]:
        told = {name: error[name] for name in ("code", "message", "param")}
        yield self._event("error", **told)
        code = "rate_limit_exceeded" if error["type"] == "rate_limit_error" else "server_error"
        why = {"code": code, "message": error["message"]}
        yield self._event("response.failed", response=self._body("failed") | {"error": why})

    def whole(self, text: str, usage: Usage, stopped: bool) -> Json:
        status = "incomplete" if stopped else "completed"
        told = {"output": [self._message(text, status)], "usage": _counted_as_tokens(usage)}
        return self._body(status) | told

    @property
    def _place(self) -> Json:
        return {"item_id": f"msg_{self.head.turn}", "output_index": 0, "content_index": 0}

    def _message(self, text: str, status: str) -> Json:
        return {
            "id": f"msg_{self.head.turn}", "type": "message", "role": "assistant",
            "status": status, "content": [_part(text)],
        }  # fmt: skip

    def _body(self, status: str) -> Json:
        head = self.head
        return {
            "id": f"{RESPONSE}{head.turn}", "object": "response", "created_at": head.created,
            "status": status, "background": False, "error": None, "incomplete_details": None,
            "instructions": None, "max_output_tokens": None, "max_tool_calls": None,
            "metadata": {}, "model": head.model, "output": [], "parallel_tool_calls": True,
            "previous_response_id": head.previous, "reasoning": {"effort": None, "summary": None},
            "service_tier": "default", "store": True, "temperature": None,
            "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_logprobs": 0, "top_p": None, "truncation": "disabled", "usage": None,
            "user": None,
        }  # fmt: skip

    def _event(self, kind: str, **more: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return f"event: {kind}\n".encode() + _event(data)


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _counted(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input, "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }  # fmt: skip


def _counted_as_tokens(usage: Usage) -> Json:
    cached = {"cached_tokens": usage.cached, "cache_write_tokens": usage.written}
    return {
        "input_tokens": usage.input, "input_tokens_details": cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }  # fmt: skip


def _event(data: Mapping[str, Any]) -> bytes:
    """JSON text holds no line break, so one `data:` line is enough."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode(errors="replace")
