"""Which model answers, as the settings say.

Where Python runs, as the settings say.

StackSpot, as the settings and `ponte.toml` turn it on.

The systems that bring tools, as the settings turn them on.

The embedded engine: one process, files in one home. Opens the stores and runs the turns.

The chat platforms that the settings turn on, each built from what it asks for by name.

An adapter's module brings its SDK, so it is imported in a thread, and only where it is on.

What the operator's commands read and do, in JSON: served on the home's Unix socket alone.

The composition root: knows every concrete class, starts them in order, stops them in reverse.

What every command that does something begins with: settings, `ponte.toml`, logs, the home.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import structlog
from pydantic import SecretStr

from adapters import PLATFORMS
from adapters.web.adapter import Mounted, Port, WebAdapter
from adapters.web.authentication import Door, SocketDoor, WebDoor
from bot.config import Agent, Config, in_language
from bot.config import load as load_config
from bot.health import Board, lineup, opened_at, with_token
from bot.home import Home
from bot.quick import Named, Registry
from bot.rights import RIGHTS
from bot.safety import findings
from bot.settings import Settings, load, plain
from bot.telemetry import set_up
from core import metrics
from core.changes.apply import Applying
from core.changes.approval import Approval, NamedApprovers, TableRules
from core.changes.audit import AuditLog
from core.changes.ports import Applier
from core.changes.service import Changes
from core.chat.cards import Redraw
from core.chat.platform import ChatPlatform, Platform
from core.conversation import prompt
from core.conversation.commands import CodeCommand, Commands, QuickCommandHandler
from core.conversation.context import CallLimits, Scenes
from core.conversation.manager import ConversationManager, Parts, Profile
from core.conversation.upkeep import Upkeep
from core.errors import HomeTaken, NotFound, PonteError
from core.http import HttpClient
from core.messages import Address, Answer, File, Item, Message, Person, prepare
from core.models.demo import DemoModel
from core.models.input import Read
from core.models.served import Level, ServedModel
from core.models.server import Late, Options
from core.openai import OPENAI, Client, Place
from core.policy import AllowList, PlatformRights
from core.ports import (
    Fetch,
    Guests,
    Journal,
    LookUp,
    Membership,
    Model,
    Policy,
    QuickCommands,
    Replies,
    StatusBoard,
    ToolSource,
)
from core.quick_commands import Results
from core.records import Health, Outcome, Remote, Shown, Thread
from core.store.changes import Caps, CountingBudget, SqliteLedger, uncapped
from core.store.database import Database
from core.store.files import FolderFiles
from core.store.inbox import SqliteInbox
from core.store.schema import MIGRATIONS
from core.store.thread_map import FileThreadMap
from core.store.turns import SqliteJournal
from core.tools.code.environment import Environment, place
from core.tools.code.hosted import Choice, HostedBackend
from core.tools.code.local import Kernels, LocalBackend, Marks, most_kernels
from core.tools.code.port import CodeBackend
from core.tools.code.sandbox.sandbox import Limits, SandboxFailed
from core.tools.code.source import CodeSource, Runner
from core.tools.nocodb.bridge_source import BridgeSource
from core.tools.nocodb.source import NocoSource
from core.tools.stackspot import StackSpot
from core.tools.stackspot import execution as stackspot_agents
from core.tools.stackspot.api import Clock
from core.tools.stackspot.source import StackSpotCommands, StackSpotRuns, StackSpotSource
from core.tools.toolbox import Toolbox

LEVELS: dict[str, Level] = {
    "conversations": "conversations",
    "responses": "responses",
    "chat": "chat",
}


def model_client(settings: Settings) -> Client:
    """The one for the process; whoever holds it closes it."""
    key, url = plain(settings.openai_api_key), settings.openai_base_url or OPENAI
    return Client(Place(key, url, settings.proxies))


def choose(settings: Settings, client: Client, secret: bytes, read: Read, late: Late) -> Model:
    """The demo model where neither a key nor a server is set; `secret` keys pseudonyms."""
    api, key = settings.ponte_model_api, plain(settings.openai_api_key)
    if api == "demo" or (api == "auto" and not key and not settings.openai_base_url):
        return DemoModel()
    options = Options(
        model=settings.ponte_model, effort=settings.ponte_model_effort or "", secret=secret
    )
    return ServedModel(client, options, level=LEVELS.get(api), read=read, late=late)


Pseudonym = Callable[[str], str]


def choose_code(
    settings: Settings, home: Home, client: Client, pseudonym: Pseudonym
) -> CodeBackend | None:
    """None where it is off. `auto`: OpenAI where it is the model's server, else this machine."""
    match settings.code:
        case "off":
            return None
        case "hosted":
            return HostedBackend(client, _choice(settings), pseudonym=pseudonym)
        case "local":
            return local_code(settings, home)


