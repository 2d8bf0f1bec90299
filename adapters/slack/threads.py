"""Tracks who takes part in a thread, and which conversation a message belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from adapters.slack.client import FAILURES, history
from adapters.slack.events import ParsedMessage, event_key, is_direct
from adapters.slack.render import Json, mentioned_ids
from adapters.slack.workspace import Workspace
from core.base.errors import NotFound
from core.base.i18n import say
from core.base.tasks import BackgroundTasks, BoundedDict
from core.chat.incoming import AddressingSettings, ConfiguredPlaces, Participants
from core.domain.messages import Address, turn_id
from core.domain.ports import ThreadMap
from core.journal.journal import Journal

SLACK_WAITS_FOR_MENTION = "Several people are here now, so I only answer when you mention me."
NOTICE_EVENT_TYPE = "ponte_notice"
"""The event type in the metadata of our notice that Ponte now waits for mentions."""
THREAD_SECONDS = 1.0
"""Seconds that an event may wait while Ponte reads its thread from Slack.

This happens only if nothing else tells that the message is for us: after a restart, for the first
reply in a thread.
"""


class ThreadParticipants:
    """Tracks the people in threads. Ponte answers without a mention only while one person talks
    with it.

    The data is kept in memory and read again from Slack, so nothing that others write is stored.
    """

    def __init__(self, workspace: Workspace, threads: ThreadMap, tasks: BackgroundTasks) -> None:
        self._workspace = workspace
        self._threads = threads
        self._tasks = tasks
        self._known: BoundedDict[str, Participants] = BoundedDict()
        self._others: BoundedDict[str, bool] = BoundedDict()
        """For threads without a turn of ours: whether the first message addressed others."""

    async def is_ours(self, said: ParsedMessage, where: Address, mentions: bool) -> bool:
        """Return whether a message is for Ponte in a place with `answer_everything`.

        Every message there is, except those that mention only others. A thread that began with a
        mention of others is for them until somebody mentions us in it. No notice is posted, because
        Ponte goes on answering.
        """
        conversation = where.conversation
        ours = mentions or not said.names_somebody
        if not where.thread:
            return ours
        if not said.thread:
            self._others[conversation] = not ours
            if ours and conversation not in self._known:  # Slack may report it twice
                self._known[conversation] = Participants([said.user])
            return ours
        if mentions:
            self._others[conversation] = False
        if ours and not mentions and await self._to_others(said, conversation):
            return False
        if not ours:
            self._known.pop(conversation, None)  # the next turn reads the thread again
        elif there := self._known.get(conversation):
            there.join(said.user)
        return ours

    async def _to_others(self, said: ParsedMessage, conversation: str) -> bool:
        """Return whether the thread's first message addressed others; False if Slack does not
        answer in time."""
        if conversation in self._known or await self._threads.get(conversation) is not None:
            return False
        if conversation not in self._others:
            try:
                async with asyncio.timeout(THREAD_SECONDS):
                    told = await self._workspace.api.call(
                        "conversations.replies", channel=said.channel, ts=said.thread, limit=1,
                        patience=THREAD_SECONDS,
                    )  # fmt: skip
            except (*FAILURES, TimeoutError):
                return False
            root: Json = next(iter(told.get("messages", [])), {})
            names = mentioned_ids(str(root.get("text", "")))
            others = bool(names) and self._workspace.user not in names
            self._others[conversation] = others and not root.get("bot_id")
        return self._others[conversation]

    async def is_follow_up(self, said: ParsedMessage, conversation: str) -> bool:
        """Return whether a reply without a mention in a channel's thread is for Ponte."""
        there = self._known.get(conversation) or await self._read(said, conversation)
        if there is None:
            return False
        self._enter(there, said.channel, said.thread, said.user)
        return not there.several

    def note_mention(self, said: ParsedMessage, where: Address) -> None:
        """Note the person who mentioned us. An unknown thread is read when the turn starts, which
        then calls `learn`."""
        conversation = where.conversation
        if not where.thread:
            return
        if not said.thread and conversation not in self._known:
            self._known[conversation] = Participants()
        if there := self._known.get(conversation):
            self._enter(there, said.channel, said.thread or said.ts, said.user)

    def is_alone(self, conversation: str, user: str) -> bool:
        """Return whether this person is known to be the only one in the thread."""
        there = self._known.get(conversation)
        return there is not None and there.people == [user]

    def learn(self, where: Address, user: str, posts: Sequence[Json], quiet: bool) -> None:
        """Note the people in a thread, from its messages before one of `user`. `quiet` suppresses
        the notice."""
        conversation = where.conversation
        known = self._known.get(conversation)
        there = known or self._participants_in(posts)
        takes_part = any(post.get("user") == self._workspace.user for post in posts)
        if known is None and takes_part and not quiet:
            self._enter(there, where.channel, where.thread, user)
        there.join(*self._people(posts), user)
        self._known[conversation] = there

    async def _read(self, said: ParsedMessage, conversation: str) -> Participants | None:
        """Return the people in a thread; None for a thread without a conversation of ours."""
        record = await self._threads.get(conversation)
        if record is None:
            return None
        try:
            async with asyncio.timeout(THREAD_SECONDS):
                api = self._workspace.api
                read = history(api, said.channel, said.thread, "0", THREAD_SECONDS)
                posts = [post async for post in read]
            there = self._participants_in([post for post in posts if str(post["ts"]) < said.ts])
        except (*FAILURES, TimeoutError):
            there = Participants([key.rpartition(":")[2] for key in record.participants])
        self._known[conversation] = there
        return there

    def _enter(self, there: Participants, channel: str, thread: str, user: str) -> None:
        """Add a person. If they are the second one in the thread, post the notice once."""
        alone = len(there.people) == 1
        there.join(user)
        if alone and there.note_notice_due():
            self._tasks.start(self._announce_mentions_only(channel, thread, user))

    async def _announce_mentions_only(self, channel: str, thread: str, user: str) -> None:
        """Post the notice that Ponte now waits for mentions, in the language of the person who
        joined."""
        directory = self._workspace.directory
        await directory.profiles([user])
        with suppress(*FAILURES):
            await self._workspace.api.call(
                "chat.postMessage", channel=channel, thread_ts=thread,
                text=say(SLACK_WAITS_FOR_MENTION, directory.locale(user)),
                metadata={"event_type": NOTICE_EVENT_TYPE, "event_payload": {"kind": "company"}},
                unfurl_links=False, unfurl_media=False,
            )  # fmt: skip

    def _participants_in(self, posts: Sequence[Json]) -> Participants:
        """Return the people who wrote these messages, and whether the notice is among them."""
        told = any((p.get("metadata") or {}).get("event_type") == NOTICE_EVENT_TYPE for p in posts)
        return Participants(list(dict.fromkeys(self._people(posts))), told)

    def _people(self, posts: Sequence[Json]) -> list[str]:
        """Return the ids of the authors, without bots."""
        return [str(p["user"]) for p in posts if p.get("user") and not p.get("bot_id")]


