"""What the card of an import says of its file, before anybody approves."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import PacedNocoDB, importer, new_rows

pytestmark = pytest.mark.slow
DAYS = {"Name": "Name", "Since": "Day"}


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        yield server


async def test_a_small_import_names_its_rejected_rows(
    bot_home: BotHome, nocodb: PacedNocoDB
) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        data = b"Name;Day\ngood;2026-01-01\nbad;not a day\nalso;2026-02-02\nworse;2026-13-01\n;\n"
        (card,) = (await here.send_file("days.csv", data, DAYS)).cards
        assert card.title == "Create 2 rows in Customers"
        assert card.text.startswith("4 rows in the file: 2 new, 2 rejected.\n")
        assert "- Rejected: 2 (rows 3, 5). Since: write a date, such as 2026-11-20." in card.text
        await here.bot.ask(f"approve {card.id}")
        assert nocodb.new_names == {"good": 1, "also": 1}


async def test_changed_unchanged_and_rejected_rows(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        rows = ["Customer 02,Active", "Customer 03,Lost", "Customer 99,Lead", "Customer 04,Odd"]
        rows[1] = f"Customer 03,{nocodb.customers.rows[3]['Status']}"
        answer = await here.read_file(rows, key="Name", missing="refuse")
        (card,) = answer.cards
        assert card.title == "Change a row in Customers"
        assert "4 rows in the file: 1 changed, 1 unchanged, 2 rejected." in card.text
        assert "- Rejected: 1 (row 4). The table has no row with the key Customer 99." in card.text
        assert "- Rejected: 1 (row 5). Status: `Odd`" not in card.text, "no backtick ends a code"
        assert "- Rejected: 1 (row 5). Status: 'Odd' isn't an option." in card.text


async def test_more_reasons_than_a_card_lists(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        rows = ["Ada,Lead", *(f"Bob {n},Odd {n}" for n in range(12))]
        (card,) = (await here.read_file(rows)).cards
        assert card.text.startswith("13 rows in the file: 1 new, 12 rejected.\n")
        assert len(re.findall(r"Rejected: 1 \(row ", card.text)) == 8
        assert "- Rejected for other reasons: 4." in card.text


async def test_a_changed_request_keeps_it_and_an_undo_does_not(
    bot_home: BotHome, nocodb: PacedNocoDB
) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        (card,) = (await here.read_file(["Ada,Lead", "Bob,Odd"])).cards
        await here.bot.ask(f"change {card.id} Name = Eva")
        change = await here.get(card.id)
        shown = await here.bot.engine.changes.views.card(change)
        assert shown.revision == 2
        assert "2 rows in the file: 1 new, 1 rejected." in shown.text
        await here.bot.ask(f"approve {card.id}.2")
        assert nocodb.new_names == {"Eva": 1}
        await here.bot.ask(f"undo {card.id}")
        undo = await here.get((await here.get(card.id)).undone_by)
        assert "in the file" not in (await here.bot.engine.changes.views.card(undo)).text


async def test_forget_erases_it(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        await here.read_file(["Ada,Lead", "Bob,Very odd"])
        await here.bot.ask("forget yes")
    with closing(sqlite3.connect(bot_home.home / "ponte.db")) as database:
        assert "Very odd" not in "\n".join(database.iterdump())


async def test_a_plan_names_the_same(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        (card,) = (await here.read_file([*new_rows(101), "Bob,Odd"])).cards
        assert card.text.startswith("102 rows in the file: 101 new, 1 rejected.\n")
        assert "- Rejected: 1 (row 103). Status: 'Odd' isn't an option." in card.text
