"""Answers as other servers than OpenAI's send them. Each kind is one habit of a real server.

Kinds of events change the objects of a stream, kinds of bytes how they are written. `State.odd`
names the kinds that a fake has.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

Json = dict[str, Any]
Change = Callable[[list[Json]], list[Json]]
THOUGHT = "Let me think about `it`: [1] is {'odd'}.\n\nNone of it is text."
SOURCE = "https://example.com/a"
SIGNATURE = {"google": {"thought_signature": "c2lnbmVk"}}
PIECE = 7
CALL = "_call"
"""The number of the call to which a piece belongs. It is not sent."""


def deltas(chunks: list[Json]) -> list[Json]:
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or ()]
    return [choice["delta"] for choice in choices if choice.get("delta")]


def call_pieces(chunks: list[Json]) -> list[Json]:
    calls = [delta.get("tool_calls") or [] for delta in deltas(chunks)]
    return [piece for each in calls for piece in (each if isinstance(each, list) else [each])]


def with_delta(chunk: Json, delta: Json, finish: object = None) -> Json:
    return {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def in_pieces(text: str) -> list[str]:
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def one_index(chunks: list[Json]) -> list[Json]:
    for piece in call_pieces(chunks):
        piece["index"] = 0
    return chunks


def no_index(chunks: list[Json]) -> list[Json]:
    for piece in call_pieces(chunks):
        del piece["index"]
    return chunks


def null_index(chunks: list[Json]) -> list[Json]:
    for piece in call_pieces(chunks):
        piece["index"] = None
    return chunks


def no_ids(chunks: list[Json]) -> list[Json]:
    for piece in call_pieces(chunks):
        piece.pop("id", None)
    return chunks


def empty_ids(chunks: list[Json]) -> list[Json]:
    for piece in call_pieces(chunks):
        piece["id"] = ""
    return chunks


def one_id(chunks: list[Json]) -> list[Json]:
    for piece in call_pieces(chunks):
        if piece.get("id"):
            piece["id"] = "nocodb_query:0"
    return chunks


def number_ids(chunks: list[Json]) -> list[Json]:
    ids = [piece["id"] for piece in call_pieces(chunks) if piece.get("id")]
    for piece in call_pieces(chunks):
        if piece.get("id"):
            piece["id"] = ids.index(piece["id"]) + 1
    return chunks


def _last_names(chunks: list[Json]) -> list[tuple[Json, Json]]:
    """Each piece of a call, with the first piece of that call."""
    first: dict[int, Json] = {}
    return [(p, first.setdefault(p[CALL], copy.deepcopy(p))) for p in call_pieces(chunks)]


def name_again(chunks: list[Json]) -> list[Json]:
    for piece, first in _last_names(chunks):
        piece["id"], piece["function"]["name"] = first["id"], first["function"]["name"]
    return chunks


def id_again(chunks: list[Json]) -> list[Json]:
    for piece, first in _last_names(chunks):
        piece["id"] = first["id"]
    return chunks


def whole_calls(chunks: list[Json]) -> list[Json]:
    """One chunk for each call."""
    whole: dict[int, Json] = {}
    chunks_left: list[Json] = []
    for chunk in chunks:
        pieces = call_pieces([chunk])
        for piece in pieces:
            if previous := whole.get(piece[CALL]):
                previous["function"]["arguments"] += piece["function"]["arguments"]
            else:
                whole[piece[CALL]] = piece
                chunks_left.append(with_delta(chunk, {"tool_calls": [piece]}))
        if not pieces:
            chunks_left.append(chunk)
    return chunks_left


def object_arguments(chunks: list[Json]) -> list[Json]:
    chunks = whole_calls(copy.deepcopy(chunks))
    for piece in call_pieces(chunks):
        with contextlib.suppress(ValueError, TypeError):
            piece["function"]["arguments"] = json.loads(piece["function"]["arguments"] or "{}")
    return chunks


def calls_in_one_chunk(chunks: list[Json]) -> list[Json]:
    chunks = whole_calls(chunks)
    chunks_left = [chunk for chunk in chunks if not call_pieces([chunk])]
    if pieces := call_pieces(chunks):
        at = next(
            (n for n, c in enumerate(chunks_left) if finish_of(c) or not c["choices"]),
            len(chunks_left),
        )
        chunks_left.insert(at, with_delta(chunks_left[0], {"tool_calls": pieces}))
    return chunks_left


def dict_calls(chunks: list[Json]) -> list[Json]:
    chunks = whole_calls(chunks)
    for delta in deltas(chunks):
        if delta.get("tool_calls"):
            delta["tool_calls"] = delta["tool_calls"][0]
    return chunks


def finish_of(chunk: Json) -> object:
    return chunk["choices"][0]["finish_reason"] if chunk["choices"] else None


def list_content(chunks: list[Json]) -> list[Json]:
    for delta in deltas(chunks):
        if delta.get("content"):
            delta["content"] = [{"type": "text", "text": delta["content"]}]
    return chunks


def no_finish(chunks: list[Json]) -> list[Json]:
    """Arguments that are no JSON would be incomplete without an end."""
    ends = ["length", "content_filter"]
    words = (piece["function"]["arguments"] for piece in call_pieces(object_arguments(chunks)))
    if any(isinstance(each, str) for each in words):
        ends.append("tool_calls")
    return [chunk for chunk in chunks if not finish_of(chunk) or finish_of(chunk) in ends]


def finish_with_last_delta(chunks: list[Json]) -> list[Json]:
    at = next((n for n, chunk in enumerate(chunks) if finish_of(chunk)), 0)
    if at:
        chunks[at - 1]["choices"][0]["finish_reason"] = finish_of(chunks[at])
        del chunks[at]
    return chunks


def empty_finish(chunks: list[Json]) -> list[Json]:
    for chunk in chunks:
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or ""
    return chunks


def finish_in_capitals(chunks: list[Json]) -> list[Json]:
    for chunk in chunks:
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] and choice["finish_reason"].upper()
    return chunks


def nulls(chunks: list[Json]) -> list[Json]:
    extra = {"content": None, "refusal": None, "tool_calls": None, "function_call": None}
    for chunk in chunks:
        for choice in chunk["choices"]:
            key = "delta" if "delta" in choice else "message"
            choice[key] = {**extra, "reasoning_content": None, **choice[key]}
            choice["logprobs"] = None
    first = {**chunks[0], "choices": None}
    return [first, {**first, "choices": []}, with_delta(first, None), *chunks]  # type: ignore[arg-type]


def think_tags(chunks: list[Json]) -> list[Json]:
    return _before_text(
        chunks, [{"content": p} for p in in_pieces(f"<think>\n{THOUGHT}\n</think>\n\n")]
    )


def unopened_thoughts(chunks: list[Json]) -> list[Json]:
    thought = in_pieces(f"{THOUGHT}\n</think>\n\n")
    return _before_text(chunks, [{"content": piece} for piece in thought])


def reasoning_content(chunks: list[Json]) -> list[Json]:
    return _before_text(chunks, [{"reasoning_content": piece} for piece in in_pieces(THOUGHT)])


def reasoning(chunks: list[Json]) -> list[Json]:
    pieces = in_pieces(THOUGHT)
    return _before_text(
        chunks,
        [
            {
                "content": "",
                "reasoning": piece,
                "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": piece}],
            }
            for piece in pieces
        ],
    )


def thinking_parts(chunks: list[Json]) -> list[Json]:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}
    return _before_text(list_content(chunks), [{"content": [part]}])


def _before_text(chunks: list[Json], before: Sequence[Json]) -> list[Json]:
    return [chunks[0], *(with_delta(chunks[0], delta) for delta in before), *chunks[1:]]


def extra_content(chunks: list[Json]) -> list[Json]:
    for piece in call_pieces(chunks):
        if piece["function"].get("name"):
            piece["extra_content"] = SIGNATURE
    return chunks


def messages(chunks: list[Json]) -> list[Json]:
    for chunk in chunks:
        for choice in chunk["choices"]:
            choice["message"] = choice.pop("delta")
    return chunks


def whole_message(chunks: list[Json]) -> list[Json]:
    """The last chunk repeats the whole message."""
    message: Json = {"role": "assistant", "content": "", "tool_calls": []}
    for delta in deltas(chunks):
        message["content"] += delta.get("content") or ""
    message["tool_calls"] = copy.deepcopy(call_pieces(whole_calls(copy.deepcopy(chunks))))
    for chunk in chunks:
        if finish_of(chunk):
            chunk["choices"][0]["message"] = message
    return chunks


def no_response_ids(chunks: list[Json]) -> list[Json]:
    return [
        {k: v for k, v in chunk.items() if k not in ("id", "object", "model")} for chunk in chunks
    ]


def end_again(chunks: list[Json]) -> list[Json]:
    return [*chunks, copy.deepcopy(chunks[-1])]


def usage_first(chunks: list[Json]) -> list[Json]:
    return chunks[-1:] + chunks[:-1] if chunks and not chunks[-1]["choices"] else chunks


def second_choice(chunks: list[Json]) -> list[Json]:
    other = with_delta(chunks[0], {"content": "Another answer."})
    other["choices"][0]["index"] = 1
    return [chunks[0], other, *chunks[1:]]


def citations(chunks: list[Json]) -> list[Json]:
    return [{**chunk, "citations": [SOURCE]} for chunk in chunks]


def pings(chunks: list[Json]) -> list[Json]:
    return [each for chunk in chunks for each in ({"type": "ping"}, chunk)]


def completion_of(chunks: list[Json]) -> Json:
    """The chat completion that the chunks stand for: the answer of a server that never streams."""
    chunks = whole_calls(copy.deepcopy(chunks))
    message: Json = {"role": "assistant", "content": None}
    for delta in deltas(chunks):
        for name, value in delta.items():
            if name == "tool_calls":
                calls = [{k: v for k, v in p.items() if k != "index"} for p in value or ()]
                message[name] = message.get(name, []) + calls
            elif name != "role" and value is not None:
                previous = message.get(name)
                if isinstance(previous, list) and isinstance(value, str):
                    value = [{"type": "text", "text": value}] if value else []
                message[name] = value if not previous else previous + value
    finish = next((finish_of(chunk) for chunk in reversed(chunks) if finish_of(chunk)), None)
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = next((c["usage"] for c in chunks if c.get("usage")), None)
    rest = {k: v for k, v in chunks[0].items() if k != "object"}
    return {**rest, "object": "chat.completion", "choices": [choice], "usage": usage}


CHAT_KINDS: dict[str, Change] = {
    change.__name__: change
    for change in (
        name_again,
        id_again,
        object_arguments,
        whole_calls,
        calls_in_one_chunk,
        dict_calls,
        extra_content,
        one_id,
        number_ids,
        no_ids,
        empty_ids,
        one_index,
        no_index,
        null_index,
        think_tags,
        unopened_thoughts,
        reasoning_content,
        reasoning,
        whole_message,
        list_content,
        thinking_parts,
        no_finish,
        finish_with_last_delta,
        finish_in_capitals,
        empty_finish,
        second_choice,
        citations,
        messages,
        nulls,
        end_again,
        usage_first,
        no_response_ids,
        pings,
    )
}
"""Kinds of chunks, in the order in which they are applied."""


def items_in(events: list[Json]) -> list[Json]:
    """Every item in the events, as often as it stands there."""
    inner = [event["item"] for event in events if "item" in event]
    return inner + [i for e in events if "response" in e for i in e["response"].get("output") or ()]


def one_call_id(events: list[Json]) -> list[Json]:
    for item in items_in(events):
        if "call_id" in item:
            item["call_id"] = "nocodb_query:0"
    return events


def no_call_ids(events: list[Json]) -> list[Json]:
    for item in items_in(events):
        item.pop("call_id", None)
        item["id"] = ""
    return events


def argument_objects(events: list[Json]) -> list[Json]:
    for item in items_in(events):
        if item["type"] == "function_call" and item["arguments"]:
            with contextlib.suppress(ValueError, TypeError):
                item["arguments"] = json.loads(item["arguments"])
    return [e for e in events if not e["type"].startswith("response.function_call_arguments")]


def empty_output(events: list[Json]) -> list[Json]:
    for event in events:
        if event["type"] == "response.completed":
            event["response"]["output"] = []
    return events


def null_output(events: list[Json]) -> list[Json]:
    for event in events:
        if event["type"] == "response.completed":
            event["response"]["output"] = None
    return events


def no_completed(events: list[Json]) -> list[Json]:
    return [event for event in events if event["type"] != "response.completed"]


def no_done_events(events: list[Json]) -> list[Json]:
    return [event for event in events if not event["type"].endswith(".done")]


def no_delta_events(events: list[Json]) -> list[Json]:
    return [event for event in events if not event["type"].endswith(".delta")]


def only_items(events: list[Json]) -> list[Json]:
    kinds = ("response.created", "response.output_item.done", "response.completed")
    return [event for event in events if event["type"] in kinds or "incomplete" in event["type"]]


def no_numbers(events: list[Json]) -> list[Json]:
    for event in events:
        for name in ("output_index", "content_index", "sequence_number"):
            event.pop(name, None)
    return events


def no_item_ids(events: list[Json]) -> list[Json]:
    for event in events:
        event.pop("item_id", None)
    return events


def one_number(events: list[Json]) -> list[Json]:
    for event in events:
        if "output_index" in event:
            event["output_index"] = 0
    return events


def think_text(events: list[Json]) -> list[Json]:
    return _think(events, f"<think>{THOUGHT}</think>\n\n")


def unopened_text(events: list[Json]) -> list[Json]:
    return _think(events, f"{THOUGHT}\n</think>\n\n")


def _think(events: list[Json], thought: str) -> list[Json]:
    is_begun = False
    for event in events:
        if event["type"] == "response.output_text.delta" and not is_begun:
            is_begun, event["delta"] = True, thought + event["delta"]
        if event["type"] == "response.output_text.done":
            event["text"] = thought + event["text"]
        if event["type"] == "response.content_part.done" and "text" in event["part"]:
            event["part"] = {**event["part"], "text": thought + event["part"]["text"]}
    for item in {id(item): item for item in items_in(events)}.values():
        for part in item.get("content") or ():
            if "text" in part:
                part["text"] = thought + part["text"]
    return events


def reasoning_items(events: list[Json]) -> list[Json]:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": THOUGHT}],
        "content": [{"type": "reasoning_text", "text": THOUGHT}],
    }
    new = [
        {"type": "response.output_item.added", "output_index": 90, "item": item},
        {"type": "response.reasoning_text.delta", "output_index": 90, "delta": THOUGHT},
        {"type": "response.output_item.done", "output_index": 90, "item": item},
    ]
    return [events[0], *copy.deepcopy(new), *events[1:]]


def text_contents(events: list[Json]) -> list[Json]:
    for item in items_in(events):
        if item["type"] == "message" and isinstance(item["content"], list):
            item["content"] = "".join(
                p.get("text") or p.get("refusal") or "" for p in item["content"]
            )
    return events


def last_event_again(events: list[Json]) -> list[Json]:
    return [*events, copy.deepcopy(events[-1])]


def null_fields(events: list[Json]) -> list[Json]:
    extra = {"error": None, "obfuscation": None, "logprobs": None, "response_id": None}
    return [{"type": None}, *({**extra, **event} for event in events), {"type": "keepalive"}]


RESPONSE_KINDS: dict[str, Change] = {
    change.__name__: change
    for change in (
        argument_objects,
        one_call_id,
        no_call_ids,
        think_text,
        unopened_text,
        text_contents,
        empty_output,
        null_output,
        no_completed,
        no_done_events,
        no_delta_events,
        only_items,
        reasoning_items,
        no_numbers,
        no_item_ids,
        one_number,
        last_event_again,
        null_fields,
    )
}
"""Kinds of Responses events, in the order in which they are applied."""
BYTE_KINDS = (
    "crlf",
    "cr",
    "no_space",
    "comments",
    "bom",
    "no_done",
    "done_twice",
    "no_blank_lines",
    "no_last_newline",
    "many_lines",
    "json",
    "json_list",
    "json_lines",
)
ALL_CHAT = frozenset(
    {
        "one_index",
        "one_id",
        "object_arguments",
        "list_content",
        "no_finish",
        "reasoning_content",
        "extra_content",
        "nulls",
        "citations",
        "crlf",
        "comments",
        "no_space",
        "bom",
    }
)
ALL_RESPONSES = frozenset(
    {
        "one_call_id",
        "argument_objects",
        "empty_output",
        "reasoning_items",
        "last_event_again",
        "null_fields",
        "crlf",
        "comments",
        "no_space",
        "bom",
    }
)
"""Kinds that one server can have together: the mode "all"."""


def change_events(events: Sequence[Json], kinds: Collection[str]) -> list[Json]:
    """Return the events of either API with these kinds."""
    if not kinds:
        return list(events)
    changes = [copy.deepcopy(event) for event in events]
    is_chat = bool(changes) and "choices" in changes[0]
    for piece in call_pieces(changes) if is_chat else ():
        piece[CALL] = piece["index"]
    for name, change in (CHAT_KINDS if is_chat else RESPONSE_KINDS).items():
        if name in kinds:
            changes = change(changes)
    return changes


def is_piece(event: Json) -> bool:
    """Return whether an event has a piece of the answer's text or calls."""
    kind, item = str(event.get("type")), event.get("item") or {}
    if kind.startswith(("response.output_text", "response.refusal")):
        return kind.endswith(".delta")
    whole = kind == "response.output_item.done" and item.get("type") == "function_call"
    return whole or any(d.get("content") or d.get("tool_calls") for d in deltas([event]))


