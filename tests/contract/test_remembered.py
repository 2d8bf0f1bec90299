"""What a platform's side remembers, in a row of both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.base.errors import NotStored
from core.store.database import Database
from core.store.remembered import RememberedState, SharedRememberedState, rewrite_remembered
from tests.contract.engines import Embedded, Shared

NAME = "notes.json"


def state(engine: Embedded, data: Callable[[], object]) -> RememberedState:
    if isinstance(engine, Shared):
        return engine.jobs.remembered_state(NAME, data)
    return RememberedState(engine.database, NAME, data)


class CountedState(RememberedState):
    """Its `writes`; `fails` so many of them."""

    def __init__(self, database: Database, data: Callable[[], object], fails: int = 0) -> None:
        super().__init__(database, NAME, data)
        self.writes: list[str] = []
        self._fails = fails

    async def _save(self, text: str) -> None:
        self.writes.append(text)
        await asyncio.sleep(0)
        if self._fails:
            self._fails -= 1
            raise NotStored
        await super()._save(text)


@pytest.mark.parametrize("fails", [0, 1])
async def test_changes_that_are_flushed_together_share_a_write(
    sqlite: Embedded, fails: int
) -> None:
    """A crowd in new channels of Discord waits for this before a message is stored."""
    notes: dict[str, int] = {}
    row = CountedState(sqlite.database, lambda: notes, fails)

    async def note(number: int) -> None:
        notes[str(number)] = number
        await row.flush()
        if not fails:
            assert str(number) in await state(sqlite, dict).read()

    await asyncio.gather(*(note(number) for number in range(100)))
    assert len(row.writes) <= 2
    assert len(await row.read()) == 100


async def test_it_is_there_after_a_restart(stores: Embedded) -> None:
    data = {"languages": {"7": "fr"}, "commands": "abc"}
    await state(stores, lambda: data).flush()
    heir = await stores.kill()
    assert await state(heir, dict).read() == data


async def test_two_processes_keep_each_other_s_entries(on_postgres: Shared) -> None:
    ours: dict[str, Any] = {"languages": {"7": "fr", "8": "en"}}
    theirs: dict[str, Any] = {"languages": {"9": "pt"}}
    one = SharedRememberedState(on_postgres.database, NAME, lambda: ours)
    other = SharedRememberedState(on_postgres.database, NAME, lambda: theirs)
    await one.read()
    await other.read()
    await one.flush()
    await other.flush()
    del ours["languages"]["8"]
    await one.flush()
    assert await other.read() == {"languages": {"7": "fr", "9": "pt"}}


async def test_a_row_is_rewritten_if_there_is_one(stores: Embedded) -> None:
    await rewrite_remembered(stores.database, NAME, lambda data: {**data, "new": 1})
    assert await state(stores, dict).read() == {}
    await state(stores, lambda: {"old": 1}).flush()
    await rewrite_remembered(stores.database, NAME, lambda data: {**data, "new": 1})
    assert await state(stores, dict).read() == {"old": 1, "new": 1}
