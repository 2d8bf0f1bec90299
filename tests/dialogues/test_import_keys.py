"""Which row of the table a row of a file means, and what is asked about a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import PacedNocoDB, importer

pytestmark = pytest.mark.slow
COLUMNS = {"Name": "Code", "Notes": "Text"}


@pytest.fixture
async def nocodb() -> AsyncIterator[PacedNocoDB]:
    async with PacedNocoDB() as server:
        for name in ("aBc", "AbC", "Unique", "Rua  A", "zero"):
            server.customers.create({"Name": name})
        yield server


@pytest.mark.parametrize(
    ("key", "id"),
    [
        ("aBc", 31),
        ("AbC", 32),
        ("  Unique ", 33),
        ("Uni\u200bque", 33),
        ("\u200eUnique\u00ad", 33),
        ("Rua\u00a0A", 34),
        ("Rua A", 34),
        ("Rua\t A", 34),
        ("ze\ufeffro", 35),
    ],
)
async def test_a_key_that_looks_the_same(
    bot_home: BotHome, nocodb: PacedNocoDB, key: str, id: int
) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        data = f'Code,Text\n"{key}",x\n'.encode()
        (card,) = (await here.send_file("k.csv", data, COLUMNS, key="Name")).cards
        assert "1 changed" in card.text
        assert "taken for" not in card.text
        (step,) = (await here.get(card.id)).steps
        assert step.write.id == str(id)


async def test_a_key_in_other_case_is_told(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    """Where the table has both, they are two."""
    async with importer(bot_home, nocodb.origin) as here:
        data = b"Code,Text\nUNIQUE,x\naBc,y\nAbC,z\nabc,q\n"
        (card,) = (await here.send_file("k.csv", data, COLUMNS, key="Name")).cards
        assert "4 rows in the file: 3 changed, 1 rejected." in card.text
        assert "- Row 2: “UNIQUE” is taken for “Unique”." in card.text
        assert "(row 5). The table has several rows with the key abc." in card.text
        await here.bot.ask(f"approve {card.id}")
        rows = nocodb.customers.rows
        assert [rows[id]["Notes"] for id in (31, 32, 33)] == ["y", "z", "x"]


@pytest.mark.parametrize(("stored", "key"), [("A-1", "A\u20111"), ("O'Neil", "O’Neil")])
async def test_a_key_with_another_dash_or_apostrophe(
    bot_home: BotHome, nocodb: PacedNocoDB, stored: str, key: str
) -> None:
    nocodb.customers.create({"Name": stored})
    async with importer(bot_home, nocodb.origin) as here:
        data = f"Code,Text\n{key},x\n".encode()
        (card,) = (await here.send_file("k.csv", data, COLUMNS, key="Name")).cards
        assert "1 changed" in card.text
        assert f"“{key}” is taken for “{stored}”." in card.text


async def test_a_key_without_its_zeros(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    """Excel takes 00123 in a CSV for a number."""
    for code in ("00123", "0456", "456"):
        nocodb.customers.create({"Name": code})
    async with importer(bot_home, nocodb.origin) as here:
        data = b"Code,Text\n123,x\n456,y\n789,z\n"
        (card,) = (await here.send_file("k.csv", data, COLUMNS, key="Name")).cards
        assert "3 rows in the file: 1 new, 1 changed, 1 rejected." in card.text
        assert "The key 123 looks like 00123. Excel leaves out zeros" in card.text


async def test_two_rows_of_a_file_for_one(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        data = b"Code,Text\nunique,x\nUnique ,y\nnew,a\nNEW,b\nok,c\n"
        (card,) = (await here.send_file("k.csv", data, COLUMNS, key="Name")).cards
        assert "5 rows in the file: 1 new, 4 rejected." in card.text


async def test_titles_that_differ_in_case(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        data = b"code,Code,Text\nwrong,right,x\n"
        (card,) = (await here.send_file("k.csv", data, COLUMNS)).cards
        (step,) = (await here.get(card.id)).steps
        assert step.write.after == {"Name": "right", "Notes": "x"}
        answer = await here.send_file("l.csv", data, {"Name": "CODE"})
        assert "The file has no column CODE." in answer.text
        (card,) = (await here.send_file("m.csv", data, {"Name": "code", "Notes": "TEXT"})).cards
        (step,) = (await here.get(card.id)).steps
        assert step.write.after == {"Name": "wrong", "Notes": "x"}


UNCLEAR = b"Ana;1.234;03/04/2026\nBob;5;05/06/2026\n"


async def test_all_that_is_unclear_is_one_question(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        columns = {"Name": "Ana", "Value": "1.234", "Since": "03/04/2026"}
        answer = await here.send_file("u.csv", UNCLEAR, columns)
        assert not answer.cards
        assert "Row 1 (Ana, 1.234, 03/04/2026) may hold titles, or values." in answer.text
        columns = {"Name": "A", "Value": "B", "Since": "C"}
        answer = await here.send_file("v.csv", UNCLEAR, columns, titles=0)
        assert "Value: “1.234” can be read in two ways." in answer.text
        assert "Since: “03/04/2026” can be read in two ways." in answer.text
        notations = {"Value": ",", "Since": "dmy"}
        answer = await here.send_file("w.csv", UNCLEAR, columns, titles=0, notations=notations)
        (card,) = answer.cards
        assert "- No row has titles." in card.text
        assert "- Numbers with a decimal comma: Value." in card.text
        assert "- Days as day/month/year: Since." in card.text
        rows = [step.write.after for step in (await here.get(card.id)).steps]
        assert rows[0] == {"Name": "Ana", "Value": 1234, "Since": "2026-04-03"}
        answer = await here.send_file(
            "x.csv", UNCLEAR, columns, titles=0, decimal_sign=".", date_order="mdy"
        )
        (card,) = answer.cards
        rows = [step.write.after for step in (await here.get(card.id)).steps]
        assert rows[0] == {"Name": "Ana", "Value": 1.234, "Since": "2026-03-04"}


async def test_what_was_decided_stands_on_the_card(bot_home: BotHome, nocodb: PacedNocoDB) -> None:
    async with importer(bot_home, nocodb.origin) as here:
        data = "Konto:;x\nVon:;y\n\nNome;Dia;Hora\nJoão;03/04/2026;03/04/2026 10:00\n\n;;\n"
        data += "Ana;31/12/2026;31/12/2026 10:00\nTotal;;\n"
        columns = {"Name": "Nome", "Since": "Dia", "Seen": "Hora"}
        (card,) = (await here.send_file("d.csv", data.encode("cp1252"), columns)).cards
        for line in (
            "Titles from row 4: Nome, Dia, Hora.",
            "2 empty rows left out.",
            "Row 9 looks like a total.",
            "Read as Windows-1252.",
            "Days as day/month/year: Since, Seen.",
            "Times in UTC.",
        ):
            assert f"- {line}" in card.text