def _without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_marks(each) for k, each in value.items() if k != CALL}
    return [_without_marks(each) for each in value] if isinstance(value, list) else value


def kinds_of(kinds: Collection[str], *, is_chat: bool) -> Collection[str]:
    """Return the kinds that "all" stands for."""
    if "all" in kinds:
        return ALL_CHAT if is_chat else ALL_RESPONSES
    return kinds


def check_demands(messages: Sequence[Json], kinds: Collection[str]) -> str:
    """Return what a server with these kinds says of a request that lacks what it sent; "" if none
    does. `CallIds` checks ids of calls more strictly."""
    names, is_called = set[str](), False
    for message in messages:
        calls = message.get("tool_calls", ())
        is_called = message["role"] != "user" and (is_called or bool(calls))
        ids = {call["id"] for call in calls}
        if "" in ids or ids & names:
            return "Tool call id has to be unique."
        if calls and len(ids) != len(calls):
            return "Duplicate tool call ids."
        names |= ids
        thought = message.get("reasoning_content")
        if "reasoning_content" in kinds and calls and thought != THOUGHT:
            return "The `reasoning_content` in the thinking mode must be passed back."
        if thought and not is_called:
            return "Thoughts without calls are not sent back."
        if "extra_content" in kinds and any(c.get("extra_content") != SIGNATURE for c in calls):
            return "Function call is missing a thought_signature."
    return ""


