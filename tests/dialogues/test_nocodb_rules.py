"""What the operator's file says of single tables, with NocoDB behind them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from core.base.http import HttpClient
from core.changes.approval import Access, TableRule, TableRules
from core.domain.messages import Answer, Person
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import BOSS, MEMBER, OTHER, RIGHTS, says
from tests.fakes.config import FixedConfig, fixed_rules
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeTable


class Team:
    """A bot over the fake NocoDB; Mia and Otto are on Slack, Ana on the web page."""

    def __init__(self, ponte: RunningBot, nocodb: FakeNocoDB) -> None:
        self.ponte = ponte
        self._tables = nocodb.world.bases[filled.CRM].tables.values()

    def table(self, title: str) -> FakeTable:
        return next(table for table in self._tables if table.title == title)

    async def calls(self, tool: str, **arguments: object) -> Answer:
        return await self.ponte.ask(f"call nocodb_{tool} {json.dumps(arguments)}")

    async def mia_calls(self, key: str, tool: str, **arguments: object) -> Answer:
        return await says(self.ponte, f"call nocodb_{tool} {json.dumps(arguments)}", key)


@asynccontextmanager
async def team(
    bot_home: BotHome, table: str, access: Access, *approvers: str, policy: Policy = RIGHTS
) -> AsyncIterator[Team]:
    rules = TableRules({table: TableRule(access, frozenset(approvers))})
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        config = FixedConfig(rules)
        source = NocoSource(nocodb.origin, filled.EDITOR, http, config=config, pauses=())
        file = bot_home.open(sources=[source], appliers=[source.rows], rules=rules, policy=policy)
        async with file as ponte:
            yield Team(ponte, nocodb)


async def test_a_hidden_table_stays_unseen_when_rows_that_link_to_it_go(bot_home: BotHome) -> None:
    async with team(bot_home, "Orders", "hidden") as crm:
        calls = await crm.calls("get", table="Customers", id="1")
        assert "Customer 01" in calls.text
        (card,) = (await crm.calls("delete", table="Customers", ids=["1"])).cards
        texts = [str(card), (await crm.ponte.ask(f"approve {card.id}")).text, calls.text]
        customers = crm.table("Customers")
        assert 1 not in customers.rows
        (relation,) = customers.relations.values()
        relation.add(customers, 2, 1)
        texts.append((await crm.ponte.ask(f"undo {card.id}")).text)
        assert "the table shows other values for a link that is not shown here: ID 31." in texts[-1]
        texts.extend(str(each) for each in await crm.ponte.engine.changes.views.find_latest(""))
        assert relation.of(customers, 31) == [2], "of the two orders one has found another owner"
    assert not [words for words in texts if "Order" in words]


async def test_a_read_only_table_is_neither_changed_nor_linked(bot_home: BotHome) -> None:
    async with team(bot_home, "orders", "read") as crm:
        assert "Order 12" in (await crm.calls("get", table="Orders", id="12")).text
        tries = (
            ("update", {"table": "Orders", "changes": [{"id": "12", "fields": {"Paid": True}}]}),
            ("delete", {"table": "Orders", "ids": ["12"]}),
            ("link", {"table": "Customers", "id": "2", "link_field": "Orders", "add": ["12"]}),
        )
        for tool, arguments in tries:
            calls = await crm.calls(tool, **arguments)
            assert calls.cards == ()
            assert "The table Orders is read-only here." in calls.text


async def test_the_people_named_for_a_table_approve_by_its_id_too(bot_home: BotHome) -> None:
    """Own links need no approver of the table that they lead to."""
    async with team(bot_home, "Customers", "ask", "slack:U2") as crm:
        row = {"Name": "Ada", "Status": "Lead"}
        question = await crm.mia_calls("k1", "create", table="Customers", rows=[row])
        (card,) = question.cards
        assert card.text.endswith("A designated approver must approve this request.")
        refusal = await says(crm.ponte, f"approve {card.id}", "k2", MEMBER, clicked=True)
        assert (refusal.is_private, refusal.code) == (True, "forbidden")
        reply = await says(crm.ponte, f"approve {card.id}", "k3", OTHER)
        assert reply.text == "Approved by Otto. Done."
        assert [one.actions for one in reply.cards] == [("undo",)], "the card says how to undo it"
        assert crm.table("Customers").rows[31]["Name"] == "Ada"
        change = {"id": "9", "fields": {"Customers": "3"}}
        (card,) = (await crm.mia_calls("k4", "update", table="Orders", changes=[change])).cards
        reply = await says(crm.ponte, f"approve {card.id}", "k5", MEMBER, clicked=True)
        assert "Done." in reply.text


async def test_links_that_another_table_holds_need_its_approvers_too(bot_home: BotHome) -> None:
    """An order belongs to one customer, so a link of a customer changes the order."""
    async with team(bot_home, "Orders", "ask", "slack:U2") as crm:
        calls: dict[str, dict[str, object]] = {
            "link": {"table": "Customers", "id": "2", "link_field": "Orders", "add": ["1"]},
            "update": {"table": "Customers", "changes": [{"id": "2", "fields": {"Orders": ["1"]}}]},
            "create": {"table": "Customers", "rows": [{"Name": "Eve", "Orders": ["5"]}]},
        }
        (relation,) = crm.table("Customers").relations.values()
        for tool, arguments in calls.items():
            (card,) = (await crm.mia_calls(f"call-{tool}", tool, **arguments)).cards
            assert card.text.endswith("A designated approver must approve this request.")
            text = f"approve {card.id}"
            reply = await says(crm.ponte, text, f"try-{tool}", MEMBER, clicked=True)
            assert reply.code == "forbidden"
            assert relation.of(crm.table("Orders"), 1) == [1]
        assert "Done." in (await says(crm.ponte, text, "k2", OTHER)).text
        change = {"id": "9", "fields": {"Customers": "3"}}
        (card,) = (await crm.mia_calls("k3", "update", table="Orders", changes=[change])).cards
        assert card.text.endswith("A designated approver must approve this request.")


@pytest.mark.parametrize(
    ("rule", "person"),
    [
        (Rule("rule 1", frozenset({"slack:U1"}), deny=("approve:Orders",)), MEMBER),
        (Rule("rule 1", frozenset({"slack:U2"}), allow=("approve:Customers",)), OTHER),
    ],
)
async def test_who_may_not_approve_orders_links_none_from_the_other_table(
    bot_home: BotHome, rule: Rule, person: Person
) -> None:
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    async with team(bot_home, "-", "ask", policy=policy) as crm:
        arguments = {"table": "Customers", "id": "2", "link_field": "Orders", "add": ["9"]}
        (card,) = (await crm.mia_calls("k1", "link", **arguments)).cards
        reply = await says(crm.ponte, f"approve {card.id}", "k2", person, clicked=True)
        assert reply.code == "forbidden"


async def test_a_table_that_was_closed_meanwhile_is_not_linked(bot_home: BotHome) -> None:
    arguments = {"table": "Customers", "id": "2", "link_field": "Orders", "add": ["9"]}
    async with team(bot_home, "Orders", "ask") as crm:
        (card,) = (await crm.mia_calls("k1", "link", **arguments)).cards
        config = crm.ponte.engine.changes.approval.config
        assert isinstance(config, FixedConfig)
        config.table_rules = TableRules({"Orders": TableRule("read")})
        reply = await says(crm.ponte, f"approve {card.id}", "k2", MEMBER, clicked=True)
        assert (reply.code, "read-only" in reply.text) == ("forbidden", True)


async def test_a_rule_by_id_holds_after_the_table_was_renamed(bot_home: BotHome) -> None:
    async with team(bot_home, "-", "ask") as crm:
        id = crm.table("Orders").id
    async with team(bot_home, id, "read") as crm:
        crm.table("Orders").title = "Bookings"
        calls = await crm.calls("delete", table="Bookings", ids=["1"])
    assert "The table Bookings is read-only here." in calls.text


async def test_one_new_row_at_a_time_needs_nobody_where_the_file_says_so(bot_home: BotHome) -> None:
    """A new row links no rows of another table by itself."""
    async with team(bot_home, "Customers", "auto") as crm:

        async def state(key: str, tool: str = "create", **arguments: object) -> str:
            (card,) = (await crm.mia_calls(key, tool, table="Customers", **arguments)).cards
            return card.state

        row = {"Name": "Ada", "Status": "Lead"}
        answer = await crm.mia_calls("k1", "create", table="Customers", rows=[row])
        assert [card.state for card in answer.cards] == ["done"]
        assert "Approved automatically, as set in ponte.toml." in answer.cards[0].text
        assert crm.table("Customers").rows[31]["Name"] == "Ada"
        assert await state("k2", rows=[row, row]) == "open"
        assert await state("k3", rows=[{"Name": "Eve", "Orders": ["5"]}]) == "open"
        update = [{"id": "31", "fields": {"Status": "Lost"}}]
        assert await state("k4", "update", changes=update) == "open"
        assert 32 not in crm.table("Customers").rows


@pytest.mark.parametrize("tool", ["update", "link"])
async def test_who_may_no_longer_read_a_table_changes_nothing_there(
    bot_home: BotHome, tool: str
) -> None:
    update = {"table": "Orders", "changes": [{"id": "2", "fields": {"Paid": False}}]}
    link = {"table": "Customers", "id": "2", "link_field": "Orders", "add": ["9"]}
    books = [RuleBook()]
    policy = replace(RIGHTS, read_rules=lambda: books[-1])
    async with team(bot_home, "-", "ask", policy=policy) as crm:
        arguments: dict[str, Any] = update if tool == "update" else link
        (card,) = (await crm.mia_calls("k1", tool, **arguments)).cards
        books.append(RuleBook((Rule("rule 1", frozenset({"slack:U1"}), deny=("read:Orders",)),)))
        assert "`read:Orders`" in (await says(crm.ponte, f"why {card.id}", "k2")).text
        for number, (person, refusal) in enumerate(
            {
                MEMBER: "You don't have permission to read that here (`read:Orders`)",
                BOSS: "has lost the permission there (`read:Orders`)",
            }.items()
        ):
            reply = await says(crm.ponte, f"approve {card.id}", f"a{number}", person, clicked=True)
            assert reply.code == "forbidden"
            assert refusal in reply.text
