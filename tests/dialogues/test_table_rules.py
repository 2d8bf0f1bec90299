"""What the operator's file says of one table: who may approve, and whether anybody need."""

from __future__ import annotations

import json

import pytest

from core.changes.approval import Access, TableRule, TableRules
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    bot,
    on_slack,
    proposed_on_slack,
    says,
)
from tests.dialogues.test_rights import CLERK, policy
from tests.fakes.memory_table import MemoryTable

RIGHTS = policy()


def rules(access: Access = "ask", *approvers: str) -> TableRules:
    return TableRules({"people": TableRule(access, frozenset(approvers))})


@pytest.mark.parametrize("access", ["hidden", "read"])
async def test_nothing_is_proposed_on_a_table_that_is_not_to_be_changed(
    bot_home: BotHome, access: Access
) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS, rules=rules(access)) as ponte:
        call = f"call table_delete {json.dumps({'ids': ['1']})}"
        answer = await says(ponte, call, "k1", BOSS)
    assert answer.cards == ()
    assert "This table is read-only in Ponte" in answer.text


async def test_a_table_that_was_closed_meanwhile_stays_as_it_is(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
    async with bot(bot_home, table, policy=RIGHTS, rules=rules("read")) as ponte:
        reply = await says(ponte, f"approve {card.id}", "k2", BOSS)
        assert (reply.code, "This table is read-only in Ponte" in reply.text) == (
            "forbidden",
            True,
        )
        assert (await says(ponte, f"deny {card.id}", "k3", MEMBER)).text == "Denied by Mia."
    assert table.applied == []


async def test_a_named_group_approves_instead_of_who_asked(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    name = rules("ask", "slack:S1")
    async with bot(bot_home, table, policy=RIGHTS, rules=name) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_delete", ids=["1"])
        assert card.text.endswith("A designated approver must approve this request.")
        for person in (MEMBER, OTHER):
            beside = on_slack(f"approve {card.id}", f"k-{person.id}", person, thread="tU1")
            answer = await ponte.ask_message(beside)
            assert (answer.code, answer.is_private) == ("forbidden", True)
        assert table.applied == []
        assert "Approved by Cleo" in (await says(ponte, f"approve {card.id}", "k3", CLERK)).text
        answer = await says(ponte, f"undo {card.id}", "k4", MEMBER)
        assert answer.code == "forbidden"
        assert "Undone (`" in (await says(ponte, f"undo {card.id}", "k5", CLERK)).text
        await proposed_on_slack(ponte, "k6", "table_create", rows=[ADA])


async def test_one_new_row_needs_nobody_where_the_file_says_so(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table, policy=RIGHTS, rules=rules("auto")) as ponte:
        call = f"call table_create {json.dumps({'rows': [ADA]})}"
        answer = await says(ponte, call, "k1")
        assert [card.state for card in answer.cards] == ["done"]
        assert "Approved automatically, as set in ponte.toml." in answer.cards[0].text
        await proposed_on_slack(ponte, "k2", "table_create", rows=[ADA, ADA])
    assert len(table.rows) == 1


def test_a_rule_holds_however_an_accent_is_written() -> None:
    """A file from one system, and a table's name typed on another."""
    composed, decomposed = "Salários", "Sala\u0301rios"
    rules = TableRules({composed: TableRule("hidden")})
    assert rules.is_hidden("m1", decomposed.upper())
    assert rules.find_unknown({decomposed}) == []
    assert not rules.is_hidden("m1", "Salarios")
