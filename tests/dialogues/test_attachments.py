"""Files that people send, attached to rows: through a card, as the bytes that the card names."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.base.http import HttpClient
from core.changes.approval import TableRule, TableRules
from core.domain.messages import Card, File
from core.domain.model_rounds import RoundRequest
from core.domain.ports import Model
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.test_nocodb_slack import channel
from tests.dialogues.test_nocodb_web import page
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.values import convert_files
from tests.fakes.openai import FakeOpenAI, Script

ASK = "Attach this to customer 1"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PDF, CONTRACT = b"%PDF-1.4 a receipt", b"Ten chairs, due in May."
SHOWN_TO_MODEL = "Files that a tool read"
NAME = "recibo nº 2003, março.pdf"
SHOWN = f"+ {NAME} (18 B, application/pdf, SHA-256 {hashlib.sha256(PDF).hexdigest()[:16]})"


def calls(name: str) -> Script:
    cells = {"table": "Customers", "changes": [{"id": 1, "fields": {"Contract": name}}]}
    return Script(calls=(("nocodb_update", json.dumps(cells)),), match=ASK, times=0)


def find_bytes(nocodb: FakeNocoDB, cell: list[dict[str, Any]]) -> list[bytes]:
    return [nocodb.world.files[file["path"]] for file in cell]


async def test_on_slack(tmp_path: Path) -> None:
    async with channel(tmp_path) as here:
        here.team.openai.say(calls(NAME))
        customers, nocodb = here.team.rows("Customers"), here.team.nocodb
        card = await here.asks(ASK, (NAME, "application/pdf", PDF))
        assert "*Change a row in Customers*" in card.visible_text
        text = card.visible_text.replace("[.]", ".")  # no link
        assert "\nCustomer 01 · Value: " in text
        assert f"\nContract: {SHOWN}" in text
        assert here.team.writes() == [], "nothing is uploaded before somebody approves"
        assert "Someone else requested" in await here.refused_click(here.bob, card)
        await here.decides(here.alice, card, "Approve", "✓ done")
        assert nocodb.write_calls == ["POST upload", "PATCH records"]
        files = customers[1]["Contract"]
        assert [file["title"] for file in files] == ["contract.txt", NAME]
        assert find_bytes(nocodb, files) == [CONTRACT, PDF]
        await here.decides(here.alice, card, "Undo", "Undone by Alice.")
        assert [file["title"] for file in customers[1]["Contract"]] == ["contract.txt"]
        share = here.shared_files()
        here.team.openai.say(reading("contract.txt"), Script("Ten chairs.", match=SHOWN_TO_MODEL))
        answer = await here.asks(READ)
        assert answer.visible_text.startswith("Ten chairs.\n\nSource: Customers, row 1, ")
        assert here.shared_files() == share, "the person didn't ask for the file"
        model_input = here.team.model_input()
        assert "<file name='contract.txt'>\\nTen chairs, due in May.\\n</file>" in model_input
        assert "dltemp" not in model_input, "nobody learns addresses of files"
        assert "xc-token" not in nocodb.downloads[0]


async def test_on_the_page(tmp_path: Path) -> None:
    """A file of another conversation is not found."""
    async with page(tmp_path) as here:
        openai: FakeOpenAI = here.team.openai
        openai.say(Script("No such file.", match="no file named note.csv"))
        openai.say(calls("note.csv"), Script("Kept.", match="keep this"))
        requests = [("file", ("note.csv", b"secret", "text/csv"))]
        other = {"message": "keep this", "conversation": "other"}
        assert (await here.client.post("/chat", data=other, files=requests)).status_code == 200
        assert (await here.asks(ASK))["response"] == "No such file."
        assert here.team.writes() == []
        card = await here.card(ASK, ("note.csv", b"a;b\n"))
        (row,) = card["rows"]
        (change,) = row["changes"]
        assert change["before"] is None
        assert change["after"].startswith("+ note.csv (4 B, text/csv, SHA-256 ")
        assert "change" not in card["actions"]
        assert (await here.clicks("approve", card["id"]))["state"] == "done"
        files = here.team.rows("Customers")[1]["Contract"]
        assert find_bytes(here.team.nocodb, files) == [CONTRACT, b"a;b\n"]
        assert "Undone" in (await here.clicks("undo", card["id"]))["text"]
        files = here.team.rows("Customers")[1]["Contract"]
        assert [file["title"] for file in files] == ["contract.txt"]


PNG = b"\x89PNG\r\n\x1a\n"
READ = "What does the contract of customer 1 say?"


def reading(file: str) -> Script:
    call = json.dumps({"table": "Customers", "id": 1, "file": file})
    return Script(calls=(("nocodb_get", call),), match=READ)


async def test_a_picture_and_a_workbook_of_a_row_on_the_page(tmp_path: Path) -> None:
    """The model sees a picture; a workbook is there for Python, and for another row."""
    async with page(tmp_path) as here:
        files, rows = here.team.nocodb.world.files, here.team.rows("Customers")
        for name, type in (("photo.png", "image/png"), ("sales.xlsx", XLSX)):
            files[f"download/{name}"] = PNG
            cell = {"title": name, "mimetype": type, "size": 8, "path": f"download/{name}"}
            rows[1]["Contract"].extend(convert_files([cell]))
        here.team.openai.say(reading("photo.png"), Script("A house.", match=SHOWN_TO_MODEL))
        answer = await here.asks(READ)
        assert answer["response"].startswith("A house.")
        assert answer["files"] == []
        assert "data:image/png;base64,iVBORw0KGgo=" in here.team.model_input()
        here.team.openai.say(reading("sales.xlsx"), Script("A table.", match=SHOWN_TO_MODEL))
        assert (await here.asks(READ))["files"] == []
        cells = {"table": "Customers", "changes": [{"id": 2, "fields": {"Contract": "sales.xlsx"}}]}
        copy = Script(calls=(("nocodb_update", json.dumps(cells)),), match="Copy it")
        here.team.openai.say(copy)
        card = await here.card("Copy it to customer 2")
        assert "sales.xlsx (8 B, " in card["rows"][0]["changes"][0]["after"]
        assert (await here.clicks("approve", card["id"]))["state"] == "done"
        assert find_bytes(here.team.nocodb, rows[2]["Contract"]) == [PNG]
        assert "of a kind that you cannot read" in here.team.model_input()


@asynccontextmanager
async def bot(
    home: BotHome, nocodb: FakeNocoDB, model: Model | None = None, rules: TableRules | None = None
) -> AsyncIterator[RunningBot]:
    async def read_file(id: str) -> tuple[File, bytes]:
        return await ponte.engine.conversations.files.get(id)

    async with HttpClient() as http:
        source = NocoSource(
            nocodb.origin, filled.OWNER, http, base_id=filled.CRM, read_file=read_file
        )
        async with home.open(model, [source], appliers=[source.rows], rules=rules) as ponte:
            yield ponte


async def propose(ponte: RunningBot) -> tuple[Card, File]:
    """The card for a file that an export left in the conversation."""
    query = json.dumps({"table": "Orders", "export": "csv", "limit": 1})
    (file,) = (await ponte.ask(f"call nocodb_query {query}")).files
    cells = {"table": "Customers", "changes": [{"id": 2, "fields": {"Contract": file.id}}]}
    (card,) = (await ponte.ask(f"call nocodb_update {json.dumps(cells)}")).cards
    return card, file


def contract(nocodb: FakeNocoDB) -> Any:
    tables = nocodb.world.bases[filled.CRM].tables.values()
    return next(table for table in tables if table.title == "Customers").rows[2]["Contract"]


@also_on_postgres
async def test_the_bytes_of_the_card_are_uploaded(bot_home: BotHome) -> None:
    async with FakeNocoDB() as nocodb:
        async with bot(bot_home, nocodb) as ponte:
            card, file = await propose(ponte)
            _, data = await ponte.engine.conversations.files.get(file.id)
        async with bot(bot_home, nocodb) as ponte:  # after a restart
            assert " Done." in (await ponte.ask(f"approve {card.id}")).text
            assert find_bytes(nocodb, contract(nocodb)) == [data]
            assert "Undone" in (await ponte.ask(f"undo {card.id}")).text
            assert contract(nocodb) is None


async def test_a_file_that_is_gone_or_refused_is_not_attached(bot_home: BotHome) -> None:
    async with FakeNocoDB() as nocodb, bot(bot_home, nocodb) as ponte:
        card, file = await propose(ponte)
        await ponte.engine.conversations.files.delete(file.id)
        text = (await ponte.ask(f"approve {card.id}")).text
        assert "Nothing was changed." in text
        assert "The file `Orders.csv` was deleted after this request, so it wasn't" in text
        assert nocodb.write_calls == []
        card, _ = await propose(ponte)
        nocodb.world.users[filled.OWNER].roles = dict.fromkeys([filled.CRM], "viewer")
        text = (await ponte.ask(f"approve {card.id}")).text
        assert "Nothing was changed." in text
        assert "doesn't have permission to upload files" in text
        assert contract(nocodb) is None


@also_on_postgres
async def test_a_file_that_was_read_is_not_sent_after_a_restart(bot_home: BotHome) -> None:
    blocked = asyncio.Event()

    async def block(ask: RoundRequest) -> None:
        if ask.number > 1:
            blocked.set()
            await asyncio.Event().wait()

    call = json.dumps({"table": "Customers", "id": 1, "file": "contract.txt"})
    async with FakeNocoDB() as nocodb:
        async with bot(bot_home, nocodb, EchoModel(gate=block)) as ponte:
            _, receipt = await ponte.send(f"call nocodb_get {call}")
            await blocked.wait()
            await ponte.engine.drain(0)
        async with bot(bot_home, nocodb) as ponte:
            answer = await ponte.wait_for_answer(receipt)
        assert "contract.txt (23 B)" in answer.text
        assert answer.files == ()
        assert len(nocodb.downloads) == 1, "it isn't read again"


@pytest.mark.parametrize(
    ("lost", "told", "names", "writes"),
    [
        ("PATCH", " Done.", ["Orders.csv"], ["POST upload", "PATCH records"]),
        ("upload", "Nothing was chang", [], ["POST upload"]),
    ],
)
async def test_a_lost_answer_attaches_nothing_twice(
    bot_home: BotHome, lost: str, told: str, names: list[str], writes: list[str]
) -> None:
    async with FakeNocoDB() as nocodb, bot(bot_home, nocodb) as ponte:
        card, _ = await propose(ponte)
        nocodb.hang(lost)
        _, receipt = await ponte.send(f"approve {card.id}")
        await nocodb.wait_for_held_call()
        nocodb.drop("after")
        nocodb.release()
        assert told in (await ponte.wait_for_answer(receipt)).text
        assert [file["title"] for file in contract(nocodb) or ()] == names
        assert nocodb.write_calls == writes


async def test_two_requests_of_one_message_add_to_one_row(bot_home: BotHome) -> None:
    """A model may attach two files by two calls. Each is undone alone."""
    async with FakeNocoDB() as nocodb, bot(bot_home, nocodb) as ponte:
        calls = []
        for table in ("Orders", "Customers"):
            query = json.dumps({"table": table, "export": "csv", "limit": 1})
            (file,) = (await ponte.ask(f"call nocodb_query {query}")).files
            cells = {"table": "Customers", "changes": [{"id": 2, "fields": {"Contract": file.id}}]}
            calls.append(f"call nocodb_update {json.dumps(cells)}")
        first, second = (await ponte.ask("\n".join(calls))).cards
        for card in (first, second):
            assert " Done." in (await ponte.ask(f"approve {card.id}")).text
        assert [file["title"] for file in contract(nocodb)] == ["Orders.csv", "Customers.csv"]
        assert "Undone" in (await ponte.ask(f"undo {first.id}")).text
        assert [file["title"] for file in contract(nocodb)] == ["Customers.csv"]
        assert "already undone" in (await ponte.ask(f"undo {first.id}")).text
        assert "Undone" in (await ponte.ask(f"undo {second.id}")).text
        assert contract(nocodb) is None


async def test_a_row_with_a_file_is_never_created_without_an_approval(bot_home: BotHome) -> None:
    rules = TableRules({"customers": TableRule("auto")})
    async with FakeNocoDB() as nocodb, bot(bot_home, nocodb, rules=rules) as ponte:
        _, file = await propose(ponte)
        for row, state in (({"Name": "A"}, "done"), ({"Name": "B", "Contract": file.id}, "open")):
            call = json.dumps({"table": "Customers", "rows": [row]})
            (card,) = (await ponte.ask(f"call nocodb_create {call}")).cards
            assert card.state == state
        assert nocodb.write_calls == ["POST records"]
        assert " Done." in (await ponte.ask(f"approve {card.id}")).text
        assert nocodb.write_calls[1:] == ["POST upload", "POST records", "PATCH records"]
