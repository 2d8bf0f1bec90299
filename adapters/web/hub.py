"""The live turns of one server and the event streams that follow them.

`Hub` tells each open stream which turns have changed. This module imports no web framework.

Routes of other adapters are served by the same server; those adapters import no web framework.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from adapters.web.errors import ServerStopping, TooManyStreams
from adapters.web.sign_in import Visitors
from adapters.web.visitor import Visitor
from core.base.errors import PonteError
from core.base.tasks import BackgroundTasks, BoundedDict, cancel_all, retry
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import Conversations, People
from core.domain.changes import PendingRequests
from core.domain.messages import (
    Answer,
    Card,
    Message,
    Person,
    Post,
    Progress,
    ReplyTo,
    make_press_id,
)
from core.domain.ports import Platform, PostJournal, RenderProgress, Reply
from core.domain.records import Health, HistoryEntry
from core.integrations import FindHook, HttpHandler, Operator, OperatorBoard
from core.journal.jobs import Peers

log = structlog.get_logger("web")
SERVER_RETRY_SECONDS = 1.0
SERVER_START_SECONDS = 5.0
PROGRESS_SHARE_INTERVAL_SECONDS = 0.25
MAX_SHARED_TURNS_IN_MEMORY = 10_000
MAX_OPEN_STREAMS = 1000
VISITOR_CHECK_INTERVAL_SECONDS = 5.0
"""Notifications of changes may be lost, so it also checks without one."""
MAX_ENDED_TURNS_IN_MEMORY = 64
"""A follower that missed more reads the journal."""


@dataclass(slots=True)
class LiveTurn:
    """The present state of a turn, as the streams of its conversation show it. `seq` is 0 while
    only another process knows it. With `cards`, the entry only says that these cards of an ended
    turn have changed. `version` is the conversation's version at the turn's last change, by which a
    stream finds out what is new to it."""

    turn: str
    seq: int = 0
    message: Message | None = None
    progress: Progress = field(default_factory=Progress)
    outcome: Answer | PonteError | None = None
    cards: tuple[Card, ...] = ()
    version: int = 0

    @property
    def is_ended(self) -> bool:
        return self.outcome is not None or bool(self.cards)


@dataclass(slots=True)
class LiveConversation:
    """The turns that run in one conversation, and the browsers and programs that follow them.
    `version` counts the changes of all its turns. `evicted` is the version of the newest ended turn
    that was dropped before every stream had seen it."""

    turns: dict[str, LiveTurn] = field(default_factory=dict)
    followers: set[Follower] = field(default_factory=set)
    version: int = 0
    evicted: int = 0


class Follower:
    """One open stream of events to a visitor's browser, which follows one conversation."""

    def __init__(self, channel: LiveConversation, visitor: Visitor) -> None:
        self.visitor = visitor
        self.seen_version = 0  # of the conversation, as the stream has it
        self.has_missed_turns = False
        """Turns ended unseen and were dropped from memory, so the journal must be read."""
        self.closed = False
        """The stream must end: its visitor is not allowed any more, or the server stops."""
        self._channel = channel
        self._has_changed = asyncio.Event()
        """Set while there may be changes that the stream has not taken."""
        self._urgent = asyncio.Event()
        """Set by a change for which the stream does not pause, such as a turn's end."""
        if channel.turns:  # the stream begins with the turns that run already
            self._has_changed.set()

    def wake(self, urgent: bool) -> None:
        """`urgent` ends its pause between two frames."""
        self._has_changed.set()
        if urgent:
            self._urgent.set()

    def close(self) -> None:
        self.closed = True
        self.wake(urgent=True)

    async def next_changes(self) -> list[LiveTurn]:
        """The list is empty once the follower is `closed`. After the call, `has_missed_turns` says
        whether turns ended unseen and were dropped from memory, so that the journal must be read:
        `evicted` is the version of the newest one that was dropped."""
        # Both events are cleared before the turns are read: a change that comes after that sets
        # them again. `_urgent` ends the pause of a stream, for example when a turn ends.
        await self._has_changed.wait()
        self._has_changed.clear()
        self._urgent.clear()
        if self.closed:
            return []
        news = [live for live in self._channel.turns.values() if live.version > self.seen_version]
        self.has_missed_turns = self.seen_version < self._channel.evicted
        self.seen_version = self._channel.version
        return news

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._urgent.wait()


