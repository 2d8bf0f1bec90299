"""What identifies a row on a card, for each of its readers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core.base.http import HttpClient
from core.changes.approval import TableRule, TableRules
from core.changes.card_rows import read_rows
from core.domain.messages import Address, Card, Person
from core.domain.rights import Viewer
from core.people.policy import Policy
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import BOSS, MEMBER, says
from tests.dialogues.imports import importer
from tests.dialogues.test_rights import CLERK, book, policy
from tests.fakes.choices import EmptyStatusBoard
from tests.fakes.config import FixedConfig, fixed_rules
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB

CHANNEL = Address("slack", "C1", "T1", is_shared=True)
WHOLE = "Customers: Customer 01 · Amount: 1.5"
NAMED = TableRules({"Orders": TableRule(approvers=frozenset({"slack:S1"}))})
HIDDEN = """
[[rules]]
who = ["slack:U5"]
deny = ["read:{table}"]
"""


@dataclass
class TableBoard(EmptyStatusBoard):
    """Knows the tables of a source that each person may read."""

    policy: Policy
    source: NocoSource

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> Sequence[str]:
        rights = await self.policy.rights(person, address)
        return await self.source.titles(Viewer(rights), to_change)


@asynccontextmanager
async def orders(
    bot_home: BotHome, folder: Path, text: str = "", tables: TableRules = NAMED
) -> AsyncIterator[tuple[RunningBot, Card, FakeNocoDB]]:
    """Mia has asked for a change of an order in a channel; Cleo's group approves it."""
    choice = policy()
    choice.read_rules = fixed_rules(book(text, folder))
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        config = FixedConfig(table_rules=tables)
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=(), config=config)
        opened = bot_home.open(
            EchoModel(),
            sources=[source],
            appliers=[source.rows],
            policy=choice,
            rules=tables,
            board=TableBoard(choice, source),
        )
        async with opened as ponte:
            changes = [{"id": 1, "fields": {"Title": "Paid twice"}}]
            call = f"call nocodb_update {json.dumps({'table': 'Orders', 'changes': changes})}"
            (card,) = (await says(ponte, call, f"k {text} {tables}", MEMBER)).cards
            yield ponte, card, nocodb


def describe(card: Card) -> str:
    (row,) = read_rows(card.rows)
    return row.details_text


async def draw(ponte: RunningBot, card: Card, person: Person, address: Address) -> str:
    changes = ponte.engine.changes
    return describe(await changes.views.card(await changes.ledger.get(card.id), person, address))


def alone(person: Person) -> Address:
    return Address("slack", f"D{person.id}", "T1")


async def test_a_card_in_a_channel_shows_what_all_its_members_may_read(
    bot_home: BotHome, tmp_path: Path
) -> None:
    members = '[[rules]]\nwho = ["members"]\nallow = ["read"]\n'
    async with orders(bot_home, tmp_path, members) as (_, card, _):
        assert describe(card).startswith(WHOLE)
    for denied, left in (("Orders", ""), ("Customers", "Amount: 1.5")):
        text = HIDDEN.format(table=denied) + members
        async with orders(bot_home.taking(), tmp_path, text) as (_, card, _):
            assert describe(card).startswith(left), denied
            assert "Customer" not in describe(card), denied
            assert (describe(card) == "") == (denied == "Orders")
    closed = '[channels."slack:T1:C1"]\ndeny = ["read:Orders"]\n'
    async with orders(bot_home.taking(), tmp_path, "") as (ponte, card, _):
        ponte.engine.people.policy.read_rules = fixed_rules(book(closed, tmp_path))
        assert await draw(ponte, card, MEMBER, CHANNEL) == ""


