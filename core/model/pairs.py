"""Calls and outputs in pairs, as every server demands: an open call is a refusal (HTTP 400).

OpenAI: "No tool output found for function call …", and the opposite "No tool call found for
function call output …". A turn that died between the two leaves the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.messages import Item

LOST = "error: interrupted, result unknown"
"""What the model reads of a call whose outcome nobody knows."""


def paired(items: Sequence[Item]) -> list[Item]:
    """Each call once, answered before anybody speaks again; outputs without a call are left out."""
    whole: list[Item] = []
    open_calls: dict[str, None] = {}
    seen: set[str] = set()
    for item in items:
        if item.kind == "call":
            if item.call_id in seen:
                continue
            seen.add(item.call_id)
            open_calls[item.call_id] = None
        elif item.kind == "output":
            if item.call_id not in open_calls:
                continue
            del open_calls[item.call_id]
        elif open_calls and item.role == "user":
            whole += lost(open_calls)
            open_calls.clear()
        whole.append(item)
    return whole + lost(open_calls)


def lost(call_ids: Iterable[str]) -> list[Item]:
    return [Item(kind="output", call_id=call_id, text=LOST) for call_id in call_ids]
