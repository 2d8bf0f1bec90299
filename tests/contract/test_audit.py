"""The audit log over both engines: lines in files or in a table, pseudonyms in the database."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.base.errors import AuditRefused
from core.domain.messages import Address, Person
from core.people import audit
from core.people.audit import (
    OPERATOR,
    Audit,
    AuditLines,
    FileAuditLines,
    SqlPseudonyms,
    TableAuditLines,
    list_audit_files,
)
from tests.contract.engines import Embedded, Shared

ANA, BIA = Person("slack", "U1", "T1", "Ana"), Person("slack", "U2", "T1", "Bia")
HERE = Address("slack", "C1", "T1", is_shared=True)


def log_of(engine: Embedded) -> Audit:
    shared = isinstance(engine, Shared)
    lines: AuditLines = (
        TableAuditLines(engine.database) if shared else FileAuditLines(engine.home / "audit.log")
    )
    return Audit(lines, SqlPseudonyms(engine.database))


async def every(log: Audit, **wanted: str) -> list[tuple[str, str]]:
    """Each line's event and asker, however many pages they come in."""
    found, after, more = list[tuple[str, str]](), "", True
    while more:
        lines, after = await log.read(after, **wanted)
        found += [(line["event"], line["asker"]) for line in lines]
        more = bool(after)
    return found


async def test_what_is_written_is_read_page_by_page(
    stores: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(stores)
    for number in range(7):
        log.note(f"event {number}", ANA if number % 3 else BIA, HERE)
    await log.write_note("last", OPERATOR)
    everything = await every(log)
    assert [event for event, _ in everything] == [*(f"event {n}" for n in range(7)), "last"]
    for given, looked_at in ((2, 100), (100, 3), (3, 4), (8, 8)):
        monkeypatch.setattr(audit, "MAX_PAGE_LINES", given)
        monkeypatch.setattr(audit, "MAX_SCANNED_LINES", looked_at)
        assert await every(log) == everything
        assert await every(log, person="slack:U2") == [
            (f"event {n}", BIA.key) for n in (0, 3, 6)
        ]  # fmt: skip
    await log.close()


async def test_two_processes_make_one_pseudonym_for_a_person(stores: Embedded) -> None:
    keys = SqlPseudonyms((await stores.beside()).database)
    both = (SqlPseudonyms(stores.database), keys)
    found = await asyncio.gather(*(both[n % 2].assign([ANA.key, BIA.key]) for n in range(8)))
    assert all(one == found[0] for one in found)
    assert len(set(found[0].values())) == 2
    assert {key: name for name, key in (await keys.list_people()).items()} == found[0]


async def test_the_log_does_not_know_a_forgotten_person(stores: Embedded) -> None:
    log = log_of(stores)
    await log.write_note("one", ANA, HERE)
    await log.write_note("two", BIA, HERE)
    await log.forget(ANA.key)
    (_, first), second = await every(log)
    assert (first.startswith("p-"), second) == (True, ("two", BIA.key))
    await log.write_note("three", ANA, HERE)
    assert (await every(log, person=ANA.key)) == [("three", ANA.key)], "another pseudonym"
    await log.forget(ANA.key)
    await stores.database.scrub()
    await log.close()
    assert not await stores.holds(ANA.key)


async def test_old_lines_are_purged(stores: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of which all is old goes whole; of the others the beginning."""
    monkeypatch.setattr(audit, "MAX_SCANNED_LINES", 3)
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    log = log_of(stores)
    log._now = lambda: moment
    if isinstance(log._lines, FileAuditLines):
        log._lines._max_bytes = 450  # some four lines
    for day in range(10):
        moment = datetime(2026, 11, 1 + day, 12, tzinfo=UTC)
        await log.write_note(f"day {day + 1}", BIA, HERE)
    assert await log.purge(datetime(2026, 11, 1, 12, tzinfo=UTC)) == 0, "written at that moment"
    synced_sizes, sync = list[int](), os.fsync

    def watch(file: int) -> None:
        synced_sizes.append(os.fstat(file).st_size)
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", watch)
        assert await log.purge(datetime(2026, 11, 8, tzinfo=UTC)) == 7
    assert all(synced_sizes), "the lines are on the disk before they replace the file"
    assert bool(synced_sizes) is isinstance(log._lines, FileAuditLines)
    assert [event for event, _ in await every(log)] == ["day 8", "day 9", "day 10"]
    assert len(list_audit_files(stores.home / "audit.log")) <= 2
    assert await log.purge(datetime(2026, 11, 8, tzinfo=UTC)) == 0
    await log.write_note("day 11", BIA, HERE)
    assert await log.purge(datetime(2026, 12, 1, tzinfo=UTC)) == 4
    assert await every(log) == []
    await log.write_note("later", OPERATOR)
    assert await every(log) == [("later", "operator")]
    await log.close()


async def test_what_cannot_be_kept_is_refused(stores: Embedded, tmp_path: Path) -> None:
    log = log_of(stores)
    await stores.database.close()
    with pytest.raises(AuditRefused):
        await log.write_note("one", ANA, HERE)
    await log.close()


async def test_a_line_of_which_the_disk_took_half_is_refused_and_gone(
    sqlite: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, write = log_of(sqlite), os.write
    await log.write_note("one", ANA, HERE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        with pytest.raises(AuditRefused):
            await log.write_note("two", ANA, HERE)
    await log.write_note("three", ANA, HERE)
    assert [event for event, _ in await every(log)] == ["one", "three"]
    await log.close()