class Hub:
    """The state of live turns, and the streams that follow them. Nothing is queued: a turn has one
    state, and each follower takes the newest one. A slow tab therefore delays nobody and costs no
    memory; it only skips steps.

    `is_accepting` is False once intake has stopped; new messages are then refused.
    """

    def __init__(
        self, visitors: Visitors, conversations: Conversations, board: OperatorBoard, peers: Peers
    ) -> None:
        # `board` knows the requests for approval that wait for people.
        self.visitors = visitors
        self.conversations = conversations
        self.requests = RequestWatch(self, board)
        self.is_accepting = True
        self._visitor_check_due = asyncio.Event()
        self._visitor_check: asyncio.Task[None] | None = None
        self._peers = peers
        self._shared_at = BoundedDict[str, float](MAX_SHARED_TURNS_IN_MEMORY)
        """When the progress of a turn of this process was sent to the others, by turn (monotonic
        seconds), so that it is not sent too often."""
        # What other processes (`peers`) tell of their turns, for the streams here: progress, a
        # message that came ("asked"), and cards of an answer that have changed.
        self._peers.on("progress", self._on_peer_progress)
        self._peers.on("asked", self._on_peer_message)
        self._peers.on("cards", self._on_peer_cards)
        self._channels: dict[str, LiveConversation] = {}
        self._watches: dict[int, asyncio.Task[None]] = {}
        """By `seq`: the task that waits for the end of a turn."""
        self._streams = 0
        self._closed = False

    def check_capacity(self) -> None:
        if self._closed:
            raise ServerStopping
        if self._streams >= MAX_OPEN_STREAMS:
            raise TooManyStreams

    @contextmanager
    def follow(self, conversation: str, visitor: Visitor) -> Iterator[Follower]:
        """The follower is closed when its visitor is not allowed any more. Raise TooManyStreams, or
        ServerStopping after `close`."""
        self.check_capacity()
        channel = self._channels.setdefault(conversation, LiveConversation())
        follower = Follower(channel, visitor)
        channel.followers.add(follower)
        if visitor.can_expire:
            # Their access may have ended between their authentication and this line, when the check
            # did not know this stream yet. One task checks all streams while any visitor can
            # expire; this makes it check at once, also if it starts only now.
            self.recheck_visitors()
            if self._visitor_check is None or self._visitor_check.done():
                check = self._end_streams_of_departed()
                self._visitor_check = asyncio.create_task(check, name="who may follow")
        self._streams += 1
        try:
            yield follower
        finally:
            self._streams -= 1
            channel.followers.discard(follower)
            self._drop_ended_turns(conversation, channel)

    def recheck_visitors(self) -> None:
        self._visitor_check_due.set()

    async def _end_streams_of_departed(self) -> None:
        """Close the streams of visitors who are not allowed any more, while any stream has a
        visitor that can expire. They are checked every few seconds, and at once after
        `recheck_visitors`. If the check fails, the streams stay open until the next one."""
        while visitors := {
            follower.visitor for follower in self._followers if follower.visitor.can_expire
        }:
            self._visitor_check_due.clear()
            for visitor in visitors:
                with suppress(PonteError):
                    if await self.visitors.auth.is_still_allowed(visitor):
                        continue
                    for follower in self._followers:
                        if follower.visitor == visitor:
                            follower.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(VISITOR_CHECK_INTERVAL_SECONDS):
                    await self._visitor_check_due.wait()

    @property
    def _followers(self) -> list[Follower]:
        return [follower for channel in self._channels.values() for follower in channel.followers]

    @property
    def readers(self) -> frozenset[Person]:
        channels = self._channels.values()
        return frozenset(one.visitor.person for channel in channels for one in channel.followers)

    def wake(self, person: Person) -> None:
        for follower in self._followers:
            if follower.visitor.person == person:
                follower.wake(urgent=False)

    def watch(self, conversation: str, seq: int, message: Message) -> None:
        """Show this turn to all followers of the conversation until it has an answer."""
        # Nobody follows the conversation, or the turn is watched already.
        channel = self._channels.get(conversation)
        if channel is None or seq in self._watches or self._closed:
            return
        live = channel.turns.setdefault(message.turn, LiveTurn(message.turn))
        if not live.seq:  # a new entry, or one that has only progress from another process
            live.seq, live.message = seq, message
            self._publish(channel, live)
        task = asyncio.create_task(self._await_answer(conversation, live), name=f"watch {seq}")
        self._watches[seq] = task
        task.add_done_callback(lambda _: self._watches.pop(seq, None))

    def show_progress(self, conversation: str, turn: str, progress: Progress) -> None:
        """A stream that is slow sees only the newest one."""
        channel = self._channels.setdefault(conversation, LiveConversation())
        live = channel.turns.setdefault(turn, LiveTurn(turn))
        live.progress = progress
        self._publish(channel, live)

    async def notify_peers(self, word: str, turn: str) -> None:
        """Failures are ignored."""
        with suppress(PonteError):
            await self._peers.notify(word, turn)

    async def share_progress(self, turn: str, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._shared_at.get(turn, 0.0) >= PROGRESS_SHARE_INTERVAL_SECONDS:
            self._shared_at[turn] = now
            with suppress(PonteError):
                await self._peers.save_progress(turn, progress)

    async def _on_peer_progress(self, turn: str) -> None:
        for conversation, channel in list(self._channels.items()):
            # A turn in `_shared_at` runs in this process, which shows its progress itself.
            if channel.followers and turn in channel.turns and turn not in self._shared_at:
                progress = await self._peers.read_progress(turn)
                if progress and turn in channel.turns and not channel.turns[turn].is_ended:
                    self.show_progress(conversation, turn, progress)

    async def _on_peer_message(self, turn: str) -> None:
        if self._streams and (entry := await self._find_turn(turn)):
            self.watch(entry.message.address.conversation, entry.seq, entry.message)

    async def _on_peer_cards(self, turn: str) -> None:
        if self._streams and (entry := await self._find_turn(turn)) and entry.answer:
            self.redraw_cards(entry.message.address.conversation, turn, entry.answer.cards)

    async def _find_turn(self, turn: str) -> HistoryEntry | None:
        with suppress(PonteError):
            return await self.conversations.journal.history_entry(turn)
        return None

    def finish_turn(self, conversation: str, turn: str, outcome: Answer | PonteError) -> None:
        """A later outcome of a turn changes nothing."""
        channel = self._channels.get(conversation)
        if channel is None:  # nobody follows it, and none of its turns runs here
            return
        # Both the turn's reply and the task that waits for its end call this; the first one counts.
        live = channel.turns.setdefault(turn, LiveTurn(turn))
        if not live.is_ended:
            live.outcome = outcome
            self._publish(channel, live)
        self._drop_ended_turns(conversation, channel)

    def redraw_cards(self, conversation: str, turn: str, cards: Sequence[Card]) -> None:
        """Show the present state of cards of an ended turn to all followers of the conversation."""
        channel = self._channels.get(conversation)
        if channel is not None and cards:
            # An entry of its own, because the turn's entry may be there still, or gone already.
            live = channel.turns.setdefault(f"{turn} cards", LiveTurn(turn))
            live.cards = tuple(cards)
            self._publish(channel, live)
            self._drop_ended_turns(conversation, channel)

    async def close(self) -> None:
        """Refuse new messages, close every stream and wait for the hub's own tasks."""
        self.is_accepting, self._closed = False, True
        await self.requests.close()
        for follower in self._followers:
            follower.close()
        checks = [self._visitor_check] if self._visitor_check else []
        await cancel_all([*self._watches.values(), *checks])

    async def _await_answer(self, conversation: str, live: LiveTurn) -> None:
        try:
            outcome: Answer | PonteError = await self.conversations.inbox.wait_for_answer(live.seq)
        except PonteError as error:
            outcome = error
        self.finish_turn(conversation, live.turn, outcome)

    def _publish(self, channel: LiveConversation, live: LiveTurn) -> None:
        channel.version += 1
        live.version = channel.version
        for follower in channel.followers:
            follower.wake(urgent=live.is_ended)

    def _drop_ended_turns(self, conversation: str, channel: LiveConversation) -> None:
        # Turns that all followers have seen are dropped. Without followers, everything counts as
        # seen.
        versions = (follower.seen_version for follower in channel.followers)
        oldest_seen_version = min(versions, default=channel.version)
        ended = [key for key, live in channel.turns.items() if live.is_ended]  # the oldest first
        surplus = len(ended) - MAX_ENDED_TURNS_IN_MEMORY
        for number, key in enumerate(ended):
            live = channel.turns[key]
            if live.version <= oldest_seen_version:
                del channel.turns[key]
            elif number < surplus:
                # A follower that has not seen this version must read the journal.
                channel.evicted = max(channel.evicted, live.version)
                del channel.turns[key]
        if not channel.followers and not channel.turns:
            self._channels.pop(conversation, None)


class RequestWatch:
    """The number of requests for approval that wait for each person with an open stream.

    It is counted again in a task after each change, because the rights of a person may depend on
    another platform's answer, and a stream must not wait for that.
    """

    def __init__(self, hub: Hub, board: OperatorBoard) -> None:
        self._hub = hub
        self.board = board
        board.on_requests_change(self.refresh_all)
        self._counts: dict[Person, tuple[str, ...]] = {}
        """The requests that wait for each person, as counted last: ids with revisions."""
        self._tasks: dict[Person, asyncio.Task[None]] = {}
        self._outdated: set[Person] = set()
        """People whose requests may be others by now."""

    async def list_requests(self, person: Person) -> PendingRequests:
        """Raise NotStored."""
        place = self._hub.visitors.address_of(person, "main")
        return await self.board.requests(person, place)

    def waiting_for(self, person: Person) -> tuple[str, ...]:
        return self._counts.get(person, ())

    def refresh(self, person: Person) -> None:
        """A count that is under way is repeated, because it may have read the old ones."""
        self._outdated.add(person)
        if person not in self._tasks:
            task = asyncio.create_task(self._count(person), name="count requests")
            self._tasks[person] = task
            task.add_done_callback(lambda _: self._tasks.pop(person, None))

    def refresh_all(self) -> None:
        for person in self._hub.readers:
            self.refresh(person)

    async def close(self) -> None:
        await cancel_all(self._tasks.values())

    async def _count(self, person: Person) -> None:
        """Find out which requests wait for a person, and again if something changed meanwhile.
        People without an open stream are forgotten."""
        while person in self._outdated:
            self._outdated.discard(person)
            with suppress(PonteError):  # the number that was shown last stays
                requests = await self.list_requests(person)
                waiting = tuple(
                    make_press_id(change.id, change.proposal.revision)
                    for change in requests.changes
                )
                if waiting != self.waiting_for(person):
                    self._counts[person] = waiting
                    self._hub.wake(person)
        for visitor in self._counts.keys() - self._hub.readers:
            del self._counts[visitor]


HOOKS_PREFIX = "/hooks/"
HOOKS_PATH = "/hooks/{name}"


class WebAdapter(Platform):
    """One HTTP server, and the platform that answers through it. With a host and port to listen on
    (port 0 means a free one) and `people` it serves the page, the platform "web": their accounts
    may sign in, and admins find the operations on `/admin`. With a listening Unix socket it is the
    platform "terminal", which has the operations as routes.

    `routes` are the handlers of other adapters' POST routes by path. They authenticate their
    callers themselves.
    """

    def __init__(
        self,
        hub: Hub,
        board: OperatorBoard,
        operator: Operator,
        notices: PersonNoticeService,
        listener: tuple[str, int] | socket.socket,
        people: People | None = None,
        routes: Mapping[str, HttpHandler] | None = None,
        find_hook: FindHook | None = None,
    ) -> None:
        self.address = ""
        """The address on which the server listens; "" before `start` and after `close`."""
        self.hub = hub
        self._own = (board, operator, notices, people)  # for `list_routes`
        self._listener = listener  # host and port, or an open Unix socket
        self._mounted = (routes or {}, find_hook)
        self._server: Any = None
        self._is_handed_over = False
        """The listening socket belongs to the process that follows this one."""
        self._tasks = BackgroundTasks("web")
        # Only a page has `people`.
        if people is not None:
            people.accounts.on_change(hub.recheck_visitors)

    @property
    def name(self) -> str:
        return self.hub.visitors.auth.platform

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        return WebReply(self.hub, to)

    async def start(self) -> None:
        """Raise SettingsError if the address cannot be used.

        `_listener` is a Unix socket, or a host and a port for the server to bind. A Unix socket
        gets its server with the first connection: the server's packages take 12 MB, and a process
        to which no command speaks needs none of them.
        """
        if isinstance(self._listener, socket.socket):
            self.address = str(self._listener.getsockname())
            asyncio.get_running_loop().add_reader(
                self._listener, self._on_connection, self._listener
            )
        else:
            await self._serve()

    def _on_connection(self, listening: socket.socket) -> None:
        """The first connection waits in the socket's queue until the server runs."""
        asyncio.get_running_loop().remove_reader(listening)

        def wait(error: Exception, failed: int) -> float:
            if failed == 1:
                log.error("could not start the server for commands; retrying", exc_info=error)
            return SERVER_RETRY_SECONDS

        # If a module cannot be loaded now, as without free file descriptors, a later try can.
        self._tasks.start(retry(self._serve, Exception, wait))

    async def _serve(self) -> None:
        # Loading the module takes a while.
        server = await asyncio.to_thread(importlib.import_module, "adapters.web.server")
        listening = await asyncio.to_thread(self._bind, server)
        routes = server.list_routes(self.hub, *self._own)
        app = server.make_application(self.hub, routes, *self._mounted)
        self._server = server.HttpServer(app, listening)
        await self._server.start()

    async def health(self) -> Health:
        if not self.address:
            return Health(self.name, "off")
        return Health(self.name, "on", self.address)

    async def stop_intake(self) -> None:
        # Requests that arrived before the handover can be answered by this process only.
        if self._is_handed_over:
            await self._server.finish_requests()
        self.hub.is_accepting = False

    async def hand_over(self) -> int:
        """Connections that arrive meanwhile wait in it."""
        self._is_handed_over = True
        descriptor: int = await self._server.hand_over()
        return descriptor

    async def close(self) -> None:
        """The socket for commands has no server before its first connection; then only the socket
        is closed."""
        await self.hub.close()
        # The only task loads and starts the server.
        await self._tasks.close(SERVER_START_SECONDS)
        self.address = ""
        if self._server is not None:
            await self._server.stop()
            self._server = None
        elif isinstance(self._listener, socket.socket):
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()

    def _bind(self, server: Any) -> socket.socket:
        if isinstance(self._listener, socket.socket):
            return self._listener
        listening: socket.socket = server.bind_socket(*self._listener)
        host, port = listening.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return listening


class WebReply:
    """The `Reply` of the page. Notifies the hub and posts nothing, since the stored answer is the
    message. A tab that is not connected reads it from the journal later."""

    def __init__(self, hub: Hub, to: ReplyTo) -> None:
        self._hub = hub
        self._conversation = to.address.conversation
        self._turn = to.turn

    first_key = ""

    def split(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def show(self, progress: Progress, render: RenderProgress | None = None) -> None:
        progress = await render() if render else progress
        self._hub.show_progress(self._conversation, self._turn, progress)
        await self._hub.share_progress(self._turn, progress)

    async def wait_for_updates(self) -> None:
        return None

    async def settle_posts(self) -> None:
        return None

    async def finish(self, answer: Answer) -> None:
        self._hub.finish_turn(self._conversation, self._turn, answer)

    async def refresh(self, answer: Answer) -> None:
        self._hub.redraw_cards(self._conversation, self._turn, answer.cards)
        await self._hub.notify_peers("cards", self._turn)

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        self._hub.finish_turn(self._conversation, self._turn, answer)
