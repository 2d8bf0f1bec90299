"""Who may do what, where."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from core.messages import Address, Person
from core.policy import GUEST, LONGEST_KEPT, REASONS, UNKNOWN, AccessPolicy, DailyCaps, DailyTurns
from core.records import Action
from tests.fakes.choices import allow_list

ALL: frozenset[Action] = frozenset(get_args(Action))
USE = ALL - {"administer", "approve"}

ANA = Person("slack", "U1", "T1", "Ana")
STRANGER = Person("slack", "U7", "T9", "Somebody over Slack Connect")
BIA = Person("discord", "42", "", "Bia")
WEB = Person("web", "owner")
VISITOR = Person("web", "ana")
TERMINAL = Person("terminal", "owner")
CHANNEL = Address("slack", "C1", "T1", thread="1.2", shared=True)
SERVER = Address("discord", "500", "600", shared=True)
DIRECT = Address("discord", "77")
PAGE = Address("web", "c")
SHELL = Address("terminal", "c")

MEMBER = frozenset({"chat", "read", "code", "spend"})


async def allowed(policy: AccessPolicy, person: Person, address: Address) -> frozenset[Action]:
    return frozenset([a for a in ALL if (await policy.may(person, address, a)).allowed])


TABLE = [
    # nothing written: each platform's defaults
    (ANA, CHANNEL, "", "web,terminal", MEMBER),
    (STRANGER, CHANNEL, "", "web,terminal", frozenset()),
    (BIA, SERVER, "", "web,terminal", {"chat"}),
    (BIA, DIRECT, "", "web,terminal", {"chat"}),
    (WEB, PAGE, "", "web,terminal", ALL),
    (TERMINAL, SHELL, "", "web,terminal", ALL),
    (WEB, PAGE, "", "slack:U1", USE),
    (VISITOR, PAGE, "", "web,terminal", USE),
    (VISITOR, PAGE, "", "web:ana", ALL),
    # PONTE_ALLOW names a person, a channel, a workspace, a server, everybody
    (ANA, CHANNEL, "slack:U1", "", USE),
    (ANA, CHANNEL, "slack:U2", "", MEMBER),
    (ANA, CHANNEL, "discord:1", "", MEMBER),
    (ANA, CHANNEL, "slack:C1", "", USE),
    (ANA, Address("slack", "D1", "T1"), "slack:C1", "", MEMBER),
    (ANA, CHANNEL, "slack:T1", "", USE),
    (STRANGER, CHANNEL, "slack:T1", "", frozenset()),
    (STRANGER, CHANNEL, "slack:C1", "", USE),
    (STRANGER, CHANNEL, "slack:T9", "", USE),
    (BIA, SERVER, "discord:600", "", USE),
    (BIA, DIRECT, "discord:600", "", {"chat"}),
    (BIA, SERVER, "discord:500", "", USE),
    (BIA, SERVER, "discord:42", "", USE),
    (BIA, SERVER, "*", "", USE),
    (ANA, CHANNEL, "*", "", USE),
    # an id of one platform is nobody on another
    (BIA, SERVER, "slack:42", "slack:42", {"chat"}),
    # admins may all; a channel is no admin
    (ANA, CHANNEL, "", "slack:U1", ALL),
    (STRANGER, CHANNEL, "", "slack:U7", ALL),
    (BIA, DIRECT, "", "discord:42", ALL),
    (ANA, CHANNEL, "", "slack:C1,slack:T1", MEMBER),
    # a platform that the defaults do not know may nothing
    (Person("irc", "x"), Address("irc", "c"), "", "", frozenset()),
]


@pytest.mark.parametrize(("person", "address", "allow", "admins", "may"), TABLE)
async def test_the_lists(
    person: Person, address: Address, allow: str, admins: str, may: frozenset[Action]
) -> None:
    policy = allow_list(frozenset(allow.split(",")), frozenset(admins.split(",")))
    assert await allowed(policy, person, address) == may


class Directory:
    """A platform's groups, and how often they were asked for."""

    def __init__(self, *groups: str) -> None:
        self.groups = frozenset(groups)
        self.asked = 0

    async def __call__(self, person: Person) -> frozenset[str]:
        self.asked += 1
        return self.groups


async def test_groups_and_roles_are_resolved() -> None:
    directory = Directory("S5", "slack:S6")
    for allow, admins, may in [
        ("slack:S5", "", USE),
        ("slack:S6", "", USE),
        ("slack:S7", "", MEMBER),
        ("", "slack:S5", ALL),
    ]:
        policy = allow_list(frozenset([allow]), frozenset([admins]), {"slack": directory})
        assert await allowed(policy, ANA, CHANNEL) == may, (allow, admins)


async def test_groups_are_asked_once_in_minutes() -> None:
    now = [0.0]
    directory = Directory("S5")
    policy = allow_list(
        frozenset({"slack:S5"}), frozenset(), {"slack": directory}, clock=lambda: now[0]
    )
    assert (await policy.may(ANA, CHANNEL, "propose")).allowed
    directory.groups = frozenset()
    now[0] = 300 - LONGEST_KEPT - 1
    assert (await policy.may(ANA, CHANNEL, "propose")).allowed
    assert directory.asked == 1
    now[0] += 2
    assert not (await policy.may(ANA, CHANNEL, "propose")).allowed
    assert directory.asked == 2


