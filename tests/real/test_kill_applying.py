"""kill -9 while a change is being applied: no row is wrong, and the ledger says what is there.

`PONTE_STORM` (kills, default 20) makes the storm a long one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from core.messages import Answer, Message
from core.proposal import Change
from core.store.database import Database
from core.store.ledger import SqliteLedger
from core.store.schema import MIGRATIONS
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import message
from tests.real.conftest import Scene

KILLS = int(os.environ.get("PONTE_STORM", "20"))


async def proposed(scene: Scene, key: str, tool: str, **args: Any) -> str:
    """The id of a change that waits for a person."""
    call = json.dumps({"tool": tool, "args": {"table_id": CUSTOMERS, **args}})
    asked = message(f"call nocodb_execute {call}", key)
    await scene.people.say(asked)
    answer = await scene.people.answer(asked)
    assert [card.state for card in answer.cards] == ["open"], answer.text
    return answer.cards[0].id


def row(scene: Scene, id: int) -> dict[str, Any] | None:
    return next((row for row in scene.bridge.api.rows[CUSTOMERS] if row["Id"] == id), None)


async def killed_before_its_record(scene: Scene, id: str, tool: str) -> tuple[Message, Answer]:
    """The call reaches the bridge, the bot dies, the effect comes, the next bot goes on."""
    approve = message(f"approve {id}", f"approve-{id}")
    scene.bridge.hang(tool)
    await scene.people.say(approve)
    await scene.bridge.reached()
    await scene.victim.kill()
    done = len(scene.bridge.calls)
    scene.bridge.release()
    await scene.bridge.until(done + 1)
    await scene.victim.start()
    return approve, await scene.people.answer(approve)


@pytest.mark.parametrize("several", [False, True])
async def test_a_create_whose_answer_nobody_heard_is_found(scene: Scene, several: bool) -> None:
    await scene.victim.start()
    data = [{"Name": f"New {n}"} for n in range(3)] if several else {"Name": "New 0"}
    id = await proposed(scene, "k1", "create_record", record_data=data)
    _, answer = await killed_before_its_record(scene, id, "create_record")
    assert "Done. New rows: 31" in answer.text
    names = Counter(row["Name"] for row in scene.bridge.api.rows[CUSTOMERS])
    assert names["New 0"] == 1
    assert scene.bridge.done.count("create_record") == 1


async def test_a_create_that_did_not_happen_is_not_repeated(scene: Scene) -> None:
    """It may yet come: here it does, and there is one row and not two."""
    await scene.victim.start()
    id = await proposed(scene, "k1", "create_record", record_data={"Name": "Late"})
    approve = message(f"approve {id}", "k2")
    scene.bridge.hang("create_record")
    await scene.people.say(approve)
    await scene.bridge.reached()
    await scene.victim.kill()
    await scene.victim.start()
    answer = await scene.people.answer(approve)
    assert "Not known whether it happened" in answer.text
    scene.bridge.release()
    await scene.bridge.until(len(scene.bridge.calls) + 1)
    assert [row["Name"] for row in scene.bridge.api.rows[CUSTOMERS]].count("Late") == 1


async def test_an_update_and_a_delete_go_on(scene: Scene) -> None:
    await scene.victim.start()
    update = await proposed(
        scene, "k1", "update_record", record_id=3, record_data={"Status": "Active"}
    )
    _, answer = await killed_before_its_record(scene, update, "update_record")
    assert "Done." in answer.text
    delete = await proposed(scene, "k2", "delete_record", record_id=4)
    _, answer = await killed_before_its_record(scene, delete, "delete_record")
    assert "Done." in answer.text
    changed = row(scene, 3)
    assert changed
    assert changed["Status"] == "Active"
    assert row(scene, 4) is None
    assert [scene.bridge.done.count(t) for t in ("update_record", "delete_record")] == [1, 1]


async def test_three_kills_in_one_decision_are_told(scene: Scene) -> None:
    """Only crashes count: then it ends, and what is known of each row stands on the card."""
    await scene.victim.start()
    rows = [{"id": n, "Status": "Active"} for n in (3, 5, 6)]
    id = await proposed(scene, "k1", "bulk_update_records", records=rows)
    approve = message(f"approve {id}", "k2")
    for _ in range(3):
        scene.bridge.hang()
        await scene.people.say(approve)
        await scene.bridge.reached()
        await scene.victim.kill()
        scene.bridge.release()
        await scene.victim.start()
    answer = await scene.people.answer(approve)
    assert answer.status in ("done", "failed")
    again = message(f"approve {id}", "k3")
    await scene.people.say(again)
    assert "being done at this moment" not in (await scene.people.answer(again)).text
    (change,) = await ledger(scene)
    assert change.state != "applying"


class Storm:
    """Waves of changes, each with values of its own, so that one can tell what was written."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.dice = random.Random(20261120)
        self.rows = scene.bridge.api.rows[CUSTOMERS]
        self.kills = self.midway = 0

    async def wave(self, number: int) -> None:
        """A change is approved; the bot dies at some call of it, once or twice, and goes on."""
        tool, args, rows = self.something(f"wave {number}")
        id = await proposed(self.scene, f"w{number}", tool, **args)
        approve = message(f"approve {id}", f"a{number}")
        calls = len(self.scene.bridge.calls)
        await self.scene.people.say(approve)
        for _ in range(self.dice.choice((1, 1, 1, 2))):
            more = self.dice.randrange(1, 2 * rows + 3)
            self.midway += await self.come(calls + more, approve)
            calls = len(self.scene.bridge.calls)
            await self.scene.victim.kill()
            self.kills += 1
            await self.scene.victim.start()
        assert (await self.scene.people.answer(approve)).status == "done"

    async def come(self, calls: int, approve: Message) -> bool:
        """Until so many calls have come in, or it is all over: whether the first was first."""
        come = asyncio.create_task(self.scene.bridge.until(calls))
        answer = asyncio.create_task(self.scene.people.answer(approve))
        await asyncio.wait({come, answer}, return_when=asyncio.FIRST_COMPLETED)
        midway = come.done()
        for task in (come, answer):
            task.cancel()
        await asyncio.gather(come, answer, return_exceptions=True)
        return midway

    def something(self, word: str) -> tuple[str, dict[str, Any], int]:
        """Creates of 1 to 25 rows, updates and deletes of 1 to 12."""
        kind = self.dice.choice(("create", "create", "update", "update", "delete"))
        if kind == "create" or len(self.rows) < 15:
            rows = [{"Name": f"{word} new {n}"} for n in range(self.dice.choice((1, 3, 25)))]
            return "create_record", {"record_data": rows}, len(rows)
        ids = self.dice.sample([row["Id"] for row in self.rows], self.dice.choice((1, 4, 12)))
        if kind == "delete":
            return "bulk_delete_records", {"record_ids": ids}, len(ids)
        records = [{"id": id, "Name": f"{word} row {id}"} for id in ids]
        return "bulk_update_records", {"records": records}, len(ids)


