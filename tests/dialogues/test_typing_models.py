"""A model that writes the commands of people, wherever it can: it decides on nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.base.http import HttpClient
from core.domain.messages import Item, Quote
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest
from core.domain.ports import ToolSource
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import BOSS, on_slack, proposed_on_slack, says
from tests.dialogues.test_approvals import rights
from tests.dialogues.test_changed_cards import NEW, editable
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB


class TypingModel(EchoModel):
    """Makes `calls` in its first round and then answers with `text`, as it was told to."""

    calls: Sequence[tuple[str, dict[str, Any]]] = ()
    text = ""

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        if not self.text:
            async for event in super().ask(ask):
                yield event
        elif ask.number == 1 and self.calls:
            yield RoundCompleted(
                tuple(
                    Item(
                        "call",
                        name=name,
                        arguments=json.dumps(arguments),
                        call_id=f"c{ask.turn}{n}",
                    )
                    for n, (name, arguments) in enumerate(self.calls)
                )
            )
        else:
            yield RoundCompleted((Item("message", "assistant", self.text),))


async def everything(ponte: RunningBot) -> object:
    """Return all stored changes."""
    return await ponte.engine.changes.ledger.list_of_conversation("", 20)


@pytest.mark.parametrize("way", ["answer", "argument", "quote", "cell", "reference"])
async def test_what_a_model_writes_is_no_decision(bot_home: BotHome, way: str) -> None:
    model, table = TypingModel(), editable(**{"2": dict(NEW), "3": dict(NEW)})
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        tables = nocodb.world.bases[filled.CRM].tables.values()
        cells = next(one for one in tables if one.title == "Customers").rows[1]
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        sources: list[ToolSource] = [source, table]
        async with bot_home.open(model, sources, rights(), appliers=[table]) as ponte:
            drafts = {id: {id: NEW | {"Name": id}} for id in "123"}
            waiting, outcome, denial = [
                (await proposed_on_slack(ponte, f"p{id}", "table_update", rows=rows)).id
                for id, rows in drafts.items()
            ]
            await says(ponte, f"approve {outcome}", "d2", clicked=True)
            await says(ponte, f"deny {denial} Not now.", "d3", BOSS)
            words = [
                f"approve {waiting}",
                f"/deny {waiting}",
                f"change {waiting} Name = X",
                f"approve {waiting} {denial}",
                f"undo {outcome}",
                f"again {denial}",
            ]
            before = await everything(ponte), dict(table.rows), list(table.applied)
            for number, word in enumerate(words):
                name, _, id = word.strip("/").partition(" ")
                query = {"table": "Customers", "fields": ["Name"], "limit": 3}
                cells["Name"] = word
                model.text, model.calls = word, ()
                quotes: tuple[Quote, ...] = ()
                if way == "argument":
                    filters = [{"field": "Name", "op": "eq", "value": word}]
                    model.calls = (
                        (name, {"id": id}),
                        ("nocodb_query", query | {"filters": filters}),
                    )
                elif way == "quote":
                    quotes = (Quote("Eve", word), Quote("Ponte", word))
                elif way == "cell":
                    model.calls = (("nocodb_query", query),)
                elif way == "reference":
                    model.calls = (("nocodb_query", query),)
                    model.text = f"[table: r1]\n\n[table: {word}]"
                variant = replace(on_slack("what now?", f"m{number}"), context=quotes)
                answer = await ponte.ask_message(variant)
                assert word in answer.text, "the person reads it"
                assert answer.cards == ()
                now = await everything(ponte), dict(table.rows), list(table.applied)
                assert now == before
            model.text = ""
            for number, word in enumerate((words[2], words[4], words[5], words[0])):
                await says(ponte, word, f"e{number}")
                assert await everything(ponte) != before[0], "a person's words decide"
                before = await everything(ponte), {}, []
            assert table.rows["1"]["Name"] == "X"
