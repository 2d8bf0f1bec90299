"""A server on loopback that fails on demand: the base class of the doubles of HTTP services."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from aiohttp import web

from tests.fakes.loopback import serve_on_loopback


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault of the next call: an answer instead of its effect, or a broken connection."""

    kind: Literal["status", "before", "after"]
    status: int = 0
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, request: web.Request) -> web.Response:
        if not self.status:
            return drop_connection(request)
        return web.json_response(self.body, status=self.status, headers=self.headers)


class FaultyServer:
    """`origin` is its address while it runs. Each switch affects the calls after it."""

    def __init__(self) -> None:
        self.origin = ""
        self._troubles: deque[Trouble] = deque()
        self._free = asyncio.Event()
        self._free.set()
        self._held = frozenset[str]()
        self._reached = asyncio.Event()
        self._ended = 0
        self._called = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    def trouble(self, *troubles: Trouble) -> None:
        self._troubles.extend(troubles)

    def clear_troubles(self) -> None:
        """Let all later calls succeed."""
        self._troubles.clear()

    def drop(self, when: Literal["before", "after"], times: int = 1) -> None:
        """Break the connection before or after the effect."""
        self._troubles.extend([Trouble(when)] * times)

    def hang(self, *names: str) -> None:
        """Hold calls (of these names, or all), before their effect, until `release`."""
        self._held = frozenset(names)
        self._reached.clear()
        self._free.clear()

    async def wait_for_held_call(self) -> None:
        """Wait until a held call has arrived."""
        await self._reached.wait()

    @property
    def finished_call_count(self) -> int:
        """The number of calls that have had their effect, or failed."""
        return self._ended

    async def wait_for_calls(self, calls: int) -> None:
        """Wait until that many calls have had their effect, or failed."""
        async with self._called:
            await self._called.wait_for(lambda: self._ended >= calls)

    def release(self) -> None:
        self._free.set()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """Return the routes; each double defines its own."""
        return ()

    async def start(self, port: int = 0) -> None:
        application = web.Application()
        application.add_routes(self.routes())
        self._runner, self.origin = await serve_on_loopback(application, port)

    async def stop(self) -> None:
        self.release()
        if self._runner:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def take_trouble(self, name: str) -> Trouble | None:
        """Wait while calls of that name are held, then return the fault of this one."""
        if not self._free.is_set() and (not self._held or name in self._held):
            self._reached.set()
            await self._free.wait()
        return self._troubles.popleft() if self._troubles else None

    async def count_finished_call(self) -> None:
        """Count a call that has had its effect, or failed."""
        self._ended += 1
        async with self._called:
            self._called.notify_all()


def drop_connection(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()
