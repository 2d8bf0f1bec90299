"""What belongs to those who take part: the threads that mentions get, people's roles, and what
was said before Ponte was called."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import discord
import structlog

from adapters.discord import events
from adapters.discord.client import IN_DOUBT, THREAD_EXISTS, attempt, code_of, history, own_id
from adapters.discord.events import Place
from adapters.discord.state import Company, Notes
from core.errors import PlatformBusy, PonteError, Undeliverable
from core.i18n import say
from core.messages import Attachment, Message, Person, Quote, ReplyTo
from core.policy import LONGEST_KEPT
from core.unread import LARGEST

log = structlog.get_logger("discord")

# resources/channel.mdx#start-thread-from-message-json-params: up to 100 characters; minutes after
# which it is archived, of four that there are.
LONGEST_NAME = 100
IDLE_MINUTES: Final = 1440
THREAD_DEADLINE = 8.0
"""Seconds for the thread to be made; then the channel has the answer."""

ROLES_DEADLINE = 1.5
"""Seconds for one server."""
MOST_SERVERS, MOST_PEOPLE = 10, 10_000
"""Servers that are asked for a person's roles; people whose roles are kept."""

CONTEXT_DEADLINE = 10.0
"""Seconds for the message pointed at, and for the thread."""
LOOKED_AT, QUOTES, MOST_FILES = 100, 30, 10
"""Messages of a thread that are looked at (one call gives so many:
resources/message.mdx#get-channel-messages-query-string-params), that are quoted, and their files
(as many as a message has)."""
QUOTED = 500
"""Characters of each, but of the message that the thread hangs under."""

WITHHELD = (
    "Discord does not show me what the message says that you replied to. To show me, choose "
    "*Apps → Ask Ponte* in that message's menu: its text and its files come along."
)
FILES_LOST = (
    "I could not get the files of the message that you asked about. Please choose "
    "*Apps → Ask Ponte* in its menu again."
)
NOT_READ = "I could not read what was said before in this thread, so I answered without it."
UNTOLD = "[Discord does not show what was said before in this thread. Apps → Ask Ponte shows one.]"
"""Told to the model, which says so where it matters."""

Found = tuple[Sequence[Quote], Sequence[Attachment], Sequence[str]]
"""What was read, its files, and sentences about what was not."""


class Threads:
    """The thread that a mention in a server's channel gets, where that is permitted."""

    def __init__(
        self, client: Callable[[], Awaitable[discord.Client]], notes: Notes, enabled: bool
    ) -> None:
        self._client = client
        self._notes = notes
        self._enabled = enabled
        self._opening: dict[int, asyncio.Task[bool]] = {}

    def wanted(self, message: discord.Message, place: Place) -> bool:
        """Whether this message, in a channel, begins a thread."""
        channel = message.channel
        if not self._enabled or place.thread or not isinstance(channel, discord.TextChannel):
            return False
        if self._notes.alias(place.channel, str(message.author.id)):
            return False
        may = channel.permissions_for(channel.guild.me)
        return may.create_public_threads and may.send_messages_in_threads

    def open(self, channel: int, message: int, name: str) -> asyncio.Task[bool]:
        """Make the thread, in a task that later callers share."""
        if message not in self._opening:
            task = asyncio.create_task(self._make(channel, message, name))
            self._opening[message] = task
            task.add_done_callback(lambda _: self._opening.pop(message, None))
        return self._opening[message]

    def standing(self, to: ReplyTo) -> int:
        """Where people look now: the thread if there is one already, else the channel."""
        thread = int(to.address.thread or 0)
        return thread if thread in self._notes.parents else int(to.address.channel)

    async def where(self, to: ReplyTo) -> int:
        """The channel to post the answer in: the thread, or its parent where it could not be."""
        address = to.address
        if not address.thread:
            return int(address.channel)
        thread, channel = int(address.thread), int(address.channel)
        if self._notes.is_alias(thread):
            return channel
        if thread in self._notes.parents:
            return thread
        made = await asyncio.shield(self.open(channel, thread, to.asker.name))
        if not made:
            await self._notes.set_alias(channel, to.asker.id, thread)
        return thread if made else channel

    async def _make(self, channel: int, message: int, name: str) -> bool:
        client = await self._client()
        title = re.sub(r"\s+", " ", name).strip()[:LONGEST_NAME] or "Ponte"
        try:
            # The SDK's own method wants the server in its cache, which fills after a restart.
            await attempt(
                lambda: client.http.start_thread_with_message(
                    channel, message, name=title, auto_archive_duration=IDLE_MINUTES
                ),
                deadline=THREAD_DEADLINE,
            )
        except (Undeliverable, PlatformBusy, *IN_DOUBT) as error:
            if code_of(error) != THREAD_EXISTS:
                log.info("no thread", message=message, why=str(error))
                return False
        self._notes.parents[message] = channel
        self._notes.changed()
        return True

    async def close(self) -> None:
        await asyncio.gather(*self._opening.values(), return_exceptions=True)


