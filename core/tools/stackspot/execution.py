"""Remote quick commands over HTTP: begin one, look at it, wait for its end."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from core.http import HttpUnreadable
from core.tools.stackspot.api import StackSpotApi
from core.tools.stackspot.clock import Clock
from core.tools.stackspot.error import StackSpotError, StillRunning, worded
from core.tools.stackspot.request import Request
from core.tools.stackspot.slug import quoted_slug
from core.tools.stackspot.status import Status, read_status

OnProgress = Callable[[Status], Awaitable[None]]
"""Told of each new state, share or step while a quick command runs."""

FIRST = 1.0
"""Seconds before the first look; each next pause is longer by GROWTH, up to LONGEST."""
GROWTH = 1.5
LONGEST = 8.0
MISSES = 10
"""Looks that may fail in a row, a minute or so, before the waiting is given up."""
PATIENCE = 30.0
"""Seconds that one look may take; the last one before the deadline has LEAST."""
LEAST = 5.0
DEADLINE = 300.0
"""Seconds that a run is waited for, where nothing else is set."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Answers are cached on the way, as public clients found.
_FRESH = {"Cache-Control": "no-cache", "Pragma": "no-cache"}


class Executions:
    """`url` is the quick commands' host; `deadline` in seconds."""

    def __init__(self, url: str, api: StackSpotApi, clock: Clock, deadline: float) -> None:
        self._url = f"{url.rstrip('/')}/v1/quick-commands"
        self._api = api
        self._clock = clock
        self._deadline = deadline

    async def create(
        self, slug: str, input: str | Mapping[str, Any], conversation: str = ""
    ) -> str:
        """Start a quick command; gives the execution's id. Raises StackSpotError.

        It is a spend: where the answer is lost, the error's code is "unknown", and nothing is
        started a second time.
        """
        request = Request(
            "create",
            "POST",
            f"{self._url}/create-execution/{quoted_slug(slug)}",
            subject=slug,
            body={"input_data": input if isinstance(input, str) else dict(input)},
            params={"conversation_id": conversation} if conversation else None,
            repeatable=False,
        )
        answer = await self._api.repeat(request)
        id = answer.get("execution_id") if isinstance(answer, Mapping) else answer
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise worded(HttpUnreadable("no id"), request)
        return id

    async def look(self, execution: str, *, timeout: float = PATIENCE) -> Status:
        """How it stands now, from one attempt. Raises StackSpotError."""
        if not _ID.fullmatch(execution):
            raise StackSpotError("That is no id of a quick command's run.", code="unknown_run")
        request = Request(
            "status",
            "GET",
            f"{self._url}/callback/{execution}",
            subject=execution,
            params={"nocache": secrets.token_hex(8)},
            headers=_FRESH,
            timeout=timeout,
        )
        answer = await self._api.once(request)
        if not isinstance(answer, Mapping):
            raise worded(HttpUnreadable("no object"), request)
        return read_status(execution, answer)

    async def wait(self, execution: str, on_progress: OnProgress | None = None) -> Status:
        """Look until it has completed.

        Raises StackSpotError: code "failed" when it failed; a StillRunning where the deadline has
        passed, StackSpot refuses to tell, or is away for too long.
        """
        end = self._clock.now() + self._deadline
        pause, misses, shown = FIRST, 0, Status(execution)
        while (left := end - self._clock.now()) > 0:
            await self._clock.sleep(min(pause * self._clock.jitter(), left))
            pause = min(pause * GROWTH, LONGEST)
            try:
                status = await self.look(execution, timeout=self._patience(end))
            except StackSpotError as error:
                misses += 1
                if not error.passing or misses > MISSES:
                    raise StillRunning(error, execution) from None
                pause = max(pause, error.after)
                continue
            misses = 0
            if status.failed:
                raise _failed(status)
            if status.completed:
                return status
            if on_progress is not None and _told(status) != _told(shown):
                await on_progress(status)
            shown = status
        raise StillRunning(self._too_late(), execution)

    def _patience(self, end: float) -> float:
        return min(PATIENCE, max(end - self._clock.now(), LEAST))

    def _too_late(self) -> StackSpotError:
        return StackSpotError(
            "StackSpot did not finish within {seconds} s, so I stopped waiting.",
            code="deadline",
            seconds=f"{self._deadline:.0f}",
        )


def _told(status: Status) -> tuple[str, float | None, str]:
    return status.state, status.share, status.step


def _failed(status: Status) -> StackSpotError:
    """StackSpot tells no reason; at which step it was helps a little."""
    if not status.step:
        return StackSpotError(
            "StackSpot reports that it failed ({state}), and gives no reason.",
            code="failed",
            state=status.state,
        )
    return StackSpotError(
        'StackSpot reports that it failed ({state}) at the step "{step}", and gives no reason.',
        code="failed",
        state=status.state,
        step=status.step,
    )