def _choice(settings: Settings) -> Choice:
    """Nothing is stored by who chose a level at which the model's server stores nothing."""
    return Choice(
        model=settings.ponte_code_model or settings.ponte_model,
        effort=settings.ponte_model_effort or "",
        store=settings.ponte_model_api in ("auto", "conversations"),
    )


def local_code(settings: Settings, home: Home, environments: Path | None = None) -> LocalBackend:
    """Starts nothing yet. `environments` is the folder for them, where it is not the home's."""
    limits = Limits()
    return LocalBackend(
        Environment(environments or place(home.path), settings.proxies),
        Kernels(Marks(home.path / "kernels"), limits, most_kernels(limits)),
        limits,
        wanted=settings.ponte_code == "local",
    )


async def made(settings: Settings, home: Home, write: Callable[[str], None]) -> int:
    """Make the environment with its libraries if it is not there yet; the exit code.

    Raises PonteError with the reason where it cannot be made.
    """

    async def tell(words: str) -> None:
        write(f"Ponte {words}")

    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = Environment(place(home.path), settings.proxies)
    try:
        python = await environment.python(tell)
    except SandboxFailed as failed:
        raise PonteError("{why}", why=failed.cause) from None
    finally:
        await environment.close()
    if python.lacks:
        raise PonteError("{why}", why=python.lacks)
    write(f"ready: {python.path.parent.parent}")
    return 0


