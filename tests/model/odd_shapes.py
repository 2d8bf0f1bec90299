"""Shapes of what servers send, for the tables of `test_odd_answers` and `more_odd_answers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
Calls = list[tuple[str, Any]]
ONE, TWO = '{"row": 1}', '{"row": 2}'
BOTH: Calls = [("query", {"row": 1}), ("query", {"row": 2})]


def tc(index: object, id: object, name: object, arguments: object) -> Json:
    """Return one entry of `tool_calls`; `...` leaves a field out."""
    function = {"name": name, "arguments": arguments}
    entry: Json = {"index": index, "id": id}
    entry = {k: v for k, v in entry.items() if v is not ...}
    return {**entry, "function": {k: v for k, v in function.items() if v is not ...}}


def chunk(delta: object, finish: object = None, **more: Any) -> Json:
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        **more,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def calls(*entries: Json, finish: object = "tool_calls") -> list[Json]:
    """Return chunks with one entry each, and the end."""
    return [*(chunk({"tool_calls": [entry]}) for entry in entries), chunk({}, finish)]


def text(*pieces: object, finish: object = "stop") -> list[Json]:
    return [*(chunk({"content": piece}) for piece in pieces), chunk({}, finish)]


def sse(events: Sequence[object], done: bool = True) -> bytes:
    lines = [f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in events]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def response(*output: Json, **more: Any) -> Json:
    return {"id": "r1", "object": "response", "status": "completed", "output": list(output), **more}


def message(content: object) -> Json:
    return {"type": "message", "id": "m1", "role": "assistant", "content": content}


def function_call(call_id: object, arguments: object, id: object = "fc_1") -> Json:
    call = {"type": "function_call", "id": id, "call_id": call_id, "name": "query"}
    return {**call, "arguments": arguments}


def whole(item: Json, **more: Any) -> Json:
    return {"type": "response.output_item.done", "item": item, **more}


def delta(piece: object, **more: Any) -> Json:
    return {"type": "response.output_text.delta", "delta": piece, **more}


CREATED: Json = {"type": "response.created", "response": {"id": "r1"}}
HELLO = message([{"type": "output_text", "text": "Hello"}])
COMPLETED: Json = {"type": "response.completed", "response": response()}
