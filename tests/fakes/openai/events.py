"""What a Responses answer looks like: the response object, and its stream in the right order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.fakes.openai.items import new_id, tokens, total
from tests.fakes.openai.script import Script

Json = dict[str, Any]


def output_of(script: Script, ran: Sequence[Json] = (), cited: Json | None = None) -> list[Json]:
    """The finished output items that the script stands for; `ran` are calls of built-in tools."""
    items: list[Json] = []
    if script.reasoning:
        items.append(
            {"type": "reasoning", "id": new_id("rs"), "summary": [], "encrypted_content": "gAAAAA"}
        )
    if script.compaction:
        items.append({"type": "compaction", "id": new_id("cmp"), "encrypted_content": "gBBBBB"})
    items += ran
    if script.text or script.refusal or (cited and cited["text"]):
        content: list[Json] = [cited] if cited and cited["text"] else []
        if script.text:
            part = {"type": "output_text", "text": script.text, "annotations": [], "logprobs": []}
            content.append(part)
        if script.refusal:
            content.append({"type": "refusal", "refusal": script.refusal})
        message: Json = {
            "type": "message",
            "id": new_id("msg"),
            "role": "assistant",
            "status": "incomplete" if script.incomplete else "completed",
            "content": content,
        }
        items.append({**message, "phase": script.phase} if script.phase else message)
    for name, arguments in script.calls:
        items.append(
            {
                "type": "function_call",
                "id": new_id("fc"),
                "call_id": new_id("call"),
                "name": name,
                "arguments": arguments,
                "status": "incomplete" if script.incomplete else "completed",
            }
        )
    return items


def response_of(body: Json, script: Script, input: int, output: list[Json]) -> Json:
    """The finished response object. `input`: the tokens of what it answers."""
    status = "incomplete" if script.incomplete else "completed"
    status = "failed" if script.fail == "failed" else status
    conversation = body.get("conversation")
    failure = {"code": script.code or "server_error", "message": "The server had an error."}
    incomplete = {"reason": script.incomplete} if script.incomplete else None
    usage = usage_of(script, input, output) if script.counted == "yes" else None
    return {
        "id": script.id or new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": failure if status == "failed" else None,
        "incomplete_details": incomplete,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": script.model or f"{body['model']}-2026-09-22",
        "output": [] if status == "failed" else output,
        "parallel_tool_calls": True,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "conversation": {"id": conversation} if conversation else None,
        **({"usage": usage} if script.counted != "no" else {}),
    }


def usage_of(script: Script, input: int, output: list[Json]) -> Json:
    count = {"input": input, "cached": input // 2, "written": 0, "output": tokens(output)}
    count = {**count, "reasoning": 64 if script.reasoning else 0, **script.usage}
    return {
        "input_tokens": count["input"],
        "input_tokens_details": {
            "cached_tokens": count["cached"],
            "cache_write_tokens": count["written"],
        },
        "output_tokens": count["output"],
        "output_tokens_details": {"reasoning_tokens": count["reasoning"]},
        "total_tokens": total(count),
        **({"cost": count["cost"]} if "cost" in count else {}),
    }


def events_of(response: Json, piece: int) -> Iterator[Json]:
    """The stream of a finished response, numbered; texts in pieces of `piece` characters."""
    first_response = {
        **response,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "error": None,
    }
    first_response["incomplete_details"] = None
    numbers = iter(range(10**9))
    for event in _events(response, first_response, piece):
        yield {**event, "sequence_number": next(numbers)}


def _events(response: Json, begun: Json, piece: int) -> Iterator[Json]:
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        empty: Json = {
            "message": {"content": []},
            "function_call": {"arguments": ""},
            "code_interpreter_call": {"code": "", "outputs": None},
        }
        first_form: Json = {**item, **empty.get(item["type"], {})}
        if "status" in item:
            first_form["status"] = "in_progress"
        yield {"type": "response.output_item.added", "output_index": index, "item": first_form}
        where: Json = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            for at, part in enumerate(item["content"]):
                yield from _part(part, {**where, "content_index": at}, piece)
        elif item["type"] == "function_call":
            yield from _arguments(item, where, piece)
        elif item["type"] == "code_interpreter_call":
            yield from _code(item, where, piece)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _part(part: Json, where: Json, piece: int) -> Iterator[Json]:
    kind = part["type"]
    field = "text" if kind == "output_text" else "refusal"
    words = part[field]
    extra: Json = {"logprobs": []} if kind == "output_text" else {}
    value = part.get("annotations", [])
    first_form = {**part, field: "", **({"annotations": []} if value else {})}
    yield {"type": "response.content_part.added", **where, "part": first_form}
    for start in range(0, len(words), piece):
        delta = words[start : start + piece]
        yield {"type": f"response.{kind}.delta", **where, "delta": delta, **extra}
    for index, note in enumerate(value):
        addition = {"annotation_index": index, "annotation": note}
        yield {"type": "response.output_text.annotation.added", **where, **addition}
    yield {"type": f"response.{kind}.done", **where, field: words, **extra}
    yield {"type": "response.content_part.done", **where, "part": part}


def _arguments(item: Json, where: Json, piece: int) -> Iterator[Json]:
    kind, words = "response.function_call_arguments", item["arguments"]
    for start in range(0, len(words), piece):
        yield {"type": f"{kind}.delta", **where, "delta": words[start : start + piece]}
    yield {"type": f"{kind}.done", **where, "arguments": words}


def _code(item: Json, where: Json, piece: int) -> Iterator[Json]:
    words = item["code"]
    yield {"type": "response.code_interpreter_call.in_progress", **where}
    for start in range(0, len(words), piece):
        delta = words[start : start + piece]
        yield {"type": "response.code_interpreter_call_code.delta", **where, "delta": delta}
    yield {"type": "response.code_interpreter_call_code.done", **where, "code": words}
    yield {"type": "response.code_interpreter_call.interpreting", **where}
    yield {"type": "response.code_interpreter_call.completed", **where}
