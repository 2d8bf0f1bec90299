"""kill -9 while a change is being applied: no row is wrong, and the ledger says what is there.

`PONTE_STORM` (kills, default 6) makes the storm a long one.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import make_message
from tests.real.conftest import ToolContext
from tests.real.storm import Storm, ledger

KILLS = int(os.environ.get("PONTE_STORM", "6"))


async def propose(ctx: ToolContext, key: str, tool: str, **args: Any) -> str:
    """The id of a change that waits for a person."""
    call = json.dumps({"tool": tool, "args": {"table_id": CUSTOMERS, **args}})
    message = make_message(f"call nocodb_execute {call}", key)
    answer = await ctx.people.ask(message)
    assert [card.state for card in answer.cards] == ["open"], answer.text
    return answer.cards[0].id


async def test_a_write_whose_answer_nobody_heard_is_found(ctx: ToolContext) -> None:
    """The call reaches the bridge, the bot dies, the effect comes, the next bot goes on."""
    rows = ctx.bridge.api.rows[CUSTOMERS]
    await ctx.victim.start()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("create_record", {"record_data": {"Name": "New"}}),
        ("create_record", {"record_data": [{"Name": f"New {n}"} for n in range(3)]}),
        ("update_record", {"record_id": 3, "record_data": {"Status": "Active"}}),
        ("delete_record", {"record_id": 4}),
    ]
    for number, (tool, args) in enumerate(calls):
        id = await propose(ctx, f"k{number}", tool, **args)
        approve = make_message(f"approve {id}", f"approve-{id}")
        ctx.bridge.hang(tool)
        await ctx.people.say(approve)
        await ctx.bridge.wait_for_held_call()
        await ctx.victim.kill()
        count = len(ctx.bridge.calls)
        ctx.bridge.release()
        await ctx.bridge.wait_for_calls(count + 1)
        await ctx.victim.start()
        assert " Done." in (await ctx.people.answer(approve)).text, tool
    writes = [tool for tool, _ in calls]
    assert [tool for tool in ctx.bridge.executed_tools if tool in writes] == writes
    names = [row["Name"] for row in rows if row["Name"].startswith("New")]
    assert names == ["New", "New 0", "New 1", "New 2"]
    assert {row["Id"]: row["Status"] for row in rows if row["Id"] in (3, 4)} == {3: "Active"}


async def test_a_create_that_did_not_happen_is_not_repeated(ctx: ToolContext) -> None:
    """It may yet come: here it does, and there is one row and not two."""
    await ctx.victim.start()
    id = await propose(ctx, "k1", "create_record", record_data={"Name": "Late"})
    approve = make_message(f"approve {id}", "k2")
    ctx.bridge.hang("create_record")
    await ctx.people.say(approve)
    await ctx.bridge.wait_for_held_call()
    await ctx.victim.kill()
    await ctx.victim.start()
    answer = await ctx.people.answer(approve)
    assert "Result unknown:" in answer.text
    ctx.bridge.release()
    await ctx.bridge.wait_for_calls(len(ctx.bridge.calls) + 1)
    assert [row["Name"] for row in ctx.bridge.api.rows[CUSTOMERS]].count("Late") == 1


async def test_three_kills_in_one_decision_are_told(ctx: ToolContext) -> None:
    """Only crashes count: then it ends, and what is known of each row stands on the card."""
    await ctx.victim.start()
    rows = [{"id": n, "Status": "Active"} for n in (3, 5, 6)]
    id = await propose(ctx, "k1", "bulk_update_records", records=rows)
    approve = make_message(f"approve {id}", "k2")
    for _ in range(3):
        ctx.bridge.hang()
        await ctx.people.say(approve)
        await ctx.bridge.wait_for_held_call()
        await ctx.victim.kill()
        ctx.bridge.release()
        await ctx.victim.start()
    answer = await ctx.people.answer(approve)
    assert answer.status in ("done", "failed")
    again = make_message(f"approve {id}", "k3")
    assert "` was already approved and is in progress." not in (await ctx.people.ask(again)).text
    (change,) = await ledger(ctx.victim)
    assert change.state != "applying"


class BridgeRows:
    """The storm's table, behind a bridge."""

    def __init__(self, bridge: FakeBridge) -> None:
        self._bridge = bridge
        self._rows = bridge.api.rows[CUSTOMERS]

    @property
    def finished_call_count(self) -> int:
        return len(self._bridge.calls)

    async def until(self, calls: int) -> None:
        await self._bridge.wait_for_calls(calls)

    def names(self) -> Mapping[str, str]:
        return {str(row["Id"]): row["Name"] for row in self._rows}

    def created_rows(self) -> Counter[str]:
        outcomes = [
            call.args["record_data"]
            for call in self._bridge.calls
            if call.tool == "create_record" and call.succeeded
        ]
        # A single row is sent alone, without a list around it.
        rows = [data if isinstance(data, list) else [data] for data in outcomes]
        return Counter(row["Name"] for each in rows for row in each)

    def create(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        return self._call("create_record", record_data=[{"Name": name} for name in names])

    def update(self, names: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        records = [{"id": int(id), "Name": name} for id, name in names.items()]
        return self._call("bulk_update_records", records=records)

    def delete(self, ids: Sequence[str]) -> tuple[str, dict[str, Any]]:
        return self._call("bulk_delete_records", record_ids=[int(id) for id in ids])

    def _call(self, tool: str, **args: Any) -> tuple[str, dict[str, Any]]:
        return "nocodb_execute", {"tool": tool, "args": {"table_id": CUSTOMERS, **args}}


async def test_random_kills_during_writes_leave_no_wrong_row(ctx: ToolContext) -> None:
    storm = Storm(BridgeRows(ctx.bridge), ctx.victim, ctx.people, ())
    await storm.blow(KILLS)
    await storm.check()
