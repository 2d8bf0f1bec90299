"""Default parts of an engine for tests that do not choose them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from bot.config.quick_registry import QuickCommandRegistry
from bot.engine import Engine, EngineConfig, load_parsers
from bot.features.sign_in.accounts import PageAccountService
from bot.integrations import ADMINS, KINDS, PLATFORM_RIGHTS, canonical_person
from bot.stores import Stores
from core.base.errors import NotFound
from core.changes.approval import Approval, TableRules
from core.changes.kinds import Applier
from core.chat.people import People
from core.domain.changes import ChangeForm, Overview
from core.domain.messages import Address, Card, Message, Person, ReplyTo, turn_id
from core.domain.ports import Model, QuickCommands, StatusBoard, ToolSource
from core.domain.records import Health, QuickCommand
from core.erasure import SqlPersonalData
from core.journal.inbox import SenderLimits
from core.money.allowances import Allowance, SpendingConfig
from core.money.budget import Budget, DailyCapLookup, IsMeant
from core.money.usage import Prices
from core.people.directory import SqlDirectory
from core.people.policy import GroupLookup, GuestLookup, PlatformPeople, Policy
from core.people.rules import RuleBook, StandIns
from core.schedules.schedule import ScheduleLimits
from core.tools.code.source import CodeRunner
from core.tools.tool import Toolbox
from core.turn.preparation import Assistant
from core.turn.run import Retention, TurnConfig
from core.webhooks.hook import HOOK_PLATFORM, HOOK_RIGHTS
from tests.fakes.config import FixedConfig, fixed_rules, means_everybody, no_daily_caps
from tests.fakes.models import EchoModel

T = TypeVar("T")
ANA = Person("web", "owner", name="Ana")


class EmptyStatusBoard:
    is_demo = False

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> Sequence[str]:
        return ()

    async def saved_names(self, person: Person, address: Address) -> Sequence[str]:
        return ()

    async def health(self) -> Sequence[Health]:
        return [Health("model", "on", "echo"), Health("nocodb", "off", "set NOCODB_URL")]

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return ()

    async def overview(self, person: Person, address: Address, time_zone: str) -> Overview:
        return Overview()

    async def changes(self, conversation: str) -> Sequence[Card]:
        return ()

    async def open_plan(self, id: str, person: Person, address: Address) -> bytes:
        raise NotFound(what="card")

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        raise NotFound(what="card")


def allow_list(
    allow: frozenset[str] = frozenset(),
    admins: frozenset[str] = ADMINS,
    memberships: Mapping[str, GroupLookup] = MappingProxyType({}),
    guests: Mapping[str, GuestLookup] = MappingProxyType({}),
    clock: Callable[[], float] = time.monotonic,
) -> Policy:
    """Return a policy over the rights of all platforms of Ponte."""
    people = PlatformPeople(dict(memberships), dict(guests))
    return Policy(PLATFORM_RIGHTS, fixed_rules(), allow, admins, people, clock)


def hook_rules(groups: Mapping[str, str]) -> RuleBook:
    """Return a rule book with webhooks of these names, and the groups that they act as."""
    return RuleBook(stand_ins={HOOK_PLATFORM: StandIns(HOOK_RIGHTS, groups)})


@dataclass(frozen=True, slots=True)
class Spending:
    """The limits of what people may use."""

    config: SpendingConfig = field(default_factory=FixedConfig)
    caps: DailyCapLookup = no_daily_caps
    is_meant: IsMeant = means_everybody
    canonical_person: Callable[[str], str] = str
    intake: SenderLimits = field(default_factory=SenderLimits)


@dataclass(frozen=True, slots=True)
class Choices:
    """The parts of an engine that a test chooses."""

    model: Model
    toolbox: Toolbox
    policy: Policy
    approval: Approval
    board: StatusBoard
    quick: QuickCommands
    spending: Spending = field(default_factory=Spending)
    profile: TurnConfig = field(default_factory=TurnConfig)
    retention: Retention = field(default_factory=Retention)
    code: CodeRunner | None = None
    appliers: Sequence[Applier] = ()
    clock: Callable[[], float] = time.time
    schedule_limits: ScheduleLimits = field(default_factory=ScheduleLimits)
    config: EngineConfig | None = None
    """None: a configuration of the values above."""


async def open_engine(home: Path, made: Choices, stores: Stores | None = None) -> Engine:
    """Return an engine of these parts, over `stores` or those of the home. It is not started."""
    stores = stores or await Stores.open_in_home(home)
    await load_parsers()
    database, spending = stores.database, made.spending
    owner: Any = SimpleNamespace(current="")
    accounts = PageAccountService(database, stores.peers, tuple)
    budget = Budget(
        database,
        spending.config,
        spending.caps,
        ZoneInfo(made.profile.zone),
        spending.canonical_person,
        is_meant=spending.is_meant,
    )
    directory = SqlDirectory(database, lambda name: hashlib.sha256(name.encode()).hexdigest())
    people = People(made.policy, budget, stores.audit, directory, accounts, owner)
    fixed = FixedConfig(
        turn=made.profile,
        retention=made.retention,
        sender_limits=spending.intake,
        schedule_limits=made.schedule_limits,
    )
    return Engine(
        stores,
        people,
        made.approval,
        lambda contexts: Assistant(made.model, made.toolbox, contexts, made.quick, made.code),
        made.appliers,
        lambda: made.board,
        made.config or fixed,
        made.clock,
    )


def personal_data(engine: Engine) -> SqlPersonalData:
    """Return the personal data of an engine."""
    return SqlPersonalData(engine.stores.database, canonical_person)


def make_choices(
    model: Model | None = None,
    sources: Sequence[ToolSource] = (),
    policy: Policy | None = None,
    appliers: Sequence[Applier] = (),
    *,
    rules: TableRules | None = None,
    spending: Spending | None = None,
) -> Choices:
    policy = policy or allow_list()
    return Choices(
        model=model or EchoModel(),
        toolbox=Toolbox(sources),
        policy=policy,
        approval=Approval(policy, KINDS, FixedConfig(rules or TableRules()), canonical_person),
        board=EmptyStatusBoard(),
        quick=QuickCommandRegistry(FixedConfig(), allow_list().is_named),
        spending=spending or Spending(),
        appliers=appliers,
    )


def make_spending(
    caps: DailyCapLookup = no_daily_caps,
    allowances: Sequence[Allowance] = (),
    prices: Prices | None = None,
    intake: SenderLimits | None = None,
) -> Spending:
    """Return the limits of spending; persons are counted by their canonical key."""
    config = FixedConfig(turn_allowances=allowances, price_list=prices or Prices())
    return Spending(
        config, caps, canonical_person=canonical_person, intake=intake or SenderLimits()
    )


def fixed_caps(own: int = 0, everybody: int = 0) -> DailyCapLookup:
    """Return caps that give everybody the same numbers of turns a day."""

    async def caps(person: Person, address: Address) -> tuple[int, int]:
        return own, everybody

    return caps


def make_message(
    text: str, key: str, channel: str = "C1", person: Person = ANA, shared: bool = False
) -> Message:
    """Return a message of `person` in `channel`; `key` is the event's key and the message's id."""
    address = Address("web", channel, is_shared=shared)
    reply_to = ReplyTo(address, person, key, turn_id(key))
    return Message(key, text, person, address, reply_to)
