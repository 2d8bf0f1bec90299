"""A process ends in the middle, and the next one goes on; cards are drawn where they stand."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from core.domain.messages import turn_id
from core.domain.model_rounds import RoundRequest
from tests.dialogues.bot_home import BotHome, also_on_postgres
from tests.dialogues.decisions import ADA, bot, propose
from tests.fakes.choices import ANA
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel

THREE = [{"Name": "one"}, {"Name": "two"}, {"Name": "three"}]


@also_on_postgres
async def test_the_card_is_redrawn_where_it_stands(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        await ponte.stop_redrawing()  # it would draw while the test does
        card = await propose(ponte, "table_create", rows=[ADA])
        post = ponte.recorder.posts[0]
        assert post.text.endswith(f"⟦{card.id} open approve/deny⟧")
        await ponte.ask(f"approve {card.id}")
        await ponte.engine.redraw.once()
        assert post.text.endswith(f"⟦{card.id} done undo⟧")
        await ponte.ask(f"undo {card.id}")
        await ponte.engine.redraw.once()
        assert post.text.endswith(f"⟦{card.id} undone ⟧")
        entry = await ponte.engine.conversations.journal.history_entry(turn_id("k1"))
        assert entry.answer
        assert [one.state for one in entry.answer.cards] == ["undone"], "the stored one too"
        edits = len(post.texts)
        await ponte.engine.redraw.once()
        assert len(post.texts) == edits, "drawn once"


async def test_a_failed_redraw_is_repeated_after_a_restart(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
    bot_home.recorder.faults.lose_before = 1
    async with bot(bot_home, table) as ponte:
        await ponte.ask(f"deny {card.id}", channel="C2")
        bot_home.recorder.faults.lose_before = 1
        await ponte.engine.redraw.once()
    async with bot(bot_home, table) as ponte:
        await ponte.engine.redraw.once()
        assert ponte.recorder.posts[0].text.endswith(f"⟦{card.id} denied reason⟧")
        assert len(ponte.recorder.visible("k1")) == 1


async def test_a_post_that_a_person_removed_stays_away(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable()) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        ponte.recorder.remove(ponte.recorder.posts[0].id)
        assert "Done." in (await ponte.ask(f"approve {card.id}")).text
        assert await ponte.engine.redraw.once() == 0
        assert ponte.recorder.visible("k1") == []
        assert await ponte.engine.changes.ledger.list_undrawn() == []


@also_on_postgres
async def test_sigterm_ends_the_call_under_way_and_begins_no_other(bot_home: BotHome) -> None:
    """On SQLite, what was decided comes before any turn of the next process."""
    table = MemoryTable(batch=1)
    table.gate = asyncio.Event()
    blocked = asyncio.Event()

    async def block(ask: RoundRequest) -> None:
        if ask.input[-1].text == "and now?":
            blocked.set()
            await asyncio.Event().wait()

    async with bot(bot_home, table, model=EchoModel(gate=block)) as ponte:
        card = await propose(ponte, "table_create", rows=THREE)
        _, waiting = await ponte.send("and now?")
        await blocked.wait()
        _, receipt = await ponte.send(f"approve {card.id}")
        await table.reached.wait()
        draining = asyncio.create_task(ponte.engine.drain(0))
        await asyncio.sleep(0)
        table.gate.set()
        await draining
        steps = (await ponte.engine.changes.ledger.get(card.id)).steps
        assert [step.state for step in steps] == ["done", "waiting", "waiting"]
    assert table.applied == [("create", 1)]
    rows_when_asked: list[int] = []

    async def count(ask: RoundRequest) -> None:
        rows_when_asked.append(len(table.rows))

    async with bot(bot_home, table, model=EchoModel(gate=count)) as ponte:
        text = f"Approved by Ana. Done. To undo this change, type `undo {card.id}`."
        rows = "- Added: one\n- Added: two\n- Added: three"
        assert (await ponte.wait_for_answer(receipt)).text == f"{text}\n{rows}"
        assert (await ponte.wait_for_answer(waiting)).text == "You said: and now?"
    assert rows_when_asked == [3] or bot_home.database
    assert [row["Name"] for row in table.rows.values()] == ["one", "two", "three"]


async def test_a_decision_whose_event_broke_down_is_told_as_partly_done(bot_home: BotHome) -> None:
    table = MemoryTable(batch=1)
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=THREE)
        ledger = ponte.engine.changes.ledger
        # its tidying would end the change between the two records below
        await ponte.stop_redrawing()
        one, two, _ = (await ledger.claim(card.id, 4711, ANA, 1.0)).steps
        steps = [replace(one, state="done"), replace(two, state="writing")]
        await ledger.record(card.id, 4711, steps)
        answer = await ponte.ask(f"approve {card.id}")
        assert "Partly done: 1 of 3 rows." in answer.text
        assert "Result unknown: 1 of the new rows." in answer.text
        assert "Not tried: 1 of the new rows." in answer.text
    assert table.applied == []
