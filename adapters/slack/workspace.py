"""The workspace that the token belongs to, and what all replies in it share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from adapters.slack.client import (
    SLACK_PLACE_SECONDS,
    WAITING_REACTION,
    FeatureFlags,
    InDoubt,
    Pending,
    SlackApi,
    SlackRefused,
    identity,
)
from adapters.slack.people import SlackPeople
from adapters.slack.render import ANSWER_PART_BYTES, Json, LinkRules
from core.chat.presence import WaitingMarks
from core.domain.errors import PlatformBusy
from core.domain.messages import ReplyTo
from core.runtime.tasks import BackgroundTasks, BoundedDict


async def _nobody(to: ReplyTo, ts: str) -> None:
    return None


@dataclass(slots=True)
class Workspace:
    """The workspace that the token belongs to, and what all replies in it share. `team` and `user`
    are our own ids, "" until `identify` has asked for them."""

    api: SlackApi
    directory: SlackPeople
    links: LinkRules = field(default_factory=LinkRules)
    flags: FeatureFlags = field(default_factory=FeatureFlags)
    tasks: BackgroundTasks = field(default_factory=lambda: BackgroundTasks("slack"))
    team: str = ""
    user: str = ""
    scopes: frozenset[str] = frozenset()
    """What the token may do, as far as Slack tells; empty where it does not."""
    started: float = field(default_factory=time.time)
    part: int = ANSWER_PART_BYTES
    """Bytes of an answer's text in one post; less, once Slack was found to take less."""
    working: BoundedDict[str, str] = field(default_factory=BoundedDict)
    """The turn that a thread's session was last set to "processing" for."""
    titles: BoundedDict[str, str] = field(default_factory=BoundedDict)
    """What a session is called that a turn begins: the first words of its message."""
    stopped: Callable[[ReplyTo, str], Awaitable[None]] = _nobody
    """Told of a stream (its time stamp) that its reader stopped, where no event tells of it."""
    pending: Pending = field(init=False)
    marks: WaitingMarks = field(init=False)
    _told: Json = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.pending = Pending(self.api, self.tasks)
        self.marks = WaitingMarks(self.tasks, self.mark, self.unmark, BoundedDict())

    async def mark(self, place: str) -> None:
        """The message at CHANNEL:TS waits its turn."""
        await self._react("reactions.add", place, 2.0)

    async def unmark(self, place: str) -> None:
        await self._react("reactions.remove", place, SLACK_PLACE_SECONDS)

    async def _react(self, method: str, place: str, patience: float) -> None:
        if not self.flags.is_on("reactions"):
            return
        channel, _, ts = place.rpartition(":")
        try:
            await self.api.call(
                method, channel=channel, timestamp=ts, name=WAITING_REACTION, patience=patience
            )
            self.flags.note_success("reactions")
        except SlackRefused as refused:
            self.flags.note_refusal("reactions", refused.error)
        except (InDoubt, PlatformBusy):
            return

    async def identify(self) -> Json:
        """What auth.test says, asked once: turns that are taken up again may come before the
        adapter's start. Raises as `setup.identity`."""
        async with self._asking:
            if not self.user:
                self._told, self.scopes = await identity(self.api)
                self.directory.team = self._told["team_id"]
                self.team, self.user = self._told["team_id"], self._told["user_id"]
        return self._told
