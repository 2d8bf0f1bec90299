"""Decides which messages are for Ponte, and stores them before Slack gets its acknowledgement.

Ponte calls no method of Slack before a message is stored. The exception is a reply in a thread if
only Slack can tell that it is for Ponte (`ThreadParticipants`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from adapters.slack.client import FAILURES
from adapters.slack.events import (
    ParsedMessage,
    Payload,
    Source,
    address_of,
    author_home,
    event_key,
    is_direct,
    parse_message,
    reply_to,
    to_message,
)
from adapters.slack.render import find_mentions, mentioned_ids, readable
from adapters.slack.threads import NOTICE_EVENT_TYPE, DirectThreads, ThreadParticipants
from adapters.slack.workspace import Workspace
from core.chat.files import FileDownloads
from core.chat.participants import FindAddressingSettings, find_no_settings
from core.chat.presence import mark_while_unknown
from core.domain.errors import NotStored
from core.domain.messages import Address, Message, Person, Quote, ReplyTo
from core.ports.conversations import Inbox
from core.rights.policy import Policy
from core.runtime.tasks import BoundedDict
from core.text import text
from core.text.i18n import say

SLACK_WAITS_FOR_MENTION = "Several people are here now, so I only answer when you mention me."
OPEN_THERE = "[While writing this to you, the person has open: {what}]"
_TITLE = 80
"""Characters of a session's title. Slack allows 200
(docs.slack.dev/reference/methods/agents.sessions.setStatus)."""


@dataclass(frozen=True, slots=True)
class SlackOptions:
    """Settings of the operator for Slack.

    - `find_settings` returns the settings of a channel.
    - `bots` are the ids (B…) of other bots that may talk with Ponte.
    - `everything` returns the places in which every message is for Ponte, as ponte.toml names them.
    """

    find_settings: FindAddressingSettings = find_no_settings
    bots: frozenset[str] = frozenset()
    everything: Callable[[], Sequence[str]] = tuple

    def is_whole(self, team: str, channel: str) -> bool:
        """Return whether a channel's top level is one single conversation (`threads = false`)."""
        where = Address("slack", channel, team, is_shared=True)
        return not is_direct(channel, {}) and self.find_settings(where).threads is False


