"""What people write on Discord as the core's Message, live or read back: what is addressed to Ponte
is stored, all else neither stored nor logged.

A RESUME replays what was missed; a new session (a restart, an invalid one) does not, so known
channels are read back then. Messages that came twice have one key: the inbox tells them apart. What
a message points at is read when its turn starts (`Context`).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import structlog
from discord import MessageType

from adapters.discord.client import (
    IN_DOUBT,
    PLATFORM,
    ChannelQueues,
    Heard,
    Interaction,
    Location,
    Roles,
    State,
    attempt,
    history,
    own_id,
)
from adapters.discord.files import attached, file_name, files_of
from adapters.discord.surface import Threads, TypingSign
from core.chat import participants
from core.chat.files import LARGEST, Downloads
from core.chat.participants import Way, Ways, as_everywhere
from core.chat.presence import WaitingMarks, mark_while_unknown
from core.domain.errors import NotStored, PlatformBusy, PonteError, Undeliverable
from core.domain.messages import Address, Attachment, Message, Person, Quote, ReplyTo, turn_id
from core.ports.conversations import Inbox
from core.ports.rights import Policy
from core.text import text
from core.text.i18n import plural, say

LONGEST_QUOTE = 4000
SPEECH = (MessageType.default, MessageType.reply)
SAID = (*SPEECH, MessageType.chat_input_command, MessageType.context_menu_command)
"""The last two are what apps answer: resources/message.mdx#message-object-message-types."""

_COMMAND = re.compile(r"[/!]?quick-command\s", re.IGNORECASE)
_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_CHANNEL = re.compile(r"<#(\d+)>")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")

log = structlog.get_logger("discord")

AT_ONCE = 4
"""Channels that are read back side by side."""
MOST_MESSAGES = 2000
"""Messages read back in one channel."""
IDLE_FOR = 30 * 24 * 3600.0
"""Seconds after which a channel that nobody used counts as unknown."""

LOOKED_AT = 100
"""Messages of a thread that are looked at: one call gives so many
(resources/message.mdx#get-channel-messages-query-string-params)."""

WITHHELD = (
    "Discord does not show me what the message says that you replied to. To show me, choose "
    "*Apps → Ask Ponte* in that message's menu: its text and its files come along."
)
FILES_LOST = (
    "I could not get the files of the message that you asked about. Please choose "
    "*Apps → Ask Ponte* in its menu again."
)
UNTOLD = "[Discord does not show what was said before in this thread. Apps → Ask Ponte shows one.]"
"""Told to the model, which says so where it matters."""

Found = tuple[Sequence[Quote], Sequence[Attachment], Sequence[str]]
"""What was read, its files, and sentences about what was not."""

LONGEST_NONCE = 25  # resources/message.mdx#create-message-jsonform-params
HINT_EVERY = 24 * 3600.0
"""Seconds until the same hint is given again in a channel."""

MENTION = (
    "I cannot read a message here that does not mention me. Please mention me in it, "
    "or reply to me with the mention on."
)
BY_ROLE = (
    "You mentioned my role, and Discord does not show me what such a message says. "
    "Please pick the bot of that name in the list, not the role."
)
SEVERAL = "There are several of you here now, so I wait to be mentioned."
AWAY = (
    "I was away, and left {count} older message here unanswered. "
    "Please send again what still matters.",
    "I was away, and left {count} older messages here unanswered. "
    "Please send again what still matters.",
)


