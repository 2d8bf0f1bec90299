"""A saved question over MCP, with the rights that the person has now."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.mcp.client import McpPonte, read_result, run_ponte

NOT_INVOICES = """
[[rules]]
deny = ["read:Invoices"]
"""


async def save(ponte: McpPonte) -> None:
    """Save the rows of the table Invoices as "everything owed"."""
    asked = (await ponte.page.post("/chat", json={"message": "show Invoices"})).json()
    assert asked["rerun"]
    body = {
        "message": f"save {asked['turn']} / everything owed",
        "conversation": asked["conversation"],
    }
    assert (await ponte.page.post("/chat", json=body)).json()["status"] == "done"


async def test_a_saved_question_is_read_and_other_names_are_told(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        await save(ponte)
        async with ponte.connect(await ponte.create_token()) as client:
            found = await client.call_tool("saved_question", {"name": "the EVERYTHING owed"})
            rows = read_result(found)
            assert rows["total"] > 0
            assert "Source: Invoices: " in str(found.content[-1])
            for name in ("owed", ""):
                listed = read_result(await client.call_tool("saved_question", {"name": name}))
                assert listed["names"] == ["everything owed"]
            unknown = read_result(await client.call_tool("saved_question", {"name": "Invoices"}))
            assert unknown["names"] == [], "a table is none"
        async with ponte.connect(await ponte.create_token("guest")) as client:
            listed = read_result(await client.call_tool("saved_question", {"name": ""}))
            assert listed["names"] == [], "each person has their own"


async def test_a_column_that_is_gone_is_named_and_no_file_is_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with run_ponte(home) as ponte:
        await save(ponte)
        with closing(sqlite3.connect(home / "ponte.db")) as connection, connection:
            (stored,) = connection.execute("SELECT calls FROM saved_questions").fetchone()
            (call,) = json.loads(stored)
            call["arguments"] |= {"fields": [*call["arguments"]["fields"], "cgone"]}
            call["arguments"] |= {"export": "csv"}
            call["titles"]["cgone"] = "Discount"
            sql = "UPDATE saved_questions SET calls = ?"
            connection.execute(sql, (json.dumps([call]),))
        async with ponte.connect(await ponte.create_token()) as client:
            found = await client.call_tool("saved_question", {"name": "everything owed"})
            rows, note = found.content[0].model_dump()["text"].splitlines()
            assert json.loads(rows)["total"] > 0
            assert note == "Left out: Discount"


async def test_without_the_right_to_its_table_it_does_not_exist(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        await save(ponte)
    async with (
        run_ponte(tmp_path / "home", NOT_INVOICES) as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        for name in ("everything owed", ""):
            listed = read_result(await client.call_tool("saved_question", {"name": name}))
            assert listed["names"] == []
        page = (await ponte.page.get("/quick-commands")).json()
        assert page["saved"] == []
