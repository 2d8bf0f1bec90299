"""Retries: no other module sleeps and then repeats a call that failed.

ANSWER_BACKOFF = Backoff(0.5, longest=60.0)
answer = await retry(send, HttpDown, ANSWER_BACKOFF)

A `wait` decides after each failure: it returns the seconds to sleep before the next attempt, or
None to give up, and then the last error is raised. It gets the error, and how many attempts have
failed. Cancelling the caller ends the sleep as well as the attempt.
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
_MAX_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow: `first` seconds, then each `factor` times as long, `longest` at most.

    It can be the `wait` of `retry`, which then never gives up. Iterating gives the pauses.
    """

    first_seconds: float
    max_seconds: float = math.inf
    factor: float = 2.0

    def seconds_after(self, failed: int) -> float:
        """Return the seconds to wait after so many failed attempts."""
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
    """Return what `ask` returns. Repeat it after `errors` for as long as `wait` says, and while all
    pauses take at most `altogether` seconds; then raise the last error."""
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
    """Do what `retry` does, in a thread of its own that may block."""
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
    """Return a `wait` for one more attempt after each of `pauses`. `wait` may change a pause, or
    return None to give up."""
    return lambda error, failed: wait(error, pauses[failed - 1]) if failed <= len(pauses) else None
