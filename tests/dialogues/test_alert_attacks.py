"""What must not silence an alert, make it speak twice, or make it another one than on its card."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.schedules.alerts import read_state
from core.schedules.looks import LOOKS_AT_ONCE
from tests.dialogues.bot_home import BotHome
from tests.dialogues.test_alerts import INTERVAL, watch


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


async def test_a_look_that_takes_longer_than_its_interval_still_counts(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        w.pay(*range(1, 25, 2))
        slow = await w.find()
        for alert in (slow, replace(slow, next_due_at=slow.next_due_at + INTERVAL)):
            assert await w.store.begin_look(alert, alert.next_due_at + INTERVAL)
        await w.ponte.engine.schedules.watch.look(slow)
        (post,) = await w.list_posts()
        assert "No longer true: 18" in post
        await w.ponte.engine.schedules.watch.look(alert)
        assert await w.list_posts() == [post], "a look that began beside it tells nothing again"


async def test_slow_looks_do_not_pile_up(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        await w.approve()
        watching, alert = w.ponte.engine.schedules.watch, await w.find()
        for _ in range(LOOKS_AT_ONCE):
            await watching._places.acquire()
        waiting = len(watching.tasks._running)
        for _ in range(3):
            alert = await w.find()
            await watching.begin(alert, alert.next_due_at + INTERVAL, alert.next_due_at)
        assert len(watching.tasks._running) == waiting + 1
        for _ in range(LOOKS_AT_ONCE):
            watching._places.release()
        await asyncio.gather(*watching.tasks._running)
        assert read_state(await w.find()).looked_at


async def test_an_edge_after_the_clock_was_set_back_is_posted(bot_home: BotHome) -> None:
    async with watch(bot_home) as w:
        due = (await w.approve()).next_due_at
        w.pay(*range(1, 25, 2))
        assert len(await w.look()) == 1
        await w.forget_last_post()
        w.pay(*range(1, 25, 2), paid=False)
        w.ponte.engine.schedules.watch._shared.clear()
        await w.store._execute("UPDATE schedules SET next_due_at = ?", due)
        await w.look()
        told = [post.splitlines()[2] for post in await w.list_posts()]
        assert sorted(told) == ["No longer true: 18 (before: 30).", "Now true: 30 (before: 18)."]
