"""One conversation's hold on a container: made when needed, renewed by use, lost when idle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.records import Remote
from core.tools.code.hosted.containers import Container, Containers

REUSE = 19 * 60.0
"""Seconds since its last use for which one is used again: no run begins in its last minute."""
PROMPT = 3.0
"""Seconds that a person who says `forget` waits for a container to be deleted."""
IDLE = "it was idle for 20 minutes"
STOPPED = "the last run was stopped"

Kept = Callable[[Remote], Awaitable[None]]


class Lease:
    """`former` is the id of a container from before, which is looked up when it is needed."""

    def __init__(self, containers: Containers, former: str = "") -> None:
        self._containers = containers
        self._former = former
        self._held: Container | None = None
        self._lost = ""

    @property
    def id(self) -> str:
        return self._held.id if self._held else self._former

    @property
    def container(self) -> Container | None:
        """The one that is held now, without asking for one."""
        return self._held

    async def held(self, kept: Kept) -> Container:
        """The container, a new one where there is none any more. Raises Fault."""
        if self._held is None and self._former:
            self._held = await self._containers.found(self._former)
            self._lost = self._lost if self._held else IDLE
            self._former = ""
        if self._held and self._containers.now() - self._held.used >= REUSE:
            self.lose(IDLE)
        if self._held is None:
            made = await self._containers.make()
            await kept(Remote("container", made.id))
            self._held = made
        return self._held

    def resume(self, id: str) -> Container:
        """The container of a run that an earlier process began."""
        if self._held is None or self._held.id != id:
            self._held, self._former = self._containers.known(id), ""
        return self._held

    def renew(self, container: Container) -> str:
        """It was used just now. Why what was there before is lost, once; "" where it is not."""
        container.used, container.ran = self._containers.now(), True
        lost, self._lost = self._lost, ""
        return lost

    def lose(self, why: str) -> None:
        """It is gone; the next run tells `why`, where there was something to lose."""
        if self._former or (self._held and self._held.ran):
            self._lost = why
        self._held, self._former = None, ""

    def give_up(self, why: str) -> None:
        """End what may still run there: a container that is deleted runs nothing."""
        id = self.id
        self.lose(why)
        if id:
            self._containers.discard(id)

    def leave(self) -> None:
        """Nobody knows any more what goes on there: to be looked up before it is used again."""
        self._former, self._held = self.id, None

    async def forget(self) -> None:
        """Waits a little; a server that does not answer in time is asked in the background."""
        id = self.id
        self._held, self._former, self._lost = None, "", ""
        if id:
            await asyncio.wait({self._containers.discard(id)}, timeout=PROMPT)
