"""An import while it is applied: stopped, forgotten, beside others, over a NocoDB that fails."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import openpyxl
import pytest

from core.domain.records import Receipt
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import Importer, PacedNocoDB, importer, new_rows
from tests.fakes.choices import ANA, make_message
from tests.fakes.loop_clock import run_ready
from tests.time_limits import Limits

pytestmark = pytest.mark.slow


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        yield server


async def approve_until(
    here: Importer, nocodb: PacedNocoDB, id: str, writes: int, command: str = "approve"
) -> Receipt:
    """The write after so many others is held."""
    nocodb.hold_writes(writes)
    _, receipt = await here.bot.send(f"{command} {id}")
    await nocodb.wait_for_held_write()
    return receipt


async def not_written(here: Importer, id: str) -> list[tuple[Any, ...]]:
    """The rows of that sheet in the file that the card of a change links to."""
    decisions = here.bot.engine.changes.decisions
    data = await decisions.open_plan(id, ANA, make_message("", "k").address)
    sheet = openpyxl.load_workbook(io.BytesIO(data))["Not written"]
    return list(sheet.iter_rows(min_row=2, values_only=True))


async def test_stop_ends_it_between_two_writes(
    bot_home: BotHome, nocodb: PacedNocoDB, limits: Limits
) -> None:
    """A write that takes long is waited for. The file names each row that was not written."""
    limits(RECANCEL_SECONDS=0.0)
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(250))
        receipt = await approve_until(here, nocodb, card.id, 13)
        assert (await here.bot.ask("stop")).text == "Stopped."
        await run_ready()
        await nocodb.let_writes_pass()
        answer = await here.bot.wait_for_answer(receipt)
        assert "Written: 140 · Not tried: 110." in answer.text
        assert len(nocodb.new_names) == 140
        rows = await not_written(here, card.id)
        assert len(rows) == 110
        assert {row[-1] for row in rows} == {"Not tried"}
        assert (await here.bot.ask(f"undo {card.id}")).text.startswith("Undone")
        assert not nocodb.new_names


async def test_an_undo_goes_to_its_end(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(150))
        await here.bot.ask(f"approve {card.id}")
        receipt = await approve_until(here, nocodb, card.id, 3, "undo")
        assert (await here.bot.ask("stop")).text == "Nothing is running here."
        await nocodb.let_writes_pass()
        assert (await here.bot.wait_for_answer(receipt)).text.startswith("Undone")
        assert not nocodb.new_names


async def test_forget_stops_it_and_erases_its_rows(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(250))
        receipt = await approve_until(here, nocodb, card.id, 3)
        await here.bot.ask("forget yes")
        await nocodb.let_writes_pass()
        answer = await here.bot.wait_for_answer(receipt)
        assert "Not tried" not in answer.text, "its numbers are erased"
        assert len(nocodb.new_names) == 100, "the part that was under way"
        (part,) = await here.parts(card.id)
        for change in (part, await here.get(card.id)):
            assert change.state != "applying"
            values = {(s.write.before, s.write.after, s.current) for s in change.steps}
            assert values == {(None, None, None)}


@pytest.mark.parametrize("has_plan", [True, False])
async def test_a_restart_goes_on_with_it(
    bot_home: BotHome, nocodb: PacedNocoDB, has_plan: bool
) -> None:
    """Where the plan was deleted meanwhile, what was written is told, and can be undone."""
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(130))
        receipt = await approve_until(here, nocodb, card.id, 3)
        if not has_plan:
            plan = (await here.get(card.id)).draft.target["plan"]
            await here.bot.engine.stores.files.delete(plan)
        here.bot.engine.changes.lifecycle.runner.stop_batches()
        await nocodb.let_writes_pass()
    assert len(nocodb.new_names) == 40
    async with importer(bot_home, nocodb.origin) as here:
        answer = await here.bot.wait_for_answer(receipt)
        count = 130 if has_plan else 40
        assert Counter(nocodb.new_names.values()) == {1: count}
        assert f"Written: {count}" in answer.text
        is_told = "The plan was deleted, so nothing more was written." in answer.text
        assert is_told is not has_plan
        await here.bot.ask(f"undo {card.id}")
        assert not nocodb.new_names


@pytest.mark.parametrize("when", ["before", "after"])
async def test_nocodb_breaks_off(bot_home: BotHome, nocodb: PacedNocoDB, when: str) -> None:
    """It answers 429, and drops connections before or after a write's effect. Changed rows are
    written again; new ones that are not found are unknown, and named."""
    async with importer(bot_home, nocodb.origin) as here:
        rows = [f"Customer {n:02d},Active" for n in range(1, 22)]
        card = await here.propose([*rows, *new_rows(120)], key="Name")
        nocodb.fail(2, 429, Retry_After="0")
        receipt = await approve_until(here, nocodb, card.id, 3)
        nocodb.drop("before" if when == "before" else "after", 2)
        await nocodb.let_writes_pass()
        answer = await here.bot.wait_for_answer(receipt)
        assert set(nocodb.new_names.values()) == {1}
        changed = [row["Status"] for id, row in nocodb.customers.rows.items() if id <= 21]
        assert set(changed) == {"Active"}
        if when == "after":
            assert "Written: 134." in answer.text
            return
        unknown = await not_written(here, card.id)
        assert {row[-1] for row in unknown} == {"Result unknown"}
        assert len(unknown) + len(nocodb.new_names) == 120


async def test_rows_that_changed_stay_and_are_named(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        rows = [f"Customer {n:02d},Active" for n in range(1, 22)]
        card = await here.propose([*rows, *new_rows(120)], key="Name")
        customers = nocodb.customers.rows
        customers[3]["Status"] = "Lost"
        del customers[6]
        answer = await here.bot.ask(f"approve {card.id}")
        assert "Written: 132 · Skipped because they changed after the request: 2." in answer.text
        assert [row[0] for row in await not_written(here, card.id)] == ["3", "6"]
        assert customers[3]["Status"] == "Lost"
        customers[5]["Status"] = "Lead"
        customers[40]["Notes"] = "mine"
        await here.bot.ask(f"undo {card.id}")
        undo = (await here.get(card.id)).undone_by
        assert (await here.bot.engine.changes.views.card(await here.get(undo))).has_plan
        assert {row[0] for row in await not_written(here, undo)} == {"5", "40"}
        assert (customers[5]["Status"], customers[40]["Notes"]) == ("Lead", "mine")
        assert len(nocodb.new_names) == 1


async def test_two_imports_and_a_person_take_turns(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    """One write of all imports is under way at a time. A person's change of the same table comes
    before the next one, and a question is answered meanwhile."""
    async with importer(bot_home, nocodb.origin) as here:
        cards = [await here.propose(new_rows(210, name)) for name in "AB"]
        change = {"table": "Customers", "changes": [{"id": 5, "fields": {"Notes": "mine"}}]}
        asked = await here.bot.ask(f"call nocodb_update {json.dumps(change)}")
        first = await approve_until(here, nocodb, cards[0].id, 4)
        _, second = await here.bot.send(f"approve {cards[1].id}")
        _, own = await here.bot.send(f"approve {asked.cards[0].id}")
        query = 'call nocodb_get {"table": "Customers", "id": 7}'
        assert "Customer 07" in (await here.bot.ask(query)).text
        await run_ready()
        assert nocodb.arrived == nocodb.allowed + 1
        await nocodb.let_writes_pass()
        for receipt in (first, second):
            assert "Written: 210." in (await here.bot.wait_for_answer(receipt)).text
        await here.bot.wait_for_answer(own)
        writes = [call for call in nocodb.calls if call.method != "GET"]
        assert writes[5].method == "PATCH"
        names = "".join(
            call.body[0]["fields"]["Name"][:1] for call in writes if call.method == "POST"
        )
        assert names == "A" * 10 + "B" * 10 + "A" * 10 + "B" * 10 + "AB"


async def test_it_rests_between_batches_until_somebody_stops_it(
    bot_home: BotHome, nocodb: PacedNocoDB, limits: Limits
) -> None:
    """People's requests find NocoDB free most of the time. Here it rests without end."""
    limits(REST_FACTOR=1e9)
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(150))
        change = {"table": "Customers", "changes": [{"id": 5, "fields": {"Notes": "mine"}}]}
        asked = await here.bot.ask(f"call nocodb_update {json.dumps(change)}")
        _, receipt = await here.bot.send(f"approve {card.id}")
        while len(nocodb.new_names) < 10:
            await nocodb.wait_for_calls(nocodb.finished_call_count + 1)
        assert " Done." in (await here.bot.ask(f"approve {asked.cards[0].id}")).text
        assert (await here.bot.ask("stop")).text == "Stopped."
        answer = await here.bot.wait_for_answer(receipt)
        assert "Written: 10 · Not tried: 140." in answer.text
        assert nocodb.write_calls == ["POST records", "PATCH records"]
