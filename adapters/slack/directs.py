"""Threads in direct messages: most hold our answers, some are conversations of their own."""

from __future__ import annotations

from adapters.slack.events import Said, event_key
from adapters.slack.workspace import Workspace
from core.bounded import Bounded
from core.errors import NotFound
from core.messages import turn_id
from core.ports import Journal


class Directs:
    """Our answer to a top-level message stands in a thread under it, and that thread belongs to
    the direct message's conversation: where the journal knows a turn of the thread's root."""

    def __init__(self, workspace: Workspace, journal: Journal) -> None:
        self._workspace = workspace
        self._journal = journal
        self._known: Bounded[str, bool] = Bounded()

    def took(self, said: Said) -> None:
        """A top-level message was accepted: its thread will hold our answer."""
        if said.direct and not said.thread:
            self._known[said.event_key] = True

    async def belongs_to_dm(self, said: Said) -> bool:
        if not said.direct or not said.thread or said.parent == self._workspace.user:
            return not said.thread
        root = event_key(said.team, said.channel, said.thread)
        if root not in self._known:
            try:
                await self._journal.turn_of(turn_id(root))
                self._known[root] = True
            except NotFound:
                self._known[root] = False
        return self._known[root]
