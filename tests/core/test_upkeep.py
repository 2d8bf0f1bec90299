"""What is done now and then: one duty's failure is not the others', and none is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from core.conversation.services import TurnServices
from core.conversation.upkeep import DAY_SECONDS, Retention, Upkeep
from core.domain.changes import UNDO_LIFETIME_SECONDS
from core.domain.errors import ModelDown, NotStored
from core.domain.records import PlatformMember, Remote
from core.store.changes import SqlLedger
from core.store.directory import SqlDirectory
from core.store.files import FolderBytes, SqlFiles
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal_threads import ANA, talk
from tests.contract.test_ledger import finish_change
from tests.fakes.models import EchoModel

STAMPED = ("conversation.upkeep", "store.inbox", "store.turns", "store.threads")
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
    """Days go by as a test says."""

    now: float = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@dataclass
class UpkeepSetup:
    engine: Embedded
    clock: Clock
    model: Eraser = field(default_factory=Eraser)
    forgets: bool = True

    @property
    def files(self) -> SqlFiles:
        return SqlFiles(self.engine.database, FolderBytes(self.engine.home / "files"))

    def upkeep(self, days: int = 0) -> Upkeep:
        engine = self.engine
        services = SimpleNamespace(
            inbox=engine.inbox, journal=engine.journal, files=self.files, model=self.model,
            changes=SimpleNamespace(ledger=SqlLedger(engine.database)),
        )  # fmt: skip
        return Upkeep(
            cast("TurnServices", services), self.forget_idle, Retention(days),
            directory=self.directory,
        )  # fmt: skip

    @property
    def directory(self) -> SqlDirectory:
        return SqlDirectory(self.engine.database, str)

    async def forget_idle(self, conversation: str, since: float) -> int:
        if not self.forgets:
            raise NotStored
        forgot = await self.engine.journal.forget_idle(conversation, since)
        return forgot.messages if forgot else 0


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[UpkeepSetup]:
    clock = Clock()
    for module in STAMPED:
        monkeypatch.setattr(f"core.{module}.time", clock)
    engine = await Embedded.open(tmp_path)
    yield UpkeepSetup(engine, clock)
    await engine.close()


async def stored_texts(house: UpkeepSetup, channel: str) -> list[str]:
    return [s.message.text for s in await house.engine.journal.list_entries(f"web:{channel}")]


async def test_people_whom_their_platform_no_longer_confirms_are_deleted(
    house: UpkeepSetup,
) -> None:
    for id, days in (("U1", 31), ("U2", 29)):
        member = PlatformMember(id, confirmed_at=house.clock.now - days * DAY_SECONDS)
        await house.directory.put("chat", [member])
    await house.upkeep().once()
    left = await house.directory.find("chat", {("", "U1"), ("", "U2")})
    assert [member.id for member in left] == ["U2"]


async def test_what_nobody_used_for_long_is_forgotten(house: UpkeepSetup) -> None:
    await talk(house.engine, "old", "C1")
    await talk(house.engine, "old", "C2")
    house.clock.now += 20 * DAY_SECONDS
    await talk(house.engine, "new", "C2")
    house.clock.now += 15 * DAY_SECONDS
    with capture_logs() as logs:
        await house.upkeep(days=30).once()
    forgotten = [log["messages"] for log in logs if log["event"] == "forgotten, idle for long"]
    assert forgotten == [1], "only where something was forgotten"
    assert (await stored_texts(house, "C1"), await stored_texts(house, "C2")) == ([], ["new"])
    house.clock.now += 400 * DAY_SECONDS
    await house.upkeep(days=0).once()
    assert await stored_texts(house, "C2") == ["new"]


async def test_what_was_changed_can_be_undone_for_seven_days(house: UpkeepSetup) -> None:
    ledger = SqlLedger(house.engine.database)
    change = await finish_change(ledger)
    house.clock.now = 160.0 + UNDO_LIFETIME_SECONDS
    await house.upkeep().once()
    assert (await ledger.get(change.id)).steps == change.steps
    house.clock.now += 1
    await house.upkeep().once()
    assert (await ledger.get(change.id)).lapsed


async def test_a_question_that_waits_is_not_forgotten(house: UpkeepSetup) -> None:
    await talk(house.engine, "old", "C1")
    house.clock.now += 40 * DAY_SECONDS
    await house.engine.inbox.accept(says("are you there?", "C1"))
    await house.upkeep(days=30).once()
    assert await stored_texts(house, "C1") == ["are you there?"]


async def test_what_a_server_keeps_is_erased_when_it_can_be(house: UpkeepSetup) -> None:
    turn = await talk(house.engine, "old")
    for id in ("conv_1", "conv_2", "conv_3"):
        await house.engine.journal.record_remote(turn.thread, Remote("conversation", id))
    await house.engine.journal.forget("web:C1")
    house.model.down = {"conv_1": ModelDown(), "conv_2": RuntimeError("a fault of ours")}
    await house.upkeep().once()
    assert house.model.erased == ["conv_3"]
    house.model.down = {}
    await house.upkeep().once()
    assert sorted(house.model.erased) == ["conv_1", "conv_2", "conv_3"]
    assert await house.engine.journal.list_remotes_to_erase() == []


async def test_one_duty_that_fails_does_not_keep_the_others(house: UpkeepSetup) -> None:
    turn = await talk(house.engine, "old")
    await house.engine.journal.record_remote(turn.thread, Remote("conversation", "conv_1"))
    await house.engine.journal.forget("web:C1")
    await talk(house.engine, "old", "C2")
    await house.files.put("never accepted", "a.txt", "text/plain", b"a", ANA, "web:C1")
    house.clock.now += 4e9
    house.forgets = False
    await house.upkeep(days=30).once()
    assert await stored_texts(house, "C2") == ["old"]
    assert house.model.erased == ["conv_1"]
    assert await house.files.list_of_event("never accepted") == []


async def test_what_is_forgotten_now_is_erased_now(house: UpkeepSetup) -> None:
    keeper = house.upkeep()
    running = asyncio.create_task(keeper.run())
    turn = await talk(house.engine, "secret")
    await house.engine.journal.record_remote(turn.thread, Remote("conversation", "conv_1"))
    await house.engine.journal.forget("web:C1")
    await keeper.request_round()
    await house.model.tried.wait()
    running.cancel()
    await asyncio.wait({running})
    assert house.model.erased == ["conv_1"]


async def test_what_is_asked_for_during_a_round_is_done_after_it(
    house: UpkeepSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, rounds, third = house.upkeep(), [0], asyncio.Event()

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
