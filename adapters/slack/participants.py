"""Who takes part in a thread, and what stands around a message there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from adapters.slack import events
from adapters.slack.client import FAILURES, InDoubt, Json, SlackRefused
from adapters.slack.events import Said, Source
from adapters.slack.render import mentioned, readable
from adapters.slack.surface import history
from adapters.slack.workspace import Profile, Workspace
from core.errors import PlatformBusy, SettingsError
from core.i18n import nearest, say
from core.messages import Address, Attachment, Message, Quote
from core.ports import ThreadMap
from core.tasks import Bounded, together

NOTICE = "ponte_notice"
"""The event type in the metadata of our word that we wait to be mentioned from now on."""
PATIENCE = 1.0
"""Seconds that an event may wait for what Slack says of its thread, where nothing else tells
whether it is for us: after a restart, for the first reply in it."""
POINTED = 10.0
"""Seconds that a turn waits for what its message points at."""
QUOTES, QUOTED, ROOT = 30, 500, 4000
"""Earlier messages of a thread, characters of each, and of the one that is meant."""
FILES = 10
"""Files of earlier messages, the newest ones."""

HISTORY_UNREAD = "[what was said before in this thread could not be read]"
_UNREAD = "I could not read what was said before in this thread, so I answered without it."
_LIMITED = (
    "I could not read what was said before in this thread: Slack lets this app read history only "
    "once a minute. I answered without it."
)
_ONLY_TEXT = (
    "I could read only the text of that message, neither its files nor what was said before it."
)
_MORE_FILES = "I looked only at the newest {count} files of this thread."
_SOMEBODY = re.compile(r"(?<!\w)@([UW][A-Z0-9]{5,})\b")
"""A mention whose name was not known when it was stored."""
_ID = re.compile(r"[UW][A-Z0-9]{5,}")
"""A person's id."""


@dataclass(slots=True)
class Circle:
    """The people who wrote in one thread, by their ids, and whether they were told."""

    people: set[str] = field(default_factory=set)
    told: bool = False

    @property
    def company(self) -> bool:
        return len(self.people) > 1


@dataclass(frozen=True, slots=True)
class Pointed:
    """`posts` are the earlier messages, oldest first; `meant` is the time stamp of one of them."""

    posts: Sequence[Json] = ()
    meant: str = ""
    failure: str = ""
    """The English sentence for what could not be read, "" where all could."""


class Company:
    """Who is in a thread: Ponte answers unmentioned only while one person talks with it.

    Kept in memory and read again from Slack: nothing of what others say is stored. `join` is
    called with (channel, thread, person) when a second person joins.
    """

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
            async with asyncio.timeout(PATIENCE):
                api = self._workspace.api
                posts = [p async for p in history(api, said.channel, said.thread, "0", PATIENCE)]
            circle = self._seen([post for post in posts if str(post["ts"]) < said.ts])
        except (*FAILURES, TimeoutError):
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


