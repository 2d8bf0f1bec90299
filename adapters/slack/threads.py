"""Threads of Slack: who takes part in one, and which of them belong to a direct message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from adapters.slack.client import (
    FAILURES,
    history,
)
from adapters.slack.events import ParsedMessage, event_key
from adapters.slack.render import Json, mentioned_ids
from adapters.slack.workspace import Workspace
from core.chat.participants import Participants
from core.domain.errors import NotFound
from core.domain.messages import Address, turn_id
from core.ports.conversations import Journal, ThreadMap
from core.runtime.tasks import BoundedDict

NOTICE_EVENT_TYPE = "ponte_notice"
"""The event type in the metadata of our word that we wait to be mentioned from now on."""
THREAD_SECONDS = 1.0
"""Seconds that an event may wait for what Slack says of its thread, where nothing else tells
whether it is for us: after a restart, for the first reply in it."""


class ThreadParticipants:
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
        self._known: BoundedDict[str, Participants] = BoundedDict()
        self._others: BoundedDict[str, bool] = BoundedDict()
        """Threads that nobody talked with us in: whether they began with a word to others."""

    async def is_ours(self, said: ParsedMessage, where: Address, mentions: bool) -> bool:
        """Whether a message is for us where all is that is not said to others; also what is said in
        a thread is to them that began so, until somebody mentions us there. Nobody is told that we
        wait: we do not."""
        conversation = where.conversation
        ours = mentions or not said.names_somebody
        if not where.thread:
            return ours
        if not said.thread:
            self._others[conversation] = not ours
            if ours and conversation not in self._known:  # it may be told twice
                self._known[conversation] = Participants([said.user])
            return ours
        if mentions:
            self._others[conversation] = False
        if ours and not mentions and await self._to_others(said, conversation):
            return False
        if not ours:
            self._known.pop(conversation, None)  # the next turn there reads what was said
        elif there := self._known.get(conversation):
            there.join(said.user)
        return ours

    async def _to_others(self, said: ParsedMessage, conversation: str) -> bool:
        """By the thread's first message, where Slack tells it in time."""
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
        """Whether an unmentioned reply in a channel's thread is meant for us."""
        there = self._known.get(conversation) or await self._read(said, conversation)
        if there is None:
            return False
        self._enter(there, said.channel, said.thread, said.user)
        return not there.several

    def note_mention(self, said: ParsedMessage, where: Address) -> None:
        """Take note of who mentioned us; a thread that is not known is read when the turn starts,
        and then `learn`ed of."""
        conversation = where.conversation
        if not where.thread:
            return
        if not said.thread and conversation not in self._known:
            self._known[conversation] = Participants()
        if there := self._known.get(conversation):
            self._enter(there, said.channel, said.thread or said.ts, said.user)

    def is_alone(self, conversation: str, user: str) -> bool:
        """Whether this person is known to be the only one in the thread."""
        there = self._known.get(conversation)
        return there is not None and there.people == [user]

    def learn(self, where: Address, user: str, posts: Sequence[Json], quiet: bool) -> None:
        """What stands in the thread before a message of `user`. `quiet`: nobody is told of it."""
        conversation = where.conversation
        known = self._known.get(conversation)
        there = known or self._participants_in(posts)
        takes_part = any(post.get("user") == self._workspace.user for post in posts)
        if known is None and takes_part and not quiet:
            self._enter(there, where.channel, where.thread, user)
        there.join(*self._people(posts), user)
        self._known[conversation] = there

    async def _read(self, said: ParsedMessage, conversation: str) -> Participants | None:
        """None for a thread in which nobody talked with us."""
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
        """A second person in a thread that one had to themselves: say so, once."""
        alone = len(there.people) == 1
        there.join(user)
        if alone and there.note_notice_due():
            self._join(channel, thread, user)

    def _participants_in(self, posts: Sequence[Json]) -> Participants:
        told = any((p.get("metadata") or {}).get("event_type") == NOTICE_EVENT_TYPE for p in posts)
        return Participants(list(dict.fromkeys(self._people(posts))), told)

    def _people(self, posts: Sequence[Json]) -> list[str]:
        return [str(p["user"]) for p in posts if p.get("user") and not p.get("bot_id")]


class DirectThreads:
    """Threads in direct messages: most hold our answers, some are conversations of their own.

    Our answer to a top-level message stands in a thread under it, and that thread belongs to
    the direct message's conversation: where the journal knows a turn of the thread's root.
    """

    def __init__(self, workspace: Workspace, journal: Journal) -> None:
        self._workspace = workspace
        self._journal = journal
        self._known: BoundedDict[str, bool] = BoundedDict()

    def took(self, said: ParsedMessage) -> None:
        """A top-level message was accepted: its thread will hold our answer."""
        if said.direct and not said.thread:
            self._known[said.event_key] = True

    async def belongs_to_dm(self, said: ParsedMessage) -> bool:
        if not said.direct or not said.thread or said.parent == self._workspace.user:
            return not said.thread
        root = event_key(said.team, said.channel, said.thread)
        if root not in self._known:
            try:
                await self._journal.history_entry(turn_id(root))
                self._known[root] = True
            except NotFound:
                self._known[root] = False
        return self._known[root]
