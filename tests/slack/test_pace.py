"""Calls at the pace that Slack allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NoReturn

import pytest

from adapters.slack.errors import explain_failure
from adapters.slack.rate_limits import (
    REFUSAL_LINE,
    REFUSALS_A_MINUTE,
    TIERS,
    RateLimit,
    RateLimiter,
)
from core.base.errors import NotStored, PlatformBusy
from core.journal.jobs import SharedPace
from core.store.database import SqliteDatabase
from tests.fakes.clock import Clock


async def count_passing_calls(limiter: RateLimiter, method: str, channel: str, calls: int) -> int:
    """How many calls leave at once."""
    for number in range(calls):
        try:
            await limiter.turn(method, channel, 0.0)
        except PlatformBusy:
            return number
    return calls


@pytest.mark.parametrize("method", {rate: method for method, rate in TIERS.items()}.values())
async def test_a_minute_never_holds_more_than_its_tier(method: str) -> None:
    clock = Clock(100.0)
    limiter, calls = RateLimiter(clock), 0
    for second in range(60):
        clock.now = 100.0 + second
        calls += await count_passing_calls(limiter, method, f"C{second}", 200)
    assert TIERS[method] / 2 < calls <= TIERS[method]


async def test_a_channel_takes_a_burst_and_then_one_a_second() -> None:
    clock = Clock(100.0)
    limiter = RateLimiter(clock)
    assert await count_passing_calls(limiter, "chat.postMessage", "C1", 20) == 5
    assert await count_passing_calls(limiter, "chat.postMessage", "C2", 20) == 5
    clock.now += 2.2
    assert await count_passing_calls(limiter, "chat.postMessage", "C1", 20) == 2


async def test_who_must_wait_too_long_takes_no_place() -> None:
    limiter = RateLimiter(Clock(100.0))
    await count_passing_calls(limiter, "chat.postMessage", "C1", 5)
    for _ in range(3):
        with pytest.raises(PlatformBusy) as busy:
            await limiter.turn("chat.postMessage", "C1", 0.5)
        assert busy.value.seconds == pytest.approx(1.1)


async def test_a_database_that_is_away_leaves_each_process_its_own_pace() -> None:
    class Away(SqliteDatabase):
        def __init__(self) -> None:
            pass

        async def write(self, *_: object, **options: object) -> NoReturn:
            raise NotStored

    limiter = RateLimiter(Clock(100.0), SharedPace(Away()))
    assert await count_passing_calls(limiter, "chat.update", "C1", 100) == TIERS["chat.update"] // 3


async def test_a_refusal_takes_no_place_of_an_answer_s() -> None:
    limiter = RateLimiter(Clock(100.0))
    assert await count_passing_calls(limiter, REFUSAL_LINE, "C1", 100) == REFUSALS_A_MINUTE // 3
    assert await count_passing_calls(limiter, "chat.postEphemeral", "C1", 100) >= 32
    assert await count_passing_calls(limiter, "chat.postMessage", "C1", 100) == 5


async def test_retry_after_holds_the_line() -> None:
    clock = Clock(100.0)
    limiter = RateLimiter(clock)
    await limiter.hold("chat.update", "C1", 30)
    assert await count_passing_calls(limiter, "chat.update", "C2", 1) == 0
    assert not await limiter.has_spare("chat.update")
    clock.now += 31
    assert await count_passing_calls(limiter, "chat.update", "C2", 1) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "7"}, 7.0), ({"retry-after": "soon"}, 1.0), ({}, 1.0)]
)
def test_a_refused_call_waits_as_long_as_slack_asks(
    headers: dict[str, str], seconds: float
) -> None:
    response = SimpleNamespace(status_code=429, data={}, headers=headers)
    busy = explain_failure("chat.update", response)
    assert isinstance(busy, PlatformBusy)
    assert busy.seconds == seconds


async def test_a_claimed_place_is_taken_at_once_and_only_where_there_is_one_to_spare() -> None:
    limiter = RateLimiter(Clock(100.0))
    total = sum([await limiter.claim("chat.update") for _ in range(100)])
    assert 0 < total <= TIERS["chat.update"] // 3
    assert not await limiter.has_spare("chat.update")


async def test_a_call_with_a_claimed_place_does_not_wait() -> None:
    limiter = RateLimiter(Clock(100.0))
    await limiter.claim("chat.update")
    await count_passing_calls(limiter, "chat.update", "C1", 100)
    await limiter.turn("chat.update", "C1", 0.0, claimed=True)


def test_half_of_the_burst_is_kept_for_what_must_go_out() -> None:
    line = RateLimit(1.0, 10)
    for _ in range(4):
        line.take(100.0)
    assert line.has_spare(100.0)
    line.take(100.0)
    line.take(100.0)
    assert not line.has_spare(100.0)
