"""Decides which messages are for Ponte, to which conversation they belong, and what is stored.

Ponte calls no method of Slack before a message is stored. The exception is a reply in a thread if
only Slack can tell that it is for Ponte (`ThreadParticipants`).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import structlog

from adapters.slack import events
from adapters.slack.client import history
from adapters.slack.errors import FAILURES
from adapters.slack.events import ParsedMessage, Payload
from adapters.slack.posts import fetch_post
from adapters.slack.presence import SlackSigns, Workspace
from adapters.slack.render import Json, find_mentions, mentioned_ids, to_readable
from core.base import text
from core.base.errors import NotFound, PostRemoved, SettingsError
from core.base.i18n import say
from core.base.tasks import BackgroundTasks, BoundedDict
from core.chat.file_downloads import FileDownloads
from core.chat.incoming import (
    MAX_EDITED_MESSAGE_AGE_SECONDS,
    WAITS_FOR_MENTION,
    Addressing,
    AddressingSettings,
    ConfiguredPlaces,
    Participants,
    is_for_ponte,
)
from core.chat.people import Conversations, People
from core.domain.messages import Address, Message, Person, Quote, turn_id
from core.journal.journal import Journal
from core.journal.thread_map import SqlThreadMap

log = structlog.get_logger("slack")
NOTICE_EVENT_TYPE = "ponte_notice"
"""The event type in the metadata of our notice that Ponte now waits for mentions."""
THREAD_SECONDS = 1.0
"""How long an event may wait while Ponte reads its thread from Slack: after a restart, for the
first reply in a thread, if nothing else tells that it is for us."""


class ThreadParticipants:
    """The people in threads of channels. In a thread, Ponte answers without a mention only while
    one person talks with it.

    The data is kept in memory and read again from Slack, so nothing that others write is stored.
    """

    def __init__(self, workspace: Workspace, threads: SqlThreadMap, tasks: BackgroundTasks) -> None:
        self._workspace = workspace
        self._threads = threads
        self._tasks = tasks
        self._participants: BoundedDict[str, Participants] = BoundedDict()
        """The people in threads where Ponte takes part, by conversation."""
        self._others: BoundedDict[str, bool] = BoundedDict()
        """For threads without a turn of ours: whether the first message addressed others."""

    async def find_addressing(
        self, message: ParsedMessage, where: Address, settings: AddressingSettings
    ) -> Addressing:
        """Return the facts that tell whether a message is for Ponte. Slack is asked about its
        thread only where that decides, because it waits for an acknowledgement."""
        mentioned = message.mentions(self._workspace.user)
        names_somebody = mentioned_ids(message.text) or events.GROUP_MENTION in message.text
        age = time.time() - float(message.ts)
        facts = Addressing(
            is_direct=message.direct,
            # Slack reports each edit that leaves our mention in a message as a new mention.
            is_late_edit=bool(message.edited) and age > MAX_EDITED_MESSAGE_AGE_SECONDS,
            mentions_us=mentioned,
            names_others=bool(names_somebody) and not mentioned,
        )
        if facts.is_direct or facts.is_late_edit or mentioned or not message.thread:
            return facts
        conversation = where.conversation
        if settings.answer_everything:
            # Messages to others are also those in a thread of others.
            if where.thread and not facts.names_others:
                is_others = await self._began_with_others(message, conversation)
                facts = replace(facts, is_thread_of_others=is_others)
        # With `strict_mention`, only mentions count. None: Ponte takes no part in the thread.
        elif not settings.strict_mention and (
            participants := await self._find_participants(message, conversation)
        ):
            # The author may be the second person, who joins with this message.
            people = {*participants.people, message.user}
            facts = replace(facts, is_our_thread=True, has_several_people=len(people) > 1)
        return facts

    def note(
        self, message: ParsedMessage, where: Address, facts: Addressing, *, everything: bool
    ) -> None:
        """Note who takes part in a thread. An unknown thread is read when the turn starts, which
        then calls `learn`. `everything`: Ponte answers everything there, so no notice is due. Else
        `_enter` posts the notice that Ponte waits for mentions, when a second person comes.
        `_participants` has the people of threads where Ponte takes part, `_others` whether a
        thread's first message addressed others."""
        conversation = where.conversation
        if facts.is_direct or facts.is_late_edit or not where.thread:
            return
        # A first message decides whom its thread addresses. A mention of us makes the thread ours.
        if everything and (facts.mentions_us or not message.thread):
            self._others[conversation] = facts.names_others
        # Ponte does not store this message. The next turn reads it in the thread, but would not for
        # a person who is known to be alone there.
        if everything and facts.names_others and message.thread:
            self._participants.pop(conversation, None)
        is_others = facts.names_others or facts.is_thread_of_others
        joins = facts.mentions_us or (everything and not is_others) or facts.is_our_thread
        if not joins:
            return
        # A message at the top level begins a thread with its author.
        if not message.thread:
            self._participants.setdefault(conversation, Participants([message.user]))
        elif participants := self._participants.get(conversation):
            if everything:
                participants.join(message.user)
            else:
                self._enter(participants, message.channel, message.thread, message.user)

    async def _began_with_others(self, message: ParsedMessage, conversation: str) -> bool:
        """Return whether the thread's first message addressed others; False if Slack does not
        answer in time. Where Ponte answers every message, it leaves out such threads. `_others`
        remembers the result, for threads without a turn of ours."""
        # A turn of ours in the thread means that somebody addressed us there.
        if conversation in self._participants or await self._threads.get(conversation) is not None:
            return False
        if conversation not in self._others:
            try:
                # Slack returns the root of the thread first, so one message is enough.
                async with asyncio.timeout(THREAD_SECONDS):
                    response = await self._workspace.api.call(
                        "conversations.replies",
                        channel=message.channel,
                        ts=message.thread,
                        limit=1,
                        patience=THREAD_SECONDS,
                    )
            except (*FAILURES, TimeoutError):
                return False
            root: Json = next(iter(response.get("messages", [])), {})
            names = mentioned_ids(str(root.get("text", "")))
            others = bool(names) and self._workspace.user not in names
            # A person addresses others; an alert of an app that names people does not.
            self._others[conversation] = others and not root.get("bot_id")
        return self._others[conversation]

    async def _find_participants(
        self, message: ParsedMessage, conversation: str
    ) -> Participants | None:
        """Return the people of a reply's thread; None if Ponte takes no part in it. Once there are
        several, Ponte answers only mentions. After a restart, they are read from Slack, and from
        the thread's record if Slack does not answer in time."""
        if known := self._participants.get(conversation):
            return known
        record = await self._threads.get(conversation)
        # Ponte has no conversation in this thread.
        if record is None:
            return None
        try:
            async with asyncio.timeout(THREAD_SECONDS):
                api = self._workspace.api
                # "0": from the beginning of the thread.
                posts = await history(api, message.channel, message.thread, "0", THREAD_SECONDS)
            # Only what comes before the reply: its author may be the one who joins now.
            participants = self._participants_in(
                [post for post in posts if str(post["ts"]) < message.ts]
            )
        except (*FAILURES, TimeoutError):
            # Those whose messages were for Ponte. Their keys end with the person's id.
            participants = Participants([key.rpartition(":")[2] for key in record.participants])
        self._participants[conversation] = participants
        return participants

    def is_alone(self, conversation: str, user: str) -> bool:
        participants = self._participants.get(conversation)
        return participants is not None and participants.people == [user]

    def learn(self, where: Address, user: str, posts: Sequence[Json], *, announce: bool) -> None:
        """Remember the people in a thread: `user`, who wrote to Ponte, and the authors of `posts`,
        which come before that message.

        `announce`: if `user` is the second person, post the notice that Ponte now waits for
        mentions.
        """
        conversation = where.conversation
        known = self._participants.get(conversation)
        participants = known or self._participants_in(posts)
        takes_part = any(post.get("user") == self._workspace.user for post in posts)
        # After a restart, the person who joins a thread of ours makes the notice due here; in a
        # known thread, `note` has posted it. Where we have not written yet, nobody expects an
        # answer without a mention.
        if known is None and takes_part and announce:
            self._enter(participants, where.channel, where.thread, user)
        participants.join(*self._list_authors(posts), user)
        self._participants[conversation] = participants

    def _enter(self, participants: Participants, channel: str, thread: str, user: str) -> None:
        alone = len(participants.people) == 1
        participants.join(user)
        if alone and participants.note_notice_due():
            self._tasks.start(self._announce_mentions_only(channel, thread, user))

    async def _announce_mentions_only(self, channel: str, thread: str, user: str) -> None:
        """Post the notice that Ponte now waits for mentions, in the language of the person who
        joined."""
        directory = self._workspace.directory
        # `locale` below answers from what this has read.
        await directory.profiles([user])
        with suppress(*FAILURES):
            await self._workspace.api.call(
                "chat.postMessage",
                channel=channel,
                thread_ts=thread,
                text=say(WAITS_FOR_MENTION, directory.locale(user)),
                # By the event type, Ponte finds the notice after a restart. Slack also demands a
                # payload, which Ponte does not read.
                metadata={"event_type": NOTICE_EVENT_TYPE, "event_payload": {"kind": "company"}},
                unfurl_links=False,
                unfurl_media=False,
            )

    def _participants_in(self, posts: Sequence[Json]) -> Participants:
        has_notice = any(
            (p.get("metadata") or {}).get("event_type") == NOTICE_EVENT_TYPE for p in posts
        )
        return Participants(list(dict.fromkeys(self._list_authors(posts))), has_notice)

    def _list_authors(self, posts: Sequence[Json]) -> list[str]:
        return [str(p["user"]) for p in posts if p.get("user") and not p.get("bot_id")]


