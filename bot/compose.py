"""Composes the application: one function builds each part of what it needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from adapters.web import WEB
from bot import __version__
from bot.application import Application
from bot.config import Config, LiveConfig
from bot.engine import Choices, Engine, Spending, Stores, load_parsers
from bot.health import HealthBoard, summaries
from bot.home import Home
from bot.hooks import ConfiguredHooks
from bot.integrations import KINDS, Faces, canonical_person, collect_rights
from bot.operation_service import OperationService
from bot.owner_name import OwnerName
from bot.page_accounts import PageAccountService
from bot.personal_data import PersonalDataService
from bot.ponte import CheckEverything, Ponte
from bot.quick_registry import QuickCommandRegistry
from bot.reload import Reloader
from bot.settings import Settings
from bot.start import Start
from bot.surfaces import Surfaces
from bot.tracing import Traces
from core.changes.approval import Approval
from core.clients.http import HttpClient
from core.clients.openai import OPENAI_URL, ModelEndpoint, ModelServerClient
from core.conversation import prompt
from core.conversation.manager import Profile
from core.conversation.run import CallLimits
from core.conversation.upkeep import Retention
from core.domain.errors import NotStored, SettingsError
from core.domain.messages import Address, File, Person
from core.domain.records import DoctorFinding, Health, Remote
from core.integrations.integration import (
    Alone,
    ChatIntegration,
    ChatPorts,
    HttpHandler,
    IntegrationDependencies,
    ModelIntegration,
    OperatorConfig,
    OwnerIntegration,
    PagePorts,
    Peers,
    ToolBundle,
    ToolIntegration,
)
from core.integrations.settings import plain_value
from core.models.model_server import ModelOptions
from core.observability import metrics, tracing
from core.rights.policy import PlatformPeople, Policy
from core.rights.rules import PlatformRights
from core.schedules.tools import ScheduleSource
from core.store.inbox import SenderLimits
from core.store.owner_name import SqlOwnerName
from core.tools.posting.source import PlacePostSource
from core.tools.tool import Toolbox

NO_POSTGRES_SENTENCE = (
    "DATABASE_URL needs the package {name}. Install the extra postgres or "
    "requirements-postgres.txt (docs/guides/scaling.md)."
)
Secrets = Mapping[str, SecretStr]
"""Secrets that surfaces generated at their first start, by the setting's name."""


async def check_nothing(start: Start) -> AsyncIterator[DoctorFinding]:
    """Yield no finding."""
    for finding in list[DoctorFinding]():
        yield finding


