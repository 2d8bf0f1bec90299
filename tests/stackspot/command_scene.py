"""Clients of the fake, and scenes to run quick commands in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from core.base.http import HttpClient
from core.base.proxies import Proxies
from core.domain.records import Thread, ToolContext
from core.tools.stackspot import StackSpot, StackSpotError
from core.tools.stackspot.api import Clock, StackSpotUrls
from tests.core.tools.scene import Seen, with_controls
from tests.core.tools.scene import ctx as plain_scene
from tests.fakes.scene_folder import MemoryContextFiles
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET


@asynccontextmanager
async def client(
    url: str,
    clock: Clock,
    *,
    realm: str = REALM,
    secret: str = SECRET,
    deadline: float = 300.0,
    poll_seconds: float = 0.0,
    http: HttpClient | None = None,
    proxies: Proxies | None = None,
) -> AsyncIterator[StackSpot]:
    async with (
        HttpClient(proxies=proxies) as own,
        StackSpot(
            CLIENT,
            secret,
            realm=realm,
            urls=StackSpotUrls(url, url, url),
            deadline=deadline,
            poll_seconds=poll_seconds,
            clock=clock,
            http=http or own,
        ) as stackspot,
    ):
        yield stackspot


async def error_of(doing: Awaitable[Any]) -> StackSpotError:
    with pytest.raises(StackSpotError) as error:
        await doing
    return error.value


@dataclass
class CommandScene:
    seen: Seen = field(default_factory=Seen)
    files: MemoryContextFiles = field(default_factory=MemoryContextFiles)
    handles: list[str] = field(default_factory=list)

    def ctx(
        self,
        handle: str = "",
        thread: str = "t1",
        known_as: Callable[[str], Awaitable[None]] | None = None,
    ) -> ToolContext:
        ctx = with_controls(plain_scene(self.seen), record_handle=known_as or self._known_as)
        return replace(
            ctx,
            thread=Thread(ctx.address.conversation, thread),
            files=self.files,
            call=replace(ctx.call, handle=handle),
        )

    async def _known_as(self, handle: str) -> None:
        self.handles.append(handle)