class Locations:
    """Finds a message's or interaction's Place; asks Discord where the cache has no answer."""

    def __init__(self, state: State, locale: str = "en", ways: Ways = as_everywhere) -> None:
        self._state = state
        self._locale = locale
        self._ways = ways

    def language(self, message: discord.Message) -> str:
        return self._state.language(str(message.author.id), message.guild, self._locale)

    def heard(self, interaction: Interaction) -> str:
        """The language of who used it, also for what they write later."""
        self._state.speaks(interaction.user.id, str(interaction.locale))
        return str(interaction.locale)

    async def of_message(self, client: discord.Client, message: discord.Message) -> Location:
        channel = message.channel
        guild = message.guild.id if message.guild else getattr(channel, "guild_id", None) or 0
        if not guild:
            return Location(channel.id)
        if isinstance(channel, discord.PartialMessageable):
            return await self._of_unknown(client, message, guild)
        return self._of_guild_channel(channel, guild)

    def of_interaction(self, interaction: Interaction) -> Location:
        channel = interaction.channel
        id = interaction.channel_id or 0
        if interaction.guild_id:
            return self._of_guild_channel(channel, interaction.guild_id, id)
        # Where the app is only installed for its user, a DM may be between two other people.
        alone = bool(interaction.context.dm_channel)
        return Location(id, shared=not alone and not isinstance(channel, discord.DMChannel))

    def way(self, location: Location) -> Way:
        """Of the channel; a thread has its channel's."""
        return self._ways(location.address())

    def aliased(self, location: Location, person: int) -> Address:
        """The Address of `person` there, in the thread that could not be made if there is one.
        Where a channel is to have no threads, it is everybody's."""
        if location.guild and not location.thread and self.way(location).threads is False:
            return location.address()
        alias = self._state.alias(location.channel, str(person)) if not location.thread else None
        return location.address(person, alias or 0)

    def _of_guild_channel(self, channel: object, guild: int, id: int = 0) -> Location:
        if isinstance(channel, discord.Thread):
            self._state.parents[channel.id] = channel.parent_id
            return Location(channel.parent_id, guild, channel.id, shared=True)
        known = getattr(channel, "id", id)
        parent = self._state.parents.get(known)
        if parent:
            return Location(parent, guild, known, shared=True)
        return Location(known, guild, shared=True)

    async def _of_unknown(
        self, client: discord.Client, message: discord.Message, guild: int
    ) -> Location:
        """A channel that the cache lacks: a thread that was archived when Ponte started."""
        id = message.channel.id
        if id not in self._state.parents:
            found = await attempt(lambda: client.fetch_channel(id))
            if isinstance(found, discord.Thread):
                self._state.parents[id] = found.parent_id
                self._state.changed()
            else:
                self._state.parents[id] = 0
        return self._of_guild_channel(message.channel, guild)


def person_of(user: discord.abc.User) -> Person:
    """A Discord account belongs to no server, so its key is the same everywhere."""
    return Person(platform=PLATFORM, id=str(user.id), name=user.display_name)


def event_key(channel: int, message: int) -> str:
    return f"discord:{channel}:{message}"


def is_speech(message: discord.Message) -> bool:
    """A person wrote it: no bot, webhook, or system message such as a pin or a new thread."""
    return not message.author.bot and message.webhook_id is None and message.type in SPEECH


def is_told(message: discord.Message) -> bool:
    """Whether somebody, bots and webhooks with their alerts among them, says something here that
    Discord shows us."""
    return message.type in SAID and not is_withheld(message)


def is_known(message: discord.Message, me: int) -> bool:
    """Whether the conversation has it already: what we said, and what was said to us."""
    return message.author.id == me or mentions_us(message, me)


def mentions_us(message: discord.Message, me: int) -> bool:
    """Whether it mentions us, by our id or by the role that is ours alone, or answers us with the
    mention on."""
    return any(user.id == me for user in message.mentions) or bool(own_roles(message, me))


def names_others(message: discord.Message, me: int) -> bool:
    """Whether it names people or roles, or answers a person with the mention on. An answer to an
    app's message, which is a mention too, need not be meant for that app."""
    written = {int(id) for id in _USER.findall(message.content)} - {me}
    people = any(user.id != me and not user.bot for user in message.mentions)
    return bool(written or people or {r.id for r in message.role_mentions} - own_roles(message, me))


def is_ours(message: discord.Message, me: int, way: Way) -> bool:
    """Whether it is for us whoever takes part there."""
    return mentions_us(message, me) or (
        bool(way.answer_everything) and not names_others(message, me)
    )


