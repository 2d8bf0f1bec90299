"""The team's tables in the terminal: `ponte chat`, typed or through a pipe."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from adapters.terminal import chat
from core.base.markdown import to_plain_text
from tests.dialogues import office
from tests.fakes.keyboard import Keyboard


async def test_questions_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers say where the figures come from. A change waits for a word and can be taken back."""
    monkeypatch.chdir(tmp_path)
    async with office.office(tmp_path) as team, team.open(ponte_web="off"):

        async def types(*lines: str) -> str:
            """Type these lines; return the text of the screen."""
            output, keyboard = io.StringIO(), Keyboard("".join(f"{line}\n" for line in lines))
            assert await chat.chat(team.home / "ponte.sock", keyboard, output) == 0
            return output.getvalue()

        async def proposes(text: str) -> tuple[str, str]:
            """Return what the screen shows of the card, and its id."""
            view = await types(text)
            match = re.search(r"Type: approve (\w{6}) ·(?: change .* ·)? deny \1\n", view)
            assert match is not None, view
            return view, match[1]

        view = await types(office.LEADS, office.SALES)
        assert view.startswith(to_plain_text(office.LEADS_FOUND))
        filtered = f'Customers, Status is "Lead" and Lead since is {office.this_month()}'
        assert f"\n\nSource: {filtered}: 1 of 1 row, " in view
        assert "(America/Sao_Paulo)" in view, "as PONTE_TIMEZONE says"
        assert f"\n{office.SALES_FOUND}\n\nSource: Customers: 30 of 30 rows, " in view

        orders, customers = team.rows("Orders"), team.rows("Customers")
        view, id = await proposes(office.PAID)
        assert "  # Change a row in Orders · ● waiting for approval\n" in view
        assert "    Order 12 (Amount: 18 · Due: Jan 15, 2026): Paid: No → Yes\n" in view
        assert orders[12]["Paid"] is False
        first, second = await types(f"approve {id}"), await types(f"approve {id}")
        assert first.startswith("Approved by ")
        assert " Done. " in first
        assert first == second
        assert (orders[12]["Paid"], team.writes()) == (True, ["PATCH"])
        assert f"To undo this change, type undo {id}." in first
        assert "Undone (" in await types(f"undo {id}")
        assert orders[12]["Paid"] is False

        view, id = await proposes(office.BOTH)
        assert "Customer 05" in view.partition("Source: Customers, Name is")[0]
        await types(f"deny {id}")

        view, id = await proposes(office.DUPLICATES)
        assert "  # Delete 2 rows in Customers · ● waiting for approval\n" in view
        assert "I've prepared this change for approval.\n" in view
        deletions = [line.strip() for line in view.splitlines() if "  Customer 28" in line]
        names = [line.split(": ")[0] for line in deletions]
        assert names == ["Customer 28 (29)", "Customer 28 (30)"]
        assert all("Status: " in line and " → " not in line for line in deletions)
        await types(f"approve {id}")
        assert not {29, 30} & customers.keys()
        view, id = await proposes(office.ATTACHED)
        rows = [line.split() for line in view.splitlines()[3:5]]
        assert rows == [["Name", "Status"], ["Ada", "Lead"]]
        assert " Done. " in await types(f"approve {id}")
        assert "Ada" in [row["Name"] for row in customers.values()]

        view = await types(office.EVERYTHING)
        assert view.startswith(f"{office.EXPORTED}\n\nSource: Readings: 5 of 1,200 rows, ")
        match = re.search(r"\n  \[Readings\.csv, \d+ kB\] (\S+)\n$", view)
        assert match is not None, view
    export = (tmp_path / match[1]).read_text("utf-8-sig").splitlines()
    assert (len(export), export[-1]) == (1_201, "1200,r1200,1200")
