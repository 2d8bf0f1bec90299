"""The web: a page and an HTTP API on a port, and the same API for the terminal on a Unix socket.

`Site` is what the routes of one server stand on; `Hub` tells every tab of a conversation what
happens now. Other adapters' routes are mounted on the same server, without their knowing a web
framework.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.web.authentication import Authentication, Visitor
from adapters.web.errors import Stopping, TooManyStreams
from core.domain.errors import PonteError
from core.domain.messages import (
    Address,
    Answer,
    Card,
    Message,
    Person,
    Post,
    Progress,
    ReplyTo,
    Usage,
)
from core.domain.records import Action, ConversationSummary, Health, HistoryEntry
from core.integrations.integration import Alone, HttpHandler, Operator, Peers, UsageReport
from core.ports.conversations import Files, Inbox, PostJournal, Reply, StatusBoard
from core.ports.rights import PageAccounts, Policy
from core.rights.policy import OWNER_ID

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Asgi = Callable[[Event, Receive, Send], Awaitable[None]]
"""An application, named here because importing Starlette takes long."""
CAP = 1_000_000
"""Bytes of one request; Slack's are some kilobytes."""


class Mounted:
    """An ASGI application for one POST route that checks its callers itself."""

    def __init__(self, handler: HttpHandler) -> None:
        self._handler = handler

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            return await _answer(send, 405, {"allow": "POST"}, b"")
        body = await _body(receive)
        if body is None:
            return await _answer(send, 413, {"connection": "close"}, b"")
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        return await _answer(send, *await self._handler(headers, body))


