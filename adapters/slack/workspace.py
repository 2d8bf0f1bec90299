"""The workspace that the token belongs to, and what all replies in it share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from adapters.slack.api import Json, SlackApi
from adapters.slack.check import identity
from adapters.slack.directory import Directory
from adapters.slack.latches import Latches
from adapters.slack.markup import Links
from adapters.slack.tasks import Tasks


@dataclass(slots=True)
class Workspace:
    """`team` and `user` are our own ids, "" until `identify` has asked for them."""

    api: SlackApi
    directory: Directory
    links: Links = field(default_factory=Links)
    latches: Latches = field(default_factory=Latches)
    tasks: Tasks = field(default_factory=Tasks)
    team: str = ""
    user: str = ""
    waiting: set[str] = field(default_factory=set)
    """Source messages that carry our sign that they wait their turn."""
    _told: Json = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def identify(self) -> Json:
        """What auth.test says, asked once: turns that are taken up again may come before the
        adapter's start. Raises as `check.identity`."""
        async with self._asking:
            if not self.user:
                self._told, _ = await identity(self.api)
                self.team, self.user = self._told["team_id"], self._told["user_id"]
        return self._told
