"""Which level a server has, found out without paying for a token.

Support is never inferred from a 200 of `/responses`: llama.cpp and others take `conversation`
there and silently forget. A wrong key, a full quota or a dead server say nothing about levels.
"""

from __future__ import annotations

from typing import Literal

import structlog

from core.openai import Client, Fault

log = structlog.get_logger("model")
Level = Literal["conversations", "responses", "chat"]
MISSING = (404, 405, 501)


async def probe(client: Client, model: str) -> Level:
    """Raises Fault while the server cannot be asked, NoKey without a key."""
    if await _keeps_conversations(client):
        return "conversations"
    return "responses" if await _answers_responses(client, model) else "chat"


async def _keeps_conversations(client: Client) -> bool:
    try:
        made = await client.post("/conversations", {})
    except Fault as fault:
        if fault.status in (*MISSING, 400, 422):
            return False
        raise
    id = str(made.get("id") or "")
    if not id or made.get("object") != "conversation":
        return False
    try:
        await client.delete(f"/conversations/{id}")
    except Fault as fault:
        # It is empty, so it may stay.
        log.info("probe not deleted", conversation=id, fault=str(fault))
    return True


async def _answers_responses(client: Client, model: str) -> bool:
    """A question without `input` is refused by a server that knows the path, at no cost.

    Some refuse it with 500, as they break over it (aimock 1.43).
    """
    try:
        await client.post("/responses", {"model": model})
    except Fault as fault:
        if fault.status in MISSING:
            return fault.code == "model_not_found"
        if fault.status not in (400, 422, 500) or fault.quota:
            raise
    return True
