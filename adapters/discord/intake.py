"""Decides which messages are for Ponte, stores them, and reads missed messages back; and the
threads in which it answers.

A message that is not for Ponte is neither stored nor logged. After a RESUME, Discord replays the
missed events. A new session (after a restart, or an invalid session) replays nothing, so known
channels are read back then. A message that arrives twice has one event key, so the inbox stores it
once.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import discord
import structlog

from adapters.discord import events
from adapters.discord.client import (
    IN_DOUBT,
    THREAD_EXISTS,
    attempt,
    code_of,
    history,
    own_id,
)
from adapters.discord.events import Location, Locations
from adapters.discord.people import Roles
from adapters.discord.presence import DiscordSigns
from adapters.discord.state import ThreadState
from core.base.errors import NotStored, PlatformBusy, PonteError, PostRemoved, Undeliverable
from core.base.i18n import plural, say
from core.base.tasks import BackgroundTasks
from core.chat.file_downloads import FileDownloads
from core.chat.incoming import (
    EVENT_FAILED,
    MAX_EDITED_MESSAGE_AGE_SECONDS,
    WAITS_FOR_MENTION,
    FailedEvents,
    is_for_ponte,
)
from core.chat.people import Conversations, People
from core.domain.messages import Message, ReplyTo, turn_id
from core.domain.records import AmendResult

log = structlog.get_logger("discord")

# resources/channel.mdx#start-thread-from-message-json-params: a name has up to 100 characters; a
# thread is archived after one of four numbers of minutes without a message.
MAX_THREAD_NAME_CHARACTERS = 100
ARCHIVE_AFTER_MINUTES: Final = 1440
"""Discord hides a thread after a day without messages."""
THREAD_CREATION_SECONDS = 8.0
"""After it, the answer is posted in the channel."""


@dataclass(slots=True)
class DiscordThreads:
    """Creates a thread for each mention in a server's channel, where that is enabled and permitted.
    A thread has the id of the message that it is created from."""

    client: Callable[[], Awaitable[discord.Client]]
    locations: Locations
    _opening: dict[int, asyncio.Task[bool]] = field(default_factory=dict, init=False)
    """The creation of a thread that is under way, by message."""

    def should_open(self, message: discord.Message, place: Location) -> bool:
        """Return whether a message in a channel gets a thread. It does not if the settings or
        permissions forbid it, or if one for this person could not be created there recently."""
        channel = message.channel
        # It is in a thread already, or a place without threads, such as a voice channel.
        if place.thread or not isinstance(channel, discord.TextChannel):
            return False
        if self.locations.settings_of(place).threads is False:  # None: not set, so threads are on
            return False
        # For a day after a failure, the person's messages here belong to the conversation of the
        # thread that was not created (an alias).
        if self.locations.state.find_alias(place.channel, str(message.author.id)):
            return False
        may = channel.permissions_for(channel.guild.me)
        return may.create_public_threads and may.send_messages_in_threads

    def open(self, channel: int, message: int, name: str) -> asyncio.Task[bool]:
        """Create the thread in a task, whose result is whether it exists. Calls for that message
        get the same task until it ends."""
        if message not in self._opening:
            task = asyncio.create_task(self._create_thread(channel, message, name))
            self._opening[message] = task
            task.add_done_callback(lambda _: self._opening.pop(message, None))
        return self._opening[message]

    async def answer_channel(self, to: ReplyTo) -> int:
        """Return the id of the channel to post the answer in, which belongs in a thread. A missing
        thread is created first; if that fails, the answer goes to its parent channel."""
        thread, channel = int(to.address.thread), int(to.address.channel)
        # An alias is the id of a thread that could not be created, by channel and person, with the
        # time of that.
        if any(alias == thread for alias, _ in self.locations.state.aliases.values()):
            return channel
        # The channels with a known parent are the threads that exist.
        if thread in self.locations.state.parents:
            return thread
        # A cancelled turn must not cancel the creation, for which other turns may wait. `to` lacks
        # the message's text, so the thread is named after the asker.
        thread_exists = await asyncio.shield(self.open(channel, thread, to.asker.name))
        if not thread_exists:
            await self.locations.state.set_alias(channel, to.asker.id, thread)
        return thread if thread_exists else channel

    async def _create_thread(self, channel: int, message: int, name: str) -> bool:
        """Return whether the thread exists now. If Discord refuses or does not answer, the caller
        answers in the channel."""
        client = await self.client()
        title = re.sub(r"\s+", " ", name).strip()[:MAX_THREAD_NAME_CHARACTERS] or "Ponte"
        try:
            # The SDK's own method needs the server in its cache, which is empty after a restart.
            await attempt(
                lambda: client.http.start_thread_with_message(
                    channel, message, name=title, auto_archive_duration=ARCHIVE_AFTER_MINUTES
                ),
                deadline=THREAD_CREATION_SECONDS,
            )
        except (Undeliverable, PlatformBusy, *IN_DOUBT) as error:
            # The message has its thread already, for example from an earlier try.
            if code_of(error) != THREAD_EXISTS:
                log.info("could not create a thread", message=message, error=str(error))
                return False
        # The thread has its message's id. `parents` has the channel of each thread that exists, and
        # is stored: answers go into the thread from now on, also after a restart.
        self.locations.state.parents[message] = channel
        self.locations.state.note_change()
        return True

    async def close(self) -> None:
        await asyncio.gather(*self._opening.values(), return_exceptions=True)


Work = Callable[[], Awaitable[object]]


class ChannelQueues:
    """Queues of work, such as new messages, one for each channel. Work of one channel runs in
    order; channels run side by side. `on_failure` gets an exception, and the work after it runs all
    the same."""

    def __init__(self, on_failure: Callable[[Exception], None]) -> None:
        self._on_failure = on_failure
        self._waiting: dict[int, deque[Work]] = {}
        """The work of each channel that has not begun. A channel without work has no queue."""
        self.tasks = BackgroundTasks("discord")

    def put(self, channel: int, work: Work) -> None:
        """Run `work` in a task, after all that was queued for this channel before."""
        queue = self._waiting.get(channel)
        if queue is not None:
            queue.append(work)
            return
        self._waiting[channel] = deque([work])
        self.tasks.start(self._run(channel))

    async def _run(self, channel: int) -> None:
        """Run the waiting work of one channel until there is none. `put` may add some meanwhile.
        Without a queue, `put` starts a new task."""
        queue = self._waiting[channel]
        try:
            while queue:
                try:
                    await queue.popleft()()
                except Exception as error:
                    self._on_failure(error)
        finally:
            del self._waiting[channel]


CHANNELS_READ_AT_ONCE = 4
MAX_MESSAGES_READ_BACK = 2000
"""How many messages are read back in one channel."""
IDLE_CHANNEL_SECONDS = 30 * 24 * 3600.0
"""A channel where nobody addressed Ponte for this time is not read back."""
MAX_NONCE_CHARACTERS = 25  # resources/message.mdx#create-message-jsonform-params
HINT_PERIOD_SECONDS = 24 * 3600.0
"""The pause before a hint is given again in the same channel."""
MENTION_NEEDED = (
    "I can't read messages here unless they mention me. Mention me, or reply to me with the "
    "mention turned on."
)
ROLE_MENTIONED = (
    "You mentioned my role, and Discord doesn't let me read that message. Mention the bot "
    "with the same name instead of the role."
)
MESSAGES_MISSED = (
    "I was offline and didn't answer {count} older message here. Send it again if you still "
    "need an answer.",
    "I was offline and didn't answer {count} older messages here. Send them again if you "
    "still need an answer.",
)


@dataclass(slots=True)
class DiscordIntake:
    """Stores in the inbox the messages that are addressed to Ponte. Edits and deletions change or
    withdraw what was stored."""

    conversations: Conversations
    people: People
    locations: Locations
    roles: Roles
    threads: DiscordThreads
    downloads: FileDownloads
    queues: ChannelQueues
    signs: DiscordSigns
    failures: FailedEvents
    notices: Notices = field(init=False)
    open: bool = field(default=True, init=False)
    """This is False once intake has stopped. Later messages are read back at the next start."""

    def __post_init__(self) -> None:
        self.notices = Notices(self.locations)

    def queue_message(self, message: discord.Message) -> None:
        """Queue a message, in the order of its channel."""

        async def take() -> None:
            """If a message that was meant for us fails, say so in the channel: the person would
            wait for an answer."""
            try:
                await self.on_message(message)
            except Exception as error:
                self.failures.note(error, "message")
                me = own_id(await self.threads.client())
                is_ours = not message.guild or events.mentions_us(message, me)
                if is_ours and not message.author.bot:
                    await self.notices.post_sentence(message, EVENT_FAILED, "failed")

        self.queues.put(message.channel.id, take)

    def queue_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        """Queue the edit behind the message itself."""
        self.queues.put(event.channel_id, lambda: self.on_edit(event.message))

    def queue_deletion(self, channel: int, messages: set[int]) -> None:
        """Queue the deletion behind the messages themselves."""
        self.queues.put(channel, lambda: self.on_delete(channel, messages))

    async def on_message(self, message: discord.Message) -> None:
        """Store a live or read-back message if it is addressed to Ponte, unless intake has
        stopped."""
        if not self.open:
            return
        client = await self.threads.client()
        me, state = own_id(client), self.locations.state
        location = await self.locations.of_message(client, message)
        is_ours = events.is_speech(message)
        # A direct message always is for Ponte, and its author has no roles.
        if is_ours and location.guild:
            is_ours = await self._take_part(message, location, me)
            if is_ours:
                await self.roles.note_roles(message.author)
        if is_ours:
            # Before the message is stored: a crash in between must not leave an unknown channel,
            # which is never read back.
            await state.note_channel(message.channel.id, message.id, location.guild)
            await self._store(message, location, me)
        # Only now: after a crash before this line, the message is read back.
        state.note_taken(message.channel.id, message.id)

    async def on_edit(self, message: discord.Message) -> None:
        """Store the new text of a message that is not answered yet, or a message that mentions us
        only now. A link preview that Discord adds is no edit: `edited_at` is None then. A stopped
        intake (not `open`) stores nothing."""
        if not self.open or message.edited_at is None or not events.is_speech(message):
            return
        client = await self.threads.client()
        # PostRemoved: the edit has withdrawn the message.
        with suppress(PostRemoved):
            _, result = await self._take_edit(client, message)
            age = time.time() - message.created_at.timestamp()
            is_recent = age < MAX_EDITED_MESSAGE_AGE_SECONDS
            # "unknown": no message with that key waits, so it was not for us before, or an edit
            # that removed our mention has withdrawn it. The inbox still has the key of a withdrawn
            # one, so it must be allowed again. An old message may have been answered, and its row
            # deleted since.
            if result == "unknown" and is_recent and events.mentions_us(message, own_id(client)):
                key = events.event_key(message.channel.id, message.id)
                await self.conversations.inbox.allow_again(key)
                await self.on_message(message)

    async def refresh(self, client: discord.Client, message: Message) -> Message:
        """Return a message as it is now, or as stored if Discord does not answer. A new session
        replays neither edits nor deletions, so what waited for its turn may be outdated. Raises
        PostRemoved if it was withdrawn."""
        key = events.MESSAGE_KEY.fullmatch(message.event_key)
        # Nobody can edit a command or a click.
        if key is None:
            return message
        guild = int(message.address.workspace or 0) or None
        channel = client.get_partial_messageable(int(key[1]), guild_id=guild)
        try:
            current = await attempt(lambda: channel.fetch_message(int(key[2])))
            if current.edited_at is None:
                return message
            changed, _ = await self._take_edit(client, current)
        except PostRemoved:  # deleted, or without our mention
            await self.conversations.inbox.amend(message.event_key, None)  # None: withdraw it
            raise
        except (PonteError, RuntimeError, *IN_DOUBT) as error:  # RuntimeError: Ponte stops
            log.info("could not load a message again", error=repr(error)[:200])
            return message
        return replace(
            message, text=changed.text, attachments=changed.attachments, mentions=changed.mentions
        )

    async def _take_edit(
        self, client: discord.Client, message: discord.Message
    ) -> tuple[Message, AmendResult]:
        """Return the edited message and what the inbox did with it. Raises PostRemoved if the edit
        withdraws the message."""
        location = await self.locations.of_message(client, message)
        key = events.event_key(message.channel.id, message.id)
        if location.guild and events.is_withheld(message):
            # Discord withholds the content once our mention is edited out: no longer for us.
            await self.conversations.inbox.amend(key, None)
            # It shows that the message waits for its turn.
            self.signs.marks.clear(turn_id(key))
            raise PostRemoved
        changed = events.to_message(message, location, self.locations, own_id(client))
        return changed, await self.conversations.inbox.amend(key, changed)

    async def on_delete(self, channel: int, messages: set[int]) -> None:
        """Withdraw deleted messages of people and stop their turns. A message that the inbox does
        not know may be a post of ours."""
        for message in messages:
            key = events.event_key(channel, message)
            if await self.conversations.inbox.amend(key, None) != "unknown":
                self.signs.stop(turn_id(key))
            else:
                await self.conversations.withdraw_post(f"{channel}:{message}")

    async def _take_part(self, message: discord.Message, location: Location, me: int) -> bool:
        """Return whether a message is for Ponte. Note its author in the thread, and post a notice
        if several people write there now, or if Discord withholds what is meant for Ponte."""
        settings = self.locations.settings_of(location)
        facts = self.locations.find_addressing(message, location, me)
        is_ours = is_for_ponte(facts, settings)
        # Only the number of people in the thread tells whether it is meant for Ponte.
        by_people = facts.is_our_thread and not (
            facts.mentions_us
            or facts.answers_us
            or settings.strict_mention
            or settings.answer_everything
        )
        # A mention makes a thread ours.
        joins = is_ours and (facts.mentions_us or settings.answer_everything)
        if location.thread and (by_people or joins):
            state = self.locations.state.threads.setdefault(location.thread, ThreadState())
            has_joined = state.join(str(message.author.id))  # True for a new person
            # The second person makes the notice due. Where Discord withholds the text, mentions are
            # needed anyway: it would say nothing new.
            is_due = by_people and not facts.is_withheld and state.note_notice_due()
            if has_joined or is_due:
                self.locations.state.note_change()
            if is_due:  # "waits" names the kind of notice, for its nonce and the log
                await self.notices.post_sentence(message, WAITS_FOR_MENTION, "waits")
        # Outside servers, Discord withholds no text.
        if not (location.guild and facts.is_withheld):
            return is_ours
        # The message would be for Ponte if it could be read.
        is_meant = by_people or is_for_ponte(replace(facts, is_withheld=False), settings)
        hint = f"mention:{message.channel.id}"
        # A mention of our user is never withheld, so this is one of our role. The notice comes each
        # time: without it the person would get no answer at all.
        if facts.mentions_us:
            await self.notices.post_sentence(message, ROLE_MENTIONED, "role")
        elif is_meant and self.locations.state.is_first_notice(hint, HINT_PERIOD_SECONDS):
            await self.notices.post_sentence(message, MENTION_NEEDED, "mention")
        return False

    async def _store(self, message: discord.Message, location: Location, me: int) -> None:
        """Store a message. A new one gets an hourglass while it waits, and the creation of its
        thread and the download of its files begin. If it cannot be stored, tell the person."""
        begins = self.threads.should_open(message, location)
        # A thread has the id of the message from which it is created.
        thread = message.id if begins else 0
        core_message = events.to_message(message, location, self.locations, me, thread)
        try:
            receipt = await self.conversations.inbox.accept(core_message)
        except NotStored as error:
            log.error("could not store a message", channel=message.channel.id, error=str(error))
            # The words of `error` may tell only what is wrong with the database.
            await self.notices.post(message, NotStored().words(), "not-stored")
            return
        # Discord delivers an event again after a lost connection.
        if not receipt.is_new:
            return
        place, inbox = f"{message.channel.id}:{message.id}", self.conversations.inbox
        self.signs.marks.mark_stored(self.people.policy, inbox, core_message, receipt, place)
        if begins:
            participants, state = [str(message.author.id)], self.locations.state
            state.threads[message.id] = ThreadState(participants, last_message=message.id)
            # Messages of the thread, which has this id, are read after a pause of the connection.
            state.add_channel(message.id, message.id, location.guild)
            name = core_message.text or core_message.author.name
            self.threads.open(message.channel.id, message.id, name)
        if core_message.attachments:
            self.queues.tasks.start(self.downloads.fetch_all(core_message))
        log.debug(
            "message stored", turn=receipt.turn, delay_seconds=time.time() - core_message.sent_at
        )


@dataclass(slots=True)
class CatchUp:
    """Reads back the messages that arrived while this process had no gateway session.

    Messages that are older than `age` seconds are not answered; one message reports their number.
    """

    intake: DiscordIntake
    age: float
    gate: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(CHANNELS_READ_AT_ONCE), init=False
    )

    def start(self, client: discord.Client) -> None:
        """Queue the reading back of each known channel, before any live message of that channel."""
        fresh = time.time() - IDLE_CHANNEL_SECONDS
        channels = self.intake.locations.state.channels.items()
        recent = [(id, channel) for id, channel in channels if channel.updated_at > fresh]
        # Ids grow with time, so the channels with the newest messages come first.
        for id, channel in sorted(recent, key=lambda item: -item[1].last_message):
            last = channel.last_message  # live messages will change it
            work = functools.partial(self._read_back, client, id, channel.guild, last)
            self.intake.queues.put(id, work)

    async def _read_back(self, client: discord.Client, channel: int, guild: int, last: int) -> None:
        """Read the missed messages of a channel and answer the recent ones. A channel that Discord
        refuses for good is forgotten; after any other failure it is read in the next session."""
        if guild:  # Discord sends a server's names, roles and threads after the session begins
            await client.wait_until_ready()
        async with self.gate:
            cached = client.get_channel(channel) if guild else None
            # A cached channel knows its server and its parent. For one that is not there, as an
            # archived thread, its id is enough to read it.
            location: discord.abc.Messageable
            location = client.get_partial_messageable(channel, guild_id=guild or None)
            if isinstance(cached, discord.abc.Messageable):
                location = cached
            me, locations = own_id(client), self.intake.locations
            inbox = self.intake.conversations.inbox
            after, limit = discord.Object(last), MAX_MESSAGES_READ_BACK
            try:
                missed = await history(location, after=after, limit=limit, oldest_first=True)
            except Undeliverable as gone:
                log.info("no access to a channel any more", channel=channel, error=str(gone))
                locations.state.channels.pop(channel, None)
                return
            except (PlatformBusy, *IN_DOUBT) as error:
                log.warning(
                    "could not load missed messages of a channel",
                    channel=channel,
                    error=repr(error),
                )
                return
            skipped: list[discord.Message] = []
            oldest = datetime.now(UTC) - timedelta(seconds=self.age)
            for message in missed:
                if message.created_at >= oldest:
                    await self.intake.on_message(message)
                    continue
                # Too old to be answered, but counted if it was for Ponte.
                place = await locations.of_message(client, message)
                settings = locations.settings_of(place)
                facts = locations.find_addressing(message, place, me)
                if not events.is_speech(message) or not is_for_ponte(facts, settings):
                    continue
                # The inbox may have it: the last second of the remembered state may be lost.
                core_message = events.to_message(message, place, locations, me)
                if await inbox.amend(core_message.event_key, core_message) == "unknown":
                    skipped.append(message)
            if skipped:
                locations.state.note_taken(channel, skipped[-1].id)
                words = plural(*MESSAGES_MISSED, len(skipped), locations.language_of(skipped[-1]))
                await self.intake.notices.post(skipped[-1], words, "away")
            if missed:
                counts = {"messages": len(missed), "skipped_messages": len(skipped)}
                log.info("loaded messages missed while offline", channel=channel, **counts)


@dataclass(frozen=True, slots=True)
class Notices:
    """Posts short notices that nobody asked for, as replies. Each has a nonce, so that it appears
    once."""

    locations: Locations

    async def post_sentence(self, message: discord.Message, sentence: str, about: str) -> None:
        """Post a sentence as `post` does, in the language of the message's author."""
        await self.post(message, say(sentence, self.locations.language_of(message)), about)

    async def post(
        self, message: discord.Message | discord.PartialMessage, words: str, about: str
    ) -> None:
        """Post `words` as a reply to `message`: after a crash, a post without a reference could be
        taken for the answer to another message. A failure is only logged.

        `about`, the kind of notice, and the message's id make the nonce: for some minutes, Discord
        makes no second post with the same nonce.
        """
        nonce = hashlib.sha256(f"{about}:{message.id}".encode()).hexdigest()[:MAX_NONCE_CHARACTERS]
        reference = discord.MessageReference.from_message(message, fail_if_not_exists=False)
        try:
            await attempt(lambda: message.channel.send(words, nonce=nonce, reference=reference))
        # After an error of IN_DOUBT, nobody knows whether Discord has the post.
        except (PonteError, *IN_DOUBT) as error:
            log.info("could not post a notice", notice=about, error=str(error)[:200])
