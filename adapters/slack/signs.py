"""The native signs that work goes on: the status line, and the session with its stop button.

`assistant.threads.setStatus` shows "<name> is looking at Customers…" for two minutes or until the
app posts; `agents.sessions.setStatus` shows Slack's own stop button while the session is
"processing" (docs.slack.dev/ai/agent-sessions).
"""

from __future__ import annotations

import asyncio
from typing import Any

from adapters.slack.latches import Feature
from adapters.slack.refusals import InDoubt, SlackRefused
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy
from core.words import say

SOON = 0.4
"""Seconds before a turn shows that it works: a quicker answer needs no sign."""
AGAIN = 90.0
WAITS = "hourglass_flowing_sand"
"""The reaction on a message that waits its turn."""
_TIMES = 20


class Signs:
    """Of one turn, in one thread; without a thread there is nowhere to show them."""

    def __init__(
        self, workspace: Workspace, channel: str, thread: str, source: str, locale: str
    ) -> None:
        self._workspace = workspace
        self._channel = channel
        self._thread = thread
        self._source = source
        self._doing = say("is thinking…", locale)
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._processing = False
        self._ended = False
        self._posts = True

    def late(self) -> None:
        """Show them for a click that takes its time, whose outcome may stand in its card alone."""
        if self._timer is None:
            self._posts = False
            self.soon()

    def soon(self) -> None:
        """Show them if the turn takes its time."""
        if f"{self._channel}:{self._source}" in self._workspace.waiting:
            self._workspace.tasks.start(self._waits_no_more())
        if self._thread and not self._ended:
            self._timer = asyncio.get_running_loop().call_later(SOON, self._begin)

    async def show(self, doing: str) -> None:
        """Say what is being done, now that the signs stand; else when they will."""
        if not doing or doing == self._doing:
            return
        self._doing = doing
        if self._task is not None and not self._task.done():
            await self._status()

    def hush(self) -> None:
        """An answer is there: the status line went with it, the stop button stays."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def end(self) -> None:
        self._ended = True
        self.hush()
        if self._processing:
            self._processing = False
            if not self._posts:  # only a post would take the status line away
                self._doing = ""
                await self._status()
            await self._session("active")

    def _begin(self) -> None:
        self._task = self._workspace.tasks.start(self._stand())

    async def _waits_no_more(self) -> None:
        self._workspace.waiting.discard(f"{self._channel}:{self._source}")
        await self._try("reactions", "reactions.remove", channel=self._channel,
                        timestamp=self._source, name=WAITS)  # fmt: skip

    async def _stand(self) -> None:
        self._processing = True
        await self._session("processing")
        for _ in range(_TIMES):
            await self._status()
            await asyncio.sleep(AGAIN)

    async def _status(self) -> None:
        await self._try(
            "status", "assistant.threads.setStatus",
            channel_id=self._channel, thread_ts=self._thread, status=self._doing[:50],
        )  # fmt: skip

    async def _session(self, status: str) -> None:
        await self._try(
            "sessions", "agents.sessions.setStatus",
            channel_id=self._channel, thread_ts=self._thread, status=status,
        )  # fmt: skip

    async def _try(self, feature: Feature, method: str, **arguments: Any) -> None:
        """Best effort: an answer never fails for want of a sign."""
        latches = self._workspace.latches
        if not latches.on(feature):
            return
        try:
            await self._workspace.api.call(method, patience=2.0, **arguments)
        except SlackRefused as refused:
            latches.refused(feature, refused.error)
        except (InDoubt, PlatformBusy):
            return
