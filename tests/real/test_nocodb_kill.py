"""kill -9 while a change is applied to a real NocoDB: no row is wrong, and the ledger is right.

`PONTE_STORM` (kills, default 6) makes the storm a long one.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.choices import make_message
from tests.fakes.faulty_proxy import FaultyProxy
from tests.fakes.recorder import Recorder
from tests.fakes.recorder_server import serve
from tests.fakes.victim import parse_arguments
from tests.real.nocodb.seed import Base, Seeded, call
from tests.real.storm import Storm, ledger
from tests.real.victims import People, Victim

KILLS = int(os.environ.get("PONTE_STORM", "6"))


class NocoTable:
    """The storm's table, in a real NocoDB behind a proxy that counts."""

    def __init__(self, proxy: FaultyProxy, real: Seeded, base: Base) -> None:
        self.proxy = proxy
        self._real = real
        self._path = f"/api/v3/data/{base.id}/{base.tables['Customers']}/records"

    @property
    def finished_call_count(self) -> int:
        return self.proxy.finished_call_count

    async def until(self, calls: int) -> None:
        await self.proxy.wait_for_calls(calls)

    def names(self) -> Mapping[str, str]:
        url = f"{self._real.url}{self._path}?pageSize=1000"
        rows = call(url, xc_token=self._real.token)["records"]
        return {str(row["id"]): row["fields"]["Name"] for row in rows}

    def row(self, id: int) -> dict[str, Any]:
        url = f"{self._real.url}{self._path}/{id}"
        fields: dict[str, Any] = call(url, xc_token=self._real.token)["fields"]
        return fields

    def created_rows(self) -> Counter[str]:
        outcomes = [one for one in self.proxy.written if one.method == "POST" and one.succeeded]
        return Counter(row["fields"]["Name"] for one in outcomes for row in one.body)

    def create(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        rows = [{"Name": name} for name in names]
        return "nocodb_create", {"table": "Customers", "rows": rows}

    def update(self, names: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        changes = [{"id": id, "fields": {"Name": name}} for id, name in names.items()]
        return "nocodb_update", {"table": "Customers", "changes": changes}

    def delete(self, ids: Sequence[str]) -> tuple[str, dict[str, Any]]:
        return "nocodb_delete", {"table": "Customers", "ids": list(ids)}


@pytest.fixture
async def storm(real_nocodb: Seeded, reused_base: Base, tmp_path: Path) -> AsyncIterator[Storm]:
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        FaultyProxy(real_nocodb.url) as proxy,
        serve(Recorder()) as platform,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        victim = Victim(tmp_path / "home", platform)
        table = NocoTable(proxy, real_nocodb, reused_base)
        start = f"--nocodb={proxy.origin} {real_nocodb.token} {reused_base.id}"
        yield Storm(table, victim, People(victim, session), [start])
        await victim.kill()


def test_a_token_may_begin_as_an_option_does() -> None:
    """One of 64 tokens of NocoDB's begins with "-"."""
    arguments = parse_arguments(["home", "platform", "--nocodb=http://nocodb -token base"])
    assert arguments.nocodb == ["http://nocodb", "-token", "base"]


async def test_random_kills_during_writes_to_nocodb_leave_no_wrong_row(storm: Storm) -> None:
    await storm.blow(KILLS)
    await storm.check()


def table_of(storm: Storm) -> NocoTable:
    assert isinstance(storm.table, NocoTable)
    return storm.table


async def killed_at(storm: Storm, call: str, tool: str, arguments: dict[str, Any]) -> str:
    """What is told in the end, where the bot dies while it waits for that call."""
    table = table_of(storm)
    id = await storm.propose(f"propose {call}", tool, arguments)
    approve = make_message(f"approve {id}", f"approve {call}")
    table.proxy.hang(call)
    await storm.people.say(approve)
    await table.proxy.wait_for_held_call()
    await storm.victim.kill()
    calls = table.proxy.finished_call_count
    table.proxy.release()
    await table.until(calls + 1)
    await storm.begin()
    return (await storm.people.answer(approve)).text


async def test_a_write_whose_answer_nobody_heard(storm: Storm) -> None:
    """It reaches NocoDB, the bot dies, the effect comes, the next bot finds it done."""
    table = table_of(storm)
    await storm.begin()
    new_item, update = table.create(["New"]), table.update({"3": "New"})
    writes = {"POST": new_item, "PATCH": update, "DELETE": table.delete(["4"])}
    for method, (tool, arguments) in writes.items():
        assert "Done." in await killed_at(storm, f"{method} records", tool, arguments)
    assert [one.method for one in table.proxy.written] == [*writes], "and not again"
    for change in await ledger(storm.victim):
        assert (change.state, change.steps[0].state) == ("done", "done")


@pytest.mark.parametrize("call", ["POST upload", "PATCH records"])
async def test_a_file_is_attached_once(storm: Storm, call: str) -> None:
    """The bot dies while it waits for the upload, or for the write of the row after it. The next
    one uploads the file again only if the row does not have it."""
    table = table_of(storm)
    await storm.begin()
    query = json.dumps({"table": "Orders", "export": "csv"})
    answer = await storm.people.ask(make_message(f"call nocodb_query {query}", "k0"))
    assert [file.name for file in answer.files] == ["Orders.csv"]
    changes = [{"id": 3, "fields": {"Contract": "Orders.csv"}}]
    text = await killed_at(storm, call, "nocodb_update", {"table": "Customers", "changes": changes})
    assert " Done." in text
    row = table.row(3)
    assert [(file["title"], file["size"]) for file in row["Contract"]] == [
        ("Orders.csv", answer.files[0].size)
    ]
    uploads = [one for one in table.proxy.written if one.path.endswith("/upload")]
    assert len(uploads) == (2 if call == "POST upload" else 1)
    (change,) = await ledger(storm.victim)
    assert (change.state, change.steps[0].state) == ("done", "done")


async def test_a_new_row_between_itself_and_its_links(storm: Storm) -> None:
    """It is found; that the last link came is seen, what never was sent is named."""
    table = table_of(storm)
    rows = [{"Name": "New", "Orders": [8], "Notes": "n"}]
    await storm.begin()
    text = await killed_at(
        storm, "POST links", "nocodb_create", {"table": "Customers", "rows": rows}
    )
    assert " Done." in text
    assert [one.method for one in table.proxy.written] == ["POST", "POST"]