def own_roles(message: discord.Message, me: int) -> set[int]:
    """The mention picker offers a bot's managed role beside the bot, under the same name
    (topics/permissions.mdx#role-object-role-tags-structure)."""
    tagged = ((role.id, role.tags) for role in message.role_mentions)
    return {id for id, tags in tagged if tags is not None and tags.bot_id == me}


def is_withheld(message: discord.Message) -> bool:
    """Whether Discord tells that it was written, but nothing of it: no message is empty
    (events/gateway.mdx#message-content-intent)."""
    return not (message.content or message.attachments or message.stickers or message.embeds
                or message.message_snapshots or message.components or message.poll)  # fmt: skip


def answers_us(message: discord.Message, me: int) -> bool:
    """Whether it is a reply to a message of ours, mention or not."""
    replied = _replied(message)
    return replied is not None and replied.author.id == me


def to_message(
    message: discord.Message, location: Location, locations: Locations, me: int, thread: int = 0
) -> Message:
    """`thread` is the id of a thread that will be made from this message."""
    key = event_key(message.channel.id, message.id)
    address = (
        location.address("", thread) if thread else locations.aliased(location, message.author.id)
    )
    author = person_of(message.author)
    at = message.edited_at or message.created_at
    return Message(
        event_key=key,
        text=text_of(message, me),
        author=author,
        address=address,
        reply_to=ReplyTo(address, author, str(message.id), turn_id(key)),
        attachments=(*files_of(message), *_pointed(message, me)),
        context=quotes_of(message, me),
        locale=locations.language(message),
        sent_at=at.timestamp(),
    )


def from_interaction(
    interaction: Interaction,
    location: Location,
    locations: Locations,
    said: str,
    token: str,
    expires: float,
    *,
    source: str = "",
    asker: int = 0,
    clicked: bool = False,
    context: tuple[Quote, ...] = (),
    files: tuple[Attachment, ...] = (),
) -> Message:
    """The command or click as a Message; `asker` owns the conversation that a click is about."""
    key = f"discord:interaction:{interaction.id}"
    author = person_of(interaction.user)
    address = locations.aliased(location, asker or interaction.user.id)
    return Message(
        event_key=key,
        text=text.clean_text(said),
        author=author,
        address=address,
        reply_to=ReplyTo(
            address, author, source or str(interaction.id), turn_id(key), token, expires
        ),
        attachments=files,
        context=context,
        locale=locations.heard(interaction),
        sent_at=interaction.created_at.timestamp(),
        clicked=clicked,
    )


def text_of(message: discord.Message, me: int) -> str:
    """The text as a person reads it: without our mention, other mentions as names."""
    people = {user.id: user.display_name for user in message.mentions}
    roles = {role.id: f"@{role.name}" for role in message.role_mentions}
    roles |= dict.fromkeys(own_roles(message, me), "")
    channels = {channel.id: channel.name for channel in message.channel_mentions}

    def user(found: re.Match[str]) -> str:
        id = int(found[1])
        return "" if id == me else f"@{people[id]}" if id in people else found[0]

    content = _USER.sub(user, message.content)
    content = _ROLE.sub(lambda m: roles.get(int(m[1]), f"@{m[1]}"), content)
    content = _CHANNEL.sub(lambda m: f"#{channels.get(int(m[1]), m[1])}", content)
    content = _EMOJI.sub(r"\1", content)
    stickers = [f"[{sticker.name}]" for sticker in message.stickers]
    return text.clean_text("\n".join([content.strip(), *stickers]).strip())


def quotes_of(message: discord.Message, me: int) -> tuple[Quote, ...]:
    """What the message answers or forwards. Our own words the transcript has already, but a quick
    command may be run on them too. A `reference` is where nothing of it is told."""
    found: list[Quote] = []
    replied = _replied(message)
    if replied is None and message.type is MessageType.reply and message.reference:
        # "The backend did not attempt to fetch the message": resources/message.mdx#message-object.
        target = message.reference
        if not isinstance(target.resolved, discord.DeletedReferencedMessage):
            where = f"{target.channel_id}/{target.message_id}"
            found.append(Quote("somebody", "", replied=True, reference=where))
    elif replied is not None and (replied.author.id != me or _is_command(message, me)):
        quoted = replace(quote_of(replied, me), replied=True)
        told = quoted.text or not replied.guild or replied.type not in SAID
        if not told and replied.author.id != me:
            quoted = replace(quoted, reference=f"{replied.channel.id}/{replied.id}")
        found += [quoted] if quoted.text or quoted.reference else []
    if message.message_snapshots:
        found.append(Quote("a forwarded message", _forwarded(message)[:LONGEST_QUOTE]))
    return tuple(one for one in found if one.text or one.reference)