def write_event(event: Json, kinds: Collection[str]) -> str:
    """Return the bytes of an event as text."""
    space = "" if "no_space" in kinds else " "
    event = _without_marks(event) if kinds else event
    data = json.dumps(event, indent=1 if "many_lines" in kinds else None)
    lines = [f"data:{space}{line}" for line in data.split("\n")]
    if isinstance(event.get("type"), str):
        lines.insert(0, f"event:{space}{event['type']}")
    if "comments" in kinds:
        lines = [": OPENROUTER PROCESSING", "", "id: 7", *lines]
    end = "\r\n" if "crlf" in kinds else "\r" if "cr" in kinds else "\n"
    return end.join(lines) + (end if "no_blank_lines" in kinds else end * 2)


def write_body(events: Sequence[Json], kinds: Collection[str], whole: Json) -> bytes:
    """Return the body of an answer. `whole` is the object that servers send that do not stream."""
    bom = b"\xef\xbb\xbf" if "bom" in kinds else b""
    events, whole = _without_marks(list(events)), _without_marks(whole)
    if "json" in kinds:
        return bom + json.dumps(whole).encode()
    if "json_list" in kinds:
        return bom + json.dumps(list(events)).encode()
    if "json_lines" in kinds:
        return bom + "\n".join(map(json.dumps, events)).encode()
    text = "".join(write_event(event, kinds) for event in events)
    if "no_done" not in kinds:
        text += "data: [DONE]\n\n" * (2 if "done_twice" in kinds else 1)
    return bom + (text.rstrip() if "no_last_newline" in kinds else text).encode()