async def compose(
    settings: Settings,
    config: Config,
    home: Home,
    *,
    accepts: bool = True,
    runs_turns: bool = True,
    surfaces: bool = True,
    on_secrets: Callable[[Secrets], None] | None = None,
    check: CheckEverything = check_nothing,
    now: Callable[[], float] = time.time,
) -> Application:
    """Build every part that is configured, and start none.

    `accepts`: messages are accepted here. `runs_turns`: turns run here. `surfaces`: False serves
    the home's Unix socket alone. `on_secrets` gets the secrets that surfaces made for themselves
    before any part is built with them. `check` runs the checks of `ponte doctor`. `now` is the
    time that the model is told. The caller holds the home's lock. Raises NotStored,
    DifferentSchema, SettingsError.
    """
    traces = await asyncio.to_thread(Traces.from_settings, settings)
    tracing.set_recorder(traces)
    metrics.set_build_info(__version__, "sqlite" if settings.database_url is None else "postgres")
    async with AsyncExitStack() as closing:
        stores, _ = await asyncio.gather(
            _open_stores(settings, home, accepts=accepts, works=runs_turns), load_parsers()
        )
        closing.push_async_callback(stores.close)
        if on_secrets and (secrets := _own_secrets(settings, home)):
            on_secrets(secrets)

        http, client = HttpClient(proxies=settings.proxies), model_client(settings)
        live = LiveConfig(config, has_official_prices=client.place.is_official)
        closing.push_async_callback(http.close)
        closing.push_async_callback(client.close)
        deps = dependencies(settings, live, home, http, client, stores.peers)
        owner_name = OwnerName(SqlOwnerName(stores.database), stores.peers)
        await owner_name.load()
        people = PlatformPeople()
        platform_rights = collect_rights(settings.faces)
        policy = _access_policy(settings, live, platform_rights, people)
        quick = QuickCommandRegistry(
            lambda: live.current.quick_commands, policy.is_named, policy=policy
        )
        board = HealthBoard(summaries(settings), quick, policy)
        board.live["database"] = stores.health

        tools = _build_tools(settings.faces, deps, quick, board, closing)
        posting = PlacePostSource(lambda: engine.platforms.messengers)
        schedules = ScheduleSource(lambda: engine.schedules.service)
        toolbox = Toolbox([*(each.source for each in tools), schedules, posting])
        closing.push_async_callback(toolbox.close)

        async def read_file(id: str) -> tuple[File, bytes]:
            return await engine.records.files.get(id)

        async def record_remote(thread: str, record_remote: Remote) -> None:
            await engine.records.journal.record_remote(thread, record_remote)

        (model_face,) = [face for face in settings.faces if isinstance(face, ModelIntegration)]
        model, start_model = model_face.build(deps, read_file, record_remote)
        closing.push_async_callback(model.close)
        board.live[model_face.name] = model.health
        board.is_demo = model.level == "demo"

        served = Surfaces(accepts)
        closing.push_async_callback(served.close)
        engine = Engine(
            stores,
            Choices(
                model=model,
                toolbox=toolbox,
                policy=policy,
                approval=_approval(policy, live),
                board=board,
                quick=quick,
                spending=_spending(settings, live, policy),
                profile=replace(_profile(settings, live, platform_rights, served, home), now=now),
                retention=Retention(
                    settings.ponte_retention_days,
                    lambda: live.current.retention,
                    settings.ponte_audit_days,
                ),
                code=next((each.runner for each in tools if each.runner), None),
                appliers=[applier for each in tools for applier in each.appliers],
                pseudonym=deps.pseudonym,
                owner_name=lambda: owner_name.current,
                schedule_limits=lambda: live.current.schedules.limits,
            ),
        )
        board.ledger = engine.changes.views.find_latest
        board.pending = engine.changes.views.list_requests
        engine.on_cards_change(board.announce_requests)
        reloader = Reloader(settings, live, engine.records.audit, engine.stores.peers)
        board.live["config"] = reloader.health

        records = engine.records
        ports = ChatPorts(
            inbox=records.inbox, journal=records.journal, threads=records.threads,
            files=records.files, board=board, policy=policy,
            on_post_removed=engine.manager.on_post_removed,
            peers=stores.peers, on_refused=engine.audit_refusal, directory=records.directory,
        )  # fmt: skip
        used = [face for face in settings.faces if face.is_used(settings, settings)]
        for face in used:
            if surfaces and isinstance(face, ChatIntegration):
                chat = await face.build(deps, ports)
                served.chats.append(chat)
                people.add(chat.name, chat.membership, chat.guest, chat.has_left)
                engine.platforms.add(chat)
        page = _page_ports(
            settings, home, engine, board, reloader, served, people, owner_name, live, check
        )
        for face in used:
            if isinstance(face, OwnerIntegration) and (surfaces or face.always):
                served.owned.append((face, await face.build(deps, ports, page)))
        _mark_unserved(board, settings.faces, served, surfaces=surfaces)
        for platform in served.all:
            engine.platforms.replies[platform.name] = platform.reply
            board.live[platform.name] = platform.health

        def prepare_parts() -> None:
            start_model()  # loads a large package, so it comes after everything that answers people
            for each in tools:
                each.start()

        return Application(
            settings, live, home, engine, board, served, reloader, runs_turns, prepare_parts,
            closing.pop_all(), traces,
        )  # fmt: skip


def model_client(settings: Settings) -> ModelServerClient:
    """Return the client of the model's server. Whoever holds it must close it."""
    key, url = plain_value(settings.openai_api_key), settings.openai_base_url or OPENAI_URL
    return ModelServerClient(ModelEndpoint(key, url, settings.proxies))


def dependencies(
    settings: Settings,
    config: OperatorConfig,
    home: Home,
    http: HttpClient,
    client: ModelServerClient,
    peers: Peers | None = None,
) -> IntegrationDependencies[Any]:
    """Return the objects with which every integration is built and checked."""

    def pseudonym(name: str) -> str:
        return ModelOptions(secret=home.pseudonyms()).pseudonym(name)

    return IntegrationDependencies(
        settings, settings, config, home, http, client, pseudonym, peers or Alone()
    )


async def _open_stores(settings: Settings, home: Home, *, accepts: bool, works: bool) -> Stores:
    """Open the home's database, or the one that several processes share.

    The secrets of a shared database replace those of the home. Raise SettingsError if Postgres'
    packages are missing.
    """
    if settings.database_url is None:
        return await Stores.open_in_home(home.path)
    try:
        stores = await Stores.open_shared(
            plain_value(settings.database_url), takes=accepts, works=works
        )
    except ModuleNotFoundError as missing:
        raise SettingsError(NO_POSTGRES_SENTENCE, name=missing.name) from None
    for name, own in home.secrets().items():
        home.share(name, await stores.secret(name, own))
    return stores


def _access_policy(
    settings: Settings,
    live: LiveConfig,
    platform_rights: Mapping[str, PlatformRights],
    people: PlatformPeople,
) -> Policy:
    return Policy(platform_rights, live, settings.ponte_allow, settings.ponte_admins, people)


def _approval(policy: Policy, live: LiveConfig) -> Approval:
    return Approval(policy, KINDS, live, canonical_person)


