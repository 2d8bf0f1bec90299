"""One OpenAI Conversation: made, filled from our transcript, read, and its responses found."""

from __future__ import annotations

from collections.abc import Sequence

from core.messages import Item
from core.model.server import Server
from core.openai import Fault, Json

BATCH = 20
"""Items that one call may add (conversations.items.create in the openai package)."""
TAIL = 100
"""Items that are read from the end; the most that one page may have."""
UNFINISHED = ("in_progress", "queued")


async def make(server: Server) -> str:
    """A new one, empty, so that an id which gets lost on its way to us holds nothing."""
    return str((await server.client.post("/conversations", {}))["id"])


async def fill(server: Server, conversation: str, items: Sequence[Item]) -> None:
    for batch in batches(await server.input.items(items)):
        await server.client.post(f"/conversations/{conversation}/items", {"items": batch})


def batches(items: Sequence[Json]) -> list[list[Json]]:
    """At most 20 items each; a call stays with its output where that is possible."""
    rows: list[list[Json]] = []
    start = 0
    while start < len(items):
        end = min(start + BATCH, len(items))
        whole = next((e for e in range(end, start, -1) if _settled(items[start:e])), end)
        rows.append(list(items[start:whole]))
        start = whole
    return rows


def _settled(items: Sequence[Json]) -> bool:
    calls = {item["call_id"] for item in items if item["type"] == "function_call"}
    return calls <= {i["call_id"] for i in items if i["type"] == "function_call_output"}


async def tail(server: Server, conversation: str) -> tuple[list[Json], bool]:
    """The newest items, oldest first, and whether these are all."""
    page = await server.client.get(
        f"/conversations/{conversation}/items", {"limit": TAIL, "order": "desc"}
    )
    return list(reversed(page.get("data") or ())), not page.get("has_more")


async def response(server: Server, id: str, patience: float) -> Json | None:
    """A response from before; None when the server has it no more.

    One that still runs is waited for, for `patience` seconds.
    """
    waited, pause = 0.0, 0.5
    while True:
        try:
            found = await server.client.get(f"/responses/{id}")
        except Fault as fault:
            if fault.status in (400, 404, 405, 501):
                return None
            raise
        if found.get("status") not in UNFINISHED:
            return found
        if waited >= patience:
            return None
        await server.client.sleep(pause)
        waited, pause = waited + pause, min(pause * 2, 5.0)