class Around:
    """What is known around a message, looked up when its turn starts, all at once.

    Names, languages and zones are courtesies, hardly waited for. What a person points at (the
    thread's earlier messages, one that a shortcut was used on, their files) is waited for up to
    `POINTED`, and what could not be had is told in the answer.
    """

    def __init__(self, workspace: Workspace, company: Company) -> None:
        self._workspace = workspace
        self._company = company

    async def look_up(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        """The `LookUp` port."""
        with suppress(SettingsError, InDoubt, PlatformBusy):
            await self._workspace.identify()
        found, _ = await together(
            self._pointed_at(message) if pointed else _nothing(),
            self._workspace.directory.profiles(self._people(message)),
        )
        # Who wrote what was read is known only now; who takes part mostly was known before.
        written = {str(post.get("user") or "") for post in found.posts}
        texts = [events.words_of(post) for post in found.posts]
        ids = self._people(message) | written | {id for text in texts for id in mentioned(text)}
        people = await self._workspace.directory.profiles(ids - {"", self._workspace.user})
        return self._told(message, found, people)

    def _people(self, message: Message) -> set[str]:
        quoted = {quote.name for quote in message.context if _ID.fullmatch(quote.name)}
        return {message.author.id, *_SOMEBODY.findall(message.text), *quoted}

    async def _pointed_at(self, message: Message) -> Pointed:
        """The thread up to the message, where others may have said something there."""
        where, source = message.address, Source.read(message.reply_to.source)
        meant = next((quote.reference for quote in message.context if quote.reference), "")
        reply = where.shared and source.kind == "message" and where.thread != source.ts
        if not meant and not reply:
            return Pointed()
        if not meant and self._company.alone(where.conversation, message.author.id):
            return Pointed()
        channel, thread = where.channel, source.thread or meant
        try:
            async with asyncio.timeout(POINTED):
                api = self._workspace.api
                posts = [post async for post in history(api, channel, thread, "0", POINTED)]
        except PlatformBusy:
            return Pointed(meant=meant, failure=_LIMITED)
        except (SlackRefused, InDoubt, TimeoutError):
            return Pointed(meant=meant, failure=_ONLY_TEXT if meant else _UNREAD)
        before = [post for post in posts if str(post["ts"]) < source.ts or post["ts"] == meant]
        if reply:
            self._company.learn(where, message.author.id, before)
        return Pointed(before, meant)

    def _told(
        self, message: Message, found: Pointed, people: Mapping[str, Profile]
    ) -> tuple[Message, Sequence[str]]:
        author = people.get(message.author.id) or Profile(message.author.id)
        names = {id: profile.name for id, profile in people.items() if profile.name}
        names[self._workspace.user] = "Ponte"
        locale = message.locale or author.locale.replace("_", "-")
        kept = [replace(quote, name=names.get(quote.name, quote.name)) for quote in message.context]
        quotes, files = self._quotes(found, names)
        if found.meant and quotes:  # what was stored of it is told whole now
            kept = [quote for quote in kept if not quote.reference]
        missing = [found.failure] if found.failure else []
        if found.failure and not found.meant:
            quotes = [Quote("Slack", HISTORY_UNREAD, ours=True)]
        notes = [say(sentence, nearest(locale)) for sentence in missing]
        if len(files) > FILES:
            notes.append(say(_MORE_FILES, nearest(locale), count=FILES))
        told = replace(
            message,
            text=_SOMEBODY.sub(lambda f: "@" + names.get(f[1], f[1]), message.text),
            author=replace(message.author, name=author.name or message.author.name),
            context=(*quotes, *kept), locale=locale, time_zone=message.time_zone or author.zone,
            attachments=_joined(message.attachments, files[-FILES:]),
        )  # fmt: skip
        return told, notes

    def _quotes(
        self, found: Pointed, names: Mapping[str, str]
    ) -> tuple[list[Quote], list[Attachment]]:
        """What others said since our last answer and was not said to us, and their files."""
        posts, bot = found.posts, self._workspace.user
        ours = [n for n, post in enumerate(posts) if post.get("user") == bot]
        since = posts[ours[-1] + 1 :] if ours else posts
        unheard = [p for p in since if f"<@{bot}" not in str(p.get("text", ""))][-QUOTES:]
        if found.meant:
            unheard = [post for post in posts if post in unheard or post["ts"] == found.meant]
        files = [file for post in unheard for file in events.files(post)]
        for post in unheard:
            files += [file for _, _, one in events.forwarded(post) for file in events.files(one)]
        root = found.meant or str(posts[0]["ts"] if posts else "")
        return [self._quote(post, names, str(post["ts"]) == root) for post in unheard], files

    def _quote(self, post: Json, names: Mapping[str, str], meant: bool) -> Quote:
        """`meant`: the thread's root is what a reply in it replies to."""
        who = str(post.get("user") or "")
        name = names.get(who) or str(post.get("username") or who or "?")
        said = [events.words_of(post)]
        said += [f"[forwarded from {whose}] {words}" for whose, words, _ in events.forwarded(post)]
        said += [f"[file: {file.name}]" for file in events.files(post)]
        words = readable("\n".join(filter(None, said)), names, self._workspace.user)
        return Quote(name, words[: ROOT if meant else QUOTED], replied=meant)


async def _nothing() -> Pointed:
    return Pointed()


def _joined(own: Sequence[Attachment], others: Sequence[Attachment]) -> tuple[Attachment, ...]:
    """Each file once, by its id."""
    had = {attachment.reference.partition(" ")[0] for attachment in own}
    return (*own, *(one for one in others if one.reference.partition(" ")[0] not in had))