def quote_of(message: discord.Message, me: int, most: int = LONGEST_QUOTE) -> Quote:
    """What somebody said, forwarded or asked, also in an app's embeds and components."""
    told = [text_of(message, me), _forwarded(message), *map(_embedded, message.embeds)]
    told += [
        text.clean_text(words) for words in (*_displayed(message.components), _polled(message))
    ]
    words = "\n".join(filter(None, told))
    names = ", ".join(file_name(file) for file in attached(message))
    files = f"[with the files {names}]" if names and words else ""
    return Quote(
        text.clean_text(message.author.display_name),
        "\n".join(filter(None, [text.truncate_with_note(words, most), files])),
    )


class Intake:
    def __init__(
        self,
        inbox: Inbox,
        state: State,
        locations: Locations,
        roles: Roles,
        threads: Threads,
        fetch: Downloads,
        queues: ChannelQueues,
        notices: Notices,
        sign: TypingSign,
        marks: WaitingMarks,
        removed: Callable[[str], Awaitable[None]],
        policy: Policy,
    ) -> None:
        self._inbox = inbox
        self._policy = policy
        self._state = state
        self._locations = locations
        self._roles = roles
        self._threads = threads
        self._fetch = fetch
        self._queues = queues
        self._notices = notices
        self._sign = sign
        self._marks = marks
        self._removed = removed
        self.open = True
        """False once intake has stopped; what comes then is read back at the next start."""

    async def message(self, client: discord.Client, message: discord.Message) -> bool:
        """Take it in, live or read back. Returns whether it is addressed to Ponte."""
        if not self.open:
            return False
        me = own_id(client)
        location = await self._locations.of_message(client, message)
        guild = location.guild
        if not is_speech(message) or not await self._addressed(message, location, me):
            self._state.took(message.channel.id, message.id, guild, known_only=True)
            return False
        await self._roles.saw(message.author)
        await self._state.meets(message.channel.id, message.id, guild)
        await self._store(message, location, me)
        self._state.took(message.channel.id, message.id, guild)
        return True

    async def edited(self, client: discord.Client, message: discord.Message) -> None:
        """An edit before the answer counts; a preview that Discord adds is no edit."""
        if not self.open or message.edited_at is None or not is_speech(message):
            return
        me = own_id(client)
        location = await self._locations.of_message(client, message)
        key = event_key(message.channel.id, message.id)
        if location.guild and is_withheld(message):
            # Without our mention Discord tells no content: what it says now is not for us.
            await self._inbox.amend(key, None)
            return
        changed = to_message(message, location, self._locations, me)
        await self._inbox.amend(key, changed)

    async def deleted(self, channel: int, messages: set[int]) -> None:
        """Theirs are withdrawn and blanked; ours stay away, and their turn stops."""
        for message in messages:
            key = event_key(channel, message)
            if await self._inbox.amend(key, None) != "unknown":
                self._sign.stop(turn_id(key))
            else:
                await self._removed(f"{channel}:{message}")

    async def _addressed(self, message: discord.Message, location: Location, me: int) -> bool:
        if not location.guild:
            return True
        told, way = not is_withheld(message), self._locations.way(location)
        if is_ours(message, me, way):
            if told and location.thread:
                self._joined(message, location)
            elif not told and mentions_us(message, me):
                await self._notices.by_role(message)
            elif not told:
                await self._notices.mention_me(message)
            return told
        if way.answer_everything or way.strict_mention:
            return False
        if answers_us(message, me):
            if not told:
                await self._notices.mention_me(message)
            return told
        if not location.thread or not self._ours(message, location, me):
            return False
        return await self._followed_up(message, location, told)

    async def _followed_up(self, message: discord.Message, location: Location, told: bool) -> bool:
        """In a thread of ours without a mention: only while one person talks with Ponte."""
        there = self._joined(message, location)
        if not told:
            await self._notices.mention_me(message)
            return False
        if there.to_be_told():
            self._state.changed()
            await self._notices.waits_now(message)
        return not there.several

    def _joined(self, message: discord.Message, location: Location) -> Heard:
        there = self._state.threads.setdefault(location.thread, Heard())
        if there.join(str(message.author.id)):
            self._state.changed()
        return there

    def _ours(self, message: discord.Message, location: Location, me: int) -> bool:
        """A thread that we made, or were mentioned in before."""
        channel = message.channel
        made = isinstance(channel, discord.Thread) and channel.owner_id == me
        return made or location.thread in self._state.threads

    async def _store(self, message: discord.Message, location: Location, me: int) -> None:
        begins = self._threads.wanted(message, location)
        thread = message.id if begins else 0
        said = to_message(message, location, self._locations, me, thread)
        try:
            receipt = await self._inbox.accept(said)
        except NotStored as error:
            log.error("not stored", channel=message.channel.id)
            await self._notices.say(message, error.words(), "not-stored")
            return
        if not receipt.is_new:
            return
        place = f"{message.channel.id}:{message.id}"
        if receipt.turns_ahead:
            self._marks.put(receipt.turn, place)
        else:
            self._queues.tasks.start(
                mark_while_unknown(self._marks, self._policy, self._inbox, said, receipt, place)
            )
        if begins:
            self._state.threads[message.id] = Heard([str(message.author.id)], heard=message.id)
            self._threads.open(message.channel.id, message.id, said.text or said.author.name)
        if said.attachments:
            self._queues.tasks.start(self._fetch.all_of(said))
        log.debug("accepted", turn=receipt.turn, after=time.time() - said.sent_at)


