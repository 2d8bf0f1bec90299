"""What the engine is given in tests, where nothing else was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from bot.engine import Choices, Spending
from bot.integrations import ADMINS, PLATFORM_RIGHTS, canonical_person
from bot.quick_registry import QuickCommandRegistry
from core.changes.approval import Approval, NamedApprovers, TableRules
from core.changes.ports import Applier
from core.domain.messages import Address, Card, Message, Person, ReplyTo, turn_id
from core.domain.records import Health, QuickCommand
from core.ports.rights import Policy
from core.ports.tools import Model, ToolSource
from core.rights.allowances import Allowance
from core.rights.policy import AccessPolicy, Guests, Membership
from core.rights.usage import Prices
from core.store.budget import Caps, uncapped
from core.store.inbox import Intake
from core.tools.tool import Toolbox
from tests.fakes.models import EchoModel

T = TypeVar("T")
ANA = Person("web", "owner", name="Ana")


class QuietBoard:
    demo = False

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
    memberships: Mapping[str, Membership] = MappingProxyType({}),
    guests: Mapping[str, Guests] = MappingProxyType({}),
    clock: Callable[[], float] = time.monotonic,
) -> AccessPolicy:
    """Over the rights of our platforms."""
    return AccessPolicy(PLATFORM_RIGHTS, allow, admins, memberships, guests, clock)


def choices(
    model: Model | None = None,
    sources: Sequence[ToolSource] = (),
    policy: Policy | None = None,
    appliers: Sequence[Applier] = (),
    *,
    rules: TableRules | None = None,
    spending: Spending | None = None,
    is_named: NamedApprovers | None = None,
) -> Choices:
    """`is_named` is how approvers that `rules` name are recognised."""
    policy = policy or allow_list()
    approval = Approval(policy, always(rules or TableRules()), platforms=PLATFORM_RIGHTS)
    return Choices(
        model=model or EchoModel(),
        toolbox=Toolbox(sources),
        policy=policy,
        approval=replace(approval, is_named=is_named) if is_named else approval,
        board=QuietBoard(),
        quick=QuickCommandRegistry(dict, allow_list().is_named),
        spending=spending or Spending(),
        appliers=appliers,
    )


def always(value: T) -> Callable[[], T]:
    """What never changes, for those who ask each time."""
    return lambda: value


def spends(
    caps: Caps = uncapped,
    allowances: Sequence[Allowance] = (),
    prices: Prices | None = None,
    intake: Intake | None = None,
) -> Spending:
    """What people may use, with the keys of persons as Ponte counts them."""
    return Spending(
        caps, always(allowances), always(prices or Prices()), canonical_person=canonical_person,
        intake=always(intake or Intake()),
    )  # fmt: skip


def capped(own: int = 0, everybody: int = 0) -> Caps:
    """The same turns a day for whoever asks."""

    async def caps(person: Person, address: Address) -> tuple[int, int]:
        return own, everybody

    return caps


def message(
    text: str, key: str, channel: str = "C1", person: Person = ANA, shared: bool = False
) -> Message:
    """What `person` says in `channel`; `key` is the event's, and the source message's id."""
    address = Address("web", channel, shared=shared)
    reply_to = ReplyTo(address, person, key, turn_id(key))
    return Message(key, text, person, address, reply_to)
