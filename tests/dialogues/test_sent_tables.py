"""What the model reads of a table that somebody sent, and what a person is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.base.spreadsheets import MEDIA_TYPES, ExportColumn, encode_workbook
from tests.dialogues.test_nocodb_web import page
from tests.dialogues.whole import whole
from tests.fakes.openai import FakeOpenAI, Script

pytestmark = pytest.mark.slow
LONG = b"Name;Since\n" + b"".join(b"Person %03d;2026-01-01\n" % n for n in range(500))
LONGER = LONG + b"Other;2026-01-01\n" * 20_000
IMPORT = "Import these"


def model_input(fake: FakeOpenAI) -> str:
    return json.dumps(fake.request_bodies("/responses"), ensure_ascii=False)


async def test_a_long_table_is_its_titles_and_first_rows(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with whole(tmp_path / "home", fake, ponte_code="hosted") as ponte:
        fake.say("I see.", "Still.")
        await ponte.ask("What is in it?", long_csv=LONG)
        await ponte.ask("And now?")
        seen = model_input(fake)
        assert "500 rows\\\\nName\\\\tSince\\\\nPerson 000\\\\t2026-01-01" in json.dumps(seen)[1:-1]
        assert "Person 004" in seen
        assert "Person 005" not in seen
        assert "more of it with run_python" in seen


async def test_a_table_that_is_too_long_to_import(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with whole(tmp_path / "home", fake, ponte_code="hosted") as ponte:
        fake.say("I see.")
        await ponte.ask("What is in it?", long_csv=LONGER)
        assert "20500 rows" in model_input(fake)
        assert "Person 005" not in model_input(fake)


async def test_a_short_table_is_read_whole(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with whole(tmp_path / "home", fake, ponte_code="hosted") as ponte:
        fake.say("I see.")
        await ponte.ask("What is in it?", short_csv=LONG[:1_100])
        assert "Person 045" in model_input(fake)


async def test_without_python_the_model_reads_all_rows(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with whole(tmp_path / "home", fake, ponte_code="off") as ponte:
        fake.say("I see.")
        await ponte.ask("What is in it?", long_csv=LONG)
        assert "Person 499" in model_input(fake)


def importing(file: str) -> Script:
    call = {"file": file, "table": "Customers", "columns": {"Name": "Name"}}
    return Script(calls=(("nocodb_import", json.dumps(call)),), match=IMPORT, times=0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (
            "new.csv",
            b"Name;Notes\n" + b"".join(b"Person %05d;abcdefgh\n" % n for n in range(9_000)),
        ),
        ("new.csv", "Name;Notes\nJosé;ação\n".encode("cp1252")),
        ("old.xls", b"<table><tr><td>Name</td></tr><tr><td>Ana</td></tr></table>"),
    ],
)
async def test_no_note_on_a_file_that_a_tool_read_whole(
    tmp_path: Path, name: str, data: bytes
) -> None:
    async with page(tmp_path) as here:
        here.team.openai.say(importing(name), Script("Fine.", match="look"))
        answer = await here.asks(IMPORT, (name, data))
        assert len(answer["cards"]) == 1
        assert "I can't read" not in answer["response"]
        assert "I read" not in answer["response"]
        answer = await here.asks("look at it", (name, data))
        assert ("I read" in answer["response"]) == (name == "new.csv"), "the model alone read it"


async def test_a_workbook_that_the_import_reads(tmp_path: Path) -> None:
    data, type = encode_workbook([("T", [ExportColumn("Name")], [["Ana"]])])[0], MEDIA_TYPES["xlsx"]
    async with page(tmp_path) as here:
        here.team.openai.say(importing("new.xlsx"), Script("Fine.", match="look"))
        answers = []
        for text in (IMPORT, "look at it"):
            message = {"message": text, "conversation": "work"}
            files = [("file", ("new.xlsx", data, type))]
            answers.append((await here.client.post("/chat", data=message, files=files)).json())
        imported, looked = answers
        assert len(imported["cards"]) == 1
        assert "I can't read" not in imported["response"]
        assert "I can't read `new.xlsx`" in looked["response"]
