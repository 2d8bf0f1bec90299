"""One pace for the calls of all processes on one database."""

from __future__ import annotations

import asyncio
from typing import Any

from adapters.slack.rate_limits import QUIET_SECONDS, SHARED_CHANNEL_BURST, TIERS, RateLimiter
from core.base.errors import PlatformBusy
from core.journal.jobs import SharedPace
from tests.contract.engines import Shared
from tests.fakes.clock import Clock

POST = "chat.postMessage"


async def places(limiter: RateLimiter, method: str, most: int, channel: str = "") -> int:
    for number in range(most):
        try:
            await limiter.turn(method, channel, 0.0)
        except PlatformBusy:
            return number
    return most


async def test_three_processes_on_one_database_keep_to_one_tier(on_postgres: Shared) -> None:
    """Each counts what the others took, also what Slack told one of them."""
    limiters = [RateLimiter(pace=SharedPace(on_postgres.database)) for _ in range(3)]
    for method in ("users.info", "users.list", "chat.update"):
        remaining = [await places(limiter, method, 200) for limiter in limiters]
        assert sum(remaining) <= TIERS[method] // 3 + 3  # a place may come free meanwhile
    await limiters[0].hold("files.info", "", 60)
    assert await places(limiters[1], "files.info", 1) == 0
    assert not await limiters[2].has_spare("files.info")
    assert await limiters[0].reserve("conversations.open", 16)
    assert not await limiters[1].claim("conversations.open")


async def test_at_once_on_one_database_no_place_is_given_twice(on_postgres: Shared) -> None:
    limiters = [RateLimiter(pace=SharedPace(on_postgres.database)) for _ in range(3)]
    results = await asyncio.gather(
        *(limiter.claim("chat.stopStream", "chat.startStream") for limiter in limiters * 8),
        *(limiter.claim("chat.startStream", "chat.stopStream") for limiter in limiters * 8),
    )
    assert sum(results) == 4, "half of a burst of six and one"


class CountedPace(SharedPace):
    """How often the database was asked."""

    asked = 0

    async def run(self, *arguments: Any) -> Any:
        self.asked += 1
        return await super().run(*arguments)


async def test_three_processes_on_one_database_keep_to_a_channels_pace(on_postgres: Shared) -> None:
    limiters = [RateLimiter(pace=SharedPace(on_postgres.database)) for _ in range(3)]
    remaining = [await places(limiter, POST, 20, "C1") for limiter in limiters]
    assert sum(remaining) <= SHARED_CHANNEL_BURST + 3 + 3  # a place may come free meanwhile
    await limiters[0].hold("chat.postMessage", "C2", 60)
    assert await places(limiters[1], POST, 5, "C2") <= 1
    assert await places(limiters[0], POST, 5, "C2") == 0


async def test_a_post_in_a_quiet_channel_asks_no_database(on_postgres: Shared) -> None:
    clock, pace = Clock(), CountedPace(on_postgres.database)
    limiter = RateLimiter(clock, pace)
    for channel in ("C1", "C2", "C3"):
        assert await places(limiter, POST, 1, channel) == 1
    assert pace.asked == 0
    assert await places(limiter, POST, 1, "C1") == 1
    assert pace.asked == 1
    clock.now += QUIET_SECONDS + 1
    assert await places(limiter, POST, 1, "C1") == 1
    assert pace.asked == 1


async def test_the_paces_of_channels_do_not_stay(on_postgres: Shared) -> None:
    limiter = RateLimiter(pace=SharedPace(on_postgres.database))
    await places(limiter, POST, 2, "C1")
    await on_postgres.database.write(
        lambda c: c.execute("UPDATE paces SET due_at = due_at - 7200").close()
    )
    await places(limiter, POST, 2, "C2")
    await on_postgres.jobs.sweep()
    names = await on_postgres.database.read(
        lambda c: [row["name"] for row in c.execute("SELECT name FROM paces")]
    )
    assert names == ["slack:channel:C2"]


async def test_a_full_line_is_not_asked_for_again(on_postgres: Shared) -> None:
    """A flood marks hundreds of messages as waiting: its calls must not keep the database busy."""
    clock, pace = Clock(), CountedPace(on_postgres.database)
    limiter = RateLimiter(clock, pace)
    other = RateLimiter(clock, SharedPace(on_postgres.database))
    await places(other, "reactions.add", 200)
    assert await places(limiter, "reactions.add", 1) == 0
    question = pace.asked
    for _ in range(300):
        assert await places(limiter, "reactions.add", 1) == 0
        assert not await limiter.has_spare("reactions.add")
        assert not await limiter.claim("reactions.add", "chat.update")
        assert not await limiter.reserve("reactions.add", 2)
    assert pace.asked == question
    clock.now += 600
    await limiter.has_spare("reactions.add")
    assert pace.asked == question + 1