class SlackLocations:
    """Decides which conversation a message belongs to, and which settings its place has.

    Our answer to a top-level message of a direct message is posted in a thread under it. That
    thread belongs to the direct message's conversation. Ponte recognises it by a turn of the
    thread's root in the journal. Other threads are separate conversations.
    """

    def __init__(self, workspace: Workspace, journal: Journal, places: ConfiguredPlaces) -> None:
        self._workspace = workspace
        self._journal = journal
        self._places = places
        self._known: BoundedDict[str, bool] = BoundedDict()

    def settings_of(self, where: Address) -> AddressingSettings:
        """Return the settings of a place."""
        return self._places.channel(where)

    def is_whole(self, channel: str) -> bool:
        """Return whether a channel's top level is one single conversation (`threads = false`)."""
        where = Address("slack", channel, self._workspace.team, is_shared=True)
        return not is_direct(channel, {}) and self.settings_of(where).threads is False

    async def address_of(self, said: ParsedMessage) -> Address:
        """Return the address of the conversation that a message belongs to: a thread of a channel,
        a whole channel, a direct message, or a separate thread in one."""
        is_flat = said.direct or self.is_whole(said.channel)
        in_dm = said.direct and await self._belongs_to_dm(said)
        thread = said.thread if is_flat else said.thread or said.ts
        return Address("slack", said.channel, said.team, "" if in_dm else thread,
                       is_shared=not said.direct)  # fmt: skip

    def took(self, said: ParsedMessage) -> None:
        """Note that a top-level message was accepted. Its thread will hold our answer."""
        if said.direct and not said.thread:
            self._known[said.event_key] = True

    async def _belongs_to_dm(self, said: ParsedMessage) -> bool:
        """Return whether a direct message belongs to the direct message's own conversation, not to
        a separate thread."""
        if not said.thread or said.parent == self._workspace.user:
            return not said.thread
        root = event_key(said.team, said.channel, said.thread)
        if root not in self._known:
            try:
                await self._journal.history_entry(turn_id(root))
                self._known[root] = True
            except NotFound:
                self._known[root] = False
        return self._known[root]
