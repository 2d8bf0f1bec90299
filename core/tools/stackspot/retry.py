"""Whether a request that failed is sent again, and after how long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from core.http import HttpAnswer, HttpDown, HttpError, HttpTimeout, HttpUnreadable
from core.tools.stackspot.clock import Clock
from core.tools.stackspot.error import worded
from core.tools.stackspot.refusal import GATEWAY, is_daily, wait_of
from core.tools.stackspot.request import Request

T = TypeVar("T")

PAUSES = (0.5, 2.0, 5.0)
"""Seconds before the second attempt, the third, the fourth."""
BUSY_PAUSES = (2.0, 8.0, 20.0, 40.0)
"""Those after a 429: a service credential has 20 requests a minute
(https://ai.stackspot.com/docs/quick-commands/create-remote-qc), so they outlast one."""
ALTOGETHER = 90.0
"""Seconds of pauses; who would have to wait for longer is told instead."""
_AGAIN = (408, 500, 503)


async def persist(send: Callable[[Request], Awaitable[T]], request: Request, clock: Clock) -> T:
    """What `send` gives, after several attempts if need be. Raises StackSpotError."""
    attempt, waited = 0, 0.0
    while True:
        attempt += 1
        try:
            return await send(request)
        except HttpError as error:
            pause = pause_after(error, attempt, request.repeatable)
            if pause is None or waited + pause > ALTOGETHER:
                raise worded(error, request) from None
        waited += pause
        await clock.sleep(pause * clock.jitter())


def pause_after(error: HttpError, attempt: int, repeatable: bool) -> float | None:
    """Seconds until the next attempt, after `attempt` that failed; None: do not send it again.

    What is not repeatable is sent again only where it cannot have been taken: it never left, or
    StackSpot itself (and no gateway before it) said that it did not serve it.
    """
    if isinstance(error, HttpAnswer):
        return _after_answer(error, attempt, repeatable)
    passing = isinstance(error, HttpDown | HttpTimeout | HttpUnreadable)
    if not passing or (error.sent and not repeatable):
        return None
    return _nth(PAUSES, attempt)


def _after_answer(answer: HttpAnswer, attempt: int, repeatable: bool) -> float | None:
    status = answer.status
    if status == 429:
        pause = None if is_daily(answer) else _nth(BUSY_PAUSES, attempt)
    elif status in _AGAIN or (status in GATEWAY and repeatable):
        pause = _nth(PAUSES, attempt)
    else:
        pause = None
    return None if pause is None else max(pause, wait_of(answer))


def _nth(pauses: tuple[float, ...], attempt: int) -> float | None:
    return pauses[attempt - 1] if attempt <= len(pauses) else None
