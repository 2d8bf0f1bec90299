"""A spreadsheet into a large table of a real NocoDB, and back.

`PONTE_STORM` (any value) takes 3,112 rows into a table of 10,000.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.dialogues.bot_home import BotHome
from tests.dialogues.imports import importer
from tests.fakes.faulty_proxy import FaultyProxy
from tests.real.nocodb.seed import Seeded, base_with_rows, call

pytestmark = pytest.mark.slow

STORED, CHANGED, NEW = (10_000, 1_412, 1_700) if "PONTE_STORM" in os.environ else (1_000, 120, 125)
COLUMNS = {"Label": "Label", "Value": "Value"}


async def test_thousands_of_rows_go_in_and_come_back(tmp_path: Path, real_nocodb: Seeded) -> None:
    """Cells that somebody changed since stay."""
    base = await asyncio.to_thread(
        base_with_rows, real_nocodb.url, real_nocodb.token, "Import", readings=STORED
    )
    path = f"{real_nocodb.url}/api/v3/data/{base.id}/{base.tables['Readings']}/records"

    def request(url: str, body: object = None, method: str = "") -> Any:
        return call(url, body, method=method, xc_token=real_nocodb.token)

    ids = dict[str, int]()

    def read_values() -> dict[str, int]:
        values, page = {}, f"{path}?pageSize=1000"
        while page:
            result = request(page)
            page = result.get("next")
            for row in result["records"]:
                values[row["fields"]["Label"]] = row["fields"]["Value"]
                ids[row["fields"]["Label"]] = row["id"]
        return values

    before = await asyncio.to_thread(read_values)
    assert len(before) == STORED
    changes = {f"r{n * 7 % STORED + 1:04d}": -n for n in range(1, CHANGED + 1)}
    new = {f"new {n}": n for n in range(NEW)}
    wanted = changes | new
    async with FaultyProxy(real_nocodb.url) as proxy:
        home = BotHome(tmp_path / "home")
        async with importer(home, proxy.origin, real_nocodb.token, base.id) as here:
            rows = [f"{label},{value}" for label, value in wanted.items()]
            arguments = {"table": "Readings", "columns": COLUMNS, "key": "Label"}
            id = (await here.propose(rows, **arguments)).id
            assert not proxy.written
            answer = await here.bot.ask(f"approve {id}")
            assert f"Written: {len(wanted):,}." in answer.text
            assert len(proxy.written) == -(-CHANGED // 10) + -(-NEW // 10)
            assert await asyncio.to_thread(read_values) == before | wanted
            mine = [{"id": ids[label], "fields": {"Value": 77}} for label in ("r0008", "new 7")]
            await asyncio.to_thread(request, path, mine, "PATCH")
            undo = await here.bot.ask(f"undo {id}")
            assert "Skipped because they changed after the request: 2." in undo.text
            states = Counter(step.state for part in await here.parts(id) for step in part.steps)
            assert states == {"done": len(wanted)}
            after = await asyncio.to_thread(read_values)
            assert after == before | {"r0008": 77, "new 7": 77}