@dataclass(frozen=True)
class SlackLocations:
    """Decides which conversation a message belongs to.

    Our answer to a top-level message of a direct message is posted in a thread under it, which
    belongs to the direct message's conversation. Ponte recognises it by a turn of its root in the
    journal. Other threads are separate conversations.
    """

    workspace: Workspace
    journal: Journal
    places: ConfiguredPlaces
    _roots: BoundedDict[str, bool] = field(default_factory=BoundedDict, init=False)
    """By the event key of a thread's root: whether it belongs to the direct message's own
    conversation."""

    def settings_of(self, channel: str) -> AddressingSettings:
        return self.places.channel(Address("slack", channel, self.workspace.team, is_shared=True))

    def is_flat(self, channel: str, event: Payload) -> bool:
        """Return whether the top level is one conversation, as in a direct message and in a channel
        with `threads = false`."""
        return events.is_direct(channel, event) or self.settings_of(channel).threads is False

    async def address_of(self, message: ParsedMessage, is_flat: bool) -> Address:
        """Return the address of a message's conversation: a thread of a channel, a whole channel, a
        direct message, or a separate thread in one. `is_flat`: the top level is one conversation,
        so a message there begins no thread."""
        # In the direct message's own conversation, not in a separate thread.
        in_dm = message.direct and not message.thread
        # A reply under the person's own message may belong to the direct message's conversation. A
        # thread under a post of ours is always separate.
        if message.direct and message.thread and message.parent != self.workspace.user:
            root = events.event_key(message.team, message.channel, message.thread)
            if root not in self._roots:
                # If the root had a turn, the thread holds its answer. `history_entry` raises
                # NotFound if there was none.
                with suppress(NotFound):
                    await self.journal.history_entry(turn_id(root))
                    in_dm = True
                self._roots[root] = in_dm
            in_dm = self._roots[root]
        thread = message.thread if is_flat else message.thread or message.ts
        return Address(
            "slack",
            message.channel,
            message.team,
            "" if in_dm else thread,
            is_shared=not message.direct,
        )

    def note_accepted(self, message: ParsedMessage) -> None:
        """An accepted top-level message: its thread will hold our answer."""
        if message.direct and not message.thread:
            self._roots[message.event_key] = True