@dataclass(frozen=True, slots=True)
class Port:
    """Where to listen; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8080


class WebAdapter:
    """One is one server: `TokenAuthentication` with a `Port` is the platform "web",
    `SocketAuthentication` with a socket is the platform "terminal": whoever holds the home binds
    that socket, for its user alone.

    `listener` is a socket that listens already, or where to listen.

    `readiness` is what `/readyz` looks at (the board's health where it is not given); `extra` are
    other adapters' ASGI applications by path, which check their callers themselves; `people` tell
    when somebody may come in no more.
    """

    def __init__(
        self,
        *,
        auth: Authentication,
        listener: Port | socket.socket,
        inbox: Inbox,
        journal: Transcripts,
        files: Files,
        board: StatusBoard,
        readiness: Callable[[], Awaitable[Sequence[Health]]] | None = None,
        metrics: Callable[[], Awaitable[str]] | None = None,
        usage: UsageReport | None = None,
        operator: Operator | None = None,
        extra: Mapping[str, Asgi] | None = None,
        locale: str = "en",
        time_zone: str = "UTC",
        peers: Peers | None = None,
        policy: Policy | None = None,
        people: PageAccounts | None = None,
    ) -> None:
        self.address = ""
        self._listener = listener
        self._extra = extra or {}
        self._server: Any = None
        self._hub = Hub(inbox.wait_for_answer, peers or Alone(), journal, auth.still)
        if people is not None:
            people.on_change(self._hub.look)
        self._site = Site(
            auth=auth, hub=self._hub, inbox=inbox, journal=journal, files=files, board=board,
            readiness=readiness or board.health, metrics=metrics, operator=operator,
            locale=locale, time_zone=time_zone, policy=policy, usage=usage,
        )  # fmt: skip

    @property
    def name(self) -> str:
        return self._site.auth.platform

    def reply(self, to: ReplyTo, posts: PostJournal) -> Reply:
        return WebReply(self._hub, to)

    async def start(self) -> None:
        """Listen; `address` then says where. Raises SettingsError."""
        server = await asyncio.to_thread(importlib.import_module, "adapters.web.server")
        listening = await asyncio.to_thread(self._bind, server)
        self._server = server.Server(server.application(self._site, self._extra), listening)
        await self._server.start()

    async def health(self) -> Health:
        if self._server is None:
            return Health(self.name, "off")
        return Health(self.name, "on", self.address)

    async def stop_intake(self) -> None:
        """What comes in now is refused with 503; who reads may go on reading."""
        self._site.taking = False

    async def close(self) -> None:
        self._site.taking = False
        await self._hub.close()
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def _bind(self, server: Any) -> socket.socket:
        if isinstance(self._listener, socket.socket):
            self.address = str(self._listener.getsockname())
            return self._listener
        listening: socket.socket = server.bind(self._listener.host, self._listener.port)
        host, port = listening.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return listening


async def _body(receive: Receive) -> bytes | None:
    body = bytearray()
    more = True
    while more:
        piece = await receive()
        body += piece.get("body", b"")
        more = piece.get("more_body", False) and piece["type"] == "http.request"
        if len(body) > CAP:
            return None
    return bytes(body)


async def _answer(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    pairs = list(dict(pairs).items())
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


SPREAD = 0.25
"""Seconds between two tellings of a turn's progress to other processes."""
HOUR = 3600.0
FOLLOWERS = 1000
"""Open event streams at once."""
LOOK = 5.0
"""Seconds after which it is looked again who may still follow: what tells of it may be lost."""
KEPT = 64
"""Finished turns that wait for a slow follower; behind that, it reads the journal again."""
Json = dict[str, Any]


@dataclass(slots=True)
class LiveTurn:
    """A turn as it stands: `seq` is 0 while another process alone knows it.

    With `cards` it is the news that cards of an ended turn stand otherwise now, and nothing else.
    """

    turn: str
    seq: int = 0
    message: Message | None = None
    progress: Progress = field(default_factory=Progress)
    answer: Answer | None = None
    error: PonteError | None = None
    cards: tuple[Card, ...] = ()
    version: int = 0

    @property
    def is_ended(self) -> bool:
        return self.answer is not None or self.error is not None or bool(self.cards)


@dataclass(slots=True)
class LiveConversation:
    """One conversation's live turns and followers."""

    turns: dict[str, LiveTurn] = field(default_factory=dict)
    followers: set[Follower] = field(default_factory=set)
    version: int = 0
    evicted: int = 0


class Follower:
    """One open stream of `visitor`, in a conversation."""

    def __init__(self, channel: LiveConversation, visitor: Visitor | None = None) -> None:
        self.visitor = visitor
        self.seen_version = 0
        self.has_missed_turns = False
        self.closed = False
        self._channel = channel
        self._moved = asyncio.Event()
        self._urgent = asyncio.Event()
        if channel.turns:
            self._moved.set()

    def wake(self, urgent: bool) -> None:
        self._moved.set()
        if urgent:
            self._urgent.set()

    def close(self) -> None:
        self.closed = True
        self.wake(urgent=True)

    async def next_changes(self) -> list[LiveTurn]:
        """Wait for changes and return the turns that changed since the last call.

        The list is empty once the follower is `closed`. `has_missed_turns` then says whether some
        turns ended unseen and were dropped from memory.
        """
        await self._moved.wait()
        self._moved.clear()
        self._urgent.clear()
        if self.closed:
            return []
        news = [live for live in self._channel.turns.values() if live.version > self.seen_version]
        self.has_missed_turns = self.seen_version < self._channel.evicted
        self.seen_version = self._channel.version
        return news

    async def pause(self, seconds: float) -> None:
        """Wait so that several changes become one event, but no longer than until a turn ends."""
        try:
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
        except TimeoutError:
            return


class Hub:
    """Nothing is queued: a turn's state stands once, and each follower takes the newest of what it
    has not seen. So a slow tab holds nobody up and costs no memory; it only skips steps in between.

    `answer_of` is the inbox's: it knows an answer also when no reply of this process spoke. Its
    `peers` tell how far a turn is that one of them runs, and what was asked at another of them.
    `still` says whether a visitor may come in now.
    """

    def __init__(
        self,
        answer_of: Callable[[int], Awaitable[Answer]],
        peers: Peers | None = None,
        journal: Transcripts | None = None,
        still: Callable[[Visitor], Awaitable[bool]] | None = None,
    ) -> None:
        self._answer_of = answer_of
        self._still = still
        self._due = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._peers = peers or Alone()
        self._journal = journal
        self._alone = isinstance(self._peers, Alone)
        self._told: dict[str, float] = {}
        for word, heard in (
            ("progress", self._progressed), ("asked", self._asked), ("cards", self._redrawn),
        ):  # fmt: skip
            self._peers.on(word, heard)
        self._channels: dict[str, LiveConversation] = {}
        self._watches: dict[int, asyncio.Task[None]] = {}
        self._streams = 0
        self._closed = False

    def check_room(self) -> None:
        """Raises TooManyStreams, and Stopping after `close`."""
        if self._closed:
            raise Stopping
        if self._streams >= FOLLOWERS:
            raise TooManyStreams

    @contextmanager
    def follow(self, conversation: str, visitor: Visitor | None = None) -> Iterator[Follower]:
        """Until the visitor may come in no more. Raises TooManyStreams, Stopping after `close`."""
        self.check_room()
        channel = self._channels.setdefault(conversation, LiveConversation())
        follower = Follower(channel, visitor)
        channel.followers.add(follower)
        if visitor and visitor.can_end:
            self.look()  # they were let in before this stream was known
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(), name="who may follow")
        self._streams += 1
        try:
            yield follower
        finally:
            self._streams -= 1
            channel.followers.discard(follower)
            self._tidy(conversation, channel)

    def look(self) -> None:
        """Somebody may not be let in as before."""
        self._due.set()

    async def _look(self) -> None:
        """Ends the streams of who may not come in any more, while there are any that might."""
        while followers := [one for one in self._followers if one.visitor and one.visitor.can_end]:
            self._due.clear()
            for visitor in {one.visitor for one in followers if one.visitor}:
                with suppress(PonteError):
                    if self._still is None or await self._still(visitor):
                        continue
                    for one in self._followers:
                        if one.visitor == visitor:
                            one.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._due.wait()

    @property
    def _followers(self) -> list[Follower]:
        return [one for channel in self._channels.values() for one in channel.followers]

    def watch(self, conversation: str, seq: int, message: Message) -> None:
        """Show this turn to all who follow, until it has an answer."""
        channel = self._channels.get(conversation)
        if channel is None or seq in self._watches or self._closed:
            return
        live = channel.turns.setdefault(message.turn, LiveTurn(message.turn))
        if not live.seq:
            live.seq, live.message = seq, message
            self._moved(channel, live)
        task = asyncio.create_task(self._await_answer(conversation, live), name=f"watch {seq}")
        self._watches[seq] = task
        task.add_done_callback(lambda _: self._watches.pop(seq, None))

    def show(self, conversation: str, turn: str, progress: Progress) -> None:
        channel = self._channels.setdefault(conversation, LiveConversation())
        live = channel.turns.setdefault(turn, LiveTurn(turn))
        live.progress = progress
        self._moved(channel, live)

    async def tell(self, word: str, turn: str) -> None:
        with suppress(PonteError):
            await self._peers.notify(word, turn)

    async def spread(self, turn: str, progress: Progress) -> None:
        """Show it to those who follow at another process, now and then."""
        now = time.monotonic()
        if not self._alone and now - self._told.get(turn, 0.0) >= SPREAD:
            self._told = {k: at for k, at in self._told.items() if now - at < HOUR} | {turn: now}
            with suppress(PonteError):
                await self._peers.save_progress(turn, progress)

    async def _progressed(self, turn: str) -> None:
        for conversation, channel in list(self._channels.items()):
            if channel.followers and turn in channel.turns and turn not in self._told:
                progress = await self._peers.read_progress(turn)
                if progress and turn in channel.turns and not channel.turns[turn].is_ended:
                    self.show(conversation, turn, progress)

    async def _asked(self, turn: str) -> None:
        if self._streams and (found := await self._found(turn)):
            self.watch(found.message.address.conversation, found.seq, found.message)

    async def _redrawn(self, turn: str) -> None:
        if self._streams and (found := await self._found(turn)) and found.answer:
            self.redraw(found.message.address.conversation, turn, found.answer.cards)

    async def _found(self, turn: str) -> HistoryEntry | None:
        try:
            return await self._journal.history_entry(turn) if self._journal else None
        except PonteError:
            return None

    def finish(self, conversation: str, turn: str, outcome: Answer | PonteError) -> None:
        channel = self._channels.get(conversation)
        if channel is None:
            return
        live = channel.turns.setdefault(turn, LiveTurn(turn))
        if not live.is_ended:
            if isinstance(outcome, Answer):
                live.answer = outcome
            else:
                live.error = outcome
            self._moved(channel, live)
        self._tidy(conversation, channel)

    def redraw(self, conversation: str, turn: str, cards: Sequence[Card]) -> None:
        """Cards of an ended turn stand otherwise now."""
        channel = self._channels.get(conversation)
        if channel is not None and cards:
            live = channel.turns.setdefault(f"{turn} cards", LiveTurn(turn))
            live.cards = tuple(cards)
            self._moved(channel, live)
            self._tidy(conversation, channel)

    async def close(self) -> None:
        """End every stream and wait for the hub's own tasks."""
        self._closed = True
        for follower in self._followers:
            follower.close()
        watches = [*self._watches.values(), *([self._looking] if self._looking else [])]
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def _await_answer(self, conversation: str, live: LiveTurn) -> None:
        try:
            outcome: Answer | PonteError = await self._answer_of(live.seq)
        except PonteError as error:
            outcome = error
        self.finish(conversation, live.turn, outcome)

    def _moved(self, channel: LiveConversation, live: LiveTurn) -> None:
        channel.version += 1
        live.version = channel.version
        for follower in channel.followers:
            follower.wake(urgent=live.is_ended)

    def _tidy(self, conversation: str, channel: LiveConversation) -> None:
        """Drop ended turns that everybody saw, and the oldest beyond `KEPT`."""
        seen = min(
            (follower.seen_version for follower in channel.followers), default=channel.version
        )
        ended = [key for key, live in channel.turns.items() if live.is_ended]
        surplus = len(ended) - KEPT
        for number, key in enumerate(ended):
            live = channel.turns[key]
            if live.version <= seen:
                del channel.turns[key]
            elif number < surplus:
                channel.evicted = max(channel.evicted, live.version)
                del channel.turns[key]
        if not channel.followers and not channel.turns:
            self._channels.pop(conversation, None)


