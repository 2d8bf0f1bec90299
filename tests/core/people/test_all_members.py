"""Whether all members of a place surely have a right there."""

from __future__ import annotations

import pytest

from core.domain.messages import Address
from core.people.rules import Rule, RuleBook
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules

SLACK = Address("slack", "C1", "T1", is_shared=True)
DISCORD = Address("discord", "11", "1", is_shared=True)
GIVES, DENIES = ("read:Orders",), ("read:Orders",)


def rule(
    *who: str, where: str = "", allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()
) -> Rule:
    return Rule("r", frozenset(who), frozenset({where} - {""}), allow, deny)


@pytest.mark.parametrize(
    ("rules", "on_slack", "on_discord"),
    [
        ([], True, False),  # by default, members of Slack read
        ([rule("slack:U5", deny=DENIES)], False, False),
        ([rule("slack:U5", where="slack:T1:C9", deny=DENIES)], True, False),
        ([rule("guests", "outsiders", deny=DENIES)], True, False),
        ([rule("members", allow=GIVES), rule("slack:U5", deny=DENIES)], True, True),
        ([rule("slack:S1", allow=GIVES), rule(deny=("read",))], False, False),
        ([rule("slack:S1", where="slack:T1:C1", allow=GIVES), rule(deny=DENIES)], False, False),
        ([rule("discord:1", allow=("read",))], True, True),
        ([rule("discord:11", allow=("read",))], True, True),
        ([rule("discord:42", allow=("read",))], True, False),
        ([rule("everybody", allow=("chat",))], True, False),
        ([rule(deny=("read:Other",))], True, False),
    ],
)
def test_no_rule_may_deny_it_to_one_of_them(
    rules: list[Rule], on_slack: bool, on_discord: bool
) -> None:
    policy = allow_list()
    policy.read_rules = fixed_rules(RuleBook(tuple(rules)))
    assert policy.may_all(SLACK, "read", "Orders", "m1") is on_slack
    assert policy.may_all(DISCORD, "read", "Orders", "m1") is on_discord


@pytest.mark.parametrize(
    ("channel", "may"),
    [
        (Rule("c", allow=("chat", "read:Orders")), True),
        (Rule("c", allow=("chat",)), False),
        (Rule("c", deny=("read:Orders",)), False),
    ],
)
def test_the_channel_must_leave_it(channel: Rule, may: bool) -> None:
    policy = allow_list()
    policy.read_rules = fixed_rules(RuleBook(channels={"slack:T1:C1": channel}))
    assert policy.may_all(SLACK, "read", "Orders", "m1") is may