class Roles:
    """Those of a person on the servers where Ponte is: what PONTE_ALLOW may name."""

    def __init__(self, client: Callable[[], Awaitable[discord.Client]]) -> None:
        self._client = client
        self._kept: dict[tuple[int, int], tuple[float, frozenset[str]]] = {}

    def saw(self, user: discord.abc.User) -> None:
        """An event carries its author's roles, so that nothing needs to be asked."""
        if isinstance(user, discord.Member) and user.guild:
            # Every role but the server's own, which everybody has.
            self._keep(user.guild.id, user.id, (str(r.id) for r in user.roles[1:]))

    async def of(self, person: Person) -> frozenset[str]:
        """The ids of a person's roles; a server that does not answer in time adds none."""
        client = await self._client()
        guilds = sorted(client.guilds, key=lambda guild: guild.id)[:MOST_SERVERS]
        found = await asyncio.gather(*(self._on(guild, int(person.id)) for guild in guilds))
        return frozenset[str]().union(*found)

    async def _on(self, guild: discord.Guild, user: int) -> frozenset[str]:
        at, roles = self._kept.get((guild.id, user), (0.0, frozenset[str]()))
        if time.monotonic() - at < LONGEST_KEPT and at:
            return roles
        try:
            async with asyncio.timeout(ROLES_DEADLINE):
                member = await attempt(lambda: guild.fetch_member(user), repeat=False)
        except (PonteError, *IN_DOUBT):
            return self._keep(guild.id, user, ())
        return self._keep(guild.id, user, (str(role.id) for role in member.roles[1:]))

    def _keep(self, guild: int, user: int, roles: Iterable[str]) -> frozenset[str]:
        if len(self._kept) >= MOST_PEOPLE:
            self._kept.clear()
        kept = frozenset(roles)
        self._kept[guild, user] = (time.monotonic(), kept)
        return kept


