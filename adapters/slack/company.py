"""Who is in a thread: Ponte answers unmentioned only while one person talks with it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.slack.api import Json
from adapters.slack.events import Said
from adapters.slack.lookup import read
from adapters.slack.markup import readable
from adapters.slack.refusals import InDoubt, SlackRefused
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy
from core.messages import Quote
from core.ports import ThreadMap

NOTICE = "ponte_notice"
"""The event type in the metadata of our word that we wait to be mentioned from now on."""
UNREAD = "[what was said before in this thread could not be read]"
SECONDS = 1.0
"""How long an event may wait for what Slack says of its thread."""
_MOST_THREADS = 10_000
_QUOTES, _QUOTED, _ROOT = 30, 500, 4000
_FAILURES = (SlackRefused, InDoubt, PlatformBusy, TimeoutError)


@dataclass(slots=True)
class Circle:
    """The people who wrote in one thread, by their ids, and whether they were told."""

    people: set[str] = field(default_factory=set)
    told: bool = False

    @property
    def company(self) -> bool:
        return len(self.people) > 1


@dataclass(frozen=True, slots=True)
class Heard:
    """What a mention brings with it: quotes from its thread. `limited`: Slack let us read none."""

    quotes: tuple[Quote, ...] = ()
    limited: bool = False


class Company:
    """Kept in memory and read again from Slack: nothing of what others say is stored."""

    def __init__(
        self, workspace: Workspace, threads: ThreadMap, join: Callable[[Said], None]
    ) -> None:
        self._workspace = workspace
        self._threads = threads
        self._join = join
        self._circles: OrderedDict[str, Circle] = OrderedDict()

    async def follows(self, said: Said, conversation: str) -> bool:
        """Whether an unmentioned reply in a channel's thread is meant for us."""
        circle = await self._circle(said, conversation)
        if circle is None:
            return False
        self._enter(circle, said)
        return not circle.company

    async def mentioned(self, said: Said, conversation: str) -> Heard:
        """Take note of who mentioned us; quote what the thread said since our last word."""
        if said.direct:
            return Heard()
        known = self._circles.get(conversation)
        if not said.thread or (known and known.people == {said.user}):
            self._enter(self._keep(conversation, known or Circle()), said)
            return Heard()
        limited = False
        try:
            posts = await self._read(said)
        except _FAILURES as failure:
            posts, limited = None, isinstance(failure, PlatformBusy)
        circle = known or self._keep(conversation, self._seen(posts or ()))
        if known or self._ours(posts or ()):
            self._enter(circle, said)
        circle.people |= self._people(posts or ()) | {said.user}
        if posts is None:
            return Heard((Quote("Slack", UNREAD),), limited)
        return Heard(await self._quotes(posts))

    async def _circle(self, said: Said, conversation: str) -> Circle | None:
        """None for a thread in which nobody talked with us."""
        known = self._circles.get(conversation)
        if known is not None:
            return known
        record = await self._threads.get(conversation)
        if record is None:
            return None
        try:
            circle = self._seen(await self._read(said))
        except _FAILURES:
            circle = Circle({key.rpartition(":")[2] for key in record.participants})
        return self._keep(conversation, circle)

    def _enter(self, circle: Circle, said: Said) -> None:
        """A second person in a thread that one had to themselves: say so, once."""
        alone = len(circle.people) == 1
        circle.people.add(said.user)
        if alone and circle.company and not circle.told:
            circle.told = True
            self._join(said)

    def _keep(self, conversation: str, circle: Circle) -> Circle:
        self._circles[conversation] = circle
        self._circles.move_to_end(conversation)
        if len(self._circles) > _MOST_THREADS:
            self._circles.popitem(last=False)
        return circle

    async def _read(self, said: Said) -> Sequence[Json]:
        """The thread up to this message. Raises what `SlackApi.call` raises, or TimeoutError."""
        async with asyncio.timeout(SECONDS):
            api = self._workspace.api
            posts = [post async for post in read(api, said.channel, said.thread, "0", SECONDS)]
        return [post for post in posts if str(post["ts"]) < said.ts]

    def _seen(self, posts: Sequence[Json]) -> Circle:
        told = any((p.get("metadata") or {}).get("event_type") == NOTICE for p in posts)
        return Circle(self._people(posts), told)

    def _ours(self, posts: Sequence[Json]) -> Sequence[int]:
        """Where our own posts stand."""
        return [n for n, post in enumerate(posts) if post.get("user") == self._workspace.user]

    def _people(self, posts: Sequence[Json]) -> set[str]:
        return {str(p["user"]) for p in posts if p.get("user") and not p.get("bot_id")}

    async def _quotes(self, posts: Sequence[Json]) -> tuple[Quote, ...]:
        """What others said since our last answer and was not said to us."""
        ours = self._ours(posts)
        since = posts[ours[-1] + 1 :] if ours else posts
        mention = f"<@{self._workspace.user}"
        unheard = [p for p in since if mention not in str(p.get("text", ""))][-_QUOTES:]
        names = await self._workspace.directory.names(str(p.get("user", "")) for p in unheard)
        return tuple(self._quote(post, names, post is posts[0]) for post in unheard)

    def _quote(self, post: Json, names: Mapping[str, str], root: bool) -> Quote:
        """The thread's root is what a reply in it replies to."""
        name = names.get(
            str(post.get("user")), str(post.get("username") or post.get("user") or "?")
        )
        words = readable(str(post.get("text", "")), names, self._workspace.user)
        return Quote(name, words[: _ROOT if root else _QUOTED], replied=root)
