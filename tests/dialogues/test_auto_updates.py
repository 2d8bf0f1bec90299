"""Updates of named select, checkbox and date fields that the operator's file lets named people make
without an approval."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from core.base.http import HttpClient
from core.changes.approval import TableRule, TableRules
from core.domain.messages import PROGRAM, Person, turn_id
from core.domain.records import Turn
from core.journal.journal import Journal
from core.people.policy import PlatformPeople
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, also_on_postgres
from tests.dialogues.decisions import BOSS, MEMBER, OTHER, RIGHTS, bot, on_slack, says
from tests.dialogues.test_nocodb_rules import Team
from tests.fakes.config import FixedConfig
from tests.fakes.memory_table import MemoryTable
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB

RULE = TableRule("auto", auto_fields=frozenset({"status"}), auto_people=frozenset({"slack:U1"}))


def people() -> MemoryTable:
    table = MemoryTable({str(id): {"Name": f"N{id}", "Status": "Lead"} for id in range(1, 31)})
    table.target = {"choice_fields": ["Status", "Paid"]}
    return table


def update(*ids: int, **values: object) -> str:
    values = values or {"Status": "Won"}
    return f"call table_update {json.dumps({'rows': {str(id): values for id in ids}})}"


def rules(rule: TableRule = RULE) -> TableRules:
    return TableRules({"People": rule})


async def test_a_named_person_updates_a_named_field_and_can_undo_it(bot_home: BotHome) -> None:
    table = people()
    async with bot(bot_home, table, policy=RIGHTS, rules=rules()) as ponte:
        answer = await says(ponte, update(1, 2), "k1")
        (card,) = answer.cards
        assert (card.state, card.actions) == ("done", ("undo",))
        assert card.text == "Approved automatically, as set in ponte.toml."
        assert [table.rows[id]["Status"] for id in "123"] == ["Won", "Won", "Lead"]
        why = (await says(ponte, f"why {card.id}", "k2")).text
        assert "- `tables.People.auto_people`\n" in why
        lines = (await ponte.engine.people.audit.read())[0][::-1]
        assert [(each["event"], each.get("rule", "")) for each in lines][1:3] == [
            ("change-approved", "tables.People.auto_people"),
            ("change-done", ""),
        ]
        assert "Undone (`" in (await says(ponte, f"undo {card.id}", "k3")).text
        assert table.rows["1"]["Status"] == "Lead"


async def test_everything_else_gets_a_card(bot_home: BotHome) -> None:
    table = people()
    calls = {
        "free text": update(1, Name="Z"),
        "free text beside it": update(1, Status="Won", Name="Z"),
        "a field that is not named": update(1, Paid="yes"),
        "six rows": update(*range(1, 7)),
        "deletion": 'call table_delete {"ids": ["1"]}',
    }
    async with bot(bot_home, table, policy=RIGHTS, rules=rules()) as ponte:
        for key, call in calls.items():
            assert [card.state for card in (await says(ponte, call, key)).cards] == ["open"], key
    assert table.applied == []


@also_on_postgres
async def test_an_obedient_model_updates_five_rows_of_a_turn(bot_home: BotHome) -> None:
    """The calls of one turn count together, also where they run at the same time."""
    table = people()
    calls = "\n".join([update(1, 2), update(3, 4), update(5, 6), update(7)])
    async with bot(bot_home, table, policy=RIGHTS, rules=rules()) as ponte:
        answer = await says(ponte, calls, "k1")
        assert sorted(card.state for card in answer.cards) == ["done", "done", "done", "open"]
        assert sum(count for _, count in table.applied) == 5
        assert [row["Status"] for row in table.rows.values()].count("Won") == 5


@also_on_postgres
async def test_the_limit_of_an_hour_holds_for_all_conversations(bot_home: BotHome) -> None:
    table = people()
    variant = replace(RULE, auto_people=frozenset({"slack:U1", "slack:U2"}), auto_per_hour=4)
    async with bot(bot_home, table, policy=RIGHTS, rules=rules(variant)) as ponte:
        answers = await asyncio.gather(
            says(ponte, update(1, 2, 3), "k1"), says(ponte, update(4, 5, 6), "k2", OTHER)
        )
        states = [card.state for answer in answers for card in answer.cards]
        assert sorted(states) == ["done", "open"]
        (outcome,) = [card for answer in answers for card in answer.cards if card.state == "done"]
        await says(ponte, f"undo {outcome.id}", "k3", BOSS)
        last = [(await says(ponte, update(id), f"k{id}")).cards[0].state for id in (7, 8)]
        assert last == ["done", "open"], "an undone update counts"


@also_on_postgres
async def test_a_redraw_begun_during_the_turn_puts_no_older_card_into_its_answer(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = people()
    table.gate = gate = asyncio.Event()
    async with bot(bot_home, table, policy=RIGHTS, rules=rules()) as ponte:
        await ponte.stop_redrawing()
        asking = asyncio.create_task(says(ponte, update(1), "k1"))
        await table.reached.wait()
        replace_cards = Journal.replace_cards

        async def replace_after_the_turn(*arguments: Any) -> Turn | None:
            gate.set()
            await asking
            return await replace_cards(*arguments)

        monkeypatch.setattr(Journal, "replace_cards", replace_after_the_turn)
        await ponte.engine.redraw.once()
        gate.set()
        await asking
        entry = await ponte.engine.conversations.journal.history_entry(turn_id("slack:k1"))
        assert entry.answer
        assert [card.state for card in entry.answer.cards] == ["done"]


async def test_who_is_not_named_gets_a_card_in_the_thread_of_one_who_is(bot_home: BotHome) -> None:
    async with bot(bot_home, people(), policy=RIGHTS, rules=rules()) as ponte:
        assert (await says(ponte, update(1), "k1", thread="t1")).cards[0].state == "done"
        program = replace(MEMBER, is_bot=True)
        for id, person in enumerate((OTHER, BOSS, program, MEMBER), 2):
            message = on_slack(update(id), f"k{id}", person, thread="t1")
            if person is MEMBER:  # but a program sent it
                message = replace(message, origin=PROGRAM)
            answer = await ponte.ask_message(message)
            assert [card.state for card in answer.cards] == ["open"], (id, person)


@pytest.mark.parametrize("is_guest", [True, None])
async def test_a_guest_who_is_named_gets_a_card(bot_home: BotHome, is_guest: bool | None) -> None:
    async def guest(person: Person, max_age: float) -> bool | None:
        return is_guest

    policy = replace(RIGHTS, people=PlatformPeople({}, {"slack": guest}))
    async with bot(bot_home, people(), policy=policy, rules=rules()) as ponte:
        assert [card.state for card in (await says(ponte, update(1), "k1")).cards] == ["open"]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (replace(RULE, auto_people=frozenset()), {}),
        (replace(RULE, auto_people=frozenset({"slack:U2"})), {}),
        (replace(RULE, access="ask"), {}),
        (replace(RULE, auto_fields=frozenset({"Status", "Name"})), {"Name": "Z"}),
    ],
    ids=["nobody", "somebody else", "not automatic", "a named field of another type"],
)
async def test_what_the_rule_does_not_cover_gets_a_card(
    bot_home: BotHome, rule: TableRule, values: dict[str, str]
) -> None:
    async with bot(bot_home, people(), policy=RIGHTS, rules=rules(rule)) as ponte:
        answer = await says(ponte, update(1, **values), "k1")
        assert [card.state for card in answer.cards] == ["open"]


async def test_the_types_are_those_of_the_table(bot_home: BotHome) -> None:
    """Selects, checkboxes and dates of NocoDB are updated; a text, a number and a link get a card,
    also where the file names them."""
    tries = {
        "done": {"Status": "Lost", "Tags": ["new"], "Active": True, "Since": "2026-11-20"},
        "open": {
            "Name": "Z",
            "Email": "z@example.com",
            "Value": 7,
            "Notes": "Z",
            "Orders": ["12"],
            "Seen": "2026-11-20 10:00",
        },
    }
    fields = frozenset(name for values in tries.values() for name in values) | {"Contract"}
    rule = TableRule("auto", auto_fields=fields, auto_people=frozenset({"slack:U1"}))
    table_rules = TableRules({"Customers": rule})
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        config = FixedConfig(table_rules)
        source = NocoSource(nocodb.origin, filled.EDITOR, http, config=config, pauses=())
        async with bot_home.open(
            sources=[source], appliers=[source.rows], rules=table_rules, policy=RIGHTS
        ) as ponte:
            crm = Team(ponte, nocodb)
            for state, values in tries.items():
                for name, value in values.items():
                    changes = [{"id": "3", "fields": {name: value}}]
                    answer = await crm.mia_calls(name, "update", table="Customers", changes=changes)
                    assert [card.state for card in answer.cards] == [state], (name, answer.text)
