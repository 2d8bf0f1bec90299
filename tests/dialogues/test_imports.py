"""A spreadsheet into a table: a dry run, one card, one approval, one undo."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.dialogues.test_nocodb_slack import channel
from tests.dialogues.test_nocodb_web import page
from tests.fakes.openai import Script

IMPORT = "Import these customers"
COLUMNS = {"Name": "Nome", "Status": "Estado"}

pytestmark = pytest.mark.slow


def importing(file: str, **arguments: object) -> Script:
    call = {"file": file, "table": "Customers", "columns": COLUMNS, **arguments}
    return Script(calls=(("nocodb_import", json.dumps(call)),), match=IMPORT, times=0)


def build_csv(*rows: str) -> bytes:
    return "\n".join(["Nome;Estado", *rows]).encode("cp1252")


async def test_new_rows_are_added_after_one_approval_and_taken_back(tmp_path: Path) -> None:
    async with page(tmp_path) as here:
        here.team.openai.say(importing("new.csv"))
        customers = here.team.rows("Customers")
        before = dict(customers)
        rows = [f"João {n};Lead" for n in range(250)]
        answer = await here.asks(IMPORT, ("new.csv", build_csv(*rows, "Ana;Unheard")))
        (card,) = answer["cards"]
        assert card["title"] == "Import 250 rows into Customers"
        assert card["label"] == "Approve 250 rows"
        assert "New: 250 · Rejected: 1" in card["text"]
        print(card["text"], [r["name"] for r in card["rows"]], answer["files"])
        assert customers == before
        result = await here.clicks("approve", card["id"])
        assert "Written: 250." in result["text"]
        assert len(customers) == len(before) + 250
        assert {row["Status"] for id, row in customers.items() if id not in before} == {"Lead"}
        await here.clicks("undo", card["id"])
        assert customers == before


async def test_rows_of_the_table_are_found_by_their_key(tmp_path: Path) -> None:
    async with page(tmp_path) as here:
        here.team.openai.say(importing("new.csv", key="Name", missing="refuse"))
        customers = here.team.rows("Customers")
        before = {id: dict(row) for id, row in customers.items()}
        data = build_csv(
            "customer 02;Active", "Customer 03;", "Customer 99;Lead", "Customer 04;lead"
        )
        card = await here.card(IMPORT, ("new.csv", data))
        print(card["text"], card["rows"])
        await here.clicks("approve", card["id"])
        print({id: (before[id], row) for id, row in customers.items() if row != before[id]})


async def test_in_a_channel_the_plan_is_opened_in_a_direct_message_first(tmp_path: Path) -> None:
    async with channel(tmp_path) as here:
        here.team.openai.say(importing("new.csv"))
        customers = here.team.rows("Customers")
        count = len(customers)
        rows = [f"Person {n};Lead" for n in range(120)]
        card = await here.asks(IMPORT, ("new.csv", "text/csv", build_csv(*rows)))
        print(card.visible_text)
        assert list(card.buttons) == ["Deny"]
        assert not [name for name in here.shared_files() if name.endswith(".xlsx")]
        id = card.buttons["Deny"]["value"].partition(".")[0]
        here.slack.say(here.bea, here.place, f"{here.slack.bot} approve {id}")
        await here.slack.wait_until(lambda: here.slack.ephemeral_posts(here.place.id))
        refused = here.slack.ephemeral_posts(here.place.id)[-1]
        dm = here.slack.dm(here.bea)
        answer = await here.slack.wait_for_answer(here.slack.say(here.bea, dm, f"approve {id}"))
        print(answer.visible_text)
        await here.slack.wait_until(lambda: f"{id}.xlsx" in here.shared_files())
        code = re.search(rf"{id}-\d+", answer.visible_text)
        assert code
        assert len(customers) == count
        here.slack.say(here.bea, dm, f"approve {code[0]}")
        await here.slack.wait_until(lambda: "✓ done" in card.visible_text)
        assert len(customers) == count + 120
        print(refused.visible_text)