class WebReply:
    """The stored answer is the message: it tells the hub, and posts nothing. Whoever is not there
    now reads the journal later, so nothing can be lost.
    """

    def __init__(self, hub: Hub, to: ReplyTo) -> None:
        self._hub = hub
        self._conversation = to.address.conversation
        self._turn = to.turn

    first_key = ""

    def split(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def show(self, progress: Progress) -> None:
        self._hub.show(self._conversation, self._turn, progress)
        await self._hub.spread(self._turn, progress)

    async def wait_for_updates(self) -> None:
        return None

    async def finish(self, answer: Answer) -> None:
        self._hub.finish(self._conversation, self._turn, answer)

    async def refresh(self, answer: Answer) -> None:
        self._hub.redraw(self._conversation, self._turn, answer.cards)
        await self._hub.tell("cards", self._turn)

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        self._hub.finish(self._conversation, self._turn, answer)


class Transcripts(Protocol):
    """What is read of the journal."""

    async def history(self, conversation: str, thread: str = "") -> Sequence[HistoryEntry]: ...

    async def history_entry(self, turn: str) -> HistoryEntry: ...

    async def usage_of(self, seq: int) -> Usage: ...

    async def list_conversations(
        self, platform: str, person: str = ""
    ) -> Sequence[ConversationSummary]: ...

    async def search_conversations(
        self, platform: str, words: str, person: str = ""
    ) -> Mapping[str, str]: ...

    async def set_listing(
        self, conversation: str, title: str | None, pinned: bool | None
    ) -> None: ...


@dataclass(slots=True)
class Site:
    """`taking` is False once intake has stopped: what comes in now is refused, not lost."""

    auth: Authentication
    hub: Hub
    inbox: Inbox
    journal: Transcripts
    files: Files
    board: StatusBoard
    readiness: Callable[[], Awaitable[Sequence[Health]]]
    metrics: Callable[[], Awaitable[str]] | None = None
    operator: Operator | None = None
    locale: str = "en"
    time_zone: str = "UTC"
    taking: bool = True
    policy: Policy | None = None
    """Without one, whoever is let in may do everything."""
    usage: UsageReport | None = None

    async def may(self, person: Person, action: Action) -> bool:
        """Whether they may do that here."""
        if self.policy is None:
            return True
        return (await self.policy.may(person, self.place(person, "main"), action)).allowed

    async def check_operates(self, person: Person) -> None:
        """That they are the owner or an admin. Raises NotAllowed."""
        if self.policy is not None and person.id != OWNER_ID:
            address = self.place(person, "main")
            (await self.policy.may(person, address, "administer")).raise_if_denied()

    def place(self, person: Person, conversation: str) -> Address:
        """Where a person is in what they call `conversation`: everybody has their own."""
        return Address(self.auth.platform, conversation, person=self.own(person))

    def own(self, person: Person) -> str:
        """What `Address.person` is in their conversations: "" for the owner of the surface."""
        return "" if person.id == OWNER_ID else person.id

    def key(self, person: Person, conversation: str) -> str:
        """The conversation key of what that person calls `conversation`."""
        return self.place(person, conversation).conversation

    def owns(self, person: Person, conversation: str) -> bool:
        """Whether a conversation of that key is theirs."""
        place, _, own = conversation.partition(":@")
        return place.startswith(f"{self.auth.platform}:") and own == self.own(person)