OPEN_THERE = "[While writing this to you, the person has open: {what}]"
_TITLE = 80
"""Characters of a session's title. Slack allows 200
(docs.slack.dev/reference/methods/agents.sessions.setStatus)."""


ABSENCE_PAUSES_SECONDS = (0.5, 1.0, 0.0)
"""The pauses after each answer of Slack's history that lacks a message, before it counts as
deleted."""
_MESSAGE_KEY = re.compile(r"slack:\w+:(\w+):(\d+\.\d+)")
MAX_EARLY_EDITS = 1000


@dataclass(slots=True)
class SlackIntake:
    """Handles new messages, edits, deletions, and Slack's own Stop button."""

    workspace: Workspace
    signs: SlackSigns
    conversations: Conversations
    people: People
    participants: ThreadParticipants
    locations: SlackLocations
    downloads: FileDownloads
    _places: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False
    )
    """A lock for each conversation, so that its events are stored in order of arrival."""
    _stored_keys: BoundedDict[str, bool] = field(default_factory=BoundedDict, init=False)
    """Event keys that this process has stored. Slack sends a mention as two events."""
    _early_edits: BoundedDict[str, Message | None] = field(
        default_factory=lambda: BoundedDict(MAX_EARLY_EDITS), init=False
    )
    """The newest edit of each message that is not stored, by event key; None if it was deleted.
    Slack sends a message again up to five minutes later if the process was killed when it came
    first, and edits of it arrive before."""

    async def take(self, body: Payload) -> None:
        """Handle one event. Raises NotStored: the caller must then not acknowledge the event, so
        that Slack sends it again."""
        event, team, us = body.get("event") or {}, self.workspace.team, self.workspace.user
        # Slack also sends events about our own posts.
        if event.get("user") == us:
            return
        channel, inbox = str(event.get("channel", "")), self.conversations.inbox
        settings, bots = self.locations.settings_of(channel), self.workspace.bots
        is_flat = self.locations.is_flat(channel, event)
        match event.get("type"), event.get("subtype"):
            case "message", "message_changed":
                now, before = event.get("message") or {}, event.get("previous_message") or {}
                async with self._in_order(channel, now, is_flat):
                    if now.get("subtype") == "tombstone":  # a deleted message that had replies
                        await self._take_deletion(event, str(now.get("ts", "")))
                    # Slack also reports link previews as edits. They change no text.
                    elif now.get("text") != before.get("text") and now.get("edited"):
                        # The message inside the event does not name its channel.
                        place = {name: event.get(name) for name in ("channel", "channel_type")}
                        message = events.parse_message(team, body, {**now, **place}, bots)
                        if message and message.user != us:
                            where = await self.locations.address_of(message, is_flat)
                            changed = self._build_message(message, where)
                            await self._amend(message.event_key, changed)
            case "message", "message_deleted":
                async with self._in_order(channel, event.get("previous_message") or {}, is_flat):
                    await self._take_deletion(event, str(event.get("deleted_ts") or ""))
            case (("message" | "app_mention"), _):
                message = events.parse_message(team, body, event, bots)
                if message:
                    if message.direct:
                        self.workspace.direct_messages.add(channel)
                    async with self._in_order(channel, event, is_flat):
                        # Slack reports most mentions twice, as `message` and as `app_mention`. The
                        # second one may have files that the first one lacks.
                        has_extras = bool(message.files or message.shared)
                        if message.event_key in self._stored_keys and not has_extras:
                            return
                        where = await self.locations.address_of(message, is_flat)
                        facts = await self.participants.find_addressing(message, where, settings)
                        everything = bool(settings.answer_everything)
                        self.participants.note(message, where, facts, everything=everything)
                        # Messages that are not for Ponte are neither stored nor logged.
                        if is_for_ponte(facts, settings):
                            await self._accept(message, where, has_extras)
            case "agent_session_stopped", _:  # Slack's own Stop button was pressed
                thread = str(event.get("thread_ts") or "")
                user, at = str(event.get("user", "")), str(event.get("event_ts", ""))
                # The first message that was streaming. By it, this stop has the key of the one that
                # the stream itself reports, so that they count once.
                stream = str(next(iter(event.get("streaming_message_ts") or ()), at))
                direct = events.is_direct(channel, event)
                pressed = ParsedMessage(team, channel, at, user, "stop", thread, direct=direct)
                where = await self.locations.address_of(pressed, is_flat)
                author = Person("slack", user, events.author_home(team, body, event))
                await inbox.accept(events.stop_message(where, author, thread, at, stream))
                # The session stays "processing" until Ponte changes it
                # (reference/events/agent_session_stopped). A turn that runs does that itself.
                works = f"{channel}:{thread}" in self.signs.working
                if not works or not await inbox.running_turn(where.conversation):
                    self.signs.tasks.start(self.signs.end_session(where, thread))

    async def refresh(self, message: Message) -> Message:
        """Return a message as it is now, or as stored if Slack does not tell. Slack gives up
        sending edits and deletions after some minutes, so what waited for its turn may be outdated.
        Raises PostRemoved if it was deleted."""
        key = _MESSAGE_KEY.fullmatch(message.event_key)
        # A click or a form made it: nobody can edit or delete it.
        if key is None:
            return message
        channel, ts = key.groups()
        thread = events.Source.read(message.reply_to.source).thread
        try:
            await self.workspace.identify()
            for pause in ABSENCE_PAUSES_SECONDS:  # the last one is 0
                # A message that begins a thread is read as one at the top level (""), no reply.
                now = await fetch_post(self.workspace, channel, ts, thread if thread != ts else "")
                if now:
                    break
                # One such answer may be a fault of Slack: the message may be there.
                log.warning("Slack's history lacks a message", channel=channel, message=ts)
                await asyncio.sleep(pause)
        except (SettingsError, RuntimeError, *FAILURES):  # RuntimeError: Ponte stops
            return message
        if not now or now.get("subtype") == "tombstone":
            await self._amend(message.event_key, None)  # withdraws the stored message
            raise PostRemoved
        event = {**now, "channel": channel}  # the history does not name the channel
        # {}: no request surrounds a message of the history.
        current = events.parse_message(self.workspace.team, {}, event, self.workspace.bots)
        if current is None or not current.edited:
            return message
        changed = self._build_message(current, message.address)
        await self._amend(message.event_key, changed)  # stores the edit as well
        # An edit changes what the message says, and neither its author nor where it is answered.
        return replace(
            message, text=changed.text, attachments=changed.attachments, mentions=changed.mentions
        )

    def _in_order(self, channel: str, message: Payload, is_flat: bool) -> asyncio.Lock:
        """Return the lock of one conversation. It keeps messages in order, although some wait for
        Slack, and stores an edit after the message that it changes."""
        root = str(message.get("thread_ts") or message.get("ts") or "")
        place = channel if is_flat else f"{channel}:{root}"
        return self._places.setdefault(place, asyncio.Lock())

    async def _accept(self, message: ParsedMessage, where: Address, has_extras: bool) -> None:
        """Store a message once, start the download of its files, and mark it if it has to wait.
        `more`: it has files, or forwards messages."""
        # Slack may send a message again after its edits, which are then newer than this event.
        # None: it was deleted meanwhile.
        turn_message = self._early_edits.get(message.event_key, self._build_message(message, where))
        if turn_message is None:
            return
        receipt = await self.conversations.inbox.accept(turn_message)
        # Only after the commit, so that a second report of an unstored message is tried.
        self._stored_keys[turn_message.event_key] = True
        # This saves looking up that replies under a direct message belong to its conversation.
        self.locations.note_accepted(message)
        if not receipt.is_new and has_extras:
            # app_mention may have arrived first, and it may lack the files.
            await self.conversations.inbox.amend(turn_message.event_key, turn_message)
        if turn_message.attachments:
            self.downloads.begin(turn_message)
        # For the session (Slack's record of an assistant's work) that the turn starts.
        self.signs.titles[receipt.turn] = text.to_one_line(turn_message.text, _TITLE)
        if not receipt.is_new:
            return
        # A message gets a reaction if it waits for other turns, or until Slack describes its
        # author. Any other turn shows its own progress at once.
        if receipt.turns_ahead or not self.workspace.directory.is_known(message.user):
            place, inbox = f"{message.channel}:{message.ts}", self.conversations.inbox
            self.signs.marks.mark_stored(self.people.policy, inbox, turn_message, receipt, place)

    def _build_message(self, message: ParsedMessage, where: Address) -> Message:
        """Return the message as known without a call, because Slack waits for its acknowledgement.
        The turn looks up the rest."""
        profile = self.workspace.directory.cached_member(message.user)
        author = Person("slack", message.user, message.home, profile.name, message.robot)
        # What it forwards counts as what it replies to: a quick command may take it as its input.
        # The turn puts names in place of the authors' ids.
        context = [
            Quote(who, self.workspace.readable(words), is_replied_to=True)
            for who, words in message.shared
        ]
        if message.open_there:
            context.append(Quote("Slack", OPEN_THERE.format(what=message.open_there), is_note=True))
        names = self.workspace.known_names(message.text)
        us, key = self.workspace.user, message.event_key
        # Mentions of us at both ends are left out. Within the text our name tells the model who is
        # meant.
        words = to_readable(message.text, names | {us: "Ponte"}, us)
        # A reply in a direct message's thread is answered there, a top-level message in a new
        # thread under it.
        root = "" if where.is_shared else message.ts
        source = events.Source(message.ts, where.thread or message.thread or root)
        return Message(
            event_key=key,
            text=words,
            author=author,
            address=where,
            reply_to=events.reply_to(where, author, str(source), key),
            attachments=message.files,
            context=tuple(context),
            locale=profile.locale.replace("_", "-"),
            time_zone=profile.time_zone,
            # Of two edits, the one with the later time counts.
            sent_at=max(message.edited, float(message.ts)),
            mentions=find_mentions(message.text, names, us),
        )

    async def _take_deletion(self, event: Payload, ts: str) -> None:
        """Withdraw a message that a person deleted, or note that they deleted a post of the bot.
        `ts` is the deleted message's time stamp. Without it, no message of a person is withdrawn,
        because it is not known which."""
        channel = str(event.get("channel", ""))
        previous = event.get("previous_message") or {}
        if previous.get("user") == self.workspace.user:
            await self.conversations.withdraw_post(f"{channel}:{ts}")
        elif ts:
            key = events.event_key(self.workspace.team, channel, ts)
            await self._amend(key, None)

    async def _amend(self, key: str, message: Message | None) -> None:
        """Store an edit, or withdraw a deleted message (None). If no message with that key is
        stored, remember the newest edit: Slack may send the message only after it."""
        if await self.conversations.inbox.amend(key, message) == "unknown":
            last = self._early_edits.get(key, message)
            if message is None or (last is not None and last.sent_at <= message.sent_at):
                self._early_edits[key] = message