async def test_a_named_approver_sees_what_identifies_the_row_without_the_right_to_read(
    bot_home: BotHome, tmp_path: Path
) -> None:
    async with orders(bot_home, tmp_path, HIDDEN.format(table="Orders")) as (ponte, card, _):
        assert (await draw(ponte, card, CLERK, alone(CLERK))).startswith(WHOLE)
    customers = HIDDEN.format(table="Customers")
    async with orders(bot_home.taking(), tmp_path, customers) as (ponte, card, _):
        shown = await draw(ponte, card, CLERK, alone(CLERK))
        assert shown.startswith("Amount: 1.5"), "another table stays hidden"
        assert (await draw(ponte, card, BOSS, alone(BOSS))).startswith(WHOLE)
    hidden, unnamed = HIDDEN.format(table="Orders"), TableRules()
    async with orders(bot_home.taking(), tmp_path, hidden, unnamed) as (ponte, card, _):
        assert await draw(ponte, card, CLERK, alone(CLERK)) == "", "no named approver"


async def test_a_table_that_is_hidden_since_is_left_out_for_everybody(
    bot_home: BotHome, tmp_path: Path
) -> None:
    async with orders(bot_home, tmp_path) as (ponte, card, _):
        config = ponte.engine.changes.approval.config
        config.table_rules = replace(  # type: ignore[misc]
            NAMED, tables={**NAMED.tables, "Customers": TableRule("hidden")}
        )
        for person in (MEMBER, CLERK, BOSS):
            assert "Customer" not in await draw(ponte, card, person, alone(person))


@pytest.mark.parametrize("field", ["Amount", "Customers"])
async def test_a_changed_identity_makes_the_change_stale(
    bot_home: BotHome, tmp_path: Path, field: str
) -> None:
    async with orders(bot_home, tmp_path) as (ponte, card, nocodb):
        tables = {t.title: t for t in nocodb.world.bases[filled.CRM].tables.values()}
        if field == "Amount":
            tables["Orders"].update(1, {"Amount": 9999})
        else:
            tables["Customers"].update(1, {"Name": "Somebody else"})
        reply = await says(ponte, f"approve {card.id}", "k2", CLERK)
        assert "Skipped because it changed after the request" in reply.text
        assert tables["Orders"].rows[1]["Title"] == "Order 01"


@pytest.mark.parametrize("others", [(), ("New order,5",)])
async def test_an_import_of_few_rows_shows_what_identifies_them(
    bot_home: BotHome, others: Sequence[str]
) -> None:
    """Of one kind, or with its plan and samples."""
    columns = {"Title": "Title", "Amount": "Amount"}
    async with (
        FakeNocoDB() as nocodb,
        importer(bot_home, nocodb.origin, rules=TableRules()) as here,
    ):

        async def propose(*rows: str) -> Card:
            return await here.propose(
                [*rows, *others], table="Orders", columns=columns, key="Title"
            )

        card = await propose("Order 01,99", "Order 07,98")
        rows = {row.name: row.details_text for row in read_rows(card.rows)}
        assert rows["Order 01"].startswith("Customers: Customer 01"), rows
        assert (await propose(*(f"Order {n:02},97" for n in range(1, 10)))).rows[0]["details"]
        many = await propose(*(f"Order {n:02},96" for n in range(1, 12)))
        assert not any(row["details"] for row in many.rows)
        tables = {t.title: t for t in nocodb.world.bases[filled.CRM].tables.values()}
        tables["Customers"].update(1, {"Name": "Somebody else"})
        await here.bot.ask(f"approve {card.id}")
        amounts = [tables["Orders"].rows[id]["Amount"] for id in (1, 7)]
        assert amounts[0] != 99, "it is another row now"
        assert amounts[1] == 98


@pytest.mark.parametrize(("rules", "shown"), [("", WHOLE), (HIDDEN, "Amount: 1.5")])
async def test_the_card_of_an_undo_shows_what_its_readers_may_see(
    bot_home: BotHome, tmp_path: Path, rules: str, shown: str
) -> None:
    async with orders(bot_home, tmp_path, rules.format(table="Customers")) as (ponte, card, nocodb):
        await says(ponte, f"approve {card.id}", "k2", CLERK)
        tables = {t.title: t for t in nocodb.world.bases[filled.CRM].tables.values()}
        tables["Orders"].update(1, {"Title": "Paid three times"})
        answer = await says(ponte, f"undo {card.id}", "k3", BOSS)
        undo = next(card for card in answer.cards if card.title.startswith("Undo"))
        assert undo.state == "failed"
        assert describe(undo).startswith(shown)
