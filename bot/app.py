"""The composition root: builds what the faces give, starts it in order, stops it in reverse."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast, get_args

import structlog
from pydantic import SecretStr

from adapters.web import WEB
from bot import __version__
from bot.config import Config, LiveConfig, read_config
from bot.engine import Choices, Engine, Stores
from bot.health import Board, Threads, summaries
from bot.home import Home
from bot.integrations import FACES, Faces, one_person, rights
from bot.names import misspelt_names
from bot.page_accounts import PageAccountService
from bot.personal_data import PersonalDataService
from bot.quick import Registry
from bot.safety import findings
from bot.settings import Settings, load
from bot.telemetry import set_up
from bot.tracing import Traces
from core.chat.platform import ChatPlatform, Platform
from core.clients.http import HttpClient
from core.clients.openai import OPENAI, Client, Place
from core.conversation import prompt
from core.conversation.context import CallLimits
from core.conversation.manager import Profile
from core.conversation.upkeep import Retention
from core.domain.errors import BadInput, HomeTaken, NotStored, PonteError, SettingsError
from core.domain.messages import Address, File, Person
from core.domain.records import Health, Remote
from core.integrations.integration import (
    ChatIntegration,
    ChatPorts,
    Dependencies,
    Handler,
    ModelIntegration,
    OperatorFile,
    OwnerIntegration,
    PagePorts,
    ToolIntegration,
    Tools,
)
from core.integrations.settings import plain
from core.models.server import Options
from core.observability import metrics, tracing
from core.ports.rights import By
from core.rights.allowances import Allowed
from core.rights.audit import OPERATOR, AuditLog
from core.rights.policy import AccessPolicy, Guests, HasLeft, Membership
from core.runtime.tasks import together
from core.store.inbox import Intake
from core.text.i18n import LANGUAGE, say
from core.tools.tool import Toolbox

log = structlog.get_logger("app")
AT_START = 0.3
"""Seconds that a part may take to tell how it is, when Ponte says that it is ready."""


READY = {
    (True, True): "Ponte is ready",
    (True, False): "Ponte is ready, and takes events in; `ponte work` runs their turns",
    (False, True): "Ponte is ready, and runs turns; `ponte serve` takes events in",
}
SETTINGS_READ = "Settings: the environment and {path}"
SETTINGS_UNREAD = "Settings: the environment; {path} is not read: {why}"


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
    if "ponte_locale" not in settings.model_fields_set:
        settings = settings.model_copy(update={"ponte_locale": LANGUAGE.get()})
    LANGUAGE.set(settings.ponte_locale)
    set_up(settings, quiet=quiet)
    if settings.env_file.why and quiet:  # `run` says it on its start screen
        sys.stderr.write(f"{settings.env_file.path} is not read: {settings.env_file.why}.\n")
    asked_for = "ponte_config" in settings.model_fields_set
    config = read_config(settings.ponte_config, required=asked_for, faces=faces)
    return Start(settings, config, Home(settings.ponte_home))


async def run(
    settings: Settings, config: Config, home: Home, *, takes: bool = True, works: bool = True
) -> int:
    """Everything that is configured, until SIGTERM or SIGINT; a second one does not wait.

    `takes`: events come in here. `works`: turns are run here. Raises SettingsError where one
    process alone cannot do one of them only.
    """
    if not (takes and works) and settings.database_url is None:
        raise SettingsError(
            "DATABASE_URL is not set, so one process does everything: `ponte run`. To have several "
            "that share the work, set it to postgresql://… (docs/scaling.md)."
        )
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    with home.take():
        app = App(settings, config, home, takes=takes, works=works)
        await app.open()
        loop.add_signal_handler(signal.SIGHUP, app.on_hangup)
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
            await app.open()
            await app.start(surfaces=False)
            stack.push_async_callback(app.stop)
        yield Path(stack.enter_context(home.address()))


def model_client(settings: Settings) -> Client:
    """The one for the process; whoever holds it closes it."""
    key, url = plain(settings.openai_api_key), settings.openai_base_url or OPENAI
    return Client(Place(key, url, settings.proxies))


def dependencies(
    settings: Settings, config: OperatorFile, home: Home, http: HttpClient, client: Client
) -> Dependencies[Any]:
    """What every face is built and checked with."""

    def pseudonym(name: str) -> str:
        return Options(secret=home.pseudonyms()).pseudonym(name)

    return Dependencies(settings, settings, config, home, http, client, pseudonym)


class App:
    def __init__(
        self,
        settings: Settings,
        config: Config,
        home: Home,
        *,
        takes: bool = True,
        works: bool = True,
    ) -> None:
        self._takes = takes
        self._works = works
        self._stores: Stores | None = None
        self._traces: Traces | None = None
        self._audit: AuditLog | None = None
        """None until the stores are open."""
        self._settings = settings
        self._live = LiveConfig(config)
        self._home = home
        self._faces = settings.faces
        self._http = HttpClient(proxies=settings.proxies)
        self._client = model_client(settings)
        self._dependencies = dependencies(settings, self._live, home, self._http, self._client)
        self._memberships: dict[str, Membership] = {}
        self._guests: dict[str, Guests] = {}
        self._departures: dict[str, HasLeft] = {}
        self._rights = rights(self._faces)
        self._policy = AccessPolicy(
            self._rights,
            settings.ponte_allow,
            settings.ponte_admins,
            self._memberships,
            self._guests,
            book=config.rule_book,
            departures=self._departures,
        )
        self._quick = Registry(config.quick_commands, self._policy.is_named, policy=self._policy)
        self._profile = Profile(
            instructions=settings.ponte_instructions or prompt.INSTRUCTIONS,
            locale=settings.ponte_locale,
            zone=settings.ponte_timezone,
            way=self._live.channel,
            links_code=frozenset(name for name, own in self._rights.items() if own.links_code),
            links_schemes=frozenset(
                name for name, own in self._rights.items() if not own.links_names
            ),
        )
        self._allowed, self._intake = Allowed(), Intake()
        self._live.price_list.official = self._client.place.official
        self._take(config)
        self._tools: list[Tools] = []
        self._board = Board(summaries(settings), self._quick, self._policy)
        self._owners: list[tuple[OwnerIntegration[Any], Platform]] = []
        self.chats: list[ChatPlatform] = []

    async def open(self) -> None:
        """Traces, where they are asked for; the database that is shared, where one is, and the
        secrets that go with it: before anything is built. Raises NotStored, NewerDatabase,
        SettingsError."""
        self._traces = await asyncio.to_thread(Traces.opened, self._settings)
        tracing.record_with(self._traces)
        store = "sqlite" if self._settings.database_url is None else "postgres"
        metrics.describe(__version__, store)
        if self._settings.database_url is None:
            return
        url = plain(self._settings.database_url)
        try:
            self._stores = await Stores.shared(url, takes=self._takes, works=self._works)
        except ModuleNotFoundError as missing:
            raise SettingsError(
                "DATABASE_URL needs the package {name}: install ponte-bot[postgres].",
                name=missing.name or "psycopg",
            ) from None
        for name, own in self._home.secrets().items():
            self._home.share(name, await self._stores.secret(name, own))
        if self._stores.jobs:
            self._board.live["database"] = self._stores.jobs.health
            self._dependencies = replace(self._dependencies, peers=self._stores.jobs)

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
        self._equip()
        (model,) = [face for face in self._faces if isinstance(face, ModelIntegration)]
        self._model, begin = model.build(self._dependencies, self._read, self._late)
        self._board.demo = self._model.level == "demo"
        self._engine = await Engine.open(self._home.path, self._choices(), self._stores)
        self._audit = self._engine.audit
        self._board.ledger = self._engine.changes.latest
        await self._build(surfaces)
        self._board.live[model.name] = self._model.health
        for platform in self._platforms:
            self._engine.replies[platform.name] = platform.reply
            self._board.live[platform.name] = platform.health
        self._engine.start()
        self._engine.peers.on("reload", self._told_to_reload)
        try:
            await together(*(self._started(platform) for platform in self._platforms))
        except PonteError:
            await self.stop()
            raise
        self._profile.own_addresses = self._own_addresses()
        begin()  # its package is large, and nothing hears sooner with it
        for tools in self._tools:
            tools.start()

    def _equip(self) -> None:
        for face in self._faces:
            if isinstance(face, ToolIntegration):
                tools = face.build(self._dependencies, self._quick)
                self._tools += [tools] if tools else []
        self._toolbox = Toolbox([tools.source for tools in self._tools])
        self._board.live |= {one.source.name: one.source.health for one in self._tools}
        self._board.titles = next(
            (titles for one in self._tools if (titles := getattr(one.source, "titles", None))), None
        )

    async def _started(self, platform: Platform) -> None:
        """A worker posts wherever it is asked to, and hears nothing."""
        if self._takes or platform in self._always:
            await platform.start()
        elif platform in self.chats:
            await platform.start(listens=False)

    @property
    def _always(self) -> Sequence[Platform]:
        return [platform for face, platform in self._owners if face.always]

    @property
    def _platforms(self) -> Sequence[Platform]:
        return [*(platform for _, platform in self._owners), *self.chats]

    async def _build(self, surfaces: bool) -> None:
        """The platforms, not started yet; the owner's serve what the others take in over HTTP."""
        engine, settings = self._engine, self._settings
        ports = ChatPorts(
            inbox=engine.inbox, journal=engine.journal, threads=engine.threads, files=engine.files,
            board=self._board, policy=self._policy, removed=engine.manager.removed,
            peers=engine.peers, refused=engine.refused, directory=engine.directory,
        )  # fmt: skip
        for face in self._faces:
            if isinstance(face, ChatIntegration) and surfaces and face.is_used(settings, settings):
                chat = await face.build(self._dependencies, ports)
                engine.fetch[chat.name] = chat.fetch
                engine.look_up[chat.name] = chat.look_up
                self._memberships[chat.name] = chat.membership
                self._guests[chat.name] = chat.guest
                self._departures[chat.name] = chat.has_left
                engine.messengers[chat.name] = chat
                self.chats.append(chat)

        async def readiness() -> Sequence[Health]:
            """What `/readyz` looks at; a tool may fail beside it."""
            tools = [face.name for face in self._faces if isinstance(face, ToolIntegration)]
            return [part for part in await self._board.health() if part.name not in tools]

        routes: dict[str, Handler] = {f"/{chat.name}/events": chat.http for chat in self.chats}
        accounts = PageAccountService(
            engine.page_accounts, engine.journal, engine.inbox, engine.peers, engine.audit,
            engine.changes.leave,
        )  # fmt: skip
        self._departures[WEB.name] = accounts.has_left
        listing = [
            face.name
            for face in self._faces
            if isinstance(face, ChatIntegration) and face.lists_people
        ]
        personal_data = PersonalDataService(engine, accounts, self.chats, listing)
        acts = {
            "reload": self._asked_anew, "usage": self._report, **accounts.acts(self.page),
            **personal_data.acts(),
        }  # fmt: skip
        threads = Threads(engine.journal, engine.commands, self.link, acts, engine.audit)
        page = PagePorts(routes, readiness, self._measured, threads, accounts, self._used)
        for face in self._faces:
            if not isinstance(face, OwnerIntegration) or not (surfaces or face.always):
                continue
            if face.is_used(settings, settings):
                self._owners.append((face, await face.build(self._dependencies, ports, page)))
        if not surfaces:
            served = [face.name for face in self._faces if isinstance(face, ChatIntegration)]
            served += [face.name for face in self._faces if isinstance(face, OwnerIntegration)]
            self._board.asleep(served, "set up; `ponte run` serves it")
        elif not self._takes:
            owners = [face.name for face, _ in self._owners if not face.always]
            self._board.asleep(owners, "`ponte serve` serves it")

    async def _measured(self) -> str:
        """What `/metrics` says. What cannot be asked for now is told as it was."""
        known = await self._board.health()
        metrics.show_parts({p.name: p.state == "on" for p in known if p.state != "off"})
        with suppress(NotStored):
            metrics.show_proposals(await self._engine.changes.ledger.unfinished())
        return metrics.exposition()

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """No more intake; turns finish within the grace, the rest is put back; all is closed."""
        began = time.monotonic()
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
        if self._traces:
            tracing.record_with(None)
            hurried = hurry is not None and hurry.is_set()
            left = 0.0 if hurried else self._settings.ponte_grace - time.monotonic() + began
            await self._traces.close(left)

    async def announce(self) -> None:
        """What is on, what is off and why, and the URL: on stdout, for who started it."""
        file = self._settings.env_file
        if file.path is not None:
            sentence = SETTINGS_UNREAD if file.why else SETTINGS_READ
            sys.stdout.write(say(sentence, path=file.path, why=file.why) + "\n")
        for words in self._settings.notes:
            sys.stdout.write(f"  !!   {'settings':<10} {words}\n")
        marks = {"on": say("on"), "off": say("off"), "failing": "!!"}
        for part in await self._board.health(patience=AT_START):
            sys.stdout.write(f"  {marks[part.state]:<6} {part.name:<10} {part.words}\n")
        for found in findings(self._settings, self._live.now, self._home):
            noted = found.topic in ("rights", "caps") and found.level == "note"
            if found.level == "unsafe" or noted:
                sys.stdout.write(f"  !!   {found.topic:<10} {found.words}\n")
            elif found.topic == "rights":
                sys.stdout.write(f"  {marks['on']:<6} {found.topic:<10} {found.words}\n")
        # A log is read by others, and kept: there the token does not belong.
        page, link = self._opened()
        if page and not sys.stdout.isatty():
            sys.stdout.write(say("`ponte link` prints the page's address with its token.") + "\n")
        shown = link if sys.stdout.isatty() else page
        ready = say(READY[self._takes, self._works])
        opened = say(": open {address}", address=shown) if shown else ""
        sys.stdout.write(f"{ready}{opened}\n")
        sys.stdout.flush()

    def link(self) -> str:
        """Where a person opens the page, with the token that opens it; "" where none is served."""
        return self._opened()[1]

    def page(self) -> str:
        """The same without the token."""
        return self._opened()[0]

    def _own_addresses(self) -> frozenset[str]:
        """What Ponte itself tells people: where its page and the services are, and the file of its
        rules."""
        settings = self._settings
        urls = [value for _, value in settings if isinstance(value, str) and "://" in value]
        pages = [page for page in (settings.page(), self.page()) if page]
        return frozenset([settings.ponte_config.name, *urls, *pages])

    def _opened(self) -> tuple[str, str]:
        served = [each for each in self._owners if self._takes or each[0].always]
        links = (face.link(self._settings, own, self._home) for face, own in served)
        return next((both for both in links if both[0]), ("", ""))

    async def _read(self, file: str) -> tuple[File, bytes]:
        return await self._engine.files.get(file)

    async def _late(self, thread: str, remote: Remote) -> None:
        await self._engine.journal.remote(thread, remote)

    def reload(self) -> Sequence[str]:
        """Take ponte.toml as it is now, without dropping a turn; the sections that have changed and
        count from the next start on. Raises SettingsError: then all stays as it was."""
        asked_for = "ponte_config" in self._settings.model_fields_set
        path = self._settings.ponte_config
        before, now = self._live.now, read_config(path, required=asked_for, faces=self._faces)
        self._take(now)
        names = [face.name for face in self._faces if face.section]
        later = [name for name in names if before.section(name) != now.section(name)]
        log.info("config reloaded", file=path.name)
        if misspelt := misspelt_names(now, self._settings):
            log.warning("names that do not exist", lines=misspelt)
        if later:
            log.warning("changed for the next start", sections=later)
        return later

    def _take(self, config: Config) -> None:
        self._live.take(config)
        self._policy.book = config.rule_book
        self._quick.commands = config.quick_commands
        self._profile.hosts = config.links.hosts
        self._allowed.rules = config.allowed
        self._intake.per_minute = config.limits.messages_per_minute
        self._intake.waiting = config.limits.waiting_per_person
        self._profile.limits = CallLimits(config.limits.costly_calls, config.limits.tool_calls)

    def on_hangup(self) -> None:
        """SIGHUP. A file that is wrong changes nothing, and the log says why."""
        if self._reread() and self._audit:
            self._audit.note("reload", OPERATOR, file=self._settings.ponte_config.name)

    async def _told_to_reload(self, _: str) -> None:
        self._reread()

    def _reread(self) -> bool:
        try:
            self.reload()
        except SettingsError as error:
            log.error("config refused", why=str(error))
            return False
        return True

    async def _asked_anew(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`ponte reload`; the other processes that share the work read their own files."""
        later = self.reload()
        self._engine.audit.note("reload", OPERATOR, file=self._settings.ponte_config.name)
        await self._engine.peers.tell("reload", "")
        misspelt = misspelt_names(self._live.now, self._settings)
        return {"file": self._settings.ponte_config.name, "later": later, "misspelt": misspelt}

    async def _report(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`ponte usage`: rows by `by`, since that day. Raises BadInput."""
        by, since = str(arguments.get("by", "")), str(arguments.get("since", ""))
        if by not in get_args(By):
            known = ", ".join(get_args(By))
            raise BadInput("There are no rows by {by}; there are by {known}.", by=by, known=known)
        try:
            first = date.fromisoformat(since) if since else self._today().replace(day=1)
        except ValueError:
            raise BadInput("{since} is no day; write it as 2026-11-01.", since=since) from None
        rows = await self._engine.budget.report(cast("By", by), first.isoformat())
        return {"by": by, "since": first.isoformat(), "rows": rows}

    async def _used(self, since: str) -> Sequence[Mapping[str, Any]]:
        return await self._engine.budget.report("day", since)

    def _today(self) -> date:
        return datetime.now(self._engine.budget.zone).date()

    def _choices(self) -> Choices:
        settings = self._settings
        return Choices(
            model=self._model,
            toolbox=self._toolbox,
            code=next((tools.runner for tools in self._tools if tools.runner), None),
            policy=self._policy,
            appliers=[applier for tools in self._tools for applier in tools.appliers],
            rules=self._live.table_rules,
            platforms=self._rights,
            is_named=self._policy.is_named,
            of_place=lambda address: frozenset(self._live.channel(address).approvers),
            book=lambda: self._policy.book,
            admins=self._policy.admins,
            board=self._board,
            quick=self._quick,
            caps=self._caps,
            intake=self._intake,
            allowed=self._allowed,
            prices=self._live.price_list,
            is_meant=self._policy.is_meant,
            one=one_person,
            pseudonym=self._dependencies.pseudonym,
            profile=self._profile,
            retention=Retention(
                settings.ponte_retention_days,
                lambda: self._live.now.retention,
                settings.ponte_audit_days,
            ),
        )

    async def _caps(self, person: Person, address: Address) -> tuple[int, int]:
        turns = await self._settings.daily_caps.of(person, address, self._policy)
        return turns.person, turns.everybody
