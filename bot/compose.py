"""Composes the application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from bot import __version__
from bot.config.ponte_toml import Config, LiveConfig
from bot.config.quick_registry import QuickCommandRegistry
from bot.config.reload import Reloader
from bot.config.table_names import KnownNames
from bot.engine import Engine, load_parsers
from bot.features.base import EndFeature, find_features
from bot.features.sign_in.accounts import PageAccountService
from bot.health import HealthBoard, PartHealth, ReportHealth
from bot.home import Home, Start
from bot.integrations import KINDS, canonical_person, collect_rights
from bot.operation_service import OperationService
from bot.parts import NO_POSTGRES_SENTENCE, dependencies, model_client, summaries
from bot.people import system_user_name
from bot.ponte import CheckEverything, Ponte, Surfaces
from bot.settings import Settings
from bot.setup.restart import Restart
from bot.stores import Stores, name_engine
from core.base.errors import SettingsError
from core.base.http import HttpClient
from core.changes.approval import Approval
from core.chat.people import People
from core.domain.messages import Address, Person
from core.domain.records import DoctorFinding, Health
from core.integrations import (
    ChatIntegration,
    HttpHandler,
    ModelIntegration,
    OwnerIntegration,
    ToolBundle,
    ToolIntegration,
    plain_value,
)
from core.models.served_model import ServedModel
from core.money.budget import Budget
from core.observability import metrics
from core.people.directory import SqlDirectory
from core.people.page_accounts import OWNER_RENAMED_TOPIC, OwnerName
from core.people.policy import DailyCaps, Policy
from core.schedules.tools import ScheduleSource
from core.tools.asking import AskingSource
from core.tools.posting import PlacePostSource
from core.tools.reading import PlaceReadingSource
from core.tools.saved import SavedSource
from core.tools.tool import Toolbox
from core.turn.preparation import Assistant, hear_nothing
from core.turn.run import GUARD_INSTRUCTIONS, INSTRUCTIONS, LinkRules, Retention, TurnConfig

Secrets = Mapping[str, SecretStr]
"""Secrets that surfaces generated at their first start, by the setting's name."""


