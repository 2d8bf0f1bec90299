"""Additions to asyncio and collections: concurrent calls, background tasks with an owner, calls at
a minimum interval, retries, and a mapping with a maximum size.

No other module sleeps and then repeats a failed call:

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
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import structlog

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E", bound=Exception)
K = TypeVar("K")
V = TypeVar("V")
Sleep = Callable[[float], Awaitable[object]]
Wait = Callable[[E, int], float | None]
"""The arguments are the error and the number of failed attempts. None: give up."""
_MAX_SHARED_ANSWERS = 50
_MAX_DOUBLINGS = 64
"""Caps the exponent, because a float overflows beyond 2 to the power of 1023."""


@overload
async def run_together(first: Awaitable[A], second: Awaitable[B], /) -> tuple[A, B]: ...


@overload
async def run_together(*asked: Awaitable[A]) -> tuple[A, ...]: ...


async def run_together(*asked: Awaitable[Any]) -> tuple[Any, ...]:
    """Run the awaitables concurrently and return their results in order. If one fails, cancel the
    others, wait until they have ended, and raise its error. (`asyncio.gather` alone would let them
    run on.)"""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in asked]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


RECANCEL_SECONDS = 3.0


async def cancel_all(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """None stands for a task that was never started. Errors of the tasks are dropped.

    One cancellation may not be enough. Before Python 3.12 `asyncio.wait_for`, which drivers use,
    loses a cancellation that arrives together with its result (python/cpython#86296).
    """
    started = [task for task in tasks if task]
    remaining = {task for task in started if not task.done()}
    while remaining:
        for task in remaining:
            task.cancel()
        _, remaining = await asyncio.wait(remaining, timeout=RECANCEL_SECONDS)
    await asyncio.gather(*started, return_exceptions=True)


class BackgroundTasks:
    """Starts background tasks, holds a reference to each, and cancels them on `close`.

    asyncio itself holds tasks only weakly, so a task without another reference could vanish. Errors
    of tasks go to the log with the given name, because nobody awaits the tasks.
    """

    def __init__(self, name: str) -> None:
        self._log = structlog.get_logger(name)
        self._running: set[asyncio.Task[object]] = set()
        self._closed = False

    def start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object] | None:
        """After `close`, start nothing and return None."""
        if self._closed:
            work.close()  # otherwise Python warns that it was never awaited
            return None
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def close(self, grace_seconds: float = 0.0) -> None:
        """No task can be started any more."""
        self._closed = True
        if self._running and grace_seconds:
            await asyncio.wait(self._running, timeout=grace_seconds)
        await cancel_all(self._running)

    def _on_done(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._log.error("background task failed", exc_info=error)


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
    """Return the result of `call`. If it raises one of `errors`, sleep as long as `wait` says for
    the error and the number of failed attempts, and call it again.

    Give up when `wait` returns None, or when all pauses together would exceed `max_wait_seconds`.
    Then raise the last error. Other errors are raised at once.
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
    call: Callable[[], A], errors: type[E] | tuple[type[E], ...], wait: Wait[E]
) -> A:
    """Return the result of `call`. If it raises one of `errors`, sleep as long as `wait` says for
    the error and the number of failed attempts, and call it again; if `wait` returns None, raise
    the error. The sleep blocks the thread, so never run this in the event loop's thread (`retry` is
    for coroutines)."""
    failed = 0
    while True:
        try:
            return call()
        except errors as error:
            failed += 1
            seconds = wait(error, failed)
            if seconds is None:
                raise
        time.sleep(seconds)


def wait_after_each(
    pauses: Sequence[float], wait: Callable[[E, float], float | None] = lambda _, pause: pause
) -> Wait[E]:
    """Allow one more attempt after each of `pauses` (seconds). `wait` returns the pause to use, or
    None to give up."""
    return lambda error, failed: wait(error, pauses[failed - 1]) if failed <= len(pauses) else None


class Pacer:
    """Spaces calls to a service at least `interval` seconds apart, for services that limit their
    rate. An interval of 0 disables it."""

    def __init__(self, interval: float, sleep: Sleep = asyncio.sleep) -> None:
        self._interval = interval
        self._sleep = sleep
        self._due = 0.0

    async def wait(self) -> None:
        """Wait until the caller may make its call, at least `_interval` seconds after the one
        before. Each caller reserves its moment before it sleeps, so callers that wait at the same
        time get their turns one after the other."""
        if not self._interval:
            return
        now = time.monotonic()
        due = max(now, self._due)
        self._due = due + self._interval
        if due > now:
            await self._sleep(due - now)


class BoundedDict(OrderedDict[K, V]):
    """A dict of at most `most` entries. It drops the entry that was written longest ago."""

    def __init__(self, most: int = 10_000) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class SharedAnswers(BoundedDict[K, tuple[float, asyncio.Task[V]]]):
    """Asks a service each question once for all who wait for its answer, and keeps the answer. A
    failure is raised for all who wait, and is not kept. After `clear`, later callers also share no
    question that is under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(_MAX_SHARED_ANSWERS)
        self._clock = clock

    async def ask(
        self, key: K, question: Callable[[], Coroutine[Any, Any, V]], max_age: float
    ) -> V:
        """Return the answer of the last `max_age` seconds, or the one that is still to come, else
        ask `question`. Raise its errors."""
        now, (asked_at, answer) = self._clock(), self.get(key, (0.0, None))
        if answer is None or (
            answer.done() and (answer.cancelled() or answer.exception() or now - asked_at > max_age)
        ):
            answer = asyncio.create_task(question())
            self[key] = now, answer
        # A caller that is cancelled leaves the question to the others.
        return await asyncio.shield(answer)

    async def close(self) -> None:
        await cancel_all(answer for _, answer in self.values())


class OncePerMinute:
    """Limits what anybody can cause, such as log lines: each key is admitted once a minute."""

    def __init__(self) -> None:
        self._minutes: dict[str, float] = {}

    def admits(self, key: str, now: float) -> bool:
        last, self._minutes[key] = self._minutes.get(key), now // 60
        return last != now // 60
