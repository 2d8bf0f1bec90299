"""The composition root: knows every concrete class, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import structlog

from adapters.web.adapter import Port, WebAdapter
from adapters.web.door import Door, SocketDoor, WebDoor
from adapters.web.mount import Mounted
from bot.board import Board
from bot.config import Config
from bot.engine import Choices, Engine
from bot.home import Home
from bot.lineup import lineup
from bot.model import choose, client
from bot.operator import Threads
from bot.platforms import platforms
from bot.settings import Settings
from bot.tooling import Tooling
from bot.values import plain
from core import metrics, prompt
from core.conversation import Profile
from core.errors import HomeTaken, PonteError
from core.http import HttpClient
from core.messages import File, Person
from core.model.served import ServedModel
from core.platform_ports import ChatPlatform, Platform
from core.policy import AllowList
from core.ports import Membership
from core.records import Health, Remote

log = structlog.get_logger("app")
SURFACES = ("web", "slack", "discord")
AT_START = 0.3
"""Seconds that a part may take to tell how it is, when Ponte says that it is ready."""


async def run(settings: Settings, config: Config, home: Home) -> int:
    """Everything that is configured, until SIGTERM or SIGINT; a second one does not wait."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    with home.take():
        app = App(settings, config, home)
        await app.start(surfaces=True)
        try:
            await app.announce()
            await stop.wait()
        finally:
            await app.stop(hurry)
    return 0


@asynccontextmanager
async def local(settings: Settings, config: Config, home: Home) -> AsyncIterator[Path]:
    """The path of a socket: of the process that holds the home, or else of this one for now."""
    async with AsyncExitStack() as stack:
        with suppress(HomeTaken):
            stack.enter_context(home.take())
            app = App(settings, config, home)
            await app.start(surfaces=False)
            stack.push_async_callback(app.stop)
        yield Path(stack.enter_context(home.address()))