class Catchup:
    """Reads back what was said while no session was there to tell it.

    `age`: seconds; older messages are not answered, but told of.
    """

    def __init__(
        self,
        inbox: Inbox,
        state: State,
        locations: Locations,
        intake: Intake,
        queues: ChannelQueues,
        notices: Notices,
        age: float,
    ) -> None:
        self._inbox = inbox
        self._state = state
        self._locations = locations
        self._intake = intake
        self._queues = queues
        self._notices = notices
        self._age = age
        self._gate = asyncio.Semaphore(AT_ONCE)

    def start(self, client: discord.Client) -> None:
        """Put each channel's missed messages into its lane, before anything that comes live."""
        fresh = time.time() - IDLE_FOR
        known = [(c, seen) for c, seen in self._state.seen.items() if seen.at > fresh]
        for channel, seen in sorted(known, key=lambda item: -item[1].last):
            self._put(client, channel, seen.guild, seen.last)

    def _put(self, client: discord.Client, channel: int, guild: int, last: int) -> None:
        async def read_back() -> None:
            if guild:
                # Names, roles and threads of a server come with it, after the session began.
                await client.wait_until_ready()
            async with self._gate:
                await self._read_back(client, channel, guild, last)

        self._queues.put(channel, read_back)

    async def _read_back(self, client: discord.Client, channel: int, guild: int, last: int) -> None:
        try:
            missed = await self._history(client, channel, guild, last)
        except Undeliverable as gone:
            log.info("channel not read back", channel=channel, why=str(gone))
            self._state.seen.pop(channel, None)
            return
        except (PlatformBusy, *IN_DOUBT) as error:
            log.warning("channel not read back", channel=channel, why=repr(error))
            return
        skipped = await self._take(client, missed)
        if skipped:
            await self._notices.away(skipped[-1], len(skipped))
        if missed:
            log.info("read back", channel=channel, messages=len(missed), skipped=len(skipped))

    async def _history(
        self, client: discord.Client, channel: int, guild: int, last: int
    ) -> list[discord.Message]:
        found = client.get_channel(channel) if guild else None
        location = (
            found
            if isinstance(found, discord.abc.Messageable)
            else client.get_partial_messageable(channel, guild_id=guild or None)
        )
        after = discord.Object(last)
        return await history(location, after=after, limit=MOST_MESSAGES, oldest_first=True)

    async def _take(
        self, client: discord.Client, missed: list[discord.Message]
    ) -> list[discord.Message]:
        """Answer the young ones; returns the older ones that nobody will answer."""
        skipped: list[discord.Message] = []
        oldest = datetime.now(UTC) - timedelta(seconds=self._age)
        for message in missed:
            if message.created_at >= oldest:
                await self._intake.message(client, message)
            elif await self._is_unanswered(client, message):
                skipped.append(message)
        if skipped:
            self._state.took(skipped[-1].channel.id, skipped[-1].id)
        return skipped

    async def _is_unanswered(self, client: discord.Client, message: discord.Message) -> bool:
        """Addressed to Ponte, and not known to the inbox (the last second of notes may be lost)."""
        me = own_id(client)
        location = await self._locations.of_message(client, message)
        ours = not location.guild or is_ours(message, me, self._locations.way(location))
        if not is_speech(message) or not ours:
            return False
        said = to_message(message, location, self._locations, me)
        return await self._inbox.amend(said.event_key, said) == "unknown"


