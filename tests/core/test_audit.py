"""An auditor reads who asked, who decided and what was done; nothing out of the rows."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.changes.audit import AuditLog
from core.changes.model import POLICY, Change, Draft, Proposal, RowWrite, Step
from core.errors import AuditRefused
from core.messages import Address, Person

ANA = Person("slack", "U1", "T1", "Ana\nforged line")
ROW = RowWrite("7", {"Name": "secret before"}, {"Name": "secret after"})
DRAFT = Draft("memory", "update", {"table_id": "m1"}, "People", (ROW,))
PROPOSAL = Proposal(
    "abcde2", DRAFT, ANA, Address("slack", "C1", "T1"), 3, "c1", "t1", 0, "en", 0.0, 1.0
)
DONE = Change(PROPOSAL, "done", (Step(1, ROW, "done"),), POLICY, claim=3)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[AuditLog]:
    made = AuditLog(
        tmp_path / "audit.log",
        largest=1000,
        kept=2,
        now=lambda: datetime(2026, 11, 20, 8, 30, tzinfo=UTC),
    )
    yield made
    await made.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_line_for_each(log: AuditLog, tmp_path: Path) -> None:
    await log.write("done", DONE)
    (line,) = lines(tmp_path / "audit.log")
    assert line == {
        "at": "2026-11-20T08:30:00.000+00:00", "event": "done", "id": "abcde2", "state": "done",
        "asker": "slack:T1:U1", "decider": "policy", "conversation": "slack:T1:C1",
        "turn_seq": 3, "decision_seq": 3, "system": "memory", "kind": "update",
        "target": {"table_id": "m1"}, "rows": 1, "written": ["7"],
    }  # fmt: skip
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


async def test_it_is_appended_to_and_rotated_by_its_size(log: AuditLog, tmp_path: Path) -> None:
    for number in range(12):
        await log.write(f"event {number}", DONE)
    kept = [tmp_path / name for name in ("audit.log.2", "audit.log.1", "audit.log")]
    assert not (tmp_path / "audit.log.3").exists()
    assert all(path.stat().st_size <= 1000 for path in kept)
    events = [line["event"] for path in kept for line in lines(path)]
    assert events == [f"event {n}" for n in range(12 - len(events), 12)]


async def test_a_refused_write_is_worded(log: AuditLog, tmp_path: Path) -> None:
    (tmp_path / "audit.log").mkdir()
    with pytest.raises(AuditRefused, match="Is a directory"):
        await log.write("done", DONE)


async def test_a_full_disk_leaves_no_torn_line(log: AuditLog, tmp_path: Path) -> None:
    await log.write("one", DONE)
    size = (tmp_path / "audit.log").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(AuditRefused, match=r"No space left|File too large"):
            await log.write("two", DONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await log.write("three", DONE)
    assert [line["event"] for line in lines(tmp_path / "audit.log")] == ["one", "three"]
