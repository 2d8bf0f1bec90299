"""Which tasks Ponte starts for one message, from its arrival until its turn has ended.

Each task costs two passes of the event loop at least. A new one needs a reason: something must go
on while another thing waits, or after it was cancelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from bot.stores import SCHEMA
from core.journal.turn_runner import LocalRunner
from core.store.database import SqliteDatabase
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import FakeDiscord
from tests.slack.bot import workplace

OWN_FOLDERS = tuple(f"{Path(__file__).parents[2] / name}/" for name in ("adapters", "bot", "core"))
OF_EACH_TURN = Counter(
    {
        "LocalRunner._take_turn": 1,
        "store_thread": 1,  # while the answer is stored
    }
)
OF_SLACK = OF_EACH_TURN + Counter(
    {
        "SlackSocket._handle_frame": 3,  # the mention, the message, and Ponte's own post
        "SlackSurface.post": 1,  # it ends even if the turn is cancelled
    }
)
OF_DISCORD = OF_EACH_TURN + Counter(
    {
        "ChannelQueues._run": 2,  # the message, and Ponte's own post
        "ChannelSurface.post": 1,
        "RememberedState._write_soon": 1,  # once in a while
    }
)


class StartedTasks:
    """Counts the tasks of Ponte's own coroutines, by their names."""

    def __init__(self) -> None:
        self.names = Counter[str]()
        asyncio.get_running_loop().set_task_factory(self._create)  # type: ignore[arg-type]

    def _create(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any
    ) -> asyncio.Task[Any]:
        code = getattr(work, "cr_code", None)
        if code and code.co_filename.startswith(OWN_FOLDERS):
            self.names[code.co_qualname] += 1
        return asyncio.Task(work, loop=loop, **more)


async def test_a_mention_in_slack_starts_few_tasks(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.ask("first")
        started_tasks = StartedTasks()
        await place.ask("second")
        assert started_tasks.names["LocalRunner._take_turn"] == 1, "it did see tasks"
        assert started_tasks.names - OF_SLACK == Counter()


async def test_a_direct_message_in_discord_starts_few_tasks(tmp_path: Path) -> None:
    async with FakeDiscord() as discord:
        ponte = DiscordPonte(discord, tmp_path)
        ana = discord.user("Ana")
        try:
            await ponte.open()
            await ana.say("first")
            await ana.wait_for_text("You said: first")
            await ponte.engine.conversations.inbox.wait_for_answer(1)
            started_tasks = StartedTasks()
            await ana.say("second")
            await ana.wait_for_text("You said: second")
        finally:
            await ponte.close()
        assert started_tasks.names["LocalRunner._take_turn"] == 1, "it did see tasks"
        assert started_tasks.names - OF_DISCORD == Counter()


@pytest.mark.parametrize("is_ours", [True, False])
async def test_only_the_runner_may_cancel_a_handler_and_go_on(
    tmp_path: Path, is_ours: bool
) -> None:
    """The handler runs in the runner's own task, which also ends when something else cancels it."""
    database = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
    runner, running = LocalRunner(database), asyncio.Event()
    attempts = 0

    async def handle(seq: int) -> None:
        nonlocal attempts
        attempts += 1
        running.set()
        if attempts == 1:
            await asyncio.Event().wait()

    runner._handler = handle
    task = asyncio.create_task(runner.run_turn(1))
    await running.wait()
    assert runner.cancel(1) if is_ours else task.cancel()
    await asyncio.wait({task})
    await database.close()
    assert (task.cancelled(), attempts) == (not is_ours, 2 if is_ours else 1)
    assert task.cancelling() == (0 if is_ours else 1)