class StackSpotTooling:
    """What StackSpot brings. `source` and `applier` are None where it is not set up."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        named: Named,
        http: HttpClient,
        clock: Clock | None = None,
    ) -> None:
        self._client = stackspot_client(settings, http, clock) if settings.stackspot else None
        any_name = settings.stackspot_unknown == "allow"
        run = StackSpotCommands(self._client).run if self._client else None
        registry = Registry(config.quick_commands, named, run, any_slug=any_name)
        self.commands: QuickCommands = registry
        self.source: ToolSource | None = None
        self.applier: Applier | None = None
        if self._client:
            self.applier = StackSpotRuns(self._client)
            self.source = StackSpotSource(
                self._client, registry, listed=registry.everybodys, agents=_agents(config),
                any_agent=any_name, asks_first=registry.asks_first,
            )  # fmt: skip

    async def close(self) -> None:
        if self._client:
            await self._client.close()


def stackspot_client(settings: Settings, http: HttpClient, clock: Clock | None = None) -> StackSpot:
    return StackSpot(
        settings.stackspot_client_id or "",
        plain(settings.stackspot_client_secret),
        realm=settings.stackspot_realm,
        auth_url=settings.stackspot_auth_url,
        api_url=settings.stackspot_api_url,
        agent_url=settings.stackspot_agent_url,
        deadline=settings.stackspot_deadline,
        http=http,
        clock=clock,
    )


def _agents(config: Config) -> dict[str, stackspot_agents.Agent]:
    return {name: _agent(agent) for name, agent in config.agents.items()}


def _agent(agent: Agent) -> stackspot_agents.Agent:
    """A model is told of it in English, or in the one language that there is."""
    return stackspot_agents.Agent(
        agent.id, in_language(agent.title, "en"), in_language(agent.description, "en")
    )


class TableSource(ToolSource, Protocol):
    @property
    def rows(self) -> Applier: ...


class Tooling:
    """`sources` by name; each is in `toolbox`, and what writes is among the `appliers`."""

    def __init__(
        self,
        settings: Settings,
        config: Config,
        home: Home,
        named: Named,
        http: HttpClient,
        client: Client,
    ) -> None:
        tables = _tables(settings, config, http)
        self._stackspot = StackSpotTooling(settings, config, named, http)
        self._code = _code(settings, home, client)
        found: Mapping[str, ToolSource | None] = {
            "nocodb": tables, "stackspot": self._stackspot.source, "code": self._code,
        }  # fmt: skip
        self.sources = {name: source for name, source in found.items() if source}
        self.toolbox = Toolbox([*self.sources.values()])
        appliers = (tables.rows if tables else None, self._stackspot.applier)
        self.appliers = [applier for applier in appliers if applier]

    @property
    def quick(self) -> QuickCommands:
        return self._stackspot.commands

    @property
    def runner(self) -> Runner | None:
        """Runs the code blocks that people type."""
        return self._code.runner if self._code else None

    def start(self) -> None:
        """Begin to prove what must be proved before it is offered."""
        if self._code:
            self._code.backend.start()

    async def close(self) -> None:
        await self.toolbox.close()
        await self._stackspot.close()


def _tables(settings: Settings, config: Config, http: HttpClient) -> TableSource | None:
    if settings.nocodb == "off":
        return None
    made: Callable[..., TableSource] = NocoSource if settings.nocodb == "rest" else BridgeSource
    url, token = plain(settings.nocodb_url), plain(settings.nocodb_token)
    base = settings.nocodb_base_id or ""
    return made(url, token, http, base_id=base, rules=config.table_rules)


def _code(settings: Settings, home: Home, client: Client) -> CodeSource | None:
    def pseudonym(name: str) -> str:
        return Options(secret=home.pseudonyms()).pseudonym(name)

    backend = choose_code(settings, home, client, pseudonym)
    return CodeSource(backend, settings.ponte_code_description or "") if backend else None


@dataclass(frozen=True, slots=True)
class Choices:
    """What the composition root decided, each behind its port."""

    model: Model
    toolbox: Toolbox
    policy: Policy
    board: StatusBoard
    quick: QuickCommands
    caps: Caps = uncapped
    profile: Profile = field(default_factory=Profile)
    retention_days: int = 0
    code: Runner | None = None
    """What runs the Python that a person types; None: it cannot be run."""
    appliers: Sequence[Applier] = ()
    auto_create_rows: int = 0
    """Creates of up to so many rows need no person's click (`ponte.toml`, [changes])."""
    rules: TableRules = field(default_factory=TableRules)
    platforms: Mapping[str, PlatformRights] = field(default_factory=lambda: RIGHTS)
    is_named: NamedApprovers | None = None
    """How the people whom `rules` name are known."""
    clock: Callable[[], float] = time.time
    """By which proposals expire."""


