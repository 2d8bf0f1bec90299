"""What must not silence an alert, make it speak twice, or make it another one than on its card."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.dialogues.bot_home import BotHome
from tests.dialogues.test_alerts import watch


SOON = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"


@pytest.mark.parametrize(
    "values", [{"ends": "0"}, {"ends": "2"}, {"ends": SOON}, {"when": f"{SOON}T10:00"}]
)
async def test_it_ends_with_its_last_look(bot_home: BotHome, values: dict[str, str]) -> None:
    async with watch(bot_home, what="r1 count > 20 now", **values) as w:
        id, scheduling = (await w.approve()).id, w.ponte.engine.schedules
        for _ in range(3):
            alert = await w.store.get(id)
            now = alert.draft.ends_at or alert.next_due_at
            vars(w.store)["_clock"] = lambda now=now + 1: now
            await scheduling.scheduler.start_due_runs()
            await asyncio.gather(*scheduling._tasks._running)
        ended = await w.store.get(id)
        is_endless = values == {"ends": "0"}
        assert (ended.state, bool(ended.next_due_at)) == (
            ("active", True) if is_endless else ("ended", False)
        )
        (run,) = await w.store.list_runs(id)
        answer = await w.ponte.engine.conversations.inbox.wait_for_answer(run.seq)
        assert "Now true: 30" in answer.text
