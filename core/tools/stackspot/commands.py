"""Runs quick commands for people and models: in their scene, with progress, also after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from core.records import Outcome, Scene
from core.text import aside
from core.tools.stackspot.client import StackSpot
from core.tools.stackspot.status import Status
from core.tools.stackspot.ulid import ulid_of
from core.words import say

_RUNNING = "is running the quick command…"
_WAITING = "is waiting for StackSpot to begin…"
NAMING = 5.0
"""Seconds that a beginning has left to be named when it is cancelled: its run goes on anyway."""
_NOTHING = "StackSpot has run `{slug}` to its end; it gave no result."


class StackSpotCommands:
    """What the `QuickCommands` port needs of StackSpot: it runs, whoever may."""

    def __init__(self, stackspot: StackSpot) -> None:
        self._stackspot = stackspot

    async def run(self, scene: Scene, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        """The result as it is, or its JSON out of a fence. Raises StackSpotError.

        The execution's id is journalled before it is waited for. Where the scene already has one,
        nothing is started: the run goes on from there. Who cancels it stops only the waiting.
        """
        execution = scene.handle or await _named(self._begun(scene, slug, input))

        async def on_progress(status: Status) -> None:
            await scene.doing(progress_of(status, scene.locale))

        result = await self._stackspot.wait(execution, on_progress=on_progress)
        bare = await aside(lambda _: result.bare, result.text)
        return Outcome("ok", bare if bare.strip() else say(_NOTHING, scene.locale, slug=slug))

    async def _begun(self, scene: Scene, slug: str, input: str | Mapping[str, Any]) -> str:
        conversation = conversation_of(scene)
        execution = await self._stackspot.create(slug, input, conversation_id=conversation)
        await scene.known_as(execution)
        return execution


async def _named(beginning: Coroutine[Any, Any, str]) -> str:
    """Its execution's id; who cancels it waits a little, so that what was begun is known."""
    task = asyncio.create_task(beginning)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=NAMING)
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def conversation_of(scene: Scene, agent: str = "") -> str:
    """The ULID of a thread's conversation at StackSpot, with its commands or with one agent."""
    return ulid_of("stackspot", scene.thread.id, agent)


def progress_of(status: Status, locale: str) -> str:
    """What a person sees meanwhile: "is running the quick command… 42 % · Summarise"."""
    share = "" if status.share is None else f"{status.share * 100:.0f} %"
    doing = say(_WAITING if status.state == "CREATED" else _RUNNING, locale)
    told = " · ".join(each for each in (share, status.step) if each)
    return f"{doing} {told}".strip()
