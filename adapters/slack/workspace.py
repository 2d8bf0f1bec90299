"""The workspace that the token belongs to, and what all replies in it share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from adapters.slack.api import Json, SlackApi
from adapters.slack.check import identity
from adapters.slack.directory import Directory
from adapters.slack.latches import Latches
from adapters.slack.lengths import PART
from adapters.slack.markup import Links
from adapters.slack.pending import Pending
from adapters.slack.tasks import Tasks
from core.bounded import Bounded
from core.messages import ReplyTo


async def _nobody(to: ReplyTo, ts: str) -> None:
    return None


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
    started: float = field(default_factory=time.time)
    waiting: set[str] = field(default_factory=set)
    """Source messages that carry our sign that they wait their turn."""
    part: int = PART
    """Bytes of an answer's text in one post; less, once Slack was found to take less."""
    working: Bounded[str, str] = field(default_factory=Bounded)
    """The turn that a thread's session was last set to "processing" for."""
    titles: Bounded[str, str] = field(default_factory=Bounded)
    """What a session is called that a turn begins: the first words of its message."""
    stopped: Callable[[ReplyTo, str], Awaitable[None]] = _nobody
    """Told of a stream (its time stamp) that its reader stopped, where no event tells of it."""
    pending: Pending = field(init=False)
    _told: Json = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.pending = Pending(self.api, self.tasks)

    async def identify(self) -> Json:
        """What auth.test says, asked once: turns that are taken up again may come before the
        adapter's start. Raises as `check.identity`."""
        async with self._asking:
            if not self.user:
                self._told, _ = await identity(self.api)
                self.team, self.user = self._told["team_id"], self._told["user_id"]
        return self._told
