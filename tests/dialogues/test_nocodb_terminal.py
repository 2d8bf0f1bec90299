"""The team's tables in the terminal: `ponte chat`, typed or through a pipe."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.terminal import chat
from core.base.markdown import to_plain_text
from tests.dialogues.office import (
    ATTACHED,
    DUPLICATES,
    EVERYTHING,
    EXPORTED,
    LEADS,
    LEADS_FOUND,
    PAID,
    SALES,
    SALES_FOUND,
    Office,
    office,
    this_month,
)
from tests.fakes.keyboard import Keyboard


class TerminalSession:
    def __init__(self, team: Office) -> None:
        self.team = team

    async def types(self, *lines: str) -> str:
        """Type these lines; return the text of the screen."""
        written = io.StringIO()
        socket = self.team.home / "ponte.sock"
        typed = Keyboard("".join(f"{line}\n" for line in lines))
        assert await chat.chat(socket, typed, written) == 0
        return written.getvalue()

    async def proposes(self, text: str) -> tuple[str, str]:
        """What stands there of the card, and its id."""
        shown = await self.types(text)
        found = re.search(r"Type: approve (\w{6}) ·(?: change .* ·)? deny \1\n", shown)
        assert found is not None, shown
        return shown, found[1]


@asynccontextmanager
async def write_tools(home: Path) -> AsyncIterator[TerminalSession]:
    async with office(home) as team, team.open(ponte_web="off"):
        yield TerminalSession(team)


async def test_questions_are_answered_with_where_the_figures_come_from(tmp_path: Path) -> None:
    async with write_tools(tmp_path) as here:
        shown = await here.types(LEADS, SALES)
        assert shown.startswith(to_plain_text(LEADS_FOUND))
        filtered = f'Customers, Status is "Lead" and Lead since is {this_month()}'
        assert f"\n\nSource: {filtered}: 1 of 1 row, " in shown
        assert "(America/Sao_Paulo)" in shown, "as PONTE_TIMEZONE says"
        assert f"\n{SALES_FOUND}\n\nSource: Customers: 30 of 30 rows, " in shown


async def test_a_change_waits_for_a_word_and_can_be_taken_back(tmp_path: Path) -> None:
    async with write_tools(tmp_path) as here:
        orders = here.team.rows("Orders")
        shown, id = await here.proposes(PAID)
        assert "  # Change a row in Orders · waiting for approval\n" in shown
        assert "    Order 12: Paid: No → Yes\n" in shown
        assert orders[12]["Paid"] is False
        first, second = await here.types(f"approve {id}"), await here.types(f"approve {id}")
        assert first.startswith("Approved by ")
        assert " Done. " in first
        assert first == second
        assert (orders[12]["Paid"], here.team.writes()) == (True, ["PATCH"])
        assert f"To undo it, type undo {id}." in first
        assert "Undone (" in await here.types(f"undo {id}")
        assert orders[12]["Paid"] is False


async def test_duplicates_go_and_new_rows_come(tmp_path: Path) -> None:
    async with write_tools(tmp_path) as here:
        shown, id = await here.proposes(DUPLICATES)
        assert "  # Delete 2 rows in Customers · waiting for approval\n" in shown
        assert "I've prepared this change for approval.\n" in shown
        deleted = [line.strip() for line in shown.splitlines() if "  Customer 28" in line]
        assert [line.split(": ")[0] for line in deleted] == [
            "Customer 28 (29)", "Customer 28 (30)",
        ]  # fmt: skip
        assert all("Status: " in line and " → " not in line for line in deleted)
        await here.types(f"approve {id}")
        assert not {29, 30} & here.team.rows("Customers").keys()
        shown, id = await here.proposes(ATTACHED)
        assert [line.split() for line in shown.splitlines()[3:5]] == [
            ["Name", "Status"], ["Ada", "Lead"],
        ]  # fmt: skip
        assert " Done. " in await here.types(f"approve {id}")
        assert "Ada" in [row["Name"] for row in here.team.rows("Customers").values()]


async def test_rows_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with write_tools(tmp_path) as here:
        shown = await here.types(EVERYTHING)
        assert shown.startswith(f"{EXPORTED}\n\nSource: Readings: 5 of 1,200 rows, ")
        found = re.search(r"\n  \[Readings\.csv, \d+ kB\] (\S+)\n$", shown)
        assert found is not None, shown
    lines = (tmp_path / found[1]).read_text("utf-8-sig").splitlines()
    assert (len(lines), lines[-1]) == (1_201, "1200,r1200,1200")
