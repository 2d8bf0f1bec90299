"""Who may do what, where."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import pytest

from core.base.errors import StatusUnknown
from core.domain.messages import Address, Person
from core.domain.rights import Action
from core.people.policy import (
    MAX_CONFIRMED_AGE_SECONDS,
    MAX_RIGHT_NAME_CHARACTERS,
    DailyCaps,
    Policy,
)
from core.people.rules import (
    DEFAULT_REASONS,
    GUEST_DECISION_REASON,
    GUEST_REASON,
    NAME_TOO_LONG,
    DailyTurns,
    Rule,
    RuleBook,
    matches_pattern,
)
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.time_limits import Limits

ALL: frozenset[Action] = frozenset(get_args(Action))
USE = ALL - {"administer", "approve"}

ANA = Person("slack", "U1", "T1", "Ana")
STRANGER = Person("slack", "U7", "T9", "Somebody over Slack Connect")
BIA = Person("discord", "42", "", "Bia")
WEB = Person("web", "owner")
VISITOR = Person("web", "ana")
TERMINAL = Person("terminal", "owner")
CHANNEL = Address("slack", "C1", "T1", thread="1.2", is_shared=True)
SERVER = Address("discord", "500", "600", is_shared=True)
DIRECT = Address("discord", "77")
PAGE = Address("web", "c")
SLACK_PAGE = Address("web", "c", person="slack:T1:U1")
OIDC = Person("oidc", "corp:U1")
SHELL = Address("terminal", "c")

MEMBER = frozenset({"chat", "read", "code", "spend"})


async def allowed_actions(policy: Policy, person: Person, address: Address) -> frozenset[Action]:
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
    # who signs in to the page with Slack has the rights that they have in Slack
    (ANA, SLACK_PAGE, "", "web,terminal", MEMBER),
    (ANA, SLACK_PAGE, "slack:U1", "", USE),
    (ANA, SLACK_PAGE, "slack:T1", "", USE),
    (ANA, SLACK_PAGE, "", "slack:U1", ALL),
    # a conversation that is called like a channel is none
    (ANA, replace(SLACK_PAGE, channel="C1"), "slack:C1", "slack:C1", MEMBER),
    (ANA, replace(SLACK_PAGE, channel="U1"), "slack:U2", "slack:U2", MEMBER),
    # people of an OIDC provider have the rights of invited people
    (OIDC, PAGE, "", "web,terminal", USE),
    (OIDC, PAGE, "", "oidc:corp:U1", ALL),
    (OIDC, PAGE, "", "oidc:other:U1,slack:U1,web:U1,oidc:corp", USE),
    (OIDC, replace(PAGE, channel="x"), "", "oidc:x", USE),
    # a platform that the defaults do not know may nothing
    (Person("irc", "x"), Address("irc", "c"), "", "", frozenset()),
]


@pytest.mark.parametrize(("person", "address", "allow", "admins", "may"), TABLE)
async def test_allow_and_admin_lists_decide_the_rights(
    person: Person, address: Address, allow: str, admins: str, may: frozenset[Action]
) -> None:
    policy = allow_list(frozenset(allow.split(",")), frozenset(admins.split(",")))
    assert await allowed_actions(policy, person, address) == may


class Directory:
    def __init__(self, *groups: str) -> None:
        self.groups = frozenset(groups)
        self.asked = 0

    async def __call__(self, person: Person, max_age: float) -> frozenset[str]:
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
        assert await allowed_actions(policy, ANA, CHANNEL) == may, (allow, admins)


async def test_groups_of_an_oidc_provider_are_named_with_the_provider() -> None:
    directory = Directory("oidc:corp:group:board")
    for name, may in (
        ("oidc:corp:group:board", ALL),
        ("oidc:corp:group:staff", USE),
        ("oidc:other:group:board", USE),
        ("oidc:corp:board", USE),
    ):
        policy = allow_list(admins=frozenset([name]), memberships={"oidc": directory})
        assert await allowed_actions(policy, OIDC, PAGE) == may, name


async def test_a_guest_of_slack_is_a_guest_on_the_page() -> None:
    async def guest(person: Person, max_age: float) -> bool | None:
        return True

    policy = allow_list(guests={"slack": guest})
    assert await allowed_actions(policy, ANA, SLACK_PAGE) == frozenset()
    named = allow_list(frozenset({"slack:U1"}), frozenset({"slack:U1"}), guests={"slack": guest})
    assert await allowed_actions(named, ANA, SLACK_PAGE) == USE


async def test_decisions_on_the_page_wait_for_slack() -> None:
    async def unknown(person: Person, max_age: float) -> bool | None:
        return False if max_age > MAX_CONFIRMED_AGE_SECONDS else None

    policy = allow_list(admins=frozenset({"slack:U1"}), guests={"slack": unknown})
    assert (await policy.may(ANA, SLACK_PAGE, "read")).allowed
    assert (await policy.may(ANA, SLACK_PAGE, "approve")).is_unknown


async def test_groups_are_asked_once_in_minutes_and_an_empty_answer_is_asked_again_sooner() -> None:
    now, directory = [0.0], Directory()
    policy = allow_list(
        frozenset({"slack:S5"}), frozenset(), {"slack": directory}, clock=lambda: now[0]
    )
    for at, groups, may, question in (
        (0.0, "", False, 1),
        (31.0, "S5", True, 2),
        (31.0 + 300 - MAX_CONFIRMED_AGE_SECONDS - 1, "", True, 2),
        (31.0 + 300 - MAX_CONFIRMED_AGE_SECONDS + 1, "", False, 3),
    ):
        now[0], directory.groups = at, frozenset(groups.split())
        assert (await policy.may(ANA, CHANNEL, "propose")).allowed is may, at
        assert directory.asked == question, at


async def test_verdicts_count_in_all_threads_of_a_channel_until_the_rules_change() -> None:
    policy = allow_list(frozenset({"slack:U1"}), frozenset())
    assert (await policy.may(ANA, CHANNEL, "propose")).allowed
    rights = await policy.rights(ANA, CHANNEL)
    assert await policy.rights(ANA, replace(CHANNEL, thread="3.4")) is rights
    rule = Rule("1", frozenset({"slack:U1"}), deny=("propose",))
    policy.read_rules = fixed_rules(RuleBook((rule,)))
    assert not (await policy.may(ANA, CHANNEL, "propose")).allowed
    assert not rights.may("propose").allowed


async def test_the_groups_of_few_people_are_kept_in_memory(limits: Limits) -> None:
    limits(_MAX_CACHED_PEOPLE=2)
    directory = Directory("S5")
    policy = allow_list(frozenset({"slack:S5"}), frozenset(), {"slack": directory})
    people = [Person("slack", f"U{number}", "T1") for number in range(5)]
    question_counts = list[int]()
    for person in (*people, people[4], people[3], people[0]):
        assert (await policy.may(person, CHANNEL, "propose")).allowed
        question_counts.append(directory.asked)
    assert question_counts == [1, 2, 3, 4, 5, 5, 6, 7], "two at most are known"


async def test_groups_are_not_asked_where_they_cannot_matter() -> None:
    directory = Directory("S5")
    policy = allow_list(
        frozenset({"slack:U1", "discord:1"}), frozenset(), {"slack": directory, "web": directory}
    )
    assert (await policy.may(ANA, CHANNEL, "propose")).allowed
    assert not (await policy.may(ANA, CHANNEL, "administer")).allowed
    assert (await policy.may(WEB, PAGE, "propose")).allowed
    assert not (await policy.may(Person("slack", "U2", "T1"), CHANNEL, "propose")).allowed
    assert directory.asked == 0


async def test_who_cannot_be_resolved_is_no_member(limits: Limits) -> None:
    limits(_LOOKUP_TIMEOUT_SECONDS=0.0)

    async def silent(person: Person, max_age: float) -> frozenset[str]:
        await asyncio.Event().wait()
        return frozenset({"S5"})

    policy = allow_list(frozenset({"slack:S5"}), frozenset(), {"slack": silent})
    assert not (await policy.may(ANA, CHANNEL, "propose")).allowed


async def test_a_refusal_says_why_and_who_can_change_it() -> None:
    policy = allow_list(admins=frozenset())
    for action in ALL - {"chat"}:
        verdict = await policy.may(BIA, SERVER, action)
        assert verdict.reason == DEFAULT_REASONS[action]
        assert ("admin" if action == "approve" else "PONTE_A") in verdict.reason
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

    async def roles(asked: Person, max_age: float) -> frozenset[str]:
        return frozenset({"77"})

    policy = allow_list(frozenset(allow.split(",")) - {""}, frozenset(), {"discord": roles})
    place = SERVER if person is BIA else CHANNEL
    assert await DailyCaps(chosen).cap_for(person, place, policy) == cap


GUESTS = [
    ("", "", frozenset()),
    ("slack:T1", "", frozenset()),
    ("slack:C2", "", frozenset()),
    ("slack:U1", "", USE),
    ("slack:C1", "", USE),
    ("*", "", USE),
    ("slack:S5", "", USE),
    ("", "slack:U1", USE),
    ("", "slack:S5", USE),
]


@pytest.mark.parametrize(("allow", "admins", "may"), GUESTS)
async def test_a_guest_is_meant_by_their_own_name_a_group_the_channel_or_everybody(
    allow: str, admins: str, may: frozenset[Action]
) -> None:
    async def guest(person: Person, max_age: float) -> bool | None:
        return person.id == "U1"

    lists = frozenset(allow.split(",")), frozenset(admins.split(","))
    policy = allow_list(*lists, {"slack": Directory("S5")}, {"slack": guest})
    assert await allowed_actions(policy, ANA, CHANNEL) == may
    member = Person("slack", "U2", "T1")
    assert {"chat", "read"} <= await allowed_actions(policy, member, CHANNEL)
    if not may:
        assert (await policy.may(ANA, CHANNEL, "chat")).reason == GUEST_REASON
    if admins:
        assert (await policy.may(ANA, CHANNEL, "approve")).reason == GUEST_DECISION_REASON


async def test_where_it_is_not_known_who_is_a_guest_nobody_is_a_member(
    limits: Limits,
) -> None:
    limits(_LOOKUP_TIMEOUT_SECONDS=0.01)

    async def silent(person: Person, max_age: float) -> bool | None:
        if person.id == "U1":
            await asyncio.Event().wait()
        return None

    policy = allow_list(guests={"slack": silent})
    for id in ("U1", "U2"):
        verdict = await policy.may(Person("slack", id, "T1"), CHANNEL, "chat")
        assert (verdict.allowed, verdict.reason) == (False, StatusUnknown.sentence)
    assert (await policy.may(WEB, PAGE, "chat")).allowed
    name = allow_list(frozenset({"slack:C1"}), guests={"slack": silent})
    assert (await name.may(ANA, CHANNEL, "chat")).allowed


MATCHES = "orders=orders|*=|**=x|hr*=hr|*hr=the hr|*h*25=h25|*h*25=old h of 25|a*b*a=aba|a*c=a\nc"
OTHERS = "orders=orders 2|hr*=the hr|*hr=hr 5|*h*25=h 25 b|hr*hr=hr|a*ba*a=aba|a.c=abc|[ab]?=a1"


def test_a_star_stands_for_any_text() -> None:
    for pairs, fits in ((MATCHES, True), (OTHERS, False)):
        for pair in pairs.split("|"):
            pattern, _, name = pair.partition("=")
            assert matches_pattern(pattern, name) is fits, pair


@pytest.mark.parametrize("rule", [Rule("r", deny=("read:*hr*2025",)), Rule("r", allow=("read",))])
async def test_a_name_that_is_too_long_is_refused_before_it_is_matched(rule: Rule) -> None:
    policy = allow_list()
    policy.read_rules = fixed_rules(RuleBook((rule,)))
    longest = await policy.may(ANA, CHANNEL, "read", "x" * MAX_RIGHT_NAME_CHARACTERS)
    assert longest.allowed
    longer = await policy.may(ANA, CHANNEL, "read", "Orders", "x" * (MAX_RIGHT_NAME_CHARACTERS + 1))
    assert (longer.allowed, longer.reason, longer.right) == (False, NAME_TOO_LONG, "read")


async def _only_eve(person: Person, max_age: float) -> bool | None:
    return None if person.id == "U0" else person.id == "U8"


EVE = Person("slack", "U8", "T1", "Eve, a guest")
UNTOLD = Person("slack", "U0", "T1", "Somebody of whom Slack tells nothing")
SLACK_DIRECT = Address("slack", "D1", "T1")


def policy_with_rules(*rules: Rule, channels: Mapping[str, Rule] | None = None) -> Policy:
    policy = allow_list(guests={"slack": _only_eve})
    policy.read_rules = fixed_rules(RuleBook(rules, channels or {}))
    return policy


NAMES_OF_ALL = [
    # name, person, address, what the name gives is for them, what it denies holds for them
    ("slack", ANA, CHANNEL, True, True),
    ("slack", ANA, SLACK_DIRECT, True, True),
    ("slack", EVE, CHANNEL, False, True),
    ("slack", STRANGER, CHANNEL, False, True),
    ("slack", UNTOLD, CHANNEL, False, True),
    ("slack:T1", ANA, CHANNEL, True, True),
    ("slack:T1", EVE, CHANNEL, False, True),
    ("slack:T1", STRANGER, CHANNEL, False, False),
    ("slack:T9", STRANGER, CHANNEL, True, True),
    ("everybody", EVE, CHANNEL, True, True),
    ("everybody", STRANGER, CHANNEL, True, True),
    ("members", ANA, CHANNEL, True, True),
    ("members", EVE, CHANNEL, False, False),
    ("members", STRANGER, CHANNEL, False, False),
    ("guests", EVE, CHANNEL, True, True),
    ("guests", ANA, CHANNEL, False, False),
    ("outsiders", STRANGER, CHANNEL, True, True),
    ("outsiders", EVE, CHANNEL, False, False),
    # On Discord whoever writes on a server is a member there, and nobody in a direct message.
    ("discord", BIA, SERVER, True, True),
    ("discord", BIA, DIRECT, True, True),
    ("discord:600", BIA, SERVER, True, True),
    ("discord:600", BIA, DIRECT, False, False),
    ("members", BIA, SERVER, True, True),
    ("members", BIA, DIRECT, False, False),
    ("guests", BIA, SERVER, False, False),
    ("outsiders", BIA, SERVER, False, False),
    # Everybody who has a token of the page, or sits at the terminal, is a member.
    ("web", VISITOR, PAGE, True, True),
    ("members", VISITOR, PAGE, True, True),
    ("members", WEB, PAGE, True, True),
    ("members", TERMINAL, SHELL, True, True),
    ("guests", VISITOR, PAGE, False, False),
    ("outsiders", VISITOR, PAGE, False, False),
]


@pytest.mark.parametrize(("name", "person", "address", "gives", "denies"), NAMES_OF_ALL)
async def test_a_name_in_a_rule_covers_these_people(
    name: str, person: Person, address: Address, gives: bool, denies: bool
) -> None:
    """What it gives is for members alone; what it denies or limits holds for guests, too."""
    who = frozenset({name})
    giving = policy_with_rules(Rule("1", who, allow=("tool:x",)), Rule("2", deny=("tool:x",)))
    assert (await giving.may(person, address, "tool", "x")).allowed is gives
    denying = policy_with_rules(Rule("1", who, deny=("tool:x",)), Rule("2", allow=("tool:x",)))
    if person is not UNTOLD or denies:
        assert (await denying.may(person, address, "tool", "x")).allowed is not denies
    assert await denying.is_meant(person, address, who) is denies


async def test_a_guest_reads_no_table_because_a_rule_names_the_platform() -> None:
    policy = policy_with_rules(Rule("1", frozenset({"slack"}), allow=("chat", "read:Orders")))
    assert (await policy.may(ANA, CHANNEL, "read", "Orders")).allowed
    for person in (EVE, STRANGER, UNTOLD):
        assert not (await policy.may(person, CHANNEL, "read", "Orders")).allowed
        assert not (await policy.may(person, CHANNEL, "chat")).allowed
        assert not await policy.is_named_anywhere(person, CHANNEL), "a stranger's cap stays"


@pytest.mark.parametrize("person", [EVE, UNTOLD])
async def test_no_rule_lets_a_guest_decide(person: Person) -> None:
    by_name = Rule("1", frozenset({f"slack:{person.id}"}), allow=("approve", "administer", "chat"))
    policy = policy_with_rules(by_name)
    assert (await policy.may(person, CHANNEL, "chat")).allowed
    for right in ("approve", "administer"):
        verdict = await policy.may(person, CHANNEL, right)
        reason = GUEST_DECISION_REASON if person is EVE else StatusUnknown.sentence
        assert (verdict.allowed, verdict.reason) == (False, reason)
    assert not (await policy.may(person, CHANNEL, "approve", "Orders")).allowed


async def test_the_name_of_a_platform_lets_only_its_owner_decide() -> None:
    for person, address, may in (
        (WEB, PAGE, True),
        (VISITOR, PAGE, False),
        (TERMINAL, SHELL, True),
        (ANA, CHANNEL, False),
        (Person("slack", "owner", "T1"), CHANNEL, False),
        (BIA, SERVER, False),
    ):
        platform = frozenset({person.platform})
        policy = policy_with_rules(Rule("1", platform, allow=("approve:Orders", "read:Orders")))
        policy.admins = frozenset({"slack:U99"})
        assert (await policy.may(person, address, "read", "Orders")).allowed, person
        assert (await policy.may(person, address, "approve", "Orders")).allowed is may, person
        assert await policy.is_named(person, address, platform) is may, person


async def test_what_a_turn_knows_of_an_admin_suffices() -> None:
    """Who is told that an allowance is nearly used is not asked for again."""
    policy = allow_list(admins=ADMIN_ANA, guests={"slack": _only_eve})
    assert (await policy.rights(ANA, CHANNEL)).may("administer").allowed


ADMIN_ANA = frozenset({"slack:U1"})
PLACES = [
    # what a channel's rule says, the right, whether an admin has it there
    (Rule("c", allow=("chat", "read:Products")), "read:Products", True),
    (Rule("c", allow=("chat", "read:Products")), "read:Orders", False),
    (Rule("c", allow=("chat", "read:Products")), "approve", False),
    (Rule("c", allow=("chat", "read:Products")), "approve:Products", False),
    (Rule("c", allow=("chat", "read:Products")), "administer", False),
    (Rule("c", allow=("chat", "approve:Products")), "approve:Products", True),
    (Rule("c", allow=("chat", "approve:Products")), "approve:Orders", False),
    (Rule("c", allow=("chat", "approve:Products")), "administer", False),
    (Rule("c", allow=("chat", "administer")), "administer", True),
    (Rule("c", allow=("chat",)), "tool:x", True),
    (Rule("c", allow=("chat", "tool:x")), "tool:y", False),
    (Rule("c", deny=("code",)), "approve", True),
    (Rule("c", deny=("approve:Orders",)), "approve:Orders", False),
    (Rule("c", deny=("approve:Orders",)), "approve:Products", True),
]


@pytest.mark.parametrize(("rule", "asked", "may"), PLACES)
async def test_only_what_a_place_allows_can_be_done_there(
    rule: Rule, asked: str, may: bool
) -> None:
    policy = allow_list(admins=ADMIN_ANA)
    policy.read_rules = fixed_rules(RuleBook(channels={"slack:T1:C1": rule}))
    right, _, name = asked.partition(":")
    names = [name] if name else []
    assert (await policy.may(ANA, CHANNEL, right, *names)).allowed is may
    assert (await policy.may(ANA, SLACK_DIRECT, right, *names)).allowed, "and nowhere else"


async def test_what_a_place_allows_is_given_to_nobody() -> None:
    rule = Rule("c", allow=("chat", "approve", "administer"))
    policy = policy_with_rules(channels={"slack:T1:C1": rule})
    for right in ("approve", "administer"):
        assert not (await policy.may(ANA, CHANNEL, right)).allowed


@pytest.mark.parametrize(
    ("allow", "deny", "asked", "may"),
    [
        ("read", "read", "read:Orders", False),
        ("read:Orders", "read", "read:Orders", False),
        ("read", "read:Orders", "read:Orders", False),
        ("read", "read:Orders", "read:Products", True),
        ("read", "read:Orders", "read", True),
        ("read:HR 2025", "read:HR *", "read:HR 2025", False),
    ],
)
async def test_a_rule_that_allows_and_denies_a_right_denies_it(
    allow: str, deny: str, asked: str, may: bool
) -> None:
    policy = policy_with_rules(Rule("1", allow=(allow,), deny=(deny,)))
    right, _, name = asked.partition(":")
    assert (await policy.may(ANA, CHANNEL, right, *([name] if name else []))).allowed is may


class Register:
    """A platform that confirmed who is a member and in which group so many seconds ago, and does
    not answer now."""

    def __init__(self, age: float) -> None:
        self.age = age

    async def _answer_late(self, max_age: float) -> None:
        if self.age > max_age:
            await asyncio.Event().wait()

    async def guest(self, person: Person, max_age: float) -> bool | None:
        await self._answer_late(max_age)
        return person.id == "U2"

    async def groups(self, person: Person, max_age: float) -> frozenset[str] | None:
        await self._answer_late(max_age)
        return frozenset({"S5"})


@pytest.mark.parametrize(
    ("age", "may"),
    [(200.0, ALL), (400.0, {"chat", "read"}), (86_000.0, {"chat", "read"}), (87_000.0, ())],
)
async def test_while_the_platform_does_not_answer_only_chat_and_reads_go_on_for_a_day(
    age: float, may: frozenset[Action], limits: Limits
) -> None:
    limits(_LOOKUP_TIMEOUT_SECONDS=0.01)
    limits(_CONFIRM_TIMEOUT_SECONDS=0.01)
    now = Register(age)
    name = frozenset({"slack:S5"})
    policy = allow_list(name, name, {"slack": now.groups}, {"slack": now.guest})
    assert await allowed_actions(policy, ANA, CHANNEL) == frozenset(may), "at the call"
    rights = await policy.rights(ANA, CHANNEL)
    offers = {right for right in ALL if rights.may(right).allowed}
    assert offers == frozenset(may)
    for right in ALL - frozenset(may):
        verdict = rights.may(right)
        assert (verdict.is_unknown, verdict.reason) == (True, StatusUnknown.sentence)
        with pytest.raises(StatusUnknown):
            verdict.raise_if_denied()
    assert rights.may("tool", "nocodb_query").allowed
    for who in (name, frozenset({"slack:S6"})):
        if age < 240:
            assert await policy.is_named(ANA, CHANNEL, who) is (who == name)
        else:
            with pytest.raises(StatusUnknown):
                await policy.is_named(ANA, CHANNEL, who)


async def test_a_known_guest_is_refused_also_by_what_is_a_day_old() -> None:
    now = Register(80_000.0)
    policy = allow_list(guests={"slack": now.guest})
    verdict = await policy.may(Person("slack", "U2", "T1"), CHANNEL, "chat")
    assert (verdict.allowed, verdict.is_unknown, verdict.reason) == (False, False, GUEST_REASON)


async def test_it_waits_until_the_platform_tells_or_refuses_to() -> None:
    now = Register(400.0)
    policy = allow_list(guests={"slack": now.guest})
    assert await policy.prepare(ANA, CHANNEL, confirmed=False, seconds=60.0)
    assert not await policy.prepare(ANA, CHANNEL, confirmed=True, seconds=0.01)
    now.age = 100_000.0
    assert not await policy.prepare(ANA, CHANNEL, confirmed=False, seconds=0.01)

    async def refuses(person: Person, max_age: float) -> bool | None:
        return None

    policy = allow_list(guests={"slack": refuses})
    assert await policy.prepare(ANA, CHANNEL, confirmed=True, seconds=60.0)
    name = allow_list(frozenset({"slack:C1"}), guests={"slack": now.guest})
    assert await name.prepare(ANA, CHANNEL, confirmed=True, seconds=60.0), "nothing depends on it"


async def test_a_group_that_was_not_told_in_time_is_asked_for_again_at_once() -> None:
    text = list[frozenset[str] | None]([None, frozenset({"S5"})])

    async def groups(person: Person, max_age: float) -> frozenset[str] | None:
        return text.pop(0)

    policy = allow_list(frozenset({"slack:S5"}), memberships={"slack": groups})
    assert (await policy.may(ANA, CHANNEL, "propose")).is_unknown
    assert (await policy.may(ANA, CHANNEL, "propose")).allowed


async def test_a_rule_about_one_person_asks_nobody_for_groups() -> None:
    """Slack does not report user groups to an app without the scope usergroups:read."""

    async def find_no_groups(person: Person, max_age: float) -> None:
        return None

    policy = allow_list(frozenset({"slack:T1", "slack:C9"}), memberships={"slack": find_no_groups})
    rule = Rule("ponte.toml:3", frozenset({"slack:U2", "slack:W3"}), deny=("chat",))
    policy.read_rules = fixed_rules(RuleBook((rule,)))
    assert (await policy.may(ANA, CHANNEL, "chat")).allowed
    other = Person("slack", "U2", "T1")
    assert (await policy.may(other, CHANNEL, "chat")).rule == "ponte.toml:3"
    group = Rule("ponte.toml:4", frozenset({"slack:S5"}), deny=("chat",))
    policy.read_rules = fixed_rules(RuleBook((rule, group)))
    assert (await policy.may(ANA, CHANNEL, "chat")).is_unknown, "it may be a group of hers"


async def test_a_look_up_that_nobody_waits_for_is_finished_for_a_later_call() -> None:
    """As for the owner of a schedule who wrote nothing since Ponte started."""
    may_answer, question = asyncio.Event(), list[float]()

    async def find_groups(person: Person, max_age: float) -> frozenset[str]:
        question.append(max_age)
        await may_answer.wait()
        return frozenset({"S1"})

    policy = allow_list(frozenset({"discord:S1"}), memberships={"discord": find_groups})
    for _ in range(2):
        assert not await policy.prepare(BIA, DIRECT, confirmed=False, seconds=0.0)
    waiting = [*policy._lookups.values()]
    assert len(waiting) == 1, "it is looked up once"
    may_answer.set()
    await asyncio.gather(*waiting)
    assert await policy.prepare(BIA, DIRECT, confirmed=False, seconds=0.0)
    assert policy._lookups == {}


async def test_only_decisions_need_an_oidc_provider_s_word_of_the_last_hour() -> None:
    """The database has the groups of its latest answer, and no copy of them is cached."""
    groups, lead = {"corp:group:lead"}, frozenset({"oidc:corp:group:lead"})

    async def find_groups(person: Person, max_age: float) -> frozenset[str] | None:
        await asyncio.sleep(0)
        return frozenset(groups) if max_age > MAX_CONFIRMED_AGE_SECONDS else None

    policy = allow_list(admins=lead, memberships={"oidc": find_groups})
    given = Rule("rules.1", lead, allow=("propose", "spend", "code"))
    policy.read_rules = fixed_rules(RuleBook((given, Rule("rules.2", deny=("propose",)))))
    ana, page = Person("oidc", "corp:ana"), Address("web", "main")
    assert await policy.prepare(ana, page, confirmed=True, seconds=0.0), "nobody waits for it"
    assert await policy.is_named(ana, page, lead)
    for right in ("propose", "spend", "code"):
        assert (await policy.may(ana, page, right)).allowed
        assert (await policy.rights(ana, page)).may(right).allowed
    assert (await policy.may(ana, page, "administer")).is_unknown
    assert (await policy.rights(ana, page)).may("administer").is_unknown
    groups.clear()
    assert not (await policy.may(ana, page, "propose")).allowed
    assert not (await policy.rights(ana, page)).may("propose").allowed
    assert not await policy.is_named(ana, page, lead)
