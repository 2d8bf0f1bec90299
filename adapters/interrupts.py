"""Ctrl-C as something to act on, while a person waits at a terminal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
MOMENT = 1.0
"""Seconds that `stop` has to come to its own end."""

Stop = Callable[[], Coroutine[Any, Any, None] | None]
"""What the first Ctrl-C does; None where there is nothing to stop."""


class Quit(Exception):
    """Ctrl-C where nothing is left to stop."""


class Interrupts:
    """One for a terminal; Ctrl-C is an event of ours within `heard`."""

    def __init__(self) -> None:
        self._came = asyncio.Event()

    @contextmanager
    def heard(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._came.set)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def outlast(self, work: Coroutine[Any, Any, T], stop: Stop = lambda: None) -> T:
        """What `work` gives. The first Ctrl-C calls `stop`, and is waited through; else Quit."""
        task = asyncio.create_task(work)
        tasks: list[asyncio.Task[Any]] = [task]
        try:
            while not await self._ended(task):
                stopping = stop() if len(tasks) == 1 else None
                if stopping is None:
                    raise Quit
                tasks.append(asyncio.create_task(stopping))
            # What `stop` asked is being answered: a Unix socket that is left in the moment in which
            # it can be read makes asyncio log an error (anyio 4, `UNIXSocketStream.receive`).
            await asyncio.wait(tasks, timeout=MOMENT)
            return task.result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ended(self, task: asyncio.Task[Any]) -> bool:
        """False where Ctrl-C came first."""
        came = asyncio.create_task(self._came.wait())
        try:
            await asyncio.wait({task, came}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            came.cancel()
        self._came.clear()
        return task.done()
