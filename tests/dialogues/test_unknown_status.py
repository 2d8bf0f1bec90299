"""Decisions while a platform does not tell the groups or the status of people."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from core.base.errors import StatusUnknown
from core.changes.approval import TableRule, TableRules
from core.domain.changes import DecisionRequest
from core.domain.messages import Card, Person
from core.people.policy import PlatformPeople
from core.people.rules import Rule, RuleBook
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    RIGHTS,
    bot,
    end_no_changes,
    on_slack,
    proposed_on_slack,
    says,
)
from tests.dialogues.test_auto_updates import people, rules, update
from tests.dialogues.test_nocodb_rules import team
from tests.fakes.config import FixedConfig
from tests.fakes.memory_table import MemoryTable

NO_CLERK_APPROVES = RuleBook((Rule("rule 1", frozenset({"slack:S1"}), deny=("approve",)),))
TRY_AGAIN = "Try again in a minute"
CLERKS: frozenset[str] = frozenset({"S1"})


class Directory:
    """A directory that tells the groups of everybody, and never answers about `silent` people."""

    def __init__(self) -> None:
        self.groups: frozenset[str] | None = None
        self.silent: list[Person] = []
        self.questions: list[Person] = []

    async def find_groups(self, person: Person, max_age: float) -> frozenset[str] | None:
        return self.groups

    async def find_guest(self, person: Person, max_age: float) -> bool | None:
        self.questions.append(person)
        if person in self.silent:
            await asyncio.Event().wait()
        return False


@pytest.mark.parametrize("names", [(), ("slack:U1",)], ids=["asker", "named approver"])
async def test_a_rule_may_deny_it_while_groups_are_not_told(
    bot_home: BotHome, names: tuple[str, ...]
) -> None:
    """Nothing is applied, and the button stays until the groups are known."""
    directory, table = Directory(), MemoryTable({"1": dict(ADA)})
    own_rules = TableRules({"People": TableRule(approvers=frozenset(names))})
    config = FixedConfig(rule_book=NO_CLERK_APPROVES, table_rules=own_rules)
    found = PlatformPeople({"slack": directory.find_groups})
    policy = replace(RIGHTS, read_rules=lambda: config.rule_book, people=found)
    asker = OTHER if names else MEMBER
    async with bot(bot_home, table, policy=policy, rules=own_rules) as ponte:
        card = await proposed_on_slack(
            ponte, "k1", "table_update", asker, rows={"1": {"Name": "A"}}
        )
        views, ledger = ponte.engine.changes.views, ponte.engine.changes.ledger
        private = replace(on_slack("", "x").address, channel="D1", thread="", is_shared=False)
        thread = f"t{asker.id}"
        answer = await says(ponte, f"approve {card.id}", "k2", clicked=True, thread=thread)
        assert (answer.code, TRY_AGAIN in answer.text) == ("status_unknown", True)
        assert table.applied == []
        drawn = await views.card(await ledger.get(card.id), MEMBER, private)
        assert "approve" in drawn.actions
        if names:
            why = await says(ponte, "why approve:People", "k3")
            assert why.text == f"`approve:People`: couldn't be checked in time. {TRY_AGAIN}."
        directory.groups = CLERKS
        answer = await says(ponte, f"approve {card.id}", "k4", clicked=True, thread=thread)
        assert (answer.code, "permission" in answer.text) == ("forbidden", True)
        policy._groups.clear()
        directory.groups = frozenset()
        answer = await says(ponte, f"approve {card.id}", "k5", clicked=True, thread=thread)
        assert (answer.status, table.rows["1"]["Name"]) == ("done", "A")


@pytest.mark.parametrize("groups", [None, CLERKS, frozenset[str]()])
async def test_nobody_updates_alone_whom_a_rule_may_deny_it(
    bot_home: BotHome, groups: frozenset[str] | None
) -> None:
    directory, table = Directory(), people()
    directory.groups = groups
    config = FixedConfig(rule_book=NO_CLERK_APPROVES, table_rules=rules())
    found = PlatformPeople({"slack": directory.find_groups})
    policy = replace(RIGHTS, read_rules=lambda: config.rule_book, people=found)
    async with bot(bot_home, table, policy=policy, rules=rules()) as ponte:
        (card,) = (await says(ponte, update(1), "k1")).cards
        assert card.state == ("done" if groups == frozenset() else "open")


async def test_only_a_rule_that_needs_the_asker_waits_for_their_status(bot_home: BotHome) -> None:
    directory = Directory()
    policy = replace(RIGHTS, people=PlatformPeople({}, {"slack": directory.find_guest}))
    async with team(bot_home, "-", "ask", policy=policy) as crm:
        cards, values = list[Card](), {"Paid": True}
        for order in ("13", "15"):
            update = {"table": "Orders", "changes": [{"id": order, "fields": values}]}
            cards += (await crm.mia_calls(f"k{order}", "update", **update)).cards
        changes = crm.ponte.engine.changes
        end_no_changes(crm.ponte)
        here = (await changes.ledger.get(cards[0].id)).proposal.address
        directory.silent, directory.questions = [MEMBER], []
        form = await changes.views.find_form(f"{cards[0].id}.1", OTHER, here)
        assert [field.label for field in form.fields] == ["Paid"]
        listing = await says(crm.ponte, "changes", "k9", OTHER, thread="tU1")
        assert listing.text.count("waiting for approval") == 2
        denial = DecisionRequest(cards[0].id, 91, BOSS, here, is_click=True, revision=1)
        await changes.decisions.decide("deny", denial)
        assert set(directory.questions) == {BOSS, OTHER}
        # The person who asked needs no status to deny it, and to say why.
        own = replace(denial, id=cards[1].id, seq=92, person=MEMBER)
        await changes.decisions.decide("deny", own)
        await changes.decisions.decide("reason", replace(own, seq=93, reason="Wrong row"))
        assert set(directory.questions) == {BOSS, OTHER}
        states = [(await changes.ledger.get(card.id)).state for card in cards]
        assert states == ["denied", "denied"]


async def test_an_approver_reads_that_the_asker_could_not_be_checked(bot_home: BotHome) -> None:
    directory, table = Directory(), MemoryTable({"1": dict(ADA)})

    async def find_guest(person: Person, max_age: float) -> bool | None:
        return None if person in directory.silent else False

    policy = replace(RIGHTS, allow=frozenset({"members"}))
    policy.people = PlatformPeople({}, {"slack": find_guest})
    async with bot(bot_home, table, policy=policy) as ponte:
        end_no_changes(ponte)
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        here = (await ponte.engine.changes.ledger.get(card.id)).proposal.address
        directory.silent = [MEMBER]
        click = DecisionRequest(card.id, 91, BOSS, here, is_click=True, revision=1)
        with pytest.raises(StatusUnknown, match="whether the person who requested"):
            await ponte.engine.changes.decisions.decide("approve", click)
        assert table.applied == []
        why = (await says(ponte, f"why {card.id}", "k2", BOSS, thread="tU1")).text
        assert why.count("in time. Try again in a minute.") == 2, "to propose and to read"
