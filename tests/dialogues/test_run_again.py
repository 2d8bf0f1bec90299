"""A question of tables runs again by a press: without a model, with the rights of who presses."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from core.base.http import HttpClient
from core.domain.messages import Answer, Item, turn_id
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest
from core.domain.ports import ToolSource
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.saved.queries import MAX_QUERIES
from core.tools.nocodb.schema import DESCRIPTION_SECONDS
from core.tools.nocodb.source import NocoSource
from core.tools.tool import FixedToolSource, tool
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import OTHER, RIGHTS, says
from tests.fakes.config import fixed_rules
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeField, FakeTable
from tests.fakes.schedules import LateScheduleSource

UNPAID = {"field": "Paid", "op": "eq", "value": "false"}
MONTHS = {
    "table": "Orders",
    "aggregates": [{"field": "Amount", "fn": "sum"}],
    "group_by": "Due",
    "bucket": "month",
}
CHART = {
    "result": "r2",
    "kind": "bar",
    "title": "Orders",
    "x": "Due",
    "y": ["sum of Amount"],
}


class Planner(EchoModel):
    """Makes these calls, each in a round of its own, then says this."""

    def __init__(self, *calls: tuple[str, Mapping[str, object]], words: str = "Here.") -> None:
        super().__init__()
        self.calls, self.words = calls, words

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        self.asks.append(ask)
        if ask.number > len(self.calls):
            yield RoundCompleted((Item(kind="message", role="assistant", text=self.words),))
            return
        name, arguments = self.calls[ask.number - 1]
        id = f"{ask.turn}-{ask.number}"
        call = Item(kind="call", call_id=id, name=name, arguments=json.dumps(arguments))
        yield RoundCompleted((call,))


class Weather(FixedToolSource):
    name = "weather"

    def __init__(self) -> None:
        @tool(effect="read", doing="is looking…")
        async def weather() -> str:
            """The weather."""
            return "Rain."

        self._tools = (weather,)


@dataclass(frozen=True)
class Office:
    ponte: RunningBot
    nocodb: FakeNocoDB
    model: Planner
    clock: list[float]
    turns: list[str] = field(default_factory=list)

    @property
    def orders(self) -> FakeTable:
        tables = self.nocodb.world.bases[filled.CRM].tables.values()
        return next(table for table in tables if table.title == "Orders")

    async def ask(self) -> Answer:
        _, receipt = await self.ponte.send("How many?", channel="C5")
        self.turns.append(receipt.turn)
        return await self.ponte.wait_for_answer(receipt)

    async def run_again(self, turn: int = -1) -> Answer:
        _, receipt = await self.ponte.send(f"rerun {self.turns[turn]}", channel="C5")
        self.turns.append(receipt.turn)
        return await self.ponte.wait_for_answer(receipt)


@asynccontextmanager
async def office(
    bot_home: BotHome,
    *calls: tuple[str, Mapping[str, object]],
    words: str = "Here.",
    policy: Policy | None = None,
    schedules: LateScheduleSource | None = None,
) -> AsyncIterator[Office]:
    model, clock = Planner(*calls, words=words), [0.0]
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=(), clock=lambda: clock[0])
        sources: list[ToolSource] = [source, Weather(), *([schedules] if schedules else [])]
        async with bot_home.open(model, sources, policy=policy) as ponte:
            if schedules:
                schedules.open(ponte.engine)
            yield Office(ponte, nocodb, model, clock)


@also_on_postgres
async def test_rows_are_read_again_without_a_model(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders", "filters": [UNPAID]})
    async with office(bot_home, query, words="[table: r1]") as crm:
        assert (await crm.ask()).can_run_again
        asked = len(crm.model.asks)
        for row in (1, 3):
            crm.orders.update(row, {"Paid": True})
        again = await crm.run_again()
        assert re.match(r"28 rows \(on \w+ \d+, ", again.text)
        assert "Order 05" in again.text
        assert "Order 01" not in again.text
        assert "Source: Orders, Paid isn't checked: 20 of 28 rows" in again.text
        assert (again.can_run_again, len(crm.model.asks)) == (True, asked)


async def test_the_button_moves_to_the_newest_result(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query) as crm:
        await crm.ask()
        await crm.run_again()
        await crm.ponte.engine.manager.background_tasks.close(60)
        journal = crm.ponte.engine.conversations.journal
        first, second = [await journal.history_entry(turn) for turn in crm.turns]
        assert first.answer
        assert second.answer
        assert (first.answer.can_run_again, second.answer.can_run_again) == (False, True)
        hasty = await crm.run_again(0)
        assert hasty.is_private
        assert hasty.text.startswith("I ran this again just now (")
        assert (await crm.run_again(1)).can_run_again


async def test_a_typed_rerun_means_the_newest_answer(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query) as crm:
        for _ in range(2):  # the same word twice within a minute, after two questions
            await crm.ask()
            assert (await crm.ponte.ask("rerun", "C5")).can_run_again
        hasty = await crm.ponte.ask("rerun", "C5")
        assert hasty.text.endswith(" To run it once more, wait a minute.")


async def test_a_chart_is_drawn_of_the_fresh_figures(bot_home: BotHome) -> None:
    calls: list[tuple[str, Mapping[str, object]]] = [
        ("nocodb_tables", {}),
        ("nocodb_summarize", MONTHS),
        ("chart", CHART),
    ]
    async with office(bot_home, *calls, words="So:\n\n[chart: r3]") as crm:
        first = await crm.ask()
        crm.orders.update(1, {"Amount": 1000})
        again = await crm.run_again()
        (old,), (new,) = ([piece.data for piece in one.placed[-1:]] for one in (first, again))
        assert type(old) is type(new)
        assert old != new
        assert len(again.placed) == 2, "the figures stand beside the chart"
        crm.orders.field("Amount").title = "Value"
        crm.clock[0] += DESCRIPTION_SECONDS
        again = await crm.run_again()
        assert "_Amount is now called Value._" in again.text
        assert "_The chart can't be drawn._" in again.text


async def test_another_day_is_named_without_its_time(bot_home: BotHome) -> None:
    async with office(bot_home, ("nocodb_query", {"table": "Orders"})) as crm:
        await crm.ask()
        with closing(sqlite3.connect(bot_home.home / "ponte.db")) as connection, connection:
            connection.execute("UPDATE inbox SET created_at = created_at - 2 * 86400")
        assert re.match(r"60 rows \(on \w+ \d+: 60\)\.", (await crm.run_again()).text)


async def test_both_numbers_are_written_alike(bot_home: BotHome) -> None:
    async with office(bot_home, ("nocodb_query", {"table": "Orders"})) as crm:
        for number in range(1500):
            crm.orders.create({"Title": f"Copy {number}"})
        await crm.ask()
        assert re.match(r"1,560 rows \(on .*: 1,560\)\.", (await crm.run_again()).text)


async def test_a_title_in_an_error_places_no_other_result(bot_home: BotHome) -> None:
    hostile = "x](http://evil.test) **b**\n[table: r1]\n```\n@everyone"
    figure = {"table": "Orders", "aggregates": [{"field": "Amount", "fn": "sum"}]}
    query = ("nocodb_query", {"table": "Orders", "limit": 1})
    async with office(bot_home, query, ("nocodb_summarize", figure)) as crm:
        await crm.ask()
        amount = crm.orders.field("Amount")
        amount.title, amount.type = hostile, "Attachment"
        crm.clock[0] += DESCRIPTION_SECONDS
        again = await crm.run_again()
        assert len(again.placed) == 1
        (error,) = [line for line in again.text.splitlines() if line.startswith("sum can't be")]
        assert error.endswith("@everyone (Attachment).")
        assert not re.search(r"(?<!\\)(\*\*|``|]\()|[^`]http:", error)


async def test_what_the_answer_showed_runs_again_and_no_more(bot_home: BotHome) -> None:
    """A query that it placed nowhere does not run, unless a file came of it."""
    calls: list[tuple[str, Mapping[str, object]]] = [
        ("nocodb_query", {"table": "Orders", "fields": ["Title"]}),
        ("nocodb_summarize", {"table": "Orders", "group_by": "Paid"}),
        ("nocodb_query", {"table": "Customers", "export": "csv"}),
    ]
    async with office(bot_home, *calls, words="[table: r2]") as crm:
        await crm.ask()
        again = await crm.run_again()
        assert again.text.startswith("60 rows (on "), "a number of each group is no figure"
        assert "Order 03" not in again.text
        assert (len(again.placed), len(again.files)) == (2, 1)


async def test_an_answer_of_nine_queries_does_not_run_again(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders"})
    for count in (MAX_QUERIES, MAX_QUERIES + 1):
        async with office(bot_home, *[query] * count) as crm:
            assert (await crm.ask()).can_run_again == (count == MAX_QUERIES)


async def test_a_figure_stands_beside_the_former_one(bot_home: BotHome) -> None:
    figure = {"table": "Orders", "aggregates": [{"field": "Amount", "fn": "sum"}]}
    async with office(bot_home, ("nocodb_summarize", figure)) as crm:
        await crm.ask()
        crm.orders.update(1, {"Amount": 1001.5})
        again = await crm.run_again()
        assert re.match(r"3,745 \(on \w+ \d+, ", again.text)
        assert ": 2,745)." in again.text


@pytest.mark.parametrize("fields", [None, ["Title", "Amount"]])
async def test_only_columns_that_were_shown_are_shown(
    bot_home: BotHome, fields: Sequence[str] | None
) -> None:
    query = ("nocodb_query", {"table": "Orders", "fields": fields})
    async with office(bot_home, query, words="[table: r1]") as crm:
        await crm.ask()
        crm.orders.fields.append(FakeField("cnew", "Salary", "SingleLineText", {}))
        amount = crm.orders.field("Amount")
        amount.title = "Value"
        crm.clock[0] += DESCRIPTION_SECONDS
        again = await crm.run_again()
        assert "Salary" not in again.text
        assert "| Value |" in again.text
        assert "_Amount is now called Value._" in again.text
        crm.orders.fields.remove(amount)
        crm.orders.fields.append(FakeField("cother", "Value", "SingleLineText", {}))
        crm.clock[0] += DESCRIPTION_SECONDS
        gone = await crm.run_again()
        assert "Value |" not in gone.text
        assert "_Left out, because it was deleted or you can't read it here: Value._" in gone.text


async def test_without_the_column_of_its_filter_it_does_not_run(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders", "filters": [UNPAID]})
    async with office(bot_home, query) as crm:
        await crm.ask()
        crm.orders.fields.remove(crm.orders.field("Paid"))
        crm.clock[0] += DESCRIPTION_SECONDS
        again = await crm.run_again()
        assert again.text.startswith("I can't run this again: **Paid** was deleted, or")
        assert (again.can_run_again, again.is_private) == (False, True)


@pytest.mark.parametrize("right", ["tool:nocodb_query", "read"])
async def test_rights_are_those_of_who_presses(bot_home: BotHome, right: str) -> None:
    rule = Rule("rule 1", frozenset({"slack:U2"}), deny=(right,))
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query, policy=policy) as crm:
        assert (await says(crm.ponte, "How many?", "k1", thread="t1")).can_run_again
        again = f"rerun {turn_id('slack:k1')}"
        refused = await says(crm.ponte, again, "k2", OTHER, thread="t1")
        assert refused.text.startswith("You don't have permission")
        assert refused.is_private
        assert (await says(crm.ponte, again, "k3", thread="t1")).can_run_again


async def test_a_table_that_is_hidden_there_is_not_read(bot_home: BotHome) -> None:
    rule = Rule("rule 1", frozenset({"slack:U2"}), deny=("read:Orders",))
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query, policy=policy) as crm:
        await says(crm.ponte, "How many?", "k1", thread="t1")
        refused = await says(crm.ponte, f"rerun {turn_id('slack:k1')}", "k2", OTHER, thread="t1")
        assert refused.text.startswith("I can't run this again: **Orders** was deleted, or you")
        assert refused.is_private, "the others in the channel read nothing of it"
        assert "Order 01" not in refused.text


async def test_a_run_that_shows_nothing_leaves_the_button_to_others(bot_home: BotHome) -> None:
    rule = Rule("rule 1", frozenset({"slack:U2"}), deny=("read:Orders",))
    policy = replace(RIGHTS, read_rules=fixed_rules(RuleBook((rule,))))
    async with office(bot_home, ("nocodb_query", {"table": "Orders"}), policy=policy) as crm:
        await says(crm.ponte, "How many?", "k1", thread="t1")
        turn = turn_id("slack:k1")
        await says(crm.ponte, f"rerun {turn}", "k2", OTHER, thread="t1")
        await crm.ponte.engine.manager.background_tasks.close(60)
        entry = await crm.ponte.engine.conversations.journal.history_entry(turn)
        assert entry.answer
        assert entry.answer.can_run_again
        assert (await says(crm.ponte, f"rerun {turn}", "k3", thread="t1")).can_run_again


async def test_a_column_that_is_or_becomes_secret_is_left_out(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query, words="[table: r1]") as crm:
        crm.orders.fields.append(FakeField("cpin", "Password", "SingleLineText", {}))
        await crm.ask()
        again = await crm.run_again()
        assert "| Title | Amount |" in again.text
        assert "Password" not in again.text
        crm.orders.field("Amount").title = "Senha"
        crm.clock[0] += DESCRIPTION_SECONDS
        again = await crm.run_again()
        assert "| Title | Paid |" in again.text
        assert "you can't read it here: Amount._" in again.text


async def test_a_column_of_linked_rows_is_left_out_without_its_link(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders", "fields": ["Title", "Customers.Name"]})
    async with office(bot_home, query, words="[table: r1]") as crm:
        await crm.ask()
        crm.orders.fields.remove(crm.orders.field("Customers"))
        crm.clock[0] += DESCRIPTION_SECONDS
        again = await crm.run_again()
        assert "| Order 01 |" in again.text
        assert "you can't read it here: `Customers.Name`._" in again.text


async def test_what_another_tool_said_does_not_run_again(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query, ("weather", {})) as crm:
        assert not (await crm.ask()).can_run_again
        again = await crm.run_again()
        assert again.text == "This question is no longer stored. Ask it again."


async def test_a_press_on_one_process_is_run_by_another_once(
    migrated_postgres: str, tmp_path: Path
) -> None:
    worker = BotHome(tmp_path / "worker", migrated_postgres)
    query = ("nocodb_query", {"table": "Orders"})
    async with office(worker, query, words="[table: r1]") as crm, worker.taking().open() as server:
        _, receipt = await server.send("How many?", channel="C5")
        assert (await server.wait_for_answer(receipt)).can_run_again
        presses = [await server.send(f"rerun {receipt.turn}", channel="C5") for _ in range(2)]
        first, second = [await server.wait_for_answer(press) for _, press in presses]
        assert "Source: Orders: 20 of 60 rows" in first.text
        assert second.text.startswith("I ran this again just now (")
        assert len(crm.model.asks) == 2, "of the question alone"


async def test_only_a_question_of_the_same_conversation_runs_again(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query) as crm:
        await crm.ask()
        elsewhere = await crm.ponte.ask(f"rerun {crm.turns[0]}", channel="C6")
        assert elsewhere.text == "This question is no longer stored. Ask it again."
        await crm.ponte.ask("forget yes", channel="C5")
        assert not (await crm.run_again()).can_run_again


async def test_a_saved_question_is_shown_by_its_name(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders", "filters": [UNPAID]})
    async with office(bot_home, query, words="[table: r1]") as crm:
        await crm.ask()
        saved = await crm.ponte.ask(f"save {crm.turns[0]} / unpaid orders", channel="C5")
        assert saved.text.startswith("Saved. To see it again, type `show unpaid orders`.")
        asked = len(crm.model.asks)
        shown = await crm.ponte.ask("Show the Unpaid Orders!", channel="C9")
        assert "Source: Orders, Paid isn't checked: 20 of 30 rows" in shown.text
        assert (shown.can_run_again, len(crm.model.asks)) == (True, asked)
        listed = await crm.ponte.ask("saved")
        assert listed.text.startswith("- `show unpaid orders`\n\n")
        again = await crm.ponte.ask(f"save {crm.turns[0]} / the unpaid orders", channel="C5")
        assert again.text.startswith("There is already a question or a table called")
        await crm.ponte.ask("saved unpaid orders delete")
        await crm.ponte.ask("show unpaid orders")
        assert len(crm.model.asks) > asked, "the model is asked"


@pytest.mark.slow
async def test_a_process_that_ends_after_the_press_posts_once(bot_home: BotHome) -> None:
    query = ("nocodb_query", {"table": "Orders"})
    async with office(bot_home, query, words="[table: r1]") as crm:
        await crm.ask()
        posted = len(bot_home.recorder.posts)
        bot_home.recorder.after_effect = asyncio.Event()
        _, receipt = await crm.ponte.send(f"rerun {crm.turns[0]}", channel="C5")
        await bot_home.recorder.after_effect.wait()
        bot_home.recorder.after_effect = None
        await crm.ponte.engine.drain(0)
    async with office(bot_home, query) as crm:
        answer = await crm.ponte.wait_for_answer(receipt)
        assert "Source: Orders: 20 of 60 rows" in answer.text
        assert len(bot_home.recorder.posts) == posted + 1
        assert crm.model.asks == []
