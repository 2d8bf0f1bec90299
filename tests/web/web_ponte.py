"""The web adapter on real sockets, over the stores of a Ponte whose turns a script answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from adapters.web.hub import Hub, WebAdapter
from adapters.web.oidc.flow import SignIn
from adapters.web.sign_in import SocketAuthentication, TokenAuthentication, Visitors
from adapters.web.visitor import SignInMethods
from core.base.errors import NotStored, Superseded
from core.chat.approval_notices import PersonNoticeService
from core.chat.people import Conversations, People
from core.domain.messages import Answer, Message, Person, Progress, Usage
from core.domain.ports import Reply
from core.domain.records import HistoryEntry
from core.feedback.votes import Press, Votes
from core.integrations import HttpHandler, Operator
from core.journal.inbox import SqlInbox
from core.journal.jobs import Alone, Jobs
from core.journal.journal import Journal
from core.journal.kernels import SharedKernelRows
from core.people.notices import PersonNotice
from core.people.policy import Policy
from core.store.files import SqlFiles
from core.store.processes import NotificationHandler
from core.store.remembered import RememberedState
from tests.fakes.memory import (
    MemoryBoard,
    MemoryBytes,
    MemoryDatabase,
    MemoryOwnerName,
    MemoryPageAccounts,
    page_secrets,
)
from tests.fakes.operator import MemoryOperator


class NoPosts:
    is_resumed = False

    def check_ownership(self) -> None: ...

    async def list_posts(self) -> Sequence[Any]:
        return []

    async def record_posting(self, number: int, key: str) -> None:
        raise AssertionError("the web posts nothing")

    async def record_posted(self, number: int, post: str, last: bool = False) -> None:
        raise AssertionError("the web posts nothing")

    async def record_removed(self, number: int) -> None:
        raise AssertionError("the web posts nothing")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a test's script has at hand while it plays the assistant."""

    seq: int
    message: Message
    reply: Reply

    async def show(self, text: str = "", doing: str = "") -> None:
        await self.reply.show(Progress(text=text, current_step=doing))


Script = Callable[[Turn], Awaitable[Answer]]
Client = httpx.AsyncClient


async def echo(turn: Turn) -> Answer:
    return Answer(f"You said: {turn.message.text}")


def unix_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


TOKEN = "the-token-of-a-ponte-in-tests"


