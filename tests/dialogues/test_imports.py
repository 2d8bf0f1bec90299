"""A spreadsheet into a table: a dry run, one card, one approval, one undo."""

from __future__ import annotations

import json
from pathlib import Path

from tests.dialogues.test_nocodb_web import page
from tests.fakes.openai import Script

IMPORT = "Import these customers"


def importing(**arguments: object) -> Script:
    call = {"file": "new.csv", "table": "Customers", **arguments}
    return Script(calls=(("nocodb_import", json.dumps(call)),), match=IMPORT, times=0)


def csv_of(count: int) -> bytes:
    rows = (f"Person {n},Lead" for n in range(count))
    return "\n".join(["Nome,Estado", *rows]).encode()


async def test_new_rows(tmp_path: Path) -> None:
    async with page(tmp_path) as here:
        here.team.openai.say(importing(columns={"Name": "Nome", "Status": "Estado"}))
        customers = here.team.rows("Customers")
        before = dict(customers)
        card = await here.card(IMPORT, ("new.csv", csv_of(250)))
        assert card["title"] == "Import 250 rows into Customers"
        print(json.dumps(card, indent=1)[:3000])
        done = await here.clicks("approve", card["id"])
        print(done["text"])
        assert len(customers) == len(before) + 250
        undone = await here.clicks("undo", card["id"])
        print(undone["text"])
        assert customers == before
