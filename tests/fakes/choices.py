"""Default parts of an engine for tests that do not choose them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from bot.engine import Choices, Spending
from bot.integrations import ADMINS, KINDS, PLATFORM_RIGHTS, canonical_person
from bot.quick_registry import QuickCommandRegistry
from core.changes.approval import Approval, TableRules
from core.changes.ports import Applier
from core.domain.hooks import HOOK_PLATFORM, HOOK_RIGHTS
from core.domain.messages import Address, Card, Message, Person, ReplyTo, turn_id
from core.domain.records import Health, QuickCommand
from core.ports.tools import Model, ToolSource
from core.rights.allowances import Allowance
from core.rights.policy import GroupLookup, GuestLookup, PlatformPeople, Policy
from core.rights.rules import RuleBook, StandIns
from core.rights.usage import Prices
from core.store.budget import DailyCapLookup, no_daily_caps
from core.store.inbox import SenderLimits
from core.tools.tool import Toolbox
from tests.fakes.config import FixedConfig
from tests.fakes.models import EchoModel

T = TypeVar("T")
ANA = Person("web", "owner", name="Ana")


class EmptyStatusBoard:
    is_demo = False

    async def tables(self, person: Person, address: Address) -> Sequence[str]:
        return ()

    async def health(self) -> Sequence[Health]:
        return [Health("model", "on", "echo"), Health("nocodb", "off", "set NOCODB_URL")]

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return ()

    async def changes(self, conversation: str) -> Sequence[Card]:
        return ()


def allow_list(
    allow: frozenset[str] = frozenset(),
    admins: frozenset[str] = ADMINS,
    memberships: Mapping[str, GroupLookup] = MappingProxyType({}),
    guests: Mapping[str, GuestLookup] = MappingProxyType({}),
    clock: Callable[[], float] = time.monotonic,
) -> Policy:
    """Return a policy over the rights of all platforms of Ponte."""
    people = PlatformPeople(dict(memberships), dict(guests))
    return Policy(PLATFORM_RIGHTS, FixedConfig(), allow, admins, people, clock)


def hook_rules(groups: Mapping[str, str]) -> RuleBook:
    """Return a rule book with webhooks of these names, and the groups that they act as."""
    return RuleBook(stand_ins={HOOK_PLATFORM: StandIns(HOOK_RIGHTS, groups)})


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
        approval=Approval(policy, KINDS, FixedConfig(rules or TableRules())),
        board=EmptyStatusBoard(),
        quick=QuickCommandRegistry(dict, allow_list().is_named),
        spending=spending or Spending(),
        appliers=appliers,
    )


def supplier(value: T) -> Callable[[], T]:
    """Return a function that always returns `value`."""
    return lambda: value


def make_spending(
    caps: DailyCapLookup = no_daily_caps,
    allowances: Sequence[Allowance] = (),
    prices: Prices | None = None,
    intake: SenderLimits | None = None,
) -> Spending:
    """Return the limits of spending; persons are counted by their canonical key."""
    config = FixedConfig(turn_allowances=allowances, price_list=prices or Prices())
    limits = supplier(intake or SenderLimits())
    return Spending(config, caps, canonical_person=canonical_person, intake=limits)


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
