"""People of Slack and of a company's provider on the page: what they ask and decide there is as the
same person's in Slack."""

from __future__ import annotations

import json
from typing import Any

from core.changes.approval import TableRule, TableRules
from core.domain.messages import Address, Message, Person, ReplyTo, turn_id
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import (
    ADA,
    MEMBER,
    OTHER,
    RIGHTS,
    bot,
    end_no_changes,
    proposed_on_slack,
)
from tests.fakes.memory_table import MemoryTable

CORP = Person("oidc", "corp:42", name="Ana")
NAMED = TableRules({"people": TableRule("ask", frozenset({"slack:U2"}))})


def on_page(text: str, key: str, person: Person, clicked: bool = False) -> Message:
    """Return a message in the person's own conversation on the page."""
    key = f"web@{person.key.replace(':', '/')}:{key}"
    address = Address("web", "main", person=person.key)
    reply_to = ReplyTo(address, person, key, turn_id(key))
    return Message(key, text, person, address, reply_to, is_click=clicked)


def call_update(name: str) -> str:
    arguments: dict[str, Any] = {"rows": {"1": {"Name": name}}}
    return f"call table_update {json.dumps(arguments)}"


async def test_an_approver_of_slack_decides_on_the_page(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS, rules=NAMED) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        page = Address("web", "main", person=OTHER.key)
        (change,) = await ponte.engine.changes.views.waiting_for(OTHER, page)
        assert change.id == card.id
        answer = await ponte.ask_message(on_page(f"approve {card.id}", "p1", MEMBER, clicked=True))
        assert answer.status != "done", "only Otto is named"
        answer = await ponte.ask_message(on_page(f"approve {card.id}", "p2", OTHER, clicked=True))
        assert (answer.status, table.rows["1"]["Name"]) == ("done", "A")
        assert answer.cards[0].state == "done"


async def test_who_asked_in_slack_denies_on_the_page(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS, rules=NAMED) as ponte:
        end_no_changes(ponte)
        card = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})
        answer = await ponte.ask_message(on_page(f"deny {card.id}", "p1", CORP, clicked=True))
        assert (await ponte.engine.changes.ledger.get(card.id)).state == "open", answer.text
        answer = await ponte.ask_message(on_page(f"deny {card.id}", "p2", MEMBER, clicked=True))
        assert (await ponte.engine.changes.ledger.get(card.id)).state == "denied", answer.text


async def test_they_propose_and_approve_on_the_page(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        for person in (MEMBER, CORP):
            name = f"by {person.key}"
            answer = await ponte.ask_message(on_page(call_update(name), "a1", person))
            (card,) = answer.cards
            assert card.state == "open", answer.text
            other = OTHER if person is CORP else CORP
            refused = await ponte.ask_message(
                on_page(f"approve {card.id}", f"x{card.id}", other, clicked=True)
            )
            assert refused.status != "done"
            answer = await ponte.ask_message(
                on_page(f"approve {card.id}", f"y{card.id}", person, clicked=True)
            )
            assert (answer.status, table.rows["1"]["Name"]) == ("done", name)
