"""An import while it is applied: stopped, forgotten, beside others, over a NocoDB that fails."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import replace

import openpyxl
import pytest

from core.domain.messages import Person
from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import Importer, PacedNocoDB, importer, new_rows

BO = Person("web", "bo", name="Bo")


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        yield server


async def approve_until(here: Importer, nocodb: PacedNocoDB, id: str, writes: int, verb="approve"):
    """Return the `seq` of the approval; the write after so many others is held."""
    nocodb.hold_writes(writes)
    message, receipt = await here.bot.send(f"{verb} {id}")
    await nocodb.wait_for_held_write()
    return message, receipt


async def test_stop(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(250))
        _, receipt = await approve_until(here, nocodb, card.id, 13)
        stop, stopping = await here.bot.send("stop")
        await nocodb.let_writes_pass()
        print("STOP", (await here.bot.wait_for_answer(stopping)).text)
        answer = await here.bot.wait_for_answer(receipt)
        print("ANS", answer.text, answer.files)
        print(sum(nocodb.new_names.values()), nocodb.arrived)
        _, data = await here.bot.engine.conversations.files.get(answer.files[0].id)
        book = openpyxl.load_workbook(io.BytesIO(data))
        print({sheet.title: sheet.max_row for sheet in book})
        print([c.state for c in await here.parts(card.id)])
        print("UNDO", (await here.bot.ask(f"undo {card.id}")).text, sum(nocodb.new_names.values()))
        print([c.state for c in await here.parts(card.id)])
        await here.bot.engine.changes.lifecycle.end_overdue()
        print([c.state for c in await here.parts(card.id)])


async def test_stop_undo(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(250))
        print((await here.bot.ask(f"approve {card.id}")).text)
        _, receipt = await approve_until(here, nocodb, card.id, 7, "undo")
        stop, stopping = await here.bot.send("stop")
        await nocodb.let_writes_pass()
        print("STOP", (await here.bot.wait_for_answer(stopping)).text)
        answer = await here.bot.wait_for_answer(receipt)
        print("ANS", answer.text, answer.files)
        print(sum(nocodb.new_names.values()), nocodb.arrived)
        print("UNDO", (await here.bot.ask(f"undo {card.id}")).text, sum(nocodb.new_names.values()))


async def test_forget(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(250))
        _, receipt = await approve_until(here, nocodb, card.id, 3)
        forget = (await here.bot.ask("forget yes")).text
        print("FORGET", forget)
        await nocodb.let_writes_pass()
        try:
            answer = await here.bot.wait_for_answer(receipt)
            print("ANS", answer)
        except Exception as e:
            print("ERR", repr(e))
        await here.bot.engine.changes.lifecycle.end_overdue()
        print(sum(nocodb.new_names.values()), nocodb.arrived)
        change = await here.get(card.id)
        print(change.state, change.is_erased, change.steps[0])
        for part in await here.parts(card.id):
            print(part.state, part.is_erased, part.steps[0], len(part.steps))


async def test_part(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        card = await here.propose(new_rows(250))
        print((await here.bot.ask(f"approve {card.id}")).text)
        parts = await here.parts(card.id)
        for verb in ("approve", "deny", "undo", "change", "again", "why"):
            print(verb, (await here.bot.ask(f"{verb} {parts[0].id}")).text)
        print((await here.bot.ask("changes")).text)
        row = next(id for id in nocodb.customers.rows if id > 30)
        q = '{"table":"Customers","id":%d}' % row
        print((await here.bot.ask(f"call nocodb_history {q}")).text)
        print("UNDO", (await here.bot.ask(f"undo {card.id}")).text, sum(nocodb.new_names.values()))