class App:
    def __init__(self, settings: Settings, config: Config, home: Home) -> None:
        self._settings = settings
        self._config = config
        self._home = home
        self._http = HttpClient(proxies=settings.proxies)
        self._client = client(settings)
        self._memberships: dict[str, Membership] = {}
        self._policy = AllowList(settings.ponte_allow, settings.ponte_admins, self._memberships)
        self._tooling = Tooling(
            settings, config, home, self._policy.is_named, self._http, self._client
        )
        self._board = Board(lineup(settings), self._tooling.quick)
        self._board.live |= {n: each.health for n, each in self._tooling.sources.items()}
        self._surfaces: list[Platform] = []

    async def start(self, *, surfaces: bool) -> None:
        """`surfaces` False serves the Unix socket alone. Raises what it cannot start for."""
        self._model = choose(
            self._settings, self._client, self._home.pseudonyms(), self._read, self._late
        )
        self._engine = await Engine.open(self._home.path, self._choices())
        self._board.ledger = self._engine.changes.latest
        chats = await self._chats() if surfaces else ()
        doors = self._web(surfaces, chats)
        if not surfaces:
            self._board.asleep(SURFACES)
        self._board.live["model"] = self._model.health
        for surface in (*doors, *chats):
            self._engine.replies[surface.name] = surface.reply
            self._board.live[surface.name] = surface.health
            self._surfaces.append(surface)
        self._engine.start()
        if isinstance(self._model, ServedModel):
            self._model.start()
        self._tooling.start()
        try:
            for door in doors:
                await door.start()
            await asyncio.gather(*(chat.start() for chat in chats))
        except PonteError:
            await self.stop()
            raise

    async def _chats(self) -> Sequence[ChatPlatform]:
        chats = await platforms(
            self._settings, self._config, self._home, self._engine, self._policy, self._board
        )
        for chat in chats:
            self._engine.fetch[chat.name] = chat.fetch
            self._memberships[chat.name] = chat.membership
        return chats

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """No more intake; turns finish within the grace, the rest is put back; all is closed."""
        for surface in self._surfaces:
            await surface.stop_intake()
        draining = asyncio.create_task(self._engine.drain(self._settings.ponte_grace))
        hurrying = asyncio.create_task((hurry or asyncio.Event()).wait())
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await self._engine.drain(0)
        await draining
        hurrying.cancel()
        for surface in reversed(self._surfaces):
            await surface.close()
        await self._tooling.close()
        await self._model.close()
        await self._client.close()
        await self._http.close()
        await self._engine.close()

    async def announce(self) -> None:
        """What is on, what is off and why, and the URL: on stdout, for who started it."""
        marks = {"on": "on ", "off": "off", "failing": "!! "}
        for part in await self._board.health(patience=AT_START):
            sys.stdout.write(f"  {marks[part.state]}  {part.name:<10} {part.words}\n")
        page = next((s.address for s in self._web_surfaces() if s.name == "web"), "")
        sys.stdout.write(f"Ponte is ready{f': open {page}' if page else ''}\n")
        sys.stdout.flush()

    def _web_surfaces(self) -> list[WebAdapter]:
        return [surface for surface in self._surfaces if isinstance(surface, WebAdapter)]

    async def _read(self, file: str) -> tuple[File, bytes]:
        return await self._engine.files.get(file)

    async def _late(self, thread: str, remote: Remote) -> None:
        await self._engine.journal.remote(thread, remote)

    def _choices(self) -> Choices:
        settings = self._settings
        return Choices(
            model=self._model,
            toolbox=self._tooling.toolbox,
            code=self._tooling.runner,
            policy=self._policy,
            appliers=self._tooling.appliers,
            auto_create_rows=self._config.changes.auto_create_rows,
            rules=self._config.table_rules,
            is_named=self._policy.is_named,
            board=self._board,
            quick=self._tooling.quick,
            caps=self._caps,
            profile=Profile(
                instructions=settings.ponte_instructions or prompt.INSTRUCTIONS,
                locale=settings.ponte_locale,
                zone=str(settings.ponte_timezone),
                channels={k: c.instructions for k, c in self._config.channels.items()},
                hosts=self._config.links.hosts,
            ),
            retention_days=settings.ponte_retention_days,
        )

    def _caps(self, person: Person) -> tuple[int, int]:
        turns = self._settings.daily_caps.of(person.platform)
        return turns.person, turns.everybody

    def _web(self, surfaces: bool, chats: Sequence[ChatPlatform]) -> Sequence[WebAdapter]:
        settings = self._settings
        doors = [self._door(SocketDoor(), self._home.listen())]
        if not surfaces or settings.ponte_web == "off":
            return doors
        door = WebDoor(
            settings.ponte_web_host, settings.ponte_web_url or "", plain(settings.ponte_web_token)
        )
        routes = {f"/{chat.name}/events": Mounted(chat.http) for chat in chats}
        port = Port(settings.ponte_web_host, settings.ponte_web_port)
        return [*doors, self._door(door, port, routes)]

    async def _readiness(self) -> Sequence[Health]:
        """What `/readyz` looks at: the platforms and the model; a tool may fail beside them."""
        return [part for part in await self._board.health() if part.name in ("model", *SURFACES)]

    def _door(
        self,
        door: Door,
        listener: Port | socket.socket,
        routes: Mapping[str, Mounted] = MappingProxyType({}),
    ) -> WebAdapter:
        engine = self._engine
        return WebAdapter(
            door=door,
            listener=listener,
            extra=routes,
            inbox=engine.inbox,
            journal=engine.journal,
            files=engine.files,
            board=self._board,
            readiness=self._readiness,
            metrics=metrics.exposition,
            operator=Threads(engine.journal, engine.desk) if door.platform == "terminal" else None,
            locale=self._settings.ponte_locale,
            time_zone=str(self._settings.ponte_timezone),
        )