async def test_storm(scene: Scene) -> None:
    storm = Storm(scene)
    before = {str(row["Id"]): row["Name"] for row in storm.rows}
    await scene.victim.start()
    wave = 0
    while storm.kills < KILLS:
        await storm.wave(wave)
        wave += 1
    assert storm.midway > storm.kills / 2, "most kills came while it was being applied"
    changes = await ledger(scene)
    assert len(changes) == wave
    writes = [call for call in scene.bridge.calls if call.tool == "create_record" and call.done]
    created = Counter(row["Name"] for call in writes for row in _listed(call.args["record_data"]))
    expected, doubtful = dict(before), set[str]()
    for change in reversed(changes):
        assert change.state in ("done", "partial"), change
        for step in change.steps:
            assert step.state in ("done", "unknown"), step
            name = str((step.write.after or {}).get("Name"))
            if change.draft.kind == "create":
                assert created[name] <= 1, "no create was repeated"
            if step.state == "unknown":
                assert change.draft.kind == "create", "all else is looked for and goes on"
                doubtful.add(name)
            elif change.draft.kind == "delete":
                del expected[step.write.id]
            else:
                assert change.draft.kind == "update" or created[name] == 1
                expected[step.write.id] = name
    stands = {str(row["Id"]): row["Name"] for row in storm.rows if row["Name"] not in doubtful}
    assert stands == expected


def _listed(data: Any) -> list[Any]:
    return data if isinstance(data, list) else [data]


async def ledger(scene: Scene) -> Sequence[Change]:
    await scene.victim.kill()
    database = await Database.open(scene.victim.home / "ponte.db", MIGRATIONS)
    try:
        return await SqliteLedger(database).of_conversation("", 1000)
    finally:
        await database.close()
