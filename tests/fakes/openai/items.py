"""Items of conversations and inputs: their form, and which call belongs to which output."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tests.fakes.openai.errors import OpenAIErrorResponse, missing_output, no_call

Json = dict[str, Any]
PREFIX = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
INPUT_PARTS = {"input_text", "input_image", "input_file"}
_HALF = re.compile("[\ud800-\udfff]")
_numbers = itertools.count(1)
_lengths: dict[tuple[str, Callable[[object], str]], int] = {}


def new_id(prefix: str) -> str:
    return f"{prefix}_{next(_numbers):024d}"


def stored_items(input: str | Sequence[Json]) -> list[Json]:
    """Return the items of a request as the API stores them: with ids, a status, contents as
    lists."""
    if isinstance(input, str):
        input = [{"role": "user", "content": input}]
    return [_stored_item(item, index) for index, item in enumerate(input)]


def _stored_item(item: Json, index: int) -> Json:
    kind = item.get("type", "message")
    item = {**item, "type": kind, "id": new_id(PREFIX.get(kind, "item"))}
    if kind == "message":
        item["content"] = _content(item, index)
        item["status"] = "completed"
    elif kind in ("function_call", "function_call_output"):
        if not item.get("call_id"):
            raise OpenAIErrorResponse(
                400, "Missing required parameter: 'call_id'.", param=f"input[{index}]"
            )
        item["status"] = "completed"
    elif kind == "reasoning" and not item.get("encrypted_content"):
        raise OpenAIErrorResponse(404, f"Item with id {item.get('id')!r} not found.", param="input")
    elif kind not in ("reasoning", "compaction"):
        raise OpenAIErrorResponse(400, f"Invalid value: {kind!r}.", param=f"input[{index}].type")
    return item


def _content(item: Json, index: int) -> list[Json]:
    role, content = item.get("role"), item.get("content")
    if role not in ("user", "assistant", "developer", "system"):
        raise OpenAIErrorResponse(400, f"Invalid value: {role!r}.", param=f"input[{index}].role")
    kind = "output_text" if role == "assistant" else "input_text"
    if isinstance(content, str):
        content = [{"type": kind, "text": content}]
    allowed = {"output_text", "refusal"} if role == "assistant" else INPUT_PARTS
    for part in content or []:
        if part.get("type") not in allowed:
            raise OpenAIErrorResponse(
                400, f"Invalid value: {part.get('type')!r}.", param=f"input[{index}].content"
            )
        if part["type"] == "output_text":
            part.setdefault("annotations", [])
            part.setdefault("logprobs", [])
    return list(content or [])


def check_pairs(items: Iterable[Json]) -> None:
    """Every call has its output, every output its call. Raises OpenAIErrorResponse."""
    calls: dict[str, bool] = {}
    for item in items:
        if item["type"] == "function_call":
            calls[item["call_id"]] = False
        elif item["type"] == "function_call_output":
            if item["call_id"] not in calls:
                raise no_call(item["call_id"])
            calls[item["call_id"]] = True
    for call_id, answer in calls.items():
        if not answer:
            raise missing_output(call_id)


def text_of(item: Json) -> str:
    """A message's or an output's own words: its last text part."""
    if item["type"] == "function_call_output":
        return str(item["output"])
    texts = [str(part["text"]) for part in item.get("content", ()) if "text" in part]
    return texts[-1] if texts else ""


def text_to_answer(items: Sequence[Json]) -> str:
    """Return the text to answer: the last user's message, or the last tool output after it."""
    for item in reversed(items):
        if item["type"] == "function_call_output" or item.get("role") == "user":
            return text_of(item)
    return ""


def has_lone_surrogate(value: object) -> bool:
    """Tell whether its JSON text has half a surrogate pair, which the package's types refuse."""
    return _HALF.search(json.dumps(value, ensure_ascii=False)) is not None


def total(counted: Json) -> int:
    """The sum of both counts, as far as they are numbers."""
    return sum(n for n in (counted["input"], counted["output"]) if type(n) is int)


def tokens(items: object) -> int:
    return length(items, str) // 4


def length(value: object, write: Callable[[object], str]) -> int:
    """The characters of `write(value)`. Those of an item are counted once: otherwise each request
    would cost this process as much as its conversation is long."""
    if isinstance(value, list):
        return max(2, sum(length(one, write) + 2 for one in value))
    if not (isinstance(value, dict) and "id" in value):
        return len(write(value))
    key = value["id"], write
    if key not in _lengths:
        _lengths[key] = len(write(value))
    return _lengths[key]