def _build_tools(
    faces: Faces,
    deps: IntegrationDependencies[Any],
    quick: QuickCommandRegistry,
    board: HealthBoard,
    closing: AsyncExitStack,
) -> Sequence[ToolBundle]:
    """Build the tools of each integration that is on. Their health is shown on the board."""
    tools = [
        built
        for face in faces
        if isinstance(face, ToolIntegration) and (built := face.build(deps, quick))
    ]
    for each in reversed(tools):
        closing.push_async_callback(each.close)
    board.live |= {each.source.name: each.source.health for each in tools}
    board.titles = next(
        (titles for each in tools if (titles := getattr(each.source, "titles", None))), None
    )
    return tools


def _own_secrets(settings: Settings, home: Home) -> Secrets:
    return {
        name: SecretStr(made)
        for face in settings.faces
        if isinstance(face, OwnerIntegration)
        for name, made in face.secrets(settings, home).items()
    }


def _spending(settings: Settings, live: LiveConfig, policy: Policy) -> Spending:
    async def caps(person: Person, address: Address) -> tuple[int, int]:
        turns = await settings.daily_caps.cap_for(person, address, policy)
        return turns.person, turns.everybody

    def intake() -> SenderLimits:
        limits = live.current.limits
        return SenderLimits(limits.messages_per_minute, limits.waiting_per_person)

    return Spending(live, caps, policy.is_meant, canonical_person, intake)


def _profile(
    settings: Settings,
    live: LiveConfig,
    platform_rights: Mapping[str, PlatformRights],
    served: Surfaces,
    home: Home,
) -> Profile:
    urls = [value for _, value in settings if isinstance(value, str) and "://" in value]

    def call_limits() -> CallLimits:
        return CallLimits(live.current.limits.costly_calls, live.current.limits.tool_calls)

    def own_addresses() -> frozenset[str]:
        """Addresses that Ponte itself writes: its page, the services, the file of its rules."""
        pages = [settings.page_url(), served.page_links(settings, home)[0]]
        return frozenset([settings.ponte_config.name, *urls, *filter(None, pages)])

    return Profile(
        instructions=settings.ponte_instructions or prompt.INSTRUCTIONS,
        locale=settings.ponte_locale,
        zone=settings.ponte_timezone,
        channel=live.channel,
        link_hosts=lambda: live.current.links.hosts,
        links_code=frozenset(name for name, own in platform_rights.items() if own.links_code),
        links_schemes=frozenset(
            name for name, own in platform_rights.items() if not own.links_names
        ),
        own_addresses=own_addresses,
        limits=call_limits,
        titles=settings.ponte_titles == "on",
    )


def _page_ports(
    settings: Settings,
    home: Home,
    engine: Engine,
    board: HealthBoard,
    reloader: Reloader,
    served: Surfaces,
    people: PlatformPeople,
    owner_name: OwnerName,
    live: LiveConfig,
    check: CheckEverything,
) -> PagePorts:
    """Return what the page and the home's Unix socket serve besides the chat."""
    records = engine.records
    accounts = PageAccountService(
        records.page_accounts, records.journal, records.inbox, engine.stores.peers, records.audit,
        engine.changes.proposals.withdraw_of,
    )  # fmt: skip
    people.departures[WEB.name] = accounts.has_left
    listing = [
        face.name
        for face in settings.faces
        if isinstance(face, ChatIntegration) and face.lists_people
    ]
    personal_data = PersonalDataService(engine, accounts, served.chats, listing)

    async def readiness() -> Sequence[Health]:
        """Return the parts that `/readyz` checks. Ponte is ready without its tools, and works by
        the rules that it has read."""
        others = [face.name for face in settings.faces if isinstance(face, ToolIntegration)]
        return [part for part in await board.health() if part.name not in (*others, "config")]

    async def exposition() -> str:
        """Return the text of `/metrics`. A value that cannot be read now keeps its last state."""
        parts = await board.health()
        metrics.set_part_states({p.name: p.state == "on" for p in parts if p.state != "off"})
        with suppress(NotStored):
            metrics.set_proposal_counts(await engine.changes.ledger.count_unfinished())
        return metrics.render_metrics()

    routes: dict[str, HttpHandler] = {f"/{chat.name}/events": chat.http for chat in served.chats}
    ponte = Ponte(
        settings, live, home, engine, board, served, reloader, accounts, personal_data, check
    )
    hooks = ConfiguredHooks(
        settings, lambda: live.current, lambda: {chat.name: chat for chat in served.chats},
        records.inbox, records.audit,
    )  # fmt: skip
    return PagePorts(
        routes, readiness, exposition, OperationService(ponte), accounts, owner_name, board,
        OperationService(ponte, on_admin_page=True), engine.notices, hooks,
    )  # fmt: skip


def _mark_unserved(board: HealthBoard, faces: Faces, served: Surfaces, *, surfaces: bool) -> None:
    """Show on the board which platforms are set up but served by another process."""
    if not surfaces:
        own = [f.name for f in faces if isinstance(f, ChatIntegration | OwnerIntegration)]
        board.mark_unserved(own, "configured; handled by `ponte run`")
    elif not served.accepts:
        owners = [face.name for face, _ in served.owned if not face.always]
        board.mark_unserved(owners, "handled by `ponte serve`")