async def check_nothing(start: Start) -> AsyncIterator[DoctorFinding]:
    """Yield no finding, where `compose` gets no checks of `ponte doctor`."""
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
    restart: Restart | None = None,
    check: CheckEverything = check_nothing,
    now: Callable[[], float] = time.time,
) -> Ponte:
    """Build every part that is configured, each from those before it, and start none. The caller
    holds the home's lock. Raises NotStored, DifferentSchema, SettingsError.
    `accepts`: messages are accepted here. `runs_turns`: turns run here. `surfaces`: False serves
    the home's Unix socket alone. `on_secrets` gets the secrets that surfaces made for themselves
    (such as the page's token) before any part is built with them, so that logs mask them. `restart`
    starts Ponte anew with other settings; None where that cannot be done. `check` runs the checks
    of `ponte doctor`. `now` is the time that the model is told.
    """
    metrics.set_build_info(__version__, name_engine(settings.database_url).lower())
    metrics.watch_disk(home.path)
    # If a later part cannot be built, they end what features began, and close the others.
    async with AsyncExitStack() as beginning, AsyncExitStack() as closing:
        begun = await _begin_features(settings, beginning)
        stores, _ = await asyncio.gather(
            _open_stores(settings, home, accepts=accepts, works=runs_turns), load_parsers()
        )
        closing.push_async_callback(stores.close)
        database, peers = stores.database, stores.peers
        if on_secrets and (secrets := _generate_secrets(settings, home)):
            on_secrets(secrets)
        http, client = HttpClient(proxies=settings.proxies), model_client(settings)
        closing.push_async_callback(http.close)
        closing.push_async_callback(client.close)
        live = LiveConfig(
            config,
            _turn_config(settings, now),
            Retention(settings.ponte_retention_days, audit=settings.ponte_audit_days),
            has_official_prices=client.place.is_official,
        )
        deps = dependencies(settings, live, home, http, client, peers, stores.files.get)
        accounts = PageAccountService(database, peers, lambda: live.section("sign_in"))
        people = await _build_people(settings, live, stores, accounts, deps.pseudonym)
        policy = people.policy
        used = [part for part in settings.faces if part.is_used(settings, settings)]
        quick = QuickCommandRegistry(live, policy.is_named, policy=policy)
        tools = [part.build(deps, quick) for part in used if isinstance(part, ToolIntegration)]
        policy.sources.update({t.source.name: t.admits for t in tools if t.admits})
        for bundle in reversed(tools):
            closing.push_async_callback(bundle.close)
        toolbox = Toolbox([bundle.source for bundle in tools])
        closing.push_async_callback(toolbox.close)
        (model_part,) = [part for part in settings.faces if isinstance(part, ModelIntegration)]
        model, start_model = model_part.build(
            deps, stores.journal.record_object_to_erase, toolbox.list_specs
        )
        closing.push_async_callback(model.close)
        listeners = (f.build_listener(settings, client, people.budget) for f in find_features())
        listen = next(filter(None, listeners), hear_nothing)
        runner = next((bundle.runner for bundle in tools if bundle.runner), None)
        engine = Engine(
            stores,
            people,
            Approval(policy, KINDS, live, canonical_person),
            lambda contexts: Assistant(model, toolbox, contexts, quick, runner, listen),
            [applier for bundle in tools for applier in bundle.appliers],
            lambda: board,
            live,
        )
        messengers = engine.platforms.messengers
        may_know, saved = engine.assistant.contexts.may_know, engine.conversations.saved
        toolbox.add(ScheduleSource(engine.schedules, engine.changes.proposals, may_know))
        if {"nocodb", "sample"} & {bundle.source.name for bundle in tools}:
            toolbox.add(SavedSource(saved, toolbox, may_know))
        _add_imports(toolbox, tools)
        toolbox.add(AskingSource(), PlacePostSource(messengers), PlaceReadingSource(messengers))
        reloader = _build_reloader(settings, live, stores, tools, accounts)
        own_surfaces = Surfaces(accepts)
        closing.push_async_callback(own_surfaces.close)
        reports: dict[str, ReportHealth] = {
            **{bundle.source.name: bundle.source.health for bundle in tools},
            model_part.name: model.health,
            "database": stores.health,
            "config": reloader.health,
        }
        if isinstance(model, ServedModel) and not any(settings.voice_server):
            reports |= {"voice": partial(model.check_voice, settings.transcribe_model)}
        optional = [part.name for part in settings.faces if isinstance(part, ToolIntegration)]
        board = HealthBoard(
            PartHealth(
                list_parts(settings, accepts=accepts, surfaces=surfaces),
                reports,
                lambda: own_surfaces.all,
                [bundle.list_states for bundle in tools if bundle.list_states],
            ),
            engine,
            (*optional, "config", "voice"),
            next((bundle.titles for bundle in tools if bundle.titles), None),
        )
        for part in used:
            if surfaces and isinstance(part, ChatIntegration):
                chat = await part.build(deps, engine.conversations, people, board)
                own_surfaces.chats.append(chat)
                policy.people.add(chat)
                engine.platforms.add_chat(chat)

        ponte = Ponte(
            settings,
            live,
            home,
            engine,
            board,
            own_surfaces,
            reloader,
            accounts,
            restart,
            check,
            runs_turns,
            # The model's start loads a large package, so what answers people comes first.
            (start_model, *(bundle.start for bundle in tools)),
            closing.pop_all(),
            begun,
            {bundle.source.name: bundle.source for bundle in tools},
        )
        closing.push_async_callback(ponte.closing.aclose)
        chats = own_surfaces.chats
        routes: dict[str, HttpHandler] = {f"/{chat.name}/events": chat.http for chat in chats}
        for feature in find_features():
            routes |= feature.mount(ponte)
        finders = (feature.find_hook(ponte) for feature in find_features())
        find_hook = next(filter(None, finders), lambda name: None)
        for part in used:
            if isinstance(part, OwnerIntegration) and (surfaces or part.always):
                platform = await part.build(
                    deps,
                    engine.conversations,
                    people,
                    board,
                    OperationService(ponte, on_admin_page=not part.always),
                    engine.notices,
                    routes,
                    find_hook,
                )
                own_surfaces.owned.append((part, platform))
                engine.platforms.add(platform)
        beginning.pop_all()  # closing is up to the Ponte that is returned
        closing.pop_all()
        return ponte


def _add_imports(toolbox: Toolbox, tools: Sequence[ToolBundle]) -> None:
    if tables := next((bundle.tables for bundle in tools if bundle.tables), None):
        # Loaded only if there are tables.
        from core.imports.tools import ImportSource

        toolbox.add(ImportSource(tables))


async def _begin_features(settings: Settings, beginning: AsyncExitStack) -> Sequence[EndFeature]:
    """Return the functions that end what features began; `beginning` calls them, too."""
    begun = list[EndFeature]()
    for feature in find_features():
        if close := await asyncio.to_thread(feature.begin, settings):
            begun.append(close)
            beginning.push_async_callback(close, 0.0)
    return begun


