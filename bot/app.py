"""The composition root: builds what the faces give, starts it in order, stops it in reverse."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bot.config import Config, read_config
from bot.engine import Choices, Engine
from bot.health import Board, Threads, summaries
from bot.home import Home
from bot.integrations import FACES, Faces, rights
from bot.quick import Registry
from bot.safety import findings
from bot.settings import Settings, load
from bot.telemetry import set_up
from core import metrics
from core.chat.platform import ChatPlatform, Platform
from core.conversation import prompt
from core.conversation.context import CallLimits
from core.conversation.manager import Profile
from core.errors import HomeTaken, PonteError
from core.http import HttpClient
from core.integration import (
    ChatIntegration,
    ChatPorts,
    Dependencies,
    Handler,
    ModelIntegration,
    OwnerIntegration,
    PagePorts,
    ToolIntegration,
    Tools,
)
from core.messages import Address, File, Person
from core.models.server import Options
from core.openai import OPENAI, Client, Place
from core.policy import AllowList
from core.ports import Guests, Membership
from core.records import Health, Remote
from core.settings import plain
from core.tasks import together
from core.tools.tool import Toolbox

AT_START = 0.3
"""Seconds that a part may take to tell how it is, when Ponte says that it is ready."""


@dataclass(frozen=True, slots=True)
class Start:
    """What every command that does something begins with. `home` is not taken yet."""

    settings: Settings
    config: Config
    home: Home


def start(*, quiet: bool = False, faces: Faces = FACES) -> Start:
    """Raises SettingsError. What is written from now on is for this user alone."""
    os.umask(0o077)
    settings = load(faces)
    set_up(settings, quiet=quiet)
    if settings.env_file.why and quiet:  # `run` says it on its start screen
        sys.stderr.write(f"{settings.env_file.path} is not read: {settings.env_file.why}.\n")
    asked_for = "ponte_config" in settings.model_fields_set
    config = read_config(settings.ponte_config, required=asked_for, faces=faces)
    return Start(settings, config, Home(settings.ponte_home))


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
        if secrets := app.own_secrets():
            set_up(settings.model_copy(update=secrets))  # so that no log shows them
        await app.start(surfaces=True)
        gc.freeze()  # a full collection walks what a start leaves, and stood still for 50 ms
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


def model_client(settings: Settings) -> Client:
    """The one for the process; whoever holds it closes it."""
    key, url = plain(settings.openai_api_key), settings.openai_base_url or OPENAI
    return Client(Place(key, url, settings.proxies))


def dependencies(
    settings: Settings, config: Config, home: Home, http: HttpClient, client: Client
) -> Dependencies[Any]:
    """What every face is built and checked with."""

    def pseudonym(name: str) -> str:
        return Options(secret=home.pseudonyms()).pseudonym(name)

    return Dependencies(settings, settings, config, home, http, client, pseudonym)


class App:
    def __init__(self, settings: Settings, config: Config, home: Home) -> None:
        self._settings = settings
        self._config = config
        self._home = home
        self._faces = settings.faces
        self._http = HttpClient(proxies=settings.proxies)
        self._client = model_client(settings)
        self._dependencies = dependencies(settings, config, home, self._http, self._client)
        self._memberships: dict[str, Membership] = {}
        self._guests: dict[str, Guests] = {}
        self._rights = rights(self._faces)
        self._policy = AllowList(
            self._rights,
            settings.ponte_allow,
            settings.ponte_admins,
            self._memberships,
            self._guests,
        )
        self._quick = Registry(config.quick_commands, self._policy.is_named)
        self._tools: list[Tools] = []
        for face in self._faces:
            if isinstance(face, ToolIntegration):
                tools = face.build(self._dependencies, self._quick)
                self._tools += [tools] if tools else []
        self._toolbox = Toolbox([tools.source for tools in self._tools])
        self._board = Board(summaries(settings), self._quick)
        self._board.live |= {one.source.name: one.source.health for one in self._tools}
        self._owners: list[tuple[OwnerIntegration[Any], Platform]] = []
        self.chats: list[ChatPlatform] = []

    def own_secrets(self) -> dict[str, SecretStr]:
        """What surfaces made for themselves at their first start, by the setting's name."""
        owners = [face for face in self._faces if isinstance(face, OwnerIntegration)]
        return {
            name: SecretStr(made)
            for face in owners
            for name, made in face.secrets(self._settings, self._home).items()
        }

    async def start(self, *, surfaces: bool) -> None:
        """`surfaces` False serves the Unix socket alone. Raises what it cannot start for."""
        (model,) = [face for face in self._faces if isinstance(face, ModelIntegration)]
        self._model, begin = model.build(self._dependencies, self._read, self._late)
        self._engine = await Engine.open(self._home.path, self._choices())
        self._board.ledger = self._engine.changes.latest
        await self._build(surfaces)
        self._board.live[model.name] = self._model.health
        for platform in self._platforms:
            self._engine.replies[platform.name] = platform.reply
            self._board.live[platform.name] = platform.health
        self._engine.start()
        try:
            await together(*(platform.start() for platform in self._platforms))
        except PonteError:
            await self.stop()
            raise
        begin()  # its package is large, and nothing hears sooner with it
        for tools in self._tools:
            tools.start()

    @property
    def _platforms(self) -> Sequence[Platform]:
        return [*(platform for _, platform in self._owners), *self.chats]

    async def _build(self, surfaces: bool) -> None:
        """The platforms, not started yet; the owner's serve what the others take in over HTTP."""
        engine, settings = self._engine, self._settings
        ports = ChatPorts(
            inbox=engine.inbox, journal=engine.journal, threads=engine.threads, files=engine.files,
            board=self._board, policy=self._policy, removed=engine.manager.removed,
        )  # fmt: skip
        for face in self._faces:
            if isinstance(face, ChatIntegration) and surfaces and face.is_used(settings, settings):
                chat = await face.build(self._dependencies, ports)
                engine.fetch[chat.name] = chat.fetch
                engine.look_up[chat.name] = chat.look_up
                self._memberships[chat.name] = chat.membership
                self._guests[chat.name] = chat.guest
                self.chats.append(chat)

        async def readiness() -> Sequence[Health]:
            """What `/readyz` looks at; a tool may fail beside it."""
            tools = [face.name for face in self._faces if isinstance(face, ToolIntegration)]
            return [part for part in await self._board.health() if part.name not in tools]

        routes: dict[str, Handler] = {f"/{chat.name}/events": chat.http for chat in self.chats}
        threads = Threads(engine.journal, engine.commands, self.link)
        page = PagePorts(routes, readiness, metrics.exposition, threads)
        for face in self._faces:
            if not isinstance(face, OwnerIntegration) or not (surfaces or face.always):
                continue
            if face.is_used(settings, settings):
                self._owners.append((face, await face.build(self._dependencies, ports, page)))
        if not surfaces:
            served = [face.name for face in self._faces if isinstance(face, ChatIntegration)]
            served += [face.name for face in self._faces if isinstance(face, OwnerIntegration)]
            self._board.asleep(served)

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """No more intake; turns finish within the grace, the rest is put back; all is closed."""
        for platform in self._platforms:
            await platform.stop_intake()
        draining = asyncio.create_task(self._engine.drain(self._settings.ponte_grace))
        hurrying = asyncio.create_task((hurry or asyncio.Event()).wait())
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await self._engine.drain(0)
        await draining
        hurrying.cancel()
        for platform in reversed(self._platforms):
            await platform.close()
        await self._toolbox.close()
        for tools in self._tools:
            await tools.close()
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
        page, link = self._opened()
        if page and not sys.stdout.isatty():
            sys.stdout.write("`ponte link` prints the page's address with its token\n")
        shown = link if sys.stdout.isatty() else page
        sys.stdout.write(f"Ponte is ready{f': open {shown}' if shown else ''}\n")
        sys.stdout.flush()

    def link(self) -> str:
        """Where a person opens the page, with the token that opens it; "" where none is served."""
        return self._opened()[1]

    def page(self) -> str:
        """The same without the token."""
        return self._opened()[0]

    def _opened(self) -> tuple[str, str]:
        links = (face.link(self._settings, own, self._home) for face, own in self._owners)
        return next((both for both in links if both[0]), ("", ""))

    async def _read(self, file: str) -> tuple[File, bytes]:
        return await self._engine.files.get(file)

    async def _late(self, thread: str, remote: Remote) -> None:
        await self._engine.journal.remote(thread, remote)

    def _choices(self) -> Choices:
        settings, config = self._settings, self._config
        return Choices(
            model=self._model,
            toolbox=self._toolbox,
            code=next((tools.runner for tools in self._tools if tools.runner), None),
            policy=self._policy,
            appliers=[applier for tools in self._tools for applier in tools.appliers],
            auto_create_rows=config.changes.auto_create_rows,
            rules=config.table_rules,
            platforms=self._rights,
            is_named=self._policy.is_named,
            board=self._board,
            quick=self._quick,
            caps=self._caps,
            profile=Profile(
                instructions=settings.ponte_instructions or prompt.INSTRUCTIONS,
                locale=settings.ponte_locale,
                zone=settings.ponte_timezone,
                channels={k: c.instructions for k, c in config.channels.items()},
                hosts=config.links.hosts,
                links_code=frozenset(name for name, own in self._rights.items() if own.links_code),
                limits=CallLimits(config.limits.costly_calls, config.limits.tool_calls),
            ),
            retention_days=settings.ponte_retention_days,
        )

    async def _caps(self, person: Person, address: Address) -> tuple[int, int]:
        turns = await self._settings.daily_caps.of(person, address, self._policy)
        return turns.person, turns.everybody
