"""Retries. No other module sleeps and then repeats a failed call.

ANSWER_BACKOFF = Backoff(0.5, max_seconds=60.0)
answer = await retry(send, HttpDown, ANSWER_BACKOFF)

A `wait` function decides after each failure. It receives the error and the number of failed
attempts. It returns the seconds to sleep before the next attempt, or None to give up. `retry` then
raises the last error. Cancelling the caller cancels the sleep or the attempt.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

A = TypeVar("A")
E = TypeVar("E", bound=Exception)
Sleep = Callable[[float], Awaitable[object]]
Wait = Callable[[E, int], float | None]
"""Return the seconds to sleep before the next attempt, or None to give up.

The arguments are the error and the number of failed attempts.
"""
_MAX_DOUBLINGS = 64
"""Caps the exponent, because a float overflows beyond 2 to the power of 1023."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing pauses: `first_seconds`, then `factor` times the last one, at most `max_seconds`.

    An instance can be the `wait` of `retry`, which then never gives up. Iterating yields the
    pauses.
    """

    first_seconds: float
    max_seconds: float = math.inf
    factor: float = 2.0

    def seconds_after(self, failed: int) -> float:
        """Return the seconds to wait after this many failed attempts."""
        return min(
            self.first_seconds * self.factor ** min(failed - 1, _MAX_DOUBLINGS), self.max_seconds
        )

    def __call__(self, error: Exception, failed: int) -> float:
        return self.seconds_after(failed)

    def __iter__(self) -> Iterator[float]:
        return map(self.seconds_after, itertools.count(1))


async def retry(
    call: Callable[[], Awaitable[A]],
    errors: type[E] | tuple[type[E], ...],
    wait: Wait[E],
    *,
    max_wait_seconds: float = math.inf,
    sleep: Sleep = asyncio.sleep,
) -> A:
    """Return the result of `call`, which is repeated after `errors`.

    Give up when `wait` returns None, or when all pauses together would exceed `max_wait_seconds`.
    Then raise the last error.
    """
    failed, waited = 0, 0.0
    while True:
        try:
            return await call()
        except errors as error:
            failed += 1
            seconds = wait(error, failed)
            if seconds is None or waited + seconds > max_wait_seconds:
                raise
        waited += seconds
        await sleep(seconds)


def retry_blocking(
    call: Callable[[], A],
    errors: type[E] | tuple[type[E], ...],
    wait: Wait[E],
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> A:
    """Return the result of `call`, with the rules of `retry`. Blocks, so run it in a thread."""
    failed = 0
    while True:
        try:
            return call()
        except errors as error:
            failed += 1
            seconds = wait(error, failed)
            if seconds is None:
                raise
        sleep(seconds)


def wait_after_each(
    pauses: Sequence[float], wait: Callable[[E, float], float | None] = lambda _, pause: pause
) -> Wait[E]:
    """Return a `wait` function that allows one more attempt after each of `pauses` (seconds).

    `wait` receives the error and the pause. It returns the pause to use, or None to give up.
    """
    return lambda error, failed: wait(error, pauses[failed - 1]) if failed <= len(pauses) else None
