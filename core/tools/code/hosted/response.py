"""One Responses call, from its request to its last state, also where the stream of it breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from core.openai import Client, Fault, Json

PATH = "/responses"
OUTPUTS = "code_interpreter_call.outputs"
ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
PAUSES = (1.0, 2.0, 4.0, 5.0)
"""Seconds between looks at a response that is not finished; the last one goes on."""


async def asked(client: Client, body: Json, known: Callable[[str], Awaitable[None]]) -> Json:
    """The response to `body`; its id is told to `known` before anything of it is waited for.

    Asked again only where it was surely not begun. Raises Fault; `lost` where nobody knows
    whether it ran.
    """
    first, events = await client.patiently(lambda: _opened(client, {**body, "stream": True}))
    name = ""
    try:
        async with aclosing(events):
            event: Json | None = first
            while event is not None:
                if not name and (name := _name(event)):
                    await known(name)
                if event.get("type") in ENDS:
                    return _final(event.get("response") or {})
                if event.get("type") == "error":
                    raise Fault("broken", body=event)
                event = await anext(events, None)
    except Fault as fault:
        if fault.kind != "lost" or not name:
            raise
    if not name:
        raise Fault("lost")
    return await settled(client, name)


async def settled(client: Client, name: str) -> Json:
    """The response of that id once it is final, however long it takes. Raises Fault."""
    looks = 0
    while True:
        try:
            answer = await client.get(f"{PATH}/{name}", {"include": [OUTPUTS]})
        except Fault as fault:
            if fault.status != 404:
                raise
            raise Fault("lost") from None
        if answer.get("status") not in ("queued", "in_progress"):
            return _final(answer)
        await client.sleep(PAUSES[min(looks, len(PAUSES) - 1)])
        looks += 1


async def _opened(client: Client, body: Json) -> tuple[Json, AsyncGenerator[Json, None]]:
    events = client.stream(PATH, body)
    first = await anext(events, None)
    if first is None:
        raise Fault("lost")
    return first, events


def _name(event: Json) -> str:
    response = event.get("response")
    return str(response.get("id") or "") if isinstance(response, dict) else ""


def _final(response: Json) -> Json:
    if response.get("status") in ("failed", "cancelled"):
        raise Fault("broken", body=response.get("error") or {"code": response["status"]})
    return response