class Context:
    """The port `LookUp`: reads what a message points at when its turn starts.

    `may_read`: whether the operator asked for the message content intent. Only with it Discord
    tells the text of others' messages, and the files with it
    (events/gateway.mdx#message-content-intent); what it withholds is said in the answer.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[discord.Client]],
        notes: Notes,
        may_read: bool,
        locale: str,
    ) -> None:
        self._client = client
        self._notes = notes
        self._may_read = may_read
        self._locale = locale

    async def __call__(self, message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        if not pointed:
            return message, ()
        (quotes, files, untold), (before, more, unread) = await asyncio.gather(
            self._quoted(message), self._before(message)
        )
        if any(quote.replied for quote in quotes):
            before = [replace(quote, replied=False) for quote in before]
        attached = (*message.attachments, *files)
        known = {_file_id(file) for file in attached}
        more = [file for file in more if _file_id(file) not in known]
        newest = more[-max(0, MOST_FILES - len(attached)) :] if len(attached) < MOST_FILES else ()
        whole = replace(message, context=(*before, *quotes), attachments=(*attached, *newest))
        return whole, [say(each, self._locale) for each in (*untold, *unread)]

    async def _quoted(self, message: Message) -> Found:
        """Each quote with what its event did not tell, where it can be had now."""
        known = {_file_id(file) for file in message.attachments}
        quotes: list[Quote] = []
        files: list[Attachment] = []
        untold: list[str] = []
        for quote in message.context:
            if not quote.reference:
                quotes.append(quote)
                continue
            told, attached = await self._fetched(quote)
            quotes += [told] if told.text else []
            files += [file for file in attached if _file_id(file) not in known]
            if quote.text and not attached:
                untold.append(FILES_LOST)
            elif not told.text and not (attached and self._may_read):
                untold.append(WITHHELD)
        return quotes, files, untold

    async def _fetched(self, quote: Quote) -> tuple[Quote, Sequence[Attachment]]:
        client = await self._client()
        me = own_id(client)
        channel, id = (int(part) for part in quote.reference.split("/"))
        place = client.get_partial_messageable(channel)
        try:
            async with asyncio.timeout(CONTEXT_DEADLINE):
                found = await attempt(lambda: place.fetch_message(id))
        except (PonteError, *IN_DOUBT) as error:
            log.info("quoted message not read", why=repr(error)[:200])
            return quote, ()
        if quote.text:
            return quote, events.files(found)
        return replace(events.quote(found, me), replied=quote.replied), events.files(found)

    async def _before(self, message: Message) -> Found:
        """What others said in its thread, not to us, since the conversation heard of it last."""
        address = message.address
        if not address.thread or not address.workspace or message.clicked:
            return (), (), ()
        thread, source = int(address.thread), int(message.reply_to.source)
        company = self._notes.company.get(thread)
        if company is None or thread == source:
            return (), (), ()
        since = company.hear(source)
        first = not since
        self._notes.changed()
        if company.people == [message.author.id] and not first:
            return (), (), ()
        if not self._may_read:
            return ([Quote("Discord", UNTOLD, ours=True)] if first else ()), (), ()
        try:
            async with asyncio.timeout(CONTEXT_DEADLINE):
                return await self._read(int(address.channel), thread, since, source, company)
        except (PonteError, *IN_DOUBT) as error:
            log.info("thread not read", why=repr(error)[:200])
            return (), (), (NOT_READ,)

    async def _read(
        self, channel: int, thread: int, since: int, source: int, company: Company
    ) -> Found:
        client = await self._client()
        me = own_id(client)
        place = client.get_partial_messageable(thread)
        newest = await history(place, before=discord.Object(source), limit=LOOKED_AT)
        said = [m for m in reversed(newest) if m.id > since]
        company.join(str(m.author.id) for m in said if events.is_speech(m))
        unheard = [m for m in said if events.is_told(m) and not events.is_known(m, me)][-QUOTES:]
        root = None if since else await self._root(client, channel, thread)
        quotes = [events.quote(m, me, QUOTED) for m in unheard if m.id != thread]
        kept = [f for m in ([root] if root else []) + unheard for f in events.files(m)]
        if root is not None and events.is_told(root):
            quotes.insert(0, replace(events.quote(root, me), replied=True))
        return quotes, [file for file in kept if file.size <= LARGEST], ()

    async def _root(
        self, client: discord.Client, channel: int, thread: int
    ) -> discord.Message | None:
        """The message that the thread was made from, in the channel above it, or in itself where
        it is a post in a forum; both have the thread's id (topics/threads.mdx)."""
        for place in (channel, thread):
            where = client.get_partial_messageable(place)
            try:
                return await attempt(lambda: where.fetch_message(thread))  # noqa: B023
            except PonteError:
                continue
        return None


def _file_id(attachment: Attachment) -> str:
    return attachment.reference.split(" ")[0].rpartition("/")[2]