class Context:
    """The port `LookUp`: reads what a message points at when its turn starts.

    `may_read`: whether the operator asked for the message content intent. Only with it Discord
    tells the text of others' messages, and the files with it
    (events/gateway.mdx#message-content-intent); what it withholds is said in the answer.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[discord.Client]],
        state: State,
        may_read: bool,
    ) -> None:
        self._client = client
        self._state = state
        self._may_read = may_read

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
        newest = (
            more[-max(0, participants.FILES - len(attached)) :]
            if len(attached) < participants.FILES
            else ()
        )
        whole = replace(message, context=(*before, *quotes), attachments=(*attached, *newest))
        return whole, [say(each, message.locale) for each in (*untold, *unread)]

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
        location = client.get_partial_messageable(channel)
        try:
            async with asyncio.timeout(participants.PATIENCE):
                found = await attempt(lambda: location.fetch_message(id))
        except (PonteError, *IN_DOUBT) as error:
            log.info("quoted message not read", why=repr(error)[:200])
            return quote, ()
        if quote.text:
            return quote, files_of(found)
        return replace(quote_of(found, me), replied=quote.replied), files_of(found)

    async def _before(self, message: Message) -> Found:
        """What others said in its thread, not to us, since the conversation heard of it last."""
        address = message.address
        if not address.thread or not address.workspace or message.clicked:
            return (), (), ()
        thread, source = int(address.thread), int(message.reply_to.source)
        there = self._state.threads.get(thread)
        if there is None or thread == source:
            return (), (), ()
        since = there.hear(source)
        first = not since
        self._state.changed()
        if there.people == [message.author.id] and not first:
            return (), (), ()
        if not self._may_read:
            return ([Quote("Discord", UNTOLD, ours=True)] if first else ()), (), ()
        try:
            async with asyncio.timeout(participants.PATIENCE):
                return await self._read(int(address.channel), thread, since, source, there)
        except (PonteError, *IN_DOUBT) as error:
            log.info("thread not read", why=repr(error)[:200])
            return (), (), (participants.UNREAD,)

    async def _read(
        self, channel: int, thread: int, since: int, source: int, there: Heard
    ) -> Found:
        client = await self._client()
        me = own_id(client)
        location = client.get_partial_messageable(thread)
        newest = await history(location, before=discord.Object(source), limit=LOOKED_AT)
        said = [m for m in reversed(newest) if m.id > since]
        there.join(*(str(m.author.id) for m in said if is_speech(m)))
        unheard = [m for m in said if is_told(m) and not is_known(m, me)][-participants.QUOTES :]
        root = None if since else await self._root(client, channel, thread)
        quotes = [quote_of(m, me, participants.QUOTED) for m in unheard if m.id != thread]
        kept = [f for m in ([root] if root else []) + unheard for f in files_of(m)]
        if root is not None and is_told(root):
            quotes.insert(0, replace(quote_of(root, me), replied=True))
        return quotes, [file for file in kept if file.size <= LARGEST], ()

    async def _root(
        self, client: discord.Client, channel: int, thread: int
    ) -> discord.Message | None:
        """The message that the thread was made from, in the channel above it, or in itself where
        it is a post in a forum; both have the thread's id (topics/threads.mdx)."""
        for location in (channel, thread):
            where = client.get_partial_messageable(location)
            try:
                return await attempt(lambda: where.fetch_message(thread))  # noqa: B023
            except PonteError:
                continue
        return None


