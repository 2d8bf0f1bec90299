"""A conversation that the model's server stores in advance, for the next thread of this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.domain.records import Remote
from core.journal.journal import Journal
from tests.dialogues.whole import whole
from tests.fakes.openai import FakeOpenAI


async def test_a_spare_conversation_belongs_to_the_process_that_made_it(
    tmp_path: Path, migrated_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no other process erases it, and it is erased once this process is dead."""
    event, record_object_to_erase = asyncio.Event(), Journal.record_object_to_erase

    async def record(journal: Journal, thread: str, remote: Remote) -> None:
        await record_object_to_erase(journal, thread, remote)
        if not thread:
            event.set()

    monkeypatch.setattr(Journal, "record_object_to_erase", record)
    async with (
        FakeOpenAI() as fake,
        whole(tmp_path, fake, database_url=migrated_postgres, ponte_code="off") as ponte,
    ):
        await ponte.ask("hello")
        await event.wait()
        stores = ponte.app.engine.stores
        jobs = stores.peers.runner
        assert jobs
        sql = "SELECT owner FROM remotes WHERE thread = ''"
        rows = await stores.database.read(lambda c: c.execute(sql).fetchall())
        assert {row["owner"] for row in rows} == {jobs.process}