@dataclass(slots=True)
class SlackIntake:
    """Handles events about messages: new ones, edits, deletions, and Slack's own Stop button.

    `removed` receives the id of a bot's post that a person deleted.
    """

    workspace: Workspace
    inbox: Inbox
    participants: ThreadParticipants
    direct_threads: DirectThreads
    downloads: FileDownloads
    options: SlackOptions
    removed: Callable[[str], Awaitable[None]]
    policy: Policy
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
                said = parse_message(self.workspace.team, body, event, self.options.bots)
                if said and said.user != self.workspace.user:
                    async with self._in_order(event, event):
                        where = await self._where(said)
                        if await self._is_for_us(said, where):
                            await self._accept(said, where)
            case "agent_session_stopped", _:
                await self._take_stop(body, event)

    async def stop(self, to: ReplyTo, stream: str) -> None:
        """Store a `stop` because a person pressed Slack's own Stop button. Slack reported the press
        in its response to a call for the stream."""
        key = _stop_key(self.workspace.team, to.address.channel, stream or to.turn)
        thread, now = Source.read(to.source).thread, time.time()
        with suppress(NotStored):
            await self.inbox.accept(_stop(key, to.asker, to.address, thread, f"{now:.6f}"))

    def _in_order(self, event: Payload, message: Payload) -> asyncio.Lock:
        """Return the lock of one conversation. It keeps messages in the order of their arrival,
        although some wait for Slack. An edit is stored after the message that it changes."""
        channel = str(event.get("channel", ""))
        root = str(message.get("thread_ts") or message.get("ts") or "")
        whole = is_direct(channel, event) or self.options.is_whole(self.workspace.team, channel)
        place = channel if whole else f"{channel}:{root}"
        return self._places.setdefault(place, asyncio.Lock())

    async def _where(self, said: ParsedMessage) -> Address:
        """Return the address of the conversation that a message belongs to."""
        whole = self.options.is_whole(said.team, said.channel)
        return address_of(said, await self.direct_threads.belongs_to_dm(said), whole)

    async def _is_for_us(self, said: ParsedMessage, where: Address) -> bool:
        """Return whether a message is for Ponte. Other messages are neither stored nor logged."""
        if said.direct:
            return True
        settings, mentions = self.options.find_settings(where), said.mentions(self.workspace.user)
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
        receipt = await self.inbox.accept(message)
        # Only after the commit, so that a second report of a message that was not stored is tried.
        self._stored[said.event_key] = True
        self.direct_threads.took(said)
        if not receipt.is_new and more:
            # app_mention may have arrived first, and it may lack the files.
            await self.inbox.amend(message.event_key, message)
        self.downloads.begin(message)
        self.workspace.titles[receipt.turn] = text.to_one_line(message.text, _TITLE)
        if not receipt.is_new:
            return
        marks, place = self.workspace.marks, f"{said.channel}:{said.ts}"
        if receipt.turns_ahead:
            marks.put(receipt.turn, place)
        elif not self.workspace.directory.is_known(said.user):
            self.workspace.tasks.start(
                mark_while_unknown(marks, self.policy, self.inbox, message, receipt, place)
            )

    def _message(self, said: ParsedMessage, where: Address) -> Message:
        """Return the message with what is known without a call to Slack. The turn looks up the rest
        when it starts."""
        us = self.workspace.user
        profile = self.workspace.directory.cached_member(said.user)
        author = Person("slack", said.user, said.home, profile.name, said.robot)
        context = [
            Quote(who, self._readable(words), is_replied_to=True) for who, words in said.shared
        ]
        if said.open_there:
            context.append(Quote("Slack", OPEN_THERE.format(what=said.open_there), is_note=True))
        return to_message(said, where, author, self._readable(said.text), tuple(context),
                          profile.locale, profile.time_zone,
                          find_mentions(said.text, self._names(said.text), us))  # fmt: skip

    def _readable(self, words: str) -> str:
        us = self.workspace.user
        return readable(words, self._names(words) | {us: "Ponte"}, us)

    def _names(self, words: str) -> dict[str, str]:
        """Return the known names of the people that a text from Slack mentions, by their ids."""
        known = self.workspace.directory.cached_member
        return {id: name for id in mentioned_ids(words) if (name := known(id).name)}

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
        said = parse_message(self.workspace.team, body, told, self.options.bots)
        if said is None or said.user == self.workspace.user:
            return
        await self.inbox.amend(said.event_key, self._message(said, await self._where(said)))

    async def _take_deletion(self, event: Payload, ts: str) -> None:
        """Withdraw a message that a person deleted. A deleted post of the bot is reported to
        `removed`."""
        channel = str(event.get("channel", ""))
        previous = event.get("previous_message") or {}
        if previous.get("user") == self.workspace.user:
            await self.removed(f"{channel}:{ts}")
        elif ts:
            await self.inbox.amend(event_key(self.workspace.team, channel, ts), None)

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
        where = await self._where(pressed)
        author = Person("slack", user, author_home(team, body, event))
        key = _stop_key(team, channel, str(stream))
        await self.inbox.accept(_stop(key, author, where, thread, at))
        works = f"{channel}:{thread}" in self.workspace.working  # its turn sets the session itself
        if not works or not await self.inbox.running_turn(where.conversation):
            self.workspace.tasks.start(self._quietly(
                "agents.sessions.setStatus", channel_id=channel, thread_ts=thread, status="active"
            ))  # fmt: skip

    def announce_mentions_only(self, channel: str, thread: str, user: str) -> None:
        """Announce in a thread that Ponte now answers only mentions, because a second person
        joined."""
        self.workspace.tasks.start(self._notice(channel, thread, user))

    async def _notice(self, channel: str, thread: str, user: str) -> None:
        """Post the notice that Ponte now waits for mentions, in the language of the person who
        joined."""
        directory = self.workspace.directory
        await directory.profiles([user])
        metadata = {"event_type": NOTICE_EVENT_TYPE, "event_payload": {"kind": "company"}}
        await self._quietly(
            "chat.postMessage", channel=channel, thread_ts=thread,
            text=say(SLACK_WAITS_FOR_MENTION, directory.locale(user)),
            metadata=metadata, unfurl_links=False, unfurl_media=False,
        )  # fmt: skip

    async def _quietly(self, method: str, **arguments: Any) -> None:
        """Call a method whose failure does not affect any answer."""
        try:
            await self.workspace.api.call(method, **arguments)
        except FAILURES:
            return


def _stop(key: str, author: Person, where: Address, thread: str, at: str) -> Message:
    """Return the message `stop` for a press of Slack's own Stop button."""
    source = str(Source(at, thread, "quiet"))
    return Message(
        event_key=key, text="stop", author=author, address=where, sent_at=float(at or 0),
        reply_to=reply_to(where, author, source, key), is_click=True,
    )  # fmt: skip


def _stop_key(team: str, channel: str, ts: str) -> str:
    """Return the event key of one press of the Stop button. The event and the stream that report it
    get one key."""
    return f"slack:{team}:{channel}:stopped:{ts}"
