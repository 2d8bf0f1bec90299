"""Erasing on the server what a thread left there. What is not there any more counts as erased.

So does what a server has no path for: it cannot have kept it.
"""

from __future__ import annotations

from core.errors import PonteError
from core.openai import Client, Fault
from core.records import Remote

PATHS = {"response": "responses", "container": "containers", "file": "files"}
PAGE = 100
MISSING = (404, 405, 501)


async def erase(client: Client, remote: Remote) -> bool:
    """False: it may still be there, and must be tried again."""
    try:
        if remote.kind == "conversation":
            await _conversation(client, remote.id)
        else:
            await _gone(client, f"/{PATHS[remote.kind]}/{remote.id}")
    except (Fault, PonteError):
        return False
    return True


async def _conversation(client: Client, id: str) -> None:
    """Its items first: deleting a conversation leaves them (docstring of the openai package)."""
    items = f"/conversations/{id}/items"
    while True:
        try:
            page = await client.get(items, {"limit": PAGE})
        except Fault as fault:
            if fault.status not in MISSING:
                raise
            return
        for item in page.get("data") or ():
            await _gone(client, f"{items}/{item['id']}")
        if not page.get("has_more"):
            break
    await _gone(client, f"/conversations/{id}")


async def _gone(client: Client, path: str) -> None:
    try:
        await client.delete(path)
    except Fault as fault:
        if fault.status not in MISSING and not fault.container_gone:
            raise