def _generate_secrets(settings: Settings, home: Home) -> Secrets:
    return {
        name: SecretStr(secret)
        for part in settings.faces
        if isinstance(part, OwnerIntegration)
        for name, secret in part.secrets(settings, home).items()
    }


async def _build_people(
    settings: Settings,
    live: LiveConfig,
    stores: Stores,
    accounts: PageAccountService,
    pseudonym: Callable[[str], str],
) -> People:
    """Chat platforms are added to `policy.people` later."""
    # `lookups` know the people of the page and of OIDC providers, whom no chat platform knows.
    policy = Policy(
        collect_rights(settings.faces),
        lambda: live.rule_book,
        settings.ponte_allow,
        settings.ponte_admins,
        accounts.lookups,
    )

    async def caps(person: Person, address: Address) -> tuple[int, int]:
        daily_caps = DailyCaps(settings.ponte_daily_turns)
        turns = await daily_caps.cap_for(person, address, policy)
        return turns.person, turns.everybody

    database, peers = stores.database, stores.peers
    budget = Budget(
        database,
        live,
        caps,
        ZoneInfo(settings.ponte_timezone),
        canonical_person,
        is_meant=policy.is_meant,
    )
    owner = OwnerName(database, system_user_name(), lambda: peers.notify(OWNER_RENAMED_TOPIC, ""))
    peers.on(OWNER_RENAMED_TOPIC, owner.on_renamed)
    await owner.load()
    directory = SqlDirectory(database, pseudonym)
    return People(policy, budget, stores.audit, directory, accounts, owner)


def list_parts(settings: Settings, *, accepts: bool, surfaces: bool) -> Sequence[Health]:
    """Return all parts as the settings alone tell them. What another process serves is off here:
    its health is not known."""

    def is_served(part: object) -> bool:
        if not surfaces:
            return not isinstance(part, ChatIntegration | OwnerIntegration)
        return accepts or not isinstance(part, OwnerIntegration) or part.always

    unserved = {part.name for part in settings.faces if not is_served(part)}
    return [
        Health(
            part.name,
            "off",
            words="handled by `ponte serve`" if surfaces else "configured; handled by `ponte run`",
        )
        if part.state == "on" and part.name in unserved
        else part
        for part in summaries(settings)
    ]


async def _open_stores(settings: Settings, home: Home, *, accepts: bool, works: bool) -> Stores:
    url = plain_value(settings.database_url)
    try:
        return await Stores.open(url, home, takes=accepts, works=works)
    except ModuleNotFoundError as missing:
        raise SettingsError(NO_POSTGRES_SENTENCE, name=missing.name) from None


def _turn_config(settings: Settings, now: Callable[[], float]) -> TurnConfig:
    """Return the settings that each turn reads. Links to Ponte's own addresses are allowed in
    answers, and so is what Ponte writes itself and looks like an address (`ponte.toml`, addresses
    in settings). `in_code`: platforms that make links even in code. `with_scheme`: those that make
    links only of addresses with a scheme (https://)."""
    # The default rights of a platform also tell what it makes a link of.
    platforms = collect_rights(settings.faces)
    own = settings.ponte_instructions
    urls = [value for _, value in settings if isinstance(value, str) and "://" in value]
    addresses = [settings.ponte_config.name, settings.page_url(), settings.guide_url, *urls]
    return TurnConfig(
        instructions=f"{own}\n\n{GUARD_INSTRUCTIONS}" if own else INSTRUCTIONS,
        locale=settings.ponte_locale,
        zone=settings.ponte_timezone,
        titles=settings.ponte_titles == "on",
        links=LinkRules(
            own_addresses=frozenset(filter(None, addresses)),
            in_code=frozenset(name for name, platform in platforms.items() if platform.links_code),
            with_scheme=frozenset(
                name for name, platform in platforms.items() if not platform.links_names
            ),
        ),
        guide_url=settings.guide_url,
        now=now,
    )


def _build_reloader(
    settings: Settings,
    live: LiveConfig,
    stores: Stores,
    tools: Sequence[ToolBundle],
    accounts: PageAccountService,
) -> Reloader:
    async def look_up(config: Config) -> KnownNames:
        """Ask NocoDB for the names of its tables and of fields for cards, and the database for the
        people of the page."""
        names = ("nocodb", "sample")
        sources: list[Any] = [bundle.source for bundle in tools if bundle.source.name in names]
        tables = await sources[0].look_up_tables() if sources else None
        people = [account.person for account in await accounts.list_all()]
        named = [name for name, table in config.tables.items() if table.card_fields]
        fields = await sources[0].look_up_fields(named) if named and tables is not None else {}
        return KnownNames(tables, ["web:owner", *people], fields)

    return Reloader(settings, live, stores.audit, stores.peers, look_up)
