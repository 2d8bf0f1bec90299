"""What is done now and then: one duty's failure is not the others', and none is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock
from zoneinfo import ZoneInfo

import pytest
import time_machine
from structlog.testing import capture_logs

from core.base.errors import ModelDown, NotStored
from core.changes.ledger import SqlLedger
from core.chat.people import Conversations, People
from core.domain.changes import UNDO_LIFETIME_SECONDS
from core.domain.records import Remote
from core.domain.rights import PlatformMember
from core.journal.jobs import Alone
from core.money.budget import Budget
from core.people.audit import Audit
from core.people.directory import SqlDirectory
from core.store.files import FolderBytes, SqlFiles
from core.turn.preparation import Assistant
from core.turn.run import Retention
from core.turn.upkeep import DAY_SECONDS, Upkeep
from tests.contract.engines import Embedded
from tests.contract.test_journal_threads import ANA, talk
from tests.contract.test_ledger import finish_change
from tests.fakes.config import FixedConfig, means_everybody, no_daily_caps
from tests.fakes.models import EchoModel

STAMPED = ("turn.upkeep", "journal.inbox", "journal.journal", "journal.threads")
"""Modules that look at the clock."""


class Eraser(EchoModel):
    """`down` are the ids that cannot be erased yet."""

    def __init__(self) -> None:
        super().__init__()
        self.erased: list[str] = []
        self.down: dict[str, Exception] = {}
        self.tried = asyncio.Event()

    async def erase(self, remote: Remote) -> bool:
        self.tried.set()
        if remote.id in self.down:
            raise self.down[remote.id]
        self.erased.append(remote.id)
        return True


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@dataclass
class UpkeepSetup:
    engine: Embedded
    clock: Clock
    model: Eraser = field(default_factory=Eraser)

    @property
    def files(self) -> SqlFiles:
        return SqlFiles(self.engine.database, FolderBytes(self.engine.home / "files"))

    def upkeep(self, days: int = 0, audit: Audit | None = None, audit_days: int = 0) -> Upkeep:
        engine, unused = self.engine, cast(Any, None)
        threads = cast(Any, AsyncMock())
        config = FixedConfig()
        config.retention = Retention(days, audit=audit_days)
        zone = ZoneInfo("UTC")
        budget = Budget(engine.database, config, no_daily_caps, zone, is_meant=means_everybody)
        people = People(unused, budget, audit or unused, self.directory, unused, unused)
        return Upkeep(
            Conversations(
                engine.inbox, engine.journal, threads, self.files, unused, unused, unused, unused
            ),
            people,
            cast(Any, SimpleNamespace(ledger=SqlLedger(engine.database))),
            Assistant(cast(Any, self.model), unused, unused, unused),
            engine.database,
            Alone(),
            config,
        )

    @property
    def directory(self) -> SqlDirectory:
        return SqlDirectory(self.engine.database, str)


@pytest.fixture
async def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[UpkeepSetup]:
    clock = Clock()
    for module in STAMPED:
        monkeypatch.setattr(f"core.{module}.time", clock)
    engine = await Embedded.open(tmp_path)
    yield UpkeepSetup(engine, clock)
    await engine.close()


async def stored_texts(setup: UpkeepSetup, channel: str) -> list[str]:
    return [s.message.text for s in await setup.engine.journal.list_entries(f"web:{channel}")]


async def test_people_whom_their_platform_no_longer_confirms_are_deleted(
    setup: UpkeepSetup,
) -> None:
    for id, days in (("U1", 31), ("U2", 29)):
        member = PlatformMember(id, confirmed_at=setup.clock.now - days * DAY_SECONDS)
        await setup.directory.put("chat", [member])
    await setup.upkeep().once()
    remaining_names = await setup.directory.find("chat", {("", "U1"), ("", "U2")})
    assert [member.id for member in remaining_names] == ["U2"]


async def test_old_audit_lines_are_removed(setup: UpkeepSetup) -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    log = Audit(setup.engine.database)
    for days in (400, 31, 29, 0):
        with time_machine.travel(noon - timedelta(days=days), tick=False):
            await log.write_note(f"day {days}", ANA)
    with capture_logs() as logs, time_machine.travel(noon, tick=False):
        await setup.upkeep(audit=log).once()
        lines, _ = await log.read()
        assert len(lines) == 4, "they are kept for ever by default"
        for _ in range(2):
            await setup.upkeep(audit=log, audit_days=30).once()
    lines, _ = await log.read()
    assert [line["event"] for line in lines] == ["day 0", "day 29"]
    removals = [line["count"] for line in logs if line["event"] == "deleted old audit lines"]
    assert removals == [2], "the log mentions it only if there were any"
    await log.close()


async def test_what_nobody_used_for_long_is_forgotten(setup: UpkeepSetup) -> None:
    await talk(setup.engine, "old", "C1")
    await talk(setup.engine, "old", "C2")
    setup.clock.now += 20 * DAY_SECONDS
    await talk(setup.engine, "new", "C2")
    setup.clock.now += 15 * DAY_SECONDS
    with capture_logs() as logs:
        await setup.upkeep(days=30).once()
    memories = [log["messages"] for log in logs if log["event"] == "deleted idle conversations"]
    assert memories == [1], "only where something was forgotten"
    assert (await stored_texts(setup, "C1"), await stored_texts(setup, "C2")) == ([], ["new"])
    setup.clock.now += 400 * DAY_SECONDS
    await setup.upkeep(days=0).once()
    assert await stored_texts(setup, "C2") == ["new"]


async def test_what_was_changed_can_be_undone_for_seven_days(setup: UpkeepSetup) -> None:
    ledger = SqlLedger(setup.engine.database)
    change = await finish_change(ledger)
    setup.clock.now = 160.0 + UNDO_LIFETIME_SECONDS
    await setup.upkeep().once()
    assert (await ledger.get(change.id)).steps == change.steps
    setup.clock.now += 1
    await setup.upkeep().once()
    assert (await ledger.get(change.id)).has_lapsed


async def test_what_a_server_keeps_is_erased_when_it_can_be(setup: UpkeepSetup) -> None:
    turn = await talk(setup.engine, "old")
    for id in ("conv_1", "conv_2", "conv_3"):
        await setup.engine.journal.record_object_to_erase(turn.thread, Remote("conversation", id))
    await setup.engine.journal.forget("web:C1")
    setup.model.down = {"conv_1": ModelDown(), "conv_2": RuntimeError("a fault of ours")}
    await setup.upkeep().once()
    assert setup.model.erased == ["conv_3"]
    setup.model.down = {}
    await setup.upkeep().once()
    assert sorted(setup.model.erased) == ["conv_1", "conv_2", "conv_3"]
    assert await setup.engine.journal.list_remotes_to_erase() == []


async def test_one_duty_that_fails_does_not_keep_the_others(
    setup: UpkeepSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise NotStored

    turn = await talk(setup.engine, "old")
    await setup.engine.journal.record_object_to_erase(turn.thread, Remote("conversation", "conv_1"))
    await setup.engine.journal.forget("web:C1")
    await talk(setup.engine, "old", "C2")
    await setup.files.put("never accepted", "a.txt", "text/plain", b"a", ANA, "web:C1")
    setup.clock.now += 4e9
    monkeypatch.setattr(setup.engine.journal, "list_idle_conversations", refuse)
    await setup.upkeep(days=30).once()
    assert await stored_texts(setup, "C2") == ["old"]
    assert setup.model.erased == ["conv_1"]
    assert await setup.files.list_of_events("never accepted") == []


async def test_what_is_asked_for_during_a_round_is_done_after_it(
    setup: UpkeepSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, rounds, third = setup.upkeep(), [0], asyncio.Event()

    async def once() -> None:
        rounds[0] += 1
        if rounds[0] < 3:
            await keeper.request_round()
        else:
            third.set()

    monkeypatch.setattr(keeper, "once", once)
    running = asyncio.create_task(keeper.run())
    await third.wait()
    running.cancel()
    await asyncio.wait({running})
    assert rounds == [3]
