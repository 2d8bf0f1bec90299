"""The double of Slack itself."""

from __future__ import annotations

import asyncio

from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.slack import FakeSlack


async def test_a_wait_ends_at_its_timeout_though_something_changes_at_that_moment() -> None:
    async with FakeSlack() as slack:
        clock = LoopClock()
        waiting = asyncio.create_task(slack.wait_until(lambda: False, 60))
        await run_ready()
        slack._changed.set()
        clock.skip(60)
        await run_ready()
        assert waiting.done()
        assert isinstance(waiting.exception(), TimeoutError)
