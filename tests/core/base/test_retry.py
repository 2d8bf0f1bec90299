"""How calls that failed are repeated: how long it waits, and when it gives up."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from core.base.tasks import Backoff, retry, retry_blocking, wait_after_each


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


class Failing:
    """Raises an error `times` times, then returns how often it was called."""

    def __init__(self, times: int, error: Exception) -> None:
        self.times, self.error, self.calls = times, error, 0

    async def __call__(self) -> int:
        return self.now()

    def now(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return self.calls


def test_pauses_grow_up_to_the_longest() -> None:
    assert list(itertools.islice(Backoff(0.5, max_seconds=3.0), 5)) == [0.5, 1, 2, 3, 3]
    assert Backoff(1.0, max_seconds=8.0, factor=1.5).seconds_after(3) == 2.25
    assert Backoff(1.0, max_seconds=60.0).seconds_after(10_000) == 60.0


async def test_a_call_is_repeated_until_it_succeeds() -> None:
    sleep = Sleeper()
    assert await retry(Failing(3, OSError()), OSError, Backoff(1.0), sleep=sleep) == 4
    assert sleep.slept == [1, 2, 4]


async def test_the_last_error_is_raised_after_the_last_pause() -> None:
    sleep, failing, pauses = Sleeper(), Failing(9, OSError("away")), [0.5, 0.5, 0.5]
    with pytest.raises(OSError, match="away"):
        await retry(failing, OSError, wait_after_each(pauses), sleep=sleep)
    assert (failing.calls, sleep.slept) == (4, pauses)


async def test_other_errors_and_a_wait_of_none_end_it() -> None:
    sleep = Sleeper()
    with pytest.raises(KeyError):
        await retry(Failing(1, KeyError()), (OSError, ValueError), Backoff(1.0), sleep=sleep)
    with pytest.raises(OSError):
        await retry(
            Failing(1, OSError()), OSError, wait_after_each([1.0], lambda *_: None), sleep=sleep
        )
    assert sleep.slept == []


async def test_all_pauses_together_are_limited() -> None:
    sleep = Sleeper()
    with pytest.raises(OSError):
        await retry(Failing(9, OSError()), OSError, Backoff(1.0), max_wait_seconds=7.0, sleep=sleep)
    assert sleep.slept == [1, 2, 4]


async def test_a_cancellation_ends_the_pause() -> None:
    paused = asyncio.Event()

    async def sleep(seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    failing = Failing(9, OSError())
    task = asyncio.create_task(retry(failing, OSError, Backoff(1.0), sleep=sleep))
    await paused.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failing.calls == 1


def test_a_thread_repeats_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("core.base.tasks.time.sleep", slept.append)
    failing = Failing(2, OSError())
    assert retry_blocking(failing.now, OSError, Backoff(1.0)) == 3
    assert slept == [1, 2]
    with pytest.raises(OSError):
        retry_blocking(Failing(9, OSError()).now, OSError, wait_after_each([1.0]))
    assert slept == [1, 2, 1]
