"""An auditor reads who asked, who decided and what was done; nothing out of the rows, and nobody's
name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
from structlog.testing import capture_logs

from bot.stores import SCHEMA, Stores
from core.base.errors import NotStored
from core.domain.changes import (
    POLICY_PERSON,
    Change,
    ChangeStep,
    Draft,
    Proposal,
    RowWrite,
    StepState,
)
from core.domain.messages import Address, Person
from core.people.audit import OPERATOR, Audit, add_change_line, place_of
from core.store.database import SqliteDatabase
from tests.time_limits import Limits

ANA = Person("slack", "U1", "T1", "Ana\nforged line")
BIA = Person("slack", "U2", "T1", "Bia")
HERE = Address("slack", "C1", "T1", is_shared=True)
ROW = RowWrite("7", {"Name": "secret before"}, {"Name": "secret after"})
TARGET = {"table_id": "m1", "fields": {"Name": "secret field"}, "link_fields": ["Boss"]}
DRAFT = Draft("memory", "update", TARGET, "People", (ROW,))
PROPOSAL = Proposal("abcde2", DRAFT, ANA, HERE, 3, "c1", "t1", 0, "en", 0.0, 1.0)
DONE = Change(PROPOSAL, "done", (ChangeStep(1, ROW, "done"),), POLICY_PERSON, decision_seq=3)


class Log(Audit):
    """An audit log, a line of which can be written about a change alone. Each line is written a
    minute after the one before."""

    def __init__(self, database: SqliteDatabase, clock: time_machine.Traveller) -> None:
        super().__init__(database)
        self.database, self.clock = database, clock

    async def write(
        self, event: str, change: Change, rule: str = "", undo_asker: Person | None = None
    ) -> None:
        self.clock.shift(60)
        await self.database.write(lambda c: add_change_line(c, event, change, rule, undo_asker))

    async def read_stored(self) -> list[dict[str, Any]]:
        """Return the lines as they are stored, oldest first."""
        sql = "SELECT line FROM audit ORDER BY id"
        rows = await self.database.read(lambda c: c.execute(sql).fetchall())
        return [json.loads(row["line"]) for row in rows]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
    with time_machine.travel(datetime(2026, 11, 20, 8, 29, tzinfo=UTC), tick=False) as clock:
        log = Log(database, clock)
        yield log
    await log.close()
    await database.close()


async def test_an_audit_line_has_all_its_fields(log: Log) -> None:
    await log.write("done", DONE, "ponte.toml:3")
    (line,) = await log.read_stored()
    ana = line["asker"]
    assert line == {
        "at": "2026-11-20T08:30:00.000+00:00",
        "event": "change-done",
        "change": "abcde2",
        "state": "done",
        "revision": 1,
        "asker": ana,
        "decider": "policy",
        "rule": "ponte.toml:3",
        "place": "slack:T1:C1",
        "system": "memory",
        "kind": "update",
        "table": "m1",
        "row_count": 1,
        "written_row_ids": ["7"],
    }
    assert ana.startswith("p-")
    assert len(ana) == 18
    await log.write("approved", replace(DONE, decider=BIA))
    later = (await log.read_stored())[1]
    assert later["asker"] == ana, "of one person always the same"
    assert later["decider"] not in (ana, BIA.key)


async def test_a_key_that_people_made_up_is_a_cell_s_value(log: Log) -> None:
    ids = ("12", "ana@example.com", "01KAJ7Q9ZV0N3X5B8C2D4E6F7G", "Ana")
    steps = tuple(ChangeStep(n, RowWrite(id), "done") for n, id in enumerate(ids, 1))
    await log.write("done", replace(DONE, steps=steps))
    (line,) = await log.read_stored()
    assert line["written_row_ids"] == ["12", "-", "01KAJ7Q9ZV0N3X5B8C2D4E6F7G", "-"]


@pytest.mark.parametrize(
    ("state", "fact"), [("done", "written_row_ids"), ("unknown", "unknown_rows")]
)
async def test_a_row_counts_once_whatever_is_written_in_it(
    log: Log, state: StepState, fact: str
) -> None:
    writes = (RowWrite("7", {"Name": ""}), RowWrite("8"), RowWrite("7", {"Age": 1}), RowWrite("9"))
    steps = tuple(ChangeStep(n, write, state) for n, write in enumerate(writes, 1))
    steps = (*steps[:3], replace(steps[3], state="failed"))
    for event in ("proposed", "undo-started", "denied", "partial"):
        await log.write(event, replace(DONE, steps=steps))
    for line in await log.read_stored():
        assert line["row_count"] == 3
        assert line[fact] == (["7", "8"] if state == "done" else [1, 2])


def test_a_place_tells_of_no_person() -> None:
    channel = Address("discord", "C1", "G1", person="U1", is_shared=True)
    assert place_of(Address("slack", "C1", "T1", "171.2", is_shared=True)) == "slack:T1:C1:171.2"
    assert place_of(Address("slack", "D9U1", "T1", "171.2")) == "slack:T1:direct"
    assert place_of(channel) == "discord:G1:C1"
    assert place_of(Address("web", "abc", person="ana")) == "web:direct"


async def test_notes_are_written_in_their_order(log: Log) -> None:
    log.note("action-refused", ANA, HERE, right="spend", rule="")
    log.note("tool-run", BIA, HERE, tool="t" * 300, outcome="ok")
    log.note("config-reloaded", OPERATOR)
    await log.close()
    lines = await log.read_stored()
    events = [line["event"] for line in lines]
    assert events == ["action-refused", "tool-run", "config-reloaded"]
    assert lines[1]["tool"] == "t" * 200
    assert lines[2] == {"at": lines[2]["at"], "event": "config-reloaded", "asker": "operator"}


async def test_a_token_has_its_id_whoever_made_it(log: Log) -> None:
    await log.write_note("api-token-added", OPERATOR, person=ANA.key, api_token="1f0c9a2b")
    await log.write_note("action-refused", replace(ANA, api_token="2e"), HERE, right="spend")
    assert [line["api_token"] for line in await log.read_stored()] == ["1f0c9a2b", "2e"]


async def test_a_forgotten_person_is_named_no_more(log: Log, tmp_path: Path) -> None:
    await log.write("done", replace(DONE, decider=BIA))
    log.note("action-refused", ANA, HERE, right="spend")
    assert [line["asker"] for line in (await log.read())[0]] == [ANA.key, ANA.key]
    await log.write_note("person-forgotten", OPERATOR, person=ANA.key)
    await log.forget(ANA.key)
    pseudonym = (await log.read_stored())[0]["asker"]
    lines, _ = await log.read()
    assert [line["event"] for line in lines] == [
        "person-forgotten",
        "action-refused",
        "change-done",
    ]
    assert [lines[2]["asker"], lines[1]["asker"], lines[0]["person"]] == [pseudonym] * 3
    assert lines[2]["decider"] == BIA.key
    assert (await log.read(person=ANA.key))[0] == []
    assert len((await log.read(person=pseudonym))[0]) == 3
    await log.database.scrub()
    content = (tmp_path / "ponte.db").read_bytes()
    assert (BIA.key.encode() in content, ANA.key.encode() in content) == (True, False)


async def test_lines_are_found_by_time_person_and_event(log: Log) -> None:
    await log.write("one", DONE)
    await log.write("two", replace(DONE, decider=BIA))
    await log.write("three", DONE, undo_asker=BIA)
    log.clock.shift(60)
    await log.write_note("change-four", OPERATOR, file="ponte.toml")
    for target, match in (
        ({}, "four three two one"),
        ({"since": "2026-11-20T08:31:00.000+00:00"}, "four three two"),
        ({"until": "2026-11-20T08:32:00.000+00:00"}, "two one"),
        ({"person": "slack:T1:U2"}, "three two"),
        ({"person": "slack:U2"}, "three two"),
        ({"person": "slack:T2:U2"}, ""),
        ({"person": "operator"}, "four"),
        ({"event": "change-two"}, "two"),
        ({"event": "change-two", "person": "slack:U1"}, "two"),
        ({"event": 'change-one", "asker'}, ""),
        ({"person": "slack:U1", "since": "2026-11-20T08:32"}, "three"),
    ):
        lines, following = await log.read(**target)
        events = [line["event"].removeprefix("change-") for line in lines]
        assert (events, following) == (match.split(), ""), target


async def test_the_oldest_lines_make_room(log: Log, limits: Limits) -> None:
    await log.write("0", DONE)
    length = len(json.dumps((await log.read_stored())[0]))
    limits(MAX_AUDIT_LOG_CHARACTERS=5 * length)
    limits(ROWS_PER_TRANSACTION=2)
    for number in range(1, 9):
        await log.write(str(number), DONE)
    assert await log.purge() == 4
    assert [line["event"] for line in await log.read_stored()] == [
        f"change-{n}" for n in range(4, 9)
    ]
    assert await log.purge() == 0


async def test_a_line_that_cannot_be_stored_fails_or_is_logged(log: Log) -> None:
    await log.database.close()
    with pytest.raises(NotStored):
        await log.write_note("person-forgotten", OPERATOR, person=ANA.key)
    with capture_logs() as logs:
        log.note("tool-run", ANA, HERE, tool="t")
        await log.close()
    assert [(one["event"], one["lost_event"]) for one in logs] == [
        ("could not write to the audit log", "tool-run")
    ]


async def test_each_line_is_logged_with_its_number(log: Log) -> None:
    """A collector of the log reads each line. After a crash it may read one twice."""
    await log.write("done", DONE)
    with capture_logs() as logs:
        assert await log.log_new_lines() == 1
        await log.write("undo-started", DONE)
        await log.write_note("config-reloaded", OPERATOR, file="ponte.toml")
        assert await log.log_new_lines() == 2
        assert await log.log_new_lines() == 0
    assert [(one["event"], one["audit_event"], one["number"]) for one in logs] == [
        ("audit", "change-done", 1),
        ("audit", "change-undo-started", 2),
        ("audit", "config-reloaded", 3),
    ]
    first = (await log.read_stored())[0]
    new_logs = {name: logs[0][name] for name in first if name != "event"}
    assert new_logs == {name: value for name, value in first.items() if name != "event"}


def write_files(home: Path) -> list[str]:
    """Write the audit log as Ponte 0.1.0 did: two files, with a line that is no object and one that
    was cut off. Return the
    complete lines."""
    lines = [
        json.dumps(
            {"at": f"2026-11-20T08:3{n}:00.000+00:00", "event": f"event-{n}", "asker": "p-a"}
        )
        for n in range(4)
    ]
    (home / "audit.log.1").write_text(f"{lines[0]}\n{lines[1]}\n")
    (home / "audit.log").write_text(f"{lines[2]}\n{lines[3]}\n5\n{lines[3][:40]}")
    (home / "audit.log.bak").write_text("not a file of ours")
    return lines


def list_files(home: Path) -> list[str]:
    return [path.name for path in home.glob("audit*")]


async def read_stored(home: Path) -> list[str]:
    stores = await Stores.open_in_home(home)
    try:
        sql = "SELECT line FROM audit ORDER BY id"
        rows = await stores.database.read(lambda c: c.execute(sql).fetchall())
        assert await stores.audit.log_new_lines() == 0, "a collector had them from the files"
        return [row["line"] for row in rows]
    finally:
        await stores.close()


async def test_the_files_of_an_older_ponte_become_rows(tmp_path: Path) -> None:
    lines = write_files(tmp_path)
    assert await read_stored(tmp_path) == lines
    assert list_files(tmp_path) == ["audit.log.bak"]
    assert await read_stored(tmp_path) == lines


@pytest.mark.parametrize("deleted_count", [0, 1])
async def test_a_start_that_was_killed_before_it_deleted_the_files_repeats_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted_count: int
) -> None:
    lines, unlink = write_files(tmp_path), Path.unlink
    remaining = [True] * deleted_count

    def kill(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("audit.log") and not (remaining and remaining.pop()):
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", kill)
        with pytest.raises(KeyboardInterrupt):
            await Stores.open_in_home(tmp_path)
    assert await read_stored(tmp_path) == lines
    assert list_files(tmp_path) == ["audit.log.bak"]


async def test_a_file_that_cannot_be_read_stops_no_start_and_is_imported_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, open_file = write_files(tmp_path), Path.open

    def deny(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "audit.log":
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *args, **options)

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Path, "open", deny)
        stores = await Stores.open_in_home(tmp_path)
    (warning,) = [entry for entry in logs if entry["event"] == "could not import audit.log"]
    assert "Permission denied" in warning["error"]
    await stores.audit.write_note("config-reloaded", OPERATOR)
    await stores.audit.log_new_lines()
    await stores.close()
    assert len(list_files(tmp_path)) == 3
    assert (await read_stored(tmp_path))[1:] == lines, "after the line of the start before"
    assert list_files(tmp_path) == ["audit.log.bak"]
