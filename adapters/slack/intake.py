"""Decides which messages are for Ponte, and stores them before Slack gets its acknowledgement.

Ponte calls no method of Slack before a message is stored. The exception is a reply in a thread if
only Slack can tell that it is for Ponte (`ThreadParticipants`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from adapters.slack.events import (
    ParsedMessage,
    Payload,
    author_home,
    event_key,
    is_direct,
    parse_message,
    stop_message,
    to_message,
)
from adapters.slack.presence import SlackSigns
from adapters.slack.render import find_mentions
from adapters.slack.threads import SlackLocations, ThreadParticipants
from adapters.slack.workspace import Workspace
from core.base import text
from core.base.tasks import BoundedDict
from core.chat.incoming import FileDownloads
from core.chat.people import People
from core.domain.messages import Address, Message, Person, Quote
from core.journal.conversations import Conversations

OPEN_THERE = "[While writing this to you, the person has open: {what}]"
_TITLE = 80
"""Characters of a session's title. Slack allows 200
(docs.slack.dev/reference/methods/agents.sessions.setStatus)."""


@dataclass(slots=True)
class SlackIntake:
    """Handles events about messages: new ones, edits, deletions, and Slack's own Stop button."""

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
    _stored: BoundedDict[str, bool] = field(default_factory=BoundedDict, init=False)

    async def take(self, body: Payload) -> None:
        """Handle one event. Raises NotStored; the caller must then not acknowledge the event, so
        that Slack sends it again."""
        event = body.get("event") or {}
        match event.get("type"), event.get("subtype"):
            case "message", "message_changed":
                async with self._in_order(event, event.get("message") or {}):
                    await self._take_edit(body, event)
            case "message", "message_deleted":
                async with self._in_order(event, event.get("previous_message") or {}):
                    await self._take_deletion(event, str(event.get("deleted_ts") or ""))
            case (("message" | "app_mention"), _):
                said = parse_message(self.workspace.team, body, event, self.workspace.bots)
                if said and said.user != self.workspace.user:
                    async with self._in_order(event, event):
                        where = await self.locations.address_of(said)
                        if await self._is_for_us(said, where):
                            await self._accept(said, where)
            case "agent_session_stopped", _:
                await self._take_stop(body, event)

    def _in_order(self, event: Payload, message: Payload) -> asyncio.Lock:
        """Return the lock of one conversation. It keeps messages in the order of their arrival,
        although some wait for Slack. An edit is stored after the message that it changes."""
        channel = str(event.get("channel", ""))
        root = str(message.get("thread_ts") or message.get("ts") or "")
        whole = is_direct(channel, event) or self.locations.is_whole(channel)
        place = channel if whole else f"{channel}:{root}"
        return self._places.setdefault(place, asyncio.Lock())

    async def _is_for_us(self, said: ParsedMessage, where: Address) -> bool:
        """Return whether a message is for Ponte. Other messages are neither stored nor logged."""
        if said.direct:
            return True
        settings, mentions = self.locations.settings_of(where), said.mentions(self.workspace.user)
        if settings.answer_everything:
            return await self.participants.is_ours(said, where, mentions)
        if mentions:
            self.participants.note_mention(said, where)
            return True
        if not said.thread or settings.strict_mention:
            return False
        return await self.participants.is_follow_up(said, where.conversation)

    async def _accept(self, said: ParsedMessage, where: Address) -> None:
        """Store a message once. Slack reports most mentions twice, as `message` and as
        `app_mention`."""
        more = bool(said.files or said.shared)
        if said.event_key in self._stored and not more:
            return
        message = self._message(said, where)
        receipt = await self.conversations.inbox.accept(message)
        # Only after the commit, so that a second report of a message that was not stored is tried.
        self._stored[said.event_key] = True
        self.locations.took(said)
        if not receipt.is_new and more:
            # app_mention may have arrived first, and it may lack the files.
            await self.conversations.inbox.amend(message.event_key, message)
        self.downloads.begin(message)
        self.signs.titles[receipt.turn] = text.to_one_line(message.text, _TITLE)
        if not receipt.is_new:
            return
        if receipt.turns_ahead or not self.workspace.directory.is_known(said.user):
            place, inbox = f"{said.channel}:{said.ts}", self.conversations.inbox
            self.signs.marks.mark_stored(self.people.policy, inbox, message, receipt, place)

    def _message(self, said: ParsedMessage, where: Address) -> Message:
        """Return the message with what is known without a call to Slack. The turn looks up the rest
        when it starts."""
        profile = self.workspace.directory.cached_member(said.user)
        author = Person("slack", said.user, said.home, profile.name, said.robot)
        context = [
            Quote(who, self.workspace.readable(words), is_replied_to=True)
            for who, words in said.shared
        ]
        if said.open_there:
            context.append(Quote("Slack", OPEN_THERE.format(what=said.open_there), is_note=True))
        names = self.workspace.known_names(said.text)
        return to_message(said, where, author, self.workspace.readable(said.text), tuple(context),
                          profile.locale, profile.time_zone,
                          find_mentions(said.text, names, self.workspace.user))  # fmt: skip

    async def _take_edit(self, body: Payload, event: Payload) -> None:
        """Apply a person's edit to a stored message whose turn has not started. Slack also reports
        link previews as edits; these are ignored."""
        now, before = event.get("message") or {}, event.get("previous_message") or {}
        if now.get("subtype") == "tombstone":  # a deleted message that had replies
            await self._take_deletion(event, str(now.get("ts", "")))
            return
        if now.get("text") == before.get("text") or not now.get("edited"):
            return
        told = {**now, "channel": event.get("channel"), "channel_type": event.get("channel_type")}
        said = parse_message(self.workspace.team, body, told, self.workspace.bots)
        if said is None or said.user == self.workspace.user:
            return
        await self.conversations.inbox.amend(
            said.event_key, self._message(said, await self.locations.address_of(said))
        )

    async def _take_deletion(self, event: Payload, ts: str) -> None:
        """Withdraw a message that a person deleted, or note that they deleted a post of the bot."""
        channel = str(event.get("channel", ""))
        previous = event.get("previous_message") or {}
        if previous.get("user") == self.workspace.user:
            await self.conversations.withdraw_post(f"{channel}:{ts}")
        elif ts:
            await self.conversations.inbox.amend(event_key(self.workspace.team, channel, ts), None)

    async def _take_stop(self, body: Payload, event: Payload) -> None:
        """Store a press of Slack's own Stop button as the message `stop` of that person.

        The session stays "processing" until Ponte changes it
        (reference/events/agent_session_stopped).
        """
        team, channel = self.workspace.team, str(event.get("channel", ""))
        thread, user = str(event.get("thread_ts") or ""), str(event.get("user", ""))
        at = str(event.get("event_ts", ""))
        stream = next(iter(event.get("streaming_message_ts") or ()), at)
        pressed = ParsedMessage(team, channel, at, user, "stop", thread,
                       direct=is_direct(channel, event))  # fmt: skip
        where = await self.locations.address_of(pressed)
        author = Person("slack", user, author_home(team, body, event))
        inbox = self.conversations.inbox
        await inbox.accept(stop_message(where, author, thread, at, str(stream)))
        works = f"{channel}:{thread}" in self.signs.working  # its turn sets the session itself
        if not works or not await inbox.running_turn(where.conversation):
            self.signs.tasks.start(self.signs.end_session(channel, thread))
