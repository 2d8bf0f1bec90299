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
from pydantic import SecretStr

from adapters.web.adapter import Port, WebAdapter
from adapters.web.door import Door, SocketDoor, WebDoor
from adapters.web.mount import Mounted
from bot.board import Board
from bot.config import Config
from bot.engine import Choices, Engine
from bot.home import Home
from bot.lineup import lineup, opened_at, with_token
from bot.model import choose, client
from bot.operator import Threads
from bot.platforms import platforms
from bot.safety import findings
from bot.settings import Settings
from bot.telemetry import set_up
from bot.tooling import Tooling
from bot.values import plain
from core import metrics, prompt
from core.conversation import Profile
from core.errors import HomeTaken, PonteError
from core.http import HttpClient
from core.messages import Address, File, Person
from core.model.served import ServedModel
from core.platform_ports import ChatPlatform, Platform
from core.policy import AllowList
from core.ports import Guests, Membership
from core.records import Health, Remote
from core.stage import CallLimits

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
        if settings.ponte_web == "on" and settings.ponte_web_token is None:
            made = {"ponte_web_token": SecretStr(home.web_token())}
            set_up(settings.model_copy(update=made))  # so that no log shows it
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
        self._guests: dict[str, Guests] = {}
        self._policy = AllowList(
            settings.ponte_allow, settings.ponte_admins, self._memberships, self._guests
        )
        self._tooling = Tooling(
            settings, config, home, self._policy.is_named, self._http, self._client
        )
        self._board = Board(lineup(settings), self._tooling.quick)
        self._board.live |= {n: each.health for n, each in self._tooling.sources.items()}
        self._surfaces: list[Platform] = []
        self._web_token = ""

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
            self._engine.look_up[chat.name] = chat.look_up
            self._memberships[chat.name] = chat.membership
            self._guests[chat.name] = chat.guest
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
        file = self._settings.env_file
        if file.path is not None:
            unread = f" is not read: {file.why}" if file.why else ""
            sys.stdout.write(f"Settings: the environment and {file.path}{unread}\n")
        marks = {"on": "on ", "off": "off", "failing": "!! "}
        for part in await self._board.health(patience=AT_START):
            sys.stdout.write(f"  {marks[part.state]}  {part.name:<10} {part.words}\n")
        for found in findings(self._settings, self._config, self._home):
            if found.level == "unsafe" or (found.topic == "caps" and found.level == "note"):
                sys.stdout.write(f"  !!   {found.topic:<10} {found.words}\n")
        # A log is read by others, and kept: there the token does not belong.
        page = self.link() if sys.stdout.isatty() else self.page()
        if page and not sys.stdout.isatty():
            sys.stdout.write("`ponte link` prints the page's address with its token\n")
        sys.stdout.write(f"Ponte is ready{f': open {page}' if page else ''}\n")
        sys.stdout.flush()

    def page(self) -> str:
        """Where a person opens the page; "" where this process serves none."""
        for surface in self._surfaces:
            if isinstance(surface, WebAdapter) and surface.name == "web":
                return opened_at(self._settings, surface.address)
        return ""

    def link(self) -> str:
        """The same with the token, which opens it."""
        page = self.page()
        return with_token(page, self._web_token) if page else ""

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
                limits=CallLimits(self._config.limits.costly_calls, self._config.limits.tool_calls),
            ),
            retention_days=settings.ponte_retention_days,
        )

    async def _caps(self, person: Person, address: Address) -> tuple[int, int]:
        turns = await self._settings.daily_caps.of(person, address, self._policy)
        return turns.person, turns.everybody

    def _web(self, surfaces: bool, chats: Sequence[ChatPlatform]) -> Sequence[WebAdapter]:
        settings = self._settings
        doors = [self._door(SocketDoor(), self._home.listen())]
        if not surfaces or settings.ponte_web == "off":
            return doors
        self._web_token = plain(settings.ponte_web_token) or self._home.web_token()
        door = WebDoor(settings.ponte_web_host, self._web_token, settings.ponte_web_url or "")
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
            operator=Threads(engine.journal, engine.desk, self.link)
            if door.platform == "terminal"
            else None,
            locale=self._settings.ponte_locale,
            time_zone=str(self._settings.ponte_timezone),
        )
