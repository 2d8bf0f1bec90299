"""The web: a page and an HTTP API on a port, and the same API for the terminal on a Unix socket.

`Site` is what the routes of one server stand on; `Hub` tells every tab of a conversation what
happens now. Other adapters' routes are mounted on the same server, without their knowing a web
framework.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.web.authentication import Authentication
from adapters.web.errors import Stopping, TooManyStreams
from core.errors import PonteError
from core.integration import Handler, Operator
from core.messages import Answer, Card, Message, Progress, ReplyTo
from core.ports import Files, Inbox, Posts, Reply, StatusBoard
from core.records import Health, Shown

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Asgi = Callable[[Event, Receive, Send], Awaitable[None]]
"""An application, named here because importing Starlette takes long."""
CAP = 1_000_000
"""Bytes of one request; Slack's are some kilobytes."""


class Mounted:
    """An ASGI application for one POST route that checks its callers itself."""

    def __init__(self, handler: Handler) -> None:
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
    other adapters' ASGI applications by path, which check their callers themselves.
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
        metrics: Callable[[], str] | None = None,
        operator: Operator | None = None,
        extra: Mapping[str, Asgi] | None = None,
        locale: str = "en",
        time_zone: str = "UTC",
    ) -> None:
        self.address = ""
        self._listener = listener
        self._extra = extra or {}
        self._server: Any = None
        self._hub = Hub(inbox.answer_of)
        self._site = Site(
            auth=auth, hub=self._hub, inbox=inbox, journal=journal, files=files, board=board,
            readiness=readiness or board.health, metrics=metrics, operator=operator,
            locale=locale, time_zone=time_zone,
        )  # fmt: skip

    @property
    def name(self) -> str:
        return self._site.auth.platform

    def reply(self, to: ReplyTo, posts: Posts) -> Reply:
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


FOLLOWERS = 1000
"""Open event streams at once."""
KEPT = 64
"""Finished turns that wait for a slow follower; behind that, it reads the journal again."""
Json = dict[str, Any]


@dataclass(slots=True)
class Live:
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
    def ended(self) -> bool:
        return self.answer is not None or self.error is not None or bool(self.cards)


@dataclass(slots=True)
class Channel:
    """One conversation's live turns and followers."""

    lives: dict[str, Live] = field(default_factory=dict)
    followers: set[Follower] = field(default_factory=set)
    version: int = 0
    evicted: int = 0


class Follower:
    """One open stream: `changed` gives the turns that moved since the last call."""

    def __init__(self, channel: Channel) -> None:
        self.seen = 0
        self.behind = False
        self.closed = False
        self._channel = channel
        self._moved = asyncio.Event()
        self._urgent = asyncio.Event()
        if channel.lives:
            self._moved.set()

    def wake(self, urgent: bool) -> None:
        self._moved.set()
        if urgent:
            self._urgent.set()

    async def changed(self) -> list[Live]:
        """Waits for news; none once `closed`. `behind`: some turns have ended unseen."""
        await self._moved.wait()
        self._moved.clear()
        self._urgent.clear()
        if self.closed:
            return []
        news = [live for live in self._channel.lives.values() if live.version > self.seen]
        self.behind = self.seen < self._channel.evicted
        self.seen = self._channel.version
        return news

    async def pause(self, seconds: float) -> None:
        """Lets news pile up for a moment, unless a turn ends."""
        try:
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
        except TimeoutError:
            return


class Hub:
    """Nothing is queued: a turn's state stands once, and each follower takes the newest of what it
    has not seen. So a slow tab holds nobody up and costs no memory; it only skips steps in between.

    `answer_of` is the inbox's: it knows an answer also when no reply of this process spoke.
    """

    def __init__(self, answer_of: Callable[[int], Awaitable[Answer]]) -> None:
        self._answer_of = answer_of
        self._channels: dict[str, Channel] = {}
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
    def follow(self, conversation: str) -> Iterator[Follower]:
        """Raises TooManyStreams, and Stopping after `close`."""
        self.check_room()
        channel = self._channels.setdefault(conversation, Channel())
        follower = Follower(channel)
        channel.followers.add(follower)
        self._streams += 1
        try:
            yield follower
        finally:
            self._streams -= 1
            channel.followers.discard(follower)
            self._tidy(conversation, channel)

    def watch(self, conversation: str, seq: int, message: Message) -> None:
        """Show this turn to all who follow, until it has an answer."""
        channel = self._channels.get(conversation)
        if channel is None or seq in self._watches or self._closed:
            return
        live = channel.lives.setdefault(message.turn, Live(message.turn))
        if not live.seq:
            live.seq, live.message = seq, message
            self._moved(channel, live)
        task = asyncio.create_task(self._await_answer(conversation, live), name=f"watch {seq}")
        self._watches[seq] = task
        task.add_done_callback(lambda _: self._watches.pop(seq, None))

    def show(self, conversation: str, turn: str, progress: Progress) -> None:
        channel = self._channels.setdefault(conversation, Channel())
        live = channel.lives.setdefault(turn, Live(turn))
        live.progress = progress
        self._moved(channel, live)

    def finish(self, conversation: str, turn: str, outcome: Answer | PonteError) -> None:
        channel = self._channels.get(conversation)
        if channel is None:
            return
        live = channel.lives.setdefault(turn, Live(turn))
        if not live.ended:
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
            live = channel.lives.setdefault(f"{turn} cards", Live(turn))
            live.cards = tuple(cards)
            self._moved(channel, live)
            self._tidy(conversation, channel)

    async def close(self) -> None:
        """End every stream and wait for the hub's own tasks."""
        self._closed = True
        for channel in self._channels.values():
            for follower in channel.followers:
                follower.closed = True
                follower.wake(urgent=True)
        watches = list(self._watches.values())
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def _await_answer(self, conversation: str, live: Live) -> None:
        try:
            outcome: Answer | PonteError = await self._answer_of(live.seq)
        except PonteError as error:
            outcome = error
        self.finish(conversation, live.turn, outcome)

    def _moved(self, channel: Channel, live: Live) -> None:
        channel.version += 1
        live.version = channel.version
        for follower in channel.followers:
            follower.wake(urgent=live.ended)

    def _tidy(self, conversation: str, channel: Channel) -> None:
        """Drop ended turns that everybody saw, and the oldest beyond `KEPT`."""
        seen = min((follower.seen for follower in channel.followers), default=channel.version)
        ended = [key for key, live in channel.lives.items() if live.ended]
        surplus = len(ended) - KEPT
        for number, key in enumerate(ended):
            live = channel.lives[key]
            if live.version <= seen:
                del channel.lives[key]
            elif number < surplus:
                channel.evicted = max(channel.evicted, live.version)
                del channel.lives[key]
        if not channel.followers and not channel.lives:
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

    async def rest(self) -> None:
        return None

    async def finish(self, answer: Answer) -> None:
        self._hub.finish(self._conversation, self._turn, answer)

    async def refresh(self, answer: Answer) -> None:
        self._hub.redraw(self._conversation, self._turn, answer.cards)


class Transcripts(Protocol):
    """What is read of the journal."""

    async def shown(self, conversation: str, thread: str = "") -> Sequence[Shown]: ...

    async def turn_of(self, turn: str) -> Shown: ...


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
    metrics: Callable[[], str] | None = None
    operator: Operator | None = None
    locale: str = "en"
    time_zone: str = "UTC"
    taking: bool = True

    def key(self, conversation: str) -> str:
        """The conversation key of what this server calls `conversation`."""
        return f"{self.auth.platform}:{conversation}"
