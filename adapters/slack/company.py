"""Who is in a thread: Ponte answers unmentioned only while one person talks with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from adapters.slack.api import Json
from adapters.slack.events import Said
from adapters.slack.lookup import read
from adapters.slack.refusals import InDoubt, SlackRefused
from adapters.slack.workspace import Workspace
from core.bounded import Bounded
from core.errors import PlatformBusy
from core.messages import Address
from core.ports import ThreadMap

NOTICE = "ponte_notice"
"""The event type in the metadata of our word that we wait to be mentioned from now on."""
SECONDS = 1.0
"""How long an event may wait for what Slack says of its thread, where nothing else tells whether it
is for us: after a restart, for the first reply in it."""
_FAILURES = (SlackRefused, InDoubt, PlatformBusy, TimeoutError)


@dataclass(slots=True)
class Circle:
    """The people who wrote in one thread, by their ids, and whether they were told."""

    people: set[str] = field(default_factory=set)
    told: bool = False

    @property
    def company(self) -> bool:
        return len(self.people) > 1


class Company:
    """Kept in memory and read again from Slack: nothing of what others say is stored. `join` is
    called with (channel, thread, person) when a second person joins."""

    def __init__(
        self, workspace: Workspace, threads: ThreadMap, join: Callable[[str, str, str], None]
    ) -> None:
        self._workspace = workspace
        self._threads = threads
        self._join = join
        self._circles: Bounded[str, Circle] = Bounded()

    async def follows(self, said: Said, conversation: str) -> bool:
        """Whether an unmentioned reply in a channel's thread is meant for us."""
        circle = self._circles.get(conversation) or await self._circle(said, conversation)
        if circle is None:
            return False
        self._enter(circle, said.channel, said.thread, said.user)
        return not circle.company

    def mentioned(self, said: Said, conversation: str) -> None:
        """Take note of who mentioned us; a thread that is not known is read when the turn starts,
        and then `learn`ed of."""
        if said.direct:
            return
        if not said.thread and conversation not in self._circles:
            self._circles[conversation] = Circle()
        if circle := self._circles.get(conversation):
            self._enter(circle, said.channel, said.thread or said.ts, said.user)

    def alone(self, conversation: str, user: str) -> bool:
        """Whether this person is known to be the only one in the thread."""
        circle = self._circles.get(conversation)
        return circle is not None and circle.people == {user}

    def learn(self, where: Address, user: str, posts: Sequence[Json]) -> None:
        """What stands in the thread before a message of `user`."""
        conversation = where.conversation
        known = self._circles.get(conversation)
        circle = known or self._seen(posts)
        if known is None and any(post.get("user") == self._workspace.user for post in posts):
            self._enter(circle, where.channel, where.thread, user)
        circle.people |= self._people(posts) | {user}
        self._circles[conversation] = circle

    async def _circle(self, said: Said, conversation: str) -> Circle | None:
        """None for a thread in which nobody talked with us."""
        record = await self._threads.get(conversation)
        if record is None:
            return None
        try:
            async with asyncio.timeout(SECONDS):
                api = self._workspace.api
                posts = [p async for p in read(api, said.channel, said.thread, "0", SECONDS)]
            circle = self._seen([post for post in posts if str(post["ts"]) < said.ts])
        except _FAILURES:
            circle = Circle({key.rpartition(":")[2] for key in record.participants})
        self._circles[conversation] = circle
        return circle

    def _enter(self, circle: Circle, channel: str, thread: str, user: str) -> None:
        """A second person in a thread that one had to themselves: say so, once."""
        alone = len(circle.people) == 1
        circle.people.add(user)
        if alone and circle.company and not circle.told:
            circle.told = True
            self._join(channel, thread, user)

    def _seen(self, posts: Sequence[Json]) -> Circle:
        told = any((p.get("metadata") or {}).get("event_type") == NOTICE for p in posts)
        return Circle(self._people(posts), told)

    def _people(self, posts: Sequence[Json]) -> set[str]:
        return {str(p["user"]) for p in posts if p.get("user") and not p.get("bot_id")}