class MemoryVotes(Votes):
    """The votes of one Ponte: the last press of each person on each turn, and reasons."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], str] = {}
        self.reasons: list[tuple[str, bool]] = []

    async def vote(self, press: Press, *, toggles: bool = False) -> bool:
        self.stored[press.turn, press.person.key] = press.vote
        return True

    async def explain(self, press: Press, reason: str, shares: bool) -> None:
        self.reasons.append((reason, shares))

    async def list_own(self, person: str, conversation: str) -> dict[str, str]:
        return {turn: vote for (turn, key), vote in self.stored.items() if key == person}


@dataclass
class MemoryPersonNotices(PersonNoticeService):
    """By person, the notices that wait."""

    waiting: dict[str, list[PersonNotice]] = field(default_factory=dict)

    async def send(self, person: Person, kind: str, **values: str) -> None:
        there = self.waiting.setdefault(person.key, [])
        there.append(PersonNotice.new(f"{person.id}-{len(there)}", kind, **values))

    async def list_waiting(self, person: Person) -> Sequence[PersonNotice]:
        return self.waiting.get(person.key, [])

    async def dismiss(self, person: Person, id: str) -> bool:
        there = self.waiting.get(person.key, [])
        matches = [one for one in there if one.id == id]
        for one in matches:
            there.remove(one)
        return bool(matches)


class MemoryPeers(Jobs):
    """The `Peers` port of all processes in memory. Each event reaches every process, its sender
    too, as a notification of Postgres does."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[NotificationHandler]] = {}
        self._progress: dict[str, Progress] = {}
        self._tasks: list[asyncio.Future[None]] = []

    def on(self, word: str, handler: NotificationHandler) -> None:
        self._listeners.setdefault(word, []).append(handler)

    async def notify(self, word: str, id: str) -> None:
        for handler in self._listeners.get(word, ()):
            if (work := handler(id)) is not None:
                self._tasks.append(asyncio.ensure_future(work))

    async def wait_for_handlers(self) -> None:
        """Wait until all events are handled. Raise the error of a handler."""
        await asyncio.gather(*self._tasks)

    async def save_progress(self, turn: str, progress: Progress) -> None:
        self._progress[turn] = progress
        await self.notify("progress", turn)

    async def read_progress(self, turn: str) -> Progress | None:
        return self._progress.get(turn)

    async def lead(self, role: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        raise AssertionError("the web adapter has no role")

    def remembered_state(self, name: str, data: Callable[[], object]) -> RememberedState:
        raise AssertionError("the web adapter stores no state")

    def kernel_places(self) -> SharedKernelRows:
        raise AssertionError("the web adapter runs no code")


class WebPonte:
    """`script` answers as the assistant; `restart` begins a new process over the same stores."""

    def __init__(self, script: Script = echo, home: Path | None = None, token: str = TOKEN) -> None:
        self.script = script
        self.database = MemoryDatabase()
        self.files = SqlFiles(self.database, MemoryBytes())
        self.board = MemoryBoard()
        self.people = MemoryPageAccounts()
        self.owner_name = MemoryOwnerName()
        self.notices = MemoryPersonNotices()
        self.votes = MemoryVotes()
        self.peers: MemoryPeers | None = None
        self.policy: Policy | None = None
        self.sign_in: SignIn | None = None
        self.voice = False
        self.home = home
        self.extra: dict[str, HttpHandler] = {}
        self.operator: Operator = MemoryOperator()
        self.host, self.url, self.token = "127.0.0.1", "", token
        self._port = 0

    def answers(
        self, answer: Answer | Callable[[Turn], Answer], click: Answer | None = None
    ) -> None:
        """Answer each message with this, at once; a press of a button with `click`, if given."""

        async def script(turn: Turn) -> Answer:
            if click and turn.message.is_click:
                return click
            return answer(turn) if callable(answer) else answer

        self.script = script

    async def open(self) -> None:
        self.inbox, self.journal = SqlInbox(self.database), Journal(self.database)
        self.web = self._adapter(self._authentication(), ("127.0.0.1", self._port))
        self.terminal = None
        if self.home is not None:
            self.terminal = self._adapter(
                SocketAuthentication(self.owner_name), unix_socket(self.home / "ponte.sock")
            )
        for adapter in self._adapters:
            await adapter.start()
        self._port = int(self.web.address.rsplit(":", 1)[1])
        self._running = asyncio.create_task(self.inbox.run(self._handle))

    async def close(self) -> None:
        await self.stop()
        await self.database.close()

    async def stop(self) -> None:
        for adapter in self._adapters:
            await adapter.stop_intake()
        await self.inbox.drain(0)
        await asyncio.gather(*(adapter.close() for adapter in self._adapters))
        await self._running

    async def restart(self) -> None:
        await self.stop()
        await self.open()

    @property
    def rows(self) -> dict[int, HistoryEntry]:
        """What is stored of each message, by its number."""
        return self.database.entries()

    def full_disk(self) -> AbstractContextManager[object]:
        return patch.object(self.database, "write", side_effect=NotStored)

    def spend(self, seq: int, usage: Usage) -> None:
        self.database.execute(
            "INSERT INTO usage (seq, day, person, conversation, input, cached, output, reasoning)"
            " VALUES (?, '', '', '', ?, ?, ?, ?)",
            seq,
            usage.input,
            usage.cached,
            usage.output,
            usage.reasoning,
        )

    async def forget(self, conversation: str) -> None:
        for seq in (await self.journal.forget(conversation)).running:
            await self.inbox.cancel(seq)

    @asynccontextmanager
    async def second_process(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield a client of another process that serves the same page and runs no turn."""
        web = self._adapter(self._authentication(), ("127.0.0.1", 0))
        await web.start()
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=web.address, headers=headers, timeout=20) as client:
            yield client
        await web.close()

    @property
    def link(self) -> str:
        """The page's address as `ponte link` prints it."""
        return f"{self.web.address}/#token={self.token}"

    @property
    def channels(self) -> Mapping[str, Any]:
        """Conversations that somebody follows or whose turns are under way."""
        return self.web.hub._channels

    @property
    def open_streams(self) -> int:
        """The number of conversations that event streams follow."""
        return self.web.hub._streams

    def forget_failed_logins(self) -> None:
        """Let whoever was refused too often try again."""
        auth: Any = self.web.hub.visitors.auth
        auth._tries.clear()

    @property
    def connections(self) -> set[Any]:
        """Those that are open on the page's port."""
        return self.web._server._server.server_state.connections  # type: ignore[no-any-return]

    @property
    def stream_connections(self) -> int:
        """The number of connections on which an event stream is being answered."""
        return sum(
            one._phase == "answer" and one.scope["path"].endswith("/events")
            for one in self.connections
        )

    def client(self, **headers: str) -> httpx.AsyncClient:
        """A script's, with the token as its bearer."""
        return self.stranger(**{"Authorization": f"Bearer {self.token}", **headers})

    def person(self, token: str, **headers: str) -> httpx.AsyncClient:
        """Somebody's who has a name here."""
        return self.stranger(**{"Authorization": f"Bearer {token}", **headers})

    def program(self, name: str = "owner", **headers: str) -> httpx.AsyncClient:
        """Return the client of a program with an API token of this person."""
        return self.person(self.people.add_api_token(name), **headers)

    def stranger(self, **headers: str) -> httpx.AsyncClient:
        """Somebody's who does not know the token."""
        return httpx.AsyncClient(base_url=self.web.address, headers=headers, timeout=20)

    def terminal_client(self) -> httpx.AsyncClient:
        assert self.home is not None
        transport = httpx.AsyncHTTPTransport(uds=str(self.home / "ponte.sock"))
        return httpx.AsyncClient(base_url="http://ponte", transport=transport, timeout=20)

    @property
    def _adapters(self) -> list[WebAdapter]:
        return [self.web, self.terminal] if self.terminal else [self.web]

    def _authentication(self) -> TokenAuthentication:
        methods = SignInMethods(self.policy, bool) if self.policy else None
        return TokenAuthentication(
            self.host, page_secrets(self.token), self.url, self.people, self.owner_name, methods
        )

    def _adapter(
        self,
        auth: TokenAuthentication | SocketAuthentication,
        listener: tuple[str, int] | socket.socket,
    ) -> WebAdapter:
        nowhere: Any = None
        conversations = Conversations(
            self.inbox, self.journal, nowhere, self.files, nowhere, nowhere, self.votes, nowhere
        )
        people = People(nowhere, nowhere, nowhere, nowhere, self.people, self.owner_name)
        visitors = Visitors(auth, self.policy, sign_in=self.sign_in, voice=self.voice)
        hub = Hub(visitors, conversations, self.board, self.peers or Alone())
        if auth.platform == "web":
            return WebAdapter(
                hub, self.board, self.operator, self.notices, listener, people, self.extra
            )
        return WebAdapter(hub, self.board, self.operator, self.notices, listener)

    async def _handle(self, seq: int) -> None:
        turn = await self.journal.begin(seq)
        if turn is None:
            return
        platform = {"web": self.web, "terminal": self.terminal}[turn.message.address.platform]
        assert platform is not None
        reply = platform.reply(turn.message.reply_to, NoPosts())
        try:
            answer = await self.script(Turn(seq, turn.message, reply))
        except asyncio.CancelledError:
            if not self.inbox.is_stopped(seq):
                raise
            answer = Answer("", "stopped")
        with suppress(Superseded):
            await self.journal.record_answer(turn, answer)
            await reply.finish(answer)
            await self.journal.end_turn(turn, answer.status)


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: Any
    id: str = ""


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """Server-sent events as a browser reads them."""
    name, id, data = "message", "", ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        match field:
            case "event":
                name = value
            case "id":
                id = value
            case "data":
                data += value
            case "":
                if data:
                    yield Event(name, json.loads(data), id)
                name, id, data = "message", "", ""


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, conversation: str = "main", last: str = "", query: str = ""
) -> AsyncIterator[AsyncIterator[Event]]:
    headers = {"Last-Event-ID": last} if last else {}
    path = f"/conversations/{conversation}/events{query}"
    async with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        yield events(response)


async def until(stream: AsyncIterator[Event], name: str) -> list[Event]:
    """All events up to the first called `name`."""
    new_events: list[Event] = []
    async for event in stream:
        new_events.append(event)
        if event.name == name:
            return new_events
    raise AssertionError(f"the stream ended before {name!r}: {new_events}")