async def test_an_empty_answer_is_asked_again_sooner() -> None:
    now = [0.0]
    directory = Directory()
    policy = allow_list(
        frozenset({"slack:S5"}), frozenset(), {"slack": directory}, clock=lambda: now[0]
    )
    assert not (await policy.may(ANA, CHANNEL, "propose")).allowed
    directory.groups = frozenset({"S5"})
    now[0] = 31
    assert (await policy.may(ANA, CHANNEL, "propose")).allowed


async def test_groups_are_not_asked_where_they_cannot_matter() -> None:
    directory = Directory("S5")
    policy = allow_list(
        frozenset({"slack:U1", "discord:1"}), frozenset(), {"slack": directory, "web": directory}
    )
    assert (await policy.may(ANA, CHANNEL, "propose")).allowed
    assert not (await policy.may(ANA, CHANNEL, "administer")).allowed
    assert (await policy.may(WEB, PAGE, "propose")).allowed
    assert directory.asked == 0
    assert policy.local(Person("slack", "U2", "T1"), CHANNEL, "propose") is None
    assert policy.local(Person("slack", "U2", "T1"), CHANNEL, "chat") is not None


async def test_who_cannot_be_resolved_is_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.policy._DEADLINE", 0.0)

    async def silent(person: Person) -> frozenset[str]:
        await asyncio.Event().wait()
        return frozenset({"S5"})

    policy = allow_list(frozenset({"slack:S5"}), frozenset(), {"slack": silent})
    assert not (await policy.may(ANA, CHANNEL, "propose")).allowed


async def test_a_refusal_says_why_and_who_can_change_it() -> None:
    policy = allow_list(admins=frozenset())
    for action in ALL - {"chat"}:
        verdict = await policy.may(BIA, SERVER, action)
        assert verdict.reason == REASONS[action]
        assert "operator" in verdict.reason
    assert "members of this workspace" in (await policy.may(STRANGER, CHANNEL, "chat")).reason
    assert (await policy.may(ANA, CHANNEL, "chat")).reason == ""


@pytest.mark.parametrize(
    ("chosen", "allow", "person", "cap"),
    [
        (None, "", ANA, DailyTurns(0, 0)),
        (None, "", BIA, DailyTurns(50, 1000)),
        (None, "slack:T1", BIA, DailyTurns(50, 1000)),
        (None, f"discord:{BIA.id}", BIA, DailyTurns(0, 0)),
        (None, f"discord:{SERVER.workspace}", BIA, DailyTurns(0, 0)),
        (None, "discord:77", BIA, DailyTurns(0, 0)),
        (None, "discord:99", BIA, DailyTurns(50, 1000)),
        (None, "*", BIA, DailyTurns(0, 0)),
        (DailyTurns(0, 0), "", BIA, DailyTurns(0, 0)),
        (DailyTurns(3, 9), "*", ANA, DailyTurns(3, 9)),
    ],
)
async def test_daily_caps(
    chosen: DailyTurns | None, allow: str, person: Person, cap: DailyTurns
) -> None:
    """Whoever else is named (99): a stranger's cap stays."""

    async def roles(asked: Person) -> frozenset[str]:
        return frozenset({"77"})

    policy = allow_list(frozenset(allow.split(",")) - {""}, frozenset(), {"discord": roles})
    place = SERVER if person is BIA else CHANNEL
    assert await DailyCaps(chosen).of(person, place, policy) == cap


GUESTS = [
    ("", "", frozenset()),
    ("slack:T1", "", frozenset()),
    ("slack:C2", "", frozenset()),
    ("slack:U1", "", USE),
    ("slack:C1", "", USE),
    ("*", "", USE),
    ("slack:S5", "", USE),
    ("", "slack:U1", ALL),
    ("", "slack:S5", ALL),
]


@pytest.mark.parametrize(("allow", "admins", "may"), GUESTS)
async def test_a_guest_is_meant_by_their_own_name_a_group_the_channel_or_everybody(
    allow: str, admins: str, may: frozenset[Action]
) -> None:
    async def guest(person: Person) -> bool | None:
        return person.id == "U1"

    lists = frozenset(allow.split(",")), frozenset(admins.split(","))
    policy = allow_list(*lists, {"slack": Directory("S5")}, {"slack": guest})
    assert await allowed(policy, ANA, CHANNEL) == may
    member = Person("slack", "U2", "T1")
    assert {"chat", "read"} <= await allowed(policy, member, CHANNEL)
    if not may:
        assert (await policy.may(ANA, CHANNEL, "chat")).reason == GUEST


async def test_where_it_is_not_known_who_is_a_guest_nobody_is_a_member(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.policy._DEADLINE", 0.01)

    async def silent(person: Person) -> bool | None:
        if person.id == "U1":
            await asyncio.Event().wait()
        return None

    policy = allow_list(guests={"slack": silent})
    for id in ("U1", "U2"):
        verdict = await policy.may(Person("slack", id, "T1"), CHANNEL, "chat")
        assert (verdict.allowed, verdict.reason) == (False, UNKNOWN)
    assert (await policy.may(WEB, PAGE, "chat")).allowed
    named = allow_list(frozenset({"slack:C1"}), guests={"slack": silent})
    assert (await named.may(ANA, CHANNEL, "chat")).allowed
