"""`/v1/conversations` and their items: at most 20 items a call, deletion that spares items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.openai.errors import OpenAIErrorResponse
from tests.fakes.openai.items import check_pairs, stored_items
from tests.fakes.openai.state import Json, State


def create(state: State, body: Json) -> Json:
    items = _few(body.get("items") or [])
    conversation = state.new_conversation(body.get("metadata") or {})
    conversation.items += stored_items(items)
    return state.emit("conversation", conversation.to_json())


def retrieve(state: State, id: str) -> Json:
    return state.emit("conversation", state.conversation(id).to_json())


def update(state: State, id: str, body: Json) -> Json:
    state.conversation(id).metadata = body.get("metadata") or {}
    return retrieve(state, id)


def delete(state: State, id: str) -> Json:
    """The items stay, as the real API says: `State.orphans` shows who forgot them."""
    conversation = state.conversation(id)
    state.orphans += conversation.items
    del state.conversations[id]
    return state.emit(
        "conversation_deleted", {"id": id, "object": "conversation.deleted", "deleted": True}
    )


def add_items(state: State, id: str, body: Json) -> Json:
    conversation = state.conversation(id)
    addition = stored_items(_few(body["items"]))
    outputs = [item for item in addition if item["type"] == "function_call_output"]
    if outputs:
        calls = [i for i in [*conversation.items, *addition] if i["type"] == "function_call"]
        answers = {item["call_id"] for item in outputs}
        check_pairs([*(c for c in calls if c["call_id"] in answers), *outputs])
    conversation.items += addition
    return _page(state, addition, False)


def list_items(state: State, id: str, query: Mapping[str, str]) -> Json:
    items = list(state.conversation(id).items)
    if query.get("order", "desc") == "desc":
        items.reverse()
    if after := query.get("after"):
        ids = [item["id"] for item in items]
        items = items[ids.index(after) + 1 :]
    limit = int(query.get("limit", 20))
    if not 1 <= limit <= 100:
        raise OpenAIErrorResponse(400, "Invalid 'limit'.", param="limit")
    return _page(state, items[:limit], len(items) > limit)


def delete_item(state: State, id: str, item: str) -> Json:
    conversation = state.conversation(id)
    if item not in {existing["id"] for existing in conversation.items}:
        raise OpenAIErrorResponse(404, f"Item with id '{item}' not found.")
    conversation.items = [existing for existing in conversation.items if existing["id"] != item]
    return state.emit("conversation", conversation.to_json())


def _few(items: list[Any]) -> list[Any]:
    if len(items) > 20:
        raise OpenAIErrorResponse(
            400, f"Invalid 'items': array too long. Expected 20, got {len(items)}.", param="items"
        )
    return items


def _page(state: State, items: list[Json], more: bool) -> Json:
    page: Json = {"object": "list", "data": items, "has_more": more}
    page["first_id"] = items[0]["id"] if items else ""
    page["last_id"] = items[-1]["id"] if items else ""
    return state.emit("items", page)