class Notices:
    """What Ponte says without having been asked: each once, as a reply."""

    def __init__(self, state: State, locations: Locations) -> None:
        self._state = state
        self._language = locations.language

    async def mention_me(self, message: discord.Message) -> None:
        """Once a day in a channel: who wrote meant Ponte, but Discord did not tell what."""
        if self._state.first_notice(f"mention:{message.channel.id}", HINT_EVERY):
            await self.say(message, say(MENTION, self._language(message)), "mention")

    async def by_role(self, message: discord.Message) -> None:
        """Who wrote meant us, each time: silence would be no answer."""
        await self.say(message, say(BY_ROLE, self._language(message)), "role")

    async def waits_now(self, message: discord.Message) -> None:
        await self.say(message, say(SEVERAL, self._language(message)), "waits")

    async def away(self, newest: discord.Message, count: int) -> None:
        await self.say(newest, plural(*AWAY, count, self._language(newest)), "away")

    async def say(self, message: discord.Message, words: str, about: str) -> None:
        """As a reply to `message`, so that it is never taken for an answer to another one."""
        nonce = hashlib.sha256(f"{about}:{message.id}".encode()).hexdigest()[:LONGEST_NONCE]
        reference = discord.MessageReference.from_message(message, fail_if_not_exists=False)
        try:
            await attempt(lambda: message.channel.send(words, nonce=nonce, reference=reference))
        except (PonteError, *IN_DOUBT) as error:
            log.info("hint not given", about=about, why=str(error)[:200])


def _forwarded(message: discord.Message) -> str:
    told = [s.content for s in message.message_snapshots]
    told += [_embedded(e) for s in message.message_snapshots for e in s.embeds]
    return text.clean_text("\n".join(filter(None, told)))


def _embedded(embed: discord.Embed) -> str:
    """What another app says in an embed; a link's preview is none."""
    if embed.type != "rich":
        return ""
    fields = [f"{field.name}: {field.value}" for field in embed.fields]
    return text.clean_text("\n".join(filter(None, [embed.title, embed.description, *fields])))


def _displayed(components: Iterable[Any]) -> Iterator[str]:
    """The texts of components, which may stand in place of content and embeds
    (components/reference.mdx#text-display)."""
    for component in components:
        if isinstance(component, discord.TextDisplay):
            yield component.content
        yield from _displayed(getattr(component, "children", ()))


def _polled(message: discord.Message) -> str:
    if message.poll is None:
        return ""
    return f"{message.poll.question}: " + " / ".join(a.text for a in message.poll.answers)


def _replied(message: discord.Message) -> discord.Message | None:
    """The message that this one replies to, where its event tells it."""
    resolved = message.reference.resolved if message.reference else None
    return resolved if isinstance(resolved, discord.Message) else None


def _is_command(message: discord.Message, me: int) -> bool:
    return bool(_COMMAND.match(text_of(message, me)))


def _pointed(message: discord.Message, me: int) -> tuple[Attachment, ...]:
    """The files of what it replies to: all that others sent; of ours the pictures, since a text
    that we attached is an answer that the transcript has. A quick command takes words first."""
    replied = _replied(message)
    if replied is None or (_is_command(message, me) and quote_of(replied, me).text):
        return ()
    ours = replied.author.id == me
    return tuple(f for f in files_of(replied) if not ours or f.type.startswith("image/"))


def _file_id(attachment: Attachment) -> str:
    return attachment.reference.split(" ")[0].rpartition("/")[2]
