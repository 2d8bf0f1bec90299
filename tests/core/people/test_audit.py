"""An auditor reads who asked, who decided and what was done; nothing out of the rows, and nobody's
name."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.stores import SCHEMA
from core.base.errors import AuditRefused, NotStored
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
from core.people import audit
from core.people.audit import OPERATOR, Audit, FileAuditLines, SqlPseudonyms, place_of
from core.store.database import SqliteDatabase

ANA = Person("slack", "U1", "T1", "Ana\nforged line")
BIA = Person("slack", "U2", "T1", "Bia")
HERE = Address("slack", "C1", "T1", is_shared=True)
ROW = RowWrite("7", {"Name": "secret before"}, {"Name": "secret after"})
TARGET = {"table_id": "m1", "fields": {"Name": "secret field"}, "link_fields": ["Boss"]}
DRAFT = Draft("memory", "update", TARGET, "People", (ROW,))
PROPOSAL = Proposal("abcde2", DRAFT, ANA, HERE, 3, "c1", "t1", 0, "en", 0.0, 1.0)
DONE = Change(PROPOSAL, "done", (ChangeStep(1, ROW, "done"),), POLICY_PERSON, decision_seq=3)


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 20, 8, 29, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(minutes=1)
        return self.at


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
    yield made
    await made.close()


@pytest.fixture
async def log(database: SqliteDatabase, tmp_path: Path) -> AsyncIterator[Audit]:
    files = FileAuditLines(tmp_path / "audit.log", max_bytes=1000, max_rotated=2)
    made = Audit(files, SqlPseudonyms(database), Clock())
    yield made
    await made.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_an_audit_line_has_all_its_fields(
    log: Audit, database: SqliteDatabase, tmp_path: Path
) -> None:
    await log.write("change-done", DONE, "ponte.toml:3")
    (line,) = lines(tmp_path / "audit.log")
    ana = line["asker"]
    assert line == {
        "at": "2026-11-20T08:30:00.000+00:00", "event": "change-done", "change": "abcde2",
        "state": "done", "revision": 1, "asker": ana, "decider": "policy", "rule": "ponte.toml:3",
        "place": "slack:T1:C1", "system": "memory", "kind": "update", "table": "m1", "row_count": 1,
        "written_row_ids": ["7"],
    }  # fmt: skip
    assert ana.startswith("p-")
    assert len(ana) == 18
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600
    await log.write("change-approved", replace(DONE, decider=BIA))
    later = lines(tmp_path / "audit.log")[1]
    assert later["asker"] == ana, "of one person always the same"
    assert later["decider"] not in (ana, BIA.key)


async def test_a_key_that_people_made_up_is_a_cell_s_value(log: Audit, tmp_path: Path) -> None:
    ids = ("12", "ana@example.com", "01KAJ7Q9ZV0N3X5B8C2D4E6F7G", "Ana")
    steps = tuple(ChangeStep(n, RowWrite(id), "done") for n, id in enumerate(ids, 1))
    await log.write("change-done", replace(DONE, steps=steps))
    (line,) = lines(tmp_path / "audit.log")
    assert line["written_row_ids"] == ["12", "-", "01KAJ7Q9ZV0N3X5B8C2D4E6F7G", "-"]


@pytest.mark.parametrize(
    ("state", "fact"), [("done", "written_row_ids"), ("unknown", "unknown_rows")]
)
async def test_a_row_counts_once_whatever_is_written_in_it(
    log: Audit, tmp_path: Path, state: StepState, fact: str
) -> None:
    writes = (RowWrite("7", {"Name": ""}), RowWrite("8"), RowWrite("7", {"Age": 1}), RowWrite("9"))
    steps = tuple(ChangeStep(n, write, state) for n, write in enumerate(writes, 1))
    steps = (*steps[:3], replace(steps[3], state="failed"))
    for event in ("change-proposed", "change-undo-started", "change-denied", "change-partial"):
        await log.write(event, replace(DONE, steps=steps))
    for line in lines(tmp_path / "audit.log"):
        assert line["row_count"] == 3
        assert line[fact] == (["7", "8"] if state == "done" else [1, 2])


def test_a_place_tells_of_no_person() -> None:
    channel = Address("discord", "C1", "G1", person="U1", is_shared=True)
    assert place_of(Address("slack", "C1", "T1", "171.2", is_shared=True)) == "slack:T1:C1:171.2"
    assert place_of(Address("slack", "D9U1", "T1", "171.2")) == "slack:T1:direct"
    assert place_of(channel) == "discord:G1:C1"
    assert place_of(Address("web", "abc", person="ana")) == "web:direct"


async def test_what_is_noted_stands_in_the_order_it_came_in(log: Audit, tmp_path: Path) -> None:
    log.note("action-refused", ANA, HERE, right="spend", rule="")
    log.note("tool-run", BIA, HERE, tool="t" * 300, outcome="ok")
    await log.write("change-done", DONE)
    log.note("config-reloaded", OPERATOR)
    await log.close()
    told = lines(tmp_path / "audit.log")
    events = [line["event"] for line in told]
    assert events == ["action-refused", "tool-run", "change-done", "config-reloaded"]
    assert sorted(line["at"] for line in told) == [line["at"] for line in told]
    assert told[1]["tool"] == "t" * 200
    assert told[3] == {"at": told[3]["at"], "event": "config-reloaded", "asker": "operator"}


async def test_who_is_forgotten_is_named_no_more(
    log: Audit, database: SqliteDatabase, tmp_path: Path
) -> None:
    await log.write("change-done", replace(DONE, decider=BIA))
    log.note("action-refused", ANA, HERE, right="spend")
    assert [line["asker"] for line in (await log.read())[0]] == [ANA.key, ANA.key]
    await log.write_note("person-forgotten", OPERATOR, person=ANA.key)
    await log.forget(ANA.key)
    pseudonym = lines(tmp_path / "audit.log")[0]["asker"]
    told, _ = await log.read()
    assert [line["event"] for line in told] == ["change-done", "action-refused", "person-forgotten"]
    assert [told[0]["asker"], told[1]["asker"], told[2]["person"]] == [pseudonym] * 3
    assert told[0]["decider"] == BIA.key
    assert (await log.read(person=ANA.key))[0] == []
    assert len((await log.read(person=pseudonym))[0]) == 3
    await database.close()
    kept = (tmp_path / "ponte.db").read_bytes() + (tmp_path / "audit.log").read_bytes()
    assert (BIA.key.encode() in kept, ANA.key.encode() in kept) == (True, False)


async def test_what_is_asked_for_is_found(log: Audit) -> None:
    await log.write("one", DONE)
    await log.write("two", replace(DONE, decider=BIA))
    await log.write("three", DONE, undo_asker=BIA)
    log.note("four", OPERATOR, file="ponte.toml")
    for wanted, found in (
        ({}, "one two three four"),
        ({"since": "2026-11-20T08:31:00.000+00:00"}, "two three four"),
        ({"until": "2026-11-20T08:32:00.000+00:00"}, "one two"),
        ({"person": "slack:T1:U2"}, "two three"),
        ({"person": "slack:U2"}, "two three"),
        ({"person": "slack:T2:U2"}, ""),
        ({"person": "operator"}, "four"),
        ({"event": "two"}, "two"),
        ({"event": "two", "person": "slack:U1"}, "two"),
        ({"event": 'one", "asker'}, ""),
        ({"person": "slack:U1", "since": "2026-11-20T08:32"}, "three"),
    ):
        told, after = await log.read(**wanted)
        assert ([line["event"] for line in told], after) == (found.split(), ""), wanted


async def test_it_is_appended_to_and_rotated_by_its_size(log: Audit, tmp_path: Path) -> None:
    for number in range(12):
        await log.write(f"event {number}", DONE)
    kept = [tmp_path / name for name in ("audit.log.2", "audit.log.1", "audit.log")]
    assert not (tmp_path / "audit.log.3").exists()
    assert all(path.stat().st_size <= 1000 for path in kept)
    events = [line["event"] for path in kept for line in lines(path)]
    assert events == [f"event {n}" for n in range(12 - len(events), 12)]


async def test_it_is_read_in_pages_while_it_rotates(
    log: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_PAGE_LINES", 2)
    (tmp_path / "audit.log.bak").write_text("no file of ours")
    for number in range(6):
        await log.write(f"event {number}", DONE)
    found, after = await log.read()
    for number in range(6, 9):
        await log.write(f"event {number}", DONE)
    first = found[0]["event"]
    while after:
        more, after = await log.read(after)
        found = [*found, *more]
    events = [line["event"] for line in found]
    assert events == [f"event {n}" for n in range(int(first[-1]), 9)]


async def test_an_incomplete_last_line_is_skipped(log: Audit, tmp_path: Path) -> None:
    await log.write("one", DONE)
    with (tmp_path / "audit.log").open("a") as file:
        file.write('{"at": "2026-11-20T08:30:00.000+00:00", "event": "on')
    assert [line["event"] for line in (await log.read())[0]] == ["one"]


async def test_a_refused_write_is_worded(log: Audit, tmp_path: Path) -> None:
    (tmp_path / "audit.log").mkdir()
    with pytest.raises(AuditRefused, match="Is a directory"):
        await log.write("change-done", DONE)
    with pytest.raises(AuditRefused, match="Is a directory"):
        await log.write_note("person-forgotten", OPERATOR, person=ANA.key)
    with capture_logs() as logs:
        log.note("tool-run", ANA, HERE, tool="t")
        await log.close()
    assert [(one["event"], one["lost_event"]) for one in logs] == [
        ("could not write to the audit log", "tool-run")
    ]


async def test_old_lines_that_cannot_be_deleted_are_an_error(
    log: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    await log.write("one", DONE)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(NotStored):
        await log.purge(datetime.now(UTC) + timedelta(days=1))
    assert len(lines(tmp_path / "audit.log")) == 1
