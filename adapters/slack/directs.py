"""Threads in direct messages: most hold our answers, some are conversations of their own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from adapters.slack.company import SECONDS
from adapters.slack.events import Said, event_key
from adapters.slack.lookup import key_of, read
from adapters.slack.refusals import InDoubt, SlackRefused
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy
from core.messages import turn_id

_MOST = 10_000
_FAILURES = (SlackRefused, InDoubt, PlatformBusy, TimeoutError)


class Directs:
    """Our answer to a top-level message stands in a thread under it, and that thread belongs to
    the direct message's conversation. Our posts there tell, by the turn in their keys."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: OrderedDict[str, bool] = OrderedDict()

    def took(self, said: Said) -> None:
        """A top-level message was accepted: its thread will hold our answer."""
        if said.direct and not said.thread:
            self._keep(said.event_key, True)

    async def belongs_to_dm(self, said: Said) -> bool:
        if not said.direct or not said.thread or said.parent == self._workspace.user:
            return not said.thread
        root = event_key(said.team, said.channel, said.thread)
        if root not in self._known:
            try:
                self._keep(root, await self._holds_answer(said, turn_id(root)))
            except _FAILURES:
                return True
        return self._known[root]

    async def _holds_answer(self, said: Said, turn: str) -> bool:
        async with asyncio.timeout(SECONDS):
            async for post in read(
                self._workspace.api, said.channel, said.thread, said.thread, SECONDS
            ):
                if key_of(post).startswith(f"{turn}:"):
                    return True
        return False

    def _keep(self, root: str, belongs: bool) -> None:
        self._known[root] = belongs
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