class Engine:
    """`replies`, `fetch` and `look_up` are by platform; adapters add theirs before `start`."""

    def __init__(
        self, database: Database, threads: FileThreadMap, home: Path, choices: Choices
    ) -> None:
        self._database = database
        self.threads = threads
        self.inbox = SqliteInbox(database)
        self.journal = SqliteJournal(database)
        self.files = FolderFiles(home / "files", database)
        self.budget = CountingBudget(database, choices.caps, ZoneInfo(choices.profile.zone))
        self.replies: dict[str, Replies] = {}
        self.fetch: dict[str, Fetch] = {}
        self.look_up: dict[str, LookUp] = {}
        self.audit = AuditLog(home / "audit.log")
        moved = asyncio.Event()
        self.changes = self._changes(choices, moved.set)
        self.redraw = Redraw(moved, self.changes, self.journal, self.replies)
        self.results = Results(choices.profile.hosts)
        self.scenes = Scenes(
            self.journal, self.files, threads, self.fetch, choices.profile.zone, self.inbox.stopped
        )
        self.commands = Commands(
            inbox=self.inbox, journal=self.journal, threads=threads, files=self.files,
            policy=choices.policy, budget=self.budget, board=choices.board, changes=self.changes,
            quick=QuickCommandHandler(
                self.journal, choices.policy, self.budget, choices.quick, self.scenes,
                self.results,
            ),
            code=CodeCommand(
                self.journal, choices.policy, self.budget, self.scenes, choices.code
            ),
            forgotten=lambda: self.upkeep.soon(),
        )  # fmt: skip
        self.manager = self._manager(choices)
        self.upkeep = Upkeep(
            self.inbox, self.journal, self.files, choices.model, self.commands.forget,
            choices.retention_days, self.changes.ledger,
        )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, home: Path, choices: Choices) -> Engine:
        """Raises NotStored, NewerDatabase. The caller holds the home's lock."""
        database, threads, _ = await asyncio.gather(
            Database.open(home / "ponte.db", MIGRATIONS),
            FileThreadMap.open(home / "threads.db"),
            asyncio.to_thread(prepare, Message, Answer, Item, Outcome, Thread),
        )
        return cls(database, threads, home, choices)

    def start(self) -> None:
        """Take up what a former process left, and every message from now on."""
        self._tasks = [
            asyncio.create_task(self.inbox.run(self.manager.handle, tuple(self.replies))),
            asyncio.create_task(self.upkeep.run()),
            asyncio.create_task(self.redraw.run()),
        ]

    async def drain(self, grace: float) -> None:
        """Let turns finish for `grace` seconds and put the rest back, unattempted.

        A write under way ends with its record; no further batch begins.
        """
        self.changes.applying.hold()
        await self.inbox.drain(grace)
        await self.changes.applying.rest()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.audit.close()
        await self._database.close()
        await self.threads.close()

    def _changes(self, choices: Choices, moved: Callable[[], None]) -> Changes:
        ledger = SqliteLedger(self._database)
        appliers = {applier.name: applier for applier in choices.appliers}
        return Changes(
            ledger=ledger, applying=Applying(ledger, appliers), appliers=appliers,
            approval=_approval(choices),
            audit=self.audit, moved=moved, clock=choices.clock,
        )  # fmt: skip

    def _manager(self, choices: Choices) -> ConversationManager:
        parts = Parts(
            inbox=self.inbox, journal=self.journal, threads=self.threads, files=self.files,
            model=choices.model, toolbox=choices.toolbox, policy=choices.policy,
            budget=self.budget, commands=self.commands, changes=self.changes,
            scenes=self.scenes,
        )  # fmt: skip
        return ConversationManager(parts, self.replies, choices.profile, self.look_up)


def _approval(choices: Choices) -> Approval:
    approval = Approval(
        choices.policy, choices.auto_create_rows, choices.rules, platforms=choices.platforms
    )
    return replace(approval, is_named=choices.is_named) if choices.is_named else approval


async def platforms(
    settings: Settings, config: Config, home: Home, engine: Engine, policy: Policy, board: Board
) -> Sequence[ChatPlatform]:
    """Not started yet."""
    built: list[ChatPlatform] = []
    if settings.slack != "off":
        slack = await _imported("slack")
        built.append(_slack(slack, settings, config, home, engine, policy, board))
    if settings.discord_token:
        discord = await _imported("discord")
        built.append(_discord(discord, settings, config, home, engine, policy, board))
    return built


async def _imported(name: str) -> Any:
    return await asyncio.to_thread(importlib.import_module, PLATFORMS[name])


