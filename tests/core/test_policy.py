"""Who may do what, where."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from core.messages import Address, Person
from core.policy import REASONS, AllowList, DailyCaps, DailyTurns
from core.records import Action

ALL: frozenset[Action] = frozenset(get_args(Action))
USE = ALL - {"admin"}

ANA = Person("slack", "U1", "T1", "Ana")
GUEST = Person("slack", "U7", "T9", "Guest over Slack Connect")
BIA = Person("discord", "42", "", "Bia")
WEB = Person("web", "page")
TERMINAL = Person("terminal", "me")
CHANNEL = Address("slack", "C1", "T1", thread="1.2", shared=True)
SERVER = Address("discord", "500", "600", shared=True)
DIRECT = Address("discord", "77")
PAGE = Address("web", "c")
SHELL = Address("terminal", "c")

MEMBER = frozenset({"chat", "read", "code", "spend"})


async def allowed(policy: AllowList, person: Person, address: Address) -> frozenset[Action]:
    return frozenset([a for a in ALL if (await policy.may(person, address, a)).allowed])


TABLE = [
    # nothing written: each platform's defaults
    (ANA, CHANNEL, "", "web,terminal", MEMBER),
    (GUEST, CHANNEL, "", "web,terminal", frozenset()),
    (BIA, SERVER, "", "web,terminal", {"chat"}),
    (BIA, DIRECT, "", "web,terminal", {"chat"}),
    (WEB, PAGE, "", "web,terminal", ALL),
    (TERMINAL, SHELL, "", "web,terminal", ALL),
    (WEB, PAGE, "", "slack:U1", USE),
    # PONTE_ALLOW names a person, a channel, a workspace, a server, everybody
    (ANA, CHANNEL, "slack:U1", "", USE),
    (ANA, CHANNEL, "slack:U2", "", MEMBER),
    (ANA, CHANNEL, "discord:1", "", MEMBER),
    (ANA, CHANNEL, "slack:C1", "", USE),
    (ANA, Address("slack", "D1", "T1"), "slack:C1", "", MEMBER),
    (ANA, CHANNEL, "slack:T1", "", USE),
    (GUEST, CHANNEL, "slack:T1", "", frozenset()),
    (GUEST, CHANNEL, "slack:C1", "", USE),
    (GUEST, CHANNEL, "slack:T9", "", USE),
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
    (GUEST, CHANNEL, "", "slack:U7", ALL),
    (BIA, DIRECT, "", "discord:42", ALL),
    (ANA, CHANNEL, "", "slack:C1,slack:T1", MEMBER),
    # a platform that the defaults do not know may nothing
    (Person("irc", "x"), Address("irc", "c"), "", "", frozenset()),
]


@pytest.mark.parametrize(("person", "address", "allow", "admins", "may"), TABLE)
async def test_the_lists(
    person: Person, address: Address, allow: str, admins: str, may: frozenset[Action]
) -> None:
    policy = AllowList(frozenset(allow.split(",")), frozenset(admins.split(",")))
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
        policy = AllowList(frozenset([allow]), frozenset([admins]), {"slack": directory})
        assert await allowed(policy, ANA, CHANNEL) == may, (allow, admins)


async def test_groups_are_asked_once_in_minutes() -> None:
    now = [0.0]
    directory = Directory("S5")
    policy = AllowList(
        frozenset({"slack:S5"}), frozenset(), {"slack": directory}, clock=lambda: now[0]
    )
    assert (await policy.may(ANA, CHANNEL, "write")).allowed
    directory.groups = frozenset()
    now[0] = 299
    assert (await policy.may(ANA, CHANNEL, "write")).allowed
    assert directory.asked == 1
    now[0] = 301
    assert not (await policy.may(ANA, CHANNEL, "write")).allowed
    assert directory.asked == 2


async def test_an_empty_answer_is_asked_again_sooner() -> None:
    now = [0.0]
    directory = Directory()
    policy = AllowList(
        frozenset({"slack:S5"}), frozenset(), {"slack": directory}, clock=lambda: now[0]
    )
    assert not (await policy.may(ANA, CHANNEL, "write")).allowed
    directory.groups = frozenset({"S5"})
    now[0] = 31
    assert (await policy.may(ANA, CHANNEL, "write")).allowed


async def test_groups_are_not_asked_where_they_cannot_matter() -> None:
    directory = Directory("S5")
    policy = AllowList(
        frozenset({"slack:U1", "discord:1"}), frozenset(), {"slack": directory, "web": directory}
    )
    assert (await policy.may(ANA, CHANNEL, "write")).allowed
    assert not (await policy.may(ANA, CHANNEL, "admin")).allowed
    assert (await policy.may(WEB, PAGE, "write")).allowed
    assert directory.asked == 0
    assert policy.local(Person("slack", "U2", "T1"), CHANNEL, "write") is None
    assert policy.local(Person("slack", "U2", "T1"), CHANNEL, "chat") is not None


async def test_who_cannot_be_resolved_is_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.policy._DEADLINE", 0.0)

    async def silent(person: Person) -> frozenset[str]:
        await asyncio.Event().wait()
        return frozenset({"S5"})

    policy = AllowList(frozenset({"slack:S5"}), frozenset(), {"slack": silent})
    assert not (await policy.may(ANA, CHANNEL, "write")).allowed


async def test_a_refusal_says_why_and_who_can_change_it() -> None:
    policy = AllowList(admins=frozenset())
    for action in ALL - {"chat"}:
        verdict = await policy.may(BIA, SERVER, action)
        assert verdict.reason == REASONS[action]
        assert "operator" in verdict.reason
    assert "members of this workspace" in (await policy.may(GUEST, CHANNEL, "chat")).reason
    assert (await policy.may(ANA, CHANNEL, "chat")).reason == ""


@pytest.mark.parametrize(
    ("chosen", "allow", "platform", "cap"),
    [
        (None, "", "slack", DailyTurns(0, 0)),
        (None, "", "discord", DailyTurns(50, 1000)),
        (None, "slack:T1", "discord", DailyTurns(50, 1000)),
        (None, "discord:600", "discord", DailyTurns(0, 0)),
        (None, "*", "discord", DailyTurns(0, 0)),
        (DailyTurns(0, 0), "", "discord", DailyTurns(0, 0)),
        (DailyTurns(3, 9), "*", "web", DailyTurns(3, 9)),
    ],
)
def test_daily_caps(chosen: DailyTurns | None, allow: str, platform: str, cap: DailyTurns) -> None:
    assert DailyCaps(chosen, frozenset(allow.split(","))).of(platform) == cap