def _slack(
    slack: Any, settings: Settings, config: Config, home: Home, engine: Engine, policy: Policy,
    board: Board,
) -> ChatPlatform:  # fmt: skip
    credentials = slack.Credentials(
        plain(settings.slack_bot_token),
        plain(settings.slack_app_token),
        plain(settings.slack_signing_secret),
    )
    ports = slack.Ports(
        inbox=engine.inbox, journal=engine.journal, threads=engine.threads, files=engine.files,
        board=board, policy=policy, removed=engine.manager.removed,
    )  # fmt: skip
    customs = slack.Customs(
        strict_mention=lambda place: config.channel(place).strict_mention,
        bots=frozenset(config.slack.bots),
    )
    adapter: ChatPlatform = slack.SlackAdapter(
        credentials, ports, api_url=settings.slack_api_url, proxies=settings.proxies,
        customs=customs, home=home.path,
    )  # fmt: skip
    return adapter


def _discord(
    discord: Any, settings: Settings, config: Config, home: Home, engine: Engine, policy: Policy,
    board: Board,
) -> ChatPlatform:  # fmt: skip
    adapter: ChatPlatform = discord.DiscordAdapter(
        token=plain(settings.discord_token),
        inbox=engine.inbox,
        files=engine.files,
        board=board,
        policy=policy,
        home=home.path,
        removed=engine.manager.removed,
        api_url=settings.discord_api_url,
        gateway_url=settings.discord_gateway_url,
        proxies=settings.proxies,
        threads=config.discord.threads,
        message_content=settings.discord_message_content == "on",
        locale=settings.ponte_locale,
    )
    return adapter


Json = Mapping[str, Any]


class Threads:
    """`link` gives the page's address with its token."""

    def __init__(self, journal: Journal, commands: Commands, link: Callable[[], str]) -> None:
        self._journal = journal
        self._commands = commands
        self.link = link

    async def threads(self) -> Sequence[Json]:
        return [
            {"conversation": one.conversation, "thread": one.id, "used_at": one.used_at,
             "messages": len(await self._journal.shown(one.conversation))}
            for one in await self._journal.threads()
        ]  # fmt: skip

    async def thread(self, conversation: str) -> Json:
        """Raises NotFound."""
        if not any(one.conversation == conversation for one in await self._journal.threads()):
            raise NotFound(what="conversation")
        exchanges = await self._journal.shown(conversation)
        return {
            "conversation": conversation,
            "messages": [line for one in exchanges for line in _lines(one)],
        }

    async def forget(self, *, conversation: str = "", person: str = "") -> Json:
        """Of a person: every conversation in which they said something. Raises NotFound."""
        found = [conversation] if conversation else await self._journal.of_person(person)
        if not found or not any(one.conversation in found for one in await self._journal.threads()):
            raise NotFound(what="person" if person else "conversation")
        messages = sum([await self._commands.forget(one) for one in found])
        return {"conversations": len(found), "messages": messages}


def _lines(one: Shown) -> Sequence[Json]:
    said = {"role": "user", "name": one.message.author.name, "text": one.message.text}
    both = [said | {"state": one.state}]
    if one.answer:
        both.append({"role": "assistant", "name": "Ponte", "text": one.answer.text})
    return [line | {"at": one.at, "turn": one.turn} for line in both]


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
        self._client = model_client(settings)
        self._memberships: dict[str, Membership] = {}
        self._guests: dict[str, Guests] = {}
        self._policy = AllowList(
            RIGHTS, settings.ponte_allow, settings.ponte_admins, self._memberships, self._guests
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
            operator=Threads(engine.journal, engine.commands, self.link)
            if door.platform == "terminal"
            else None,
            locale=self._settings.ponte_locale,
            time_zone=str(self._settings.ponte_timezone),
        )


@dataclass(frozen=True, slots=True)
class Start:
    """`home` is not taken yet."""

    settings: Settings
    config: Config
    home: Home


def start(*, quiet: bool = False) -> Start:
    """Raises SettingsError. What is written from now on is for this user alone."""
    os.umask(0o077)
    settings = load()
    set_up(settings, quiet=quiet)
    if settings.env_file.why and quiet:  # `run` says it on its start screen
        sys.stderr.write(f"{settings.env_file.path} is not read: {settings.env_file.why}.\n")
    asked_for = "ponte_config" in settings.model_fields_set
    config = load_config(settings.ponte_config, required=asked_for)
    return Start(settings, config, Home(settings.ponte_home))
