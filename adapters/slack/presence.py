"""The native sign that work goes on: an agent's session, or else the status line; never both.

`assistant.threads.setStatus` serves where the app is no agent.
"""

from __future__ import annotations

import asyncio
from typing import Any

from adapters.slack.client import Feature, InDoubt, SlackRefused
from adapters.slack.events import Source
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy
from core.i18n import nearest, say
from core.messages import ReplyTo

SOON = 0.4
"""Seconds before a turn shows that it works: a quicker answer needs no sign."""
AGAIN = 90.0
"""Seconds after which the status line is said again: Slack shows it for two minutes."""
WAITS = "hourglass_flowing_sand"
"""The reaction on a message that waits its turn."""
UNHEARD = "missing_agent_session_stopped_event_subscription"
"""A warning of agents.sessions.setStatus: there is no Stop, since nobody would hear it
(docs.slack.dev/reference/events/agent_session_stopped)."""
_THINKING = "is thinking…"
_SESSION = "agents.sessions.setStatus"
"""What it shows goes on until it is ended, for up to an hour (NousResearch/hermes-agent issue
90978)."""
_TIMES, _PATIENCE, _PAUSE = 20, 2.0, 5.0
"""How often a sign is tried or said again; seconds that one may take, and between two tries."""


class Signs:
    """Of one turn, in one thread; without a thread there is nowhere to show them.

    A session that is "processing" is shown with Slack's own Stop (docs.slack.dev/ai/
    agent-sessions). The status line stands for two minutes or until the app posts. Both write one
    place, and the last one wins (agentconnect-md/agentconnect pull 1483).
    """

    def __init__(self, workspace: Workspace, to: ReplyTo) -> None:
        self._workspace = workspace
        self._to = to
        self._channel = to.address.channel
        self._source = Source.read(to.source)
        self._thread = self._source.thread
        self._doing = ""
        self._timer: asyncio.TimerHandle | None = None
        self._session: asyncio.Task[None] | None = None
        self._line: asyncio.Task[None] | None = None
        self._posts = True
        self._begun = False
        self._ended = False
        self._reserved = False
        self.native_stop = False
        """Whether Slack shows its own Stop for this turn."""

    def soon(self, posts: bool = True) -> None:
        """Show them if the turn takes its time. `posts`: its outcome will be a post; that of a
        click may stand in its card alone."""
        if self._begun:
            return
        self._begun, self._posts = True, posts
        if self._is_left_over or self._place in self._workspace.waiting:
            self._workspace.tasks.start(self._waits_no_more())
        if self._thread and not self._ended:
            self._timer = asyncio.get_running_loop().call_later(SOON, self._begin)

    async def show(self, doing: str) -> None:
        """Say what is being done, where there is a line for it; else when there is."""
        if not doing or doing == self._doing:
            return
        self._doing = doing
        if self._line is not None and not self._line.done():
            await self._status(doing)

    def streams(self) -> None:
        """A stream began: it makes the thread's session "processing" by itself."""
        self._workspace.working[self._where] = self._to.turn

    def hush(self) -> None:
        """An answer is there: the status line went with it, the session and its Stop stay."""
        if self._timer is not None:
            self._timer.cancel()
        if self._line is not None:
            self._line.cancel()

    async def end(self, released: bool = False) -> None:
        """The turn is over. `released`: its stream ended, and the session with it."""
        self.hush()
        self._workspace.pending.end(self._to.turn)
        if self._ended:
            return
        self._ended = True
        if self._line is not None and not self._posts:  # only a post would take the line away
            await self._status("")
        if self._session is not None:
            await asyncio.wait({self._session}, timeout=_PATIENCE)
        ours = self._workspace.working.get(self._where) == self._to.turn
        if ours and released:
            del self._workspace.working[self._where]
        left_over = ours or (self._begun and self._is_left_over and bool(self._thread))
        if (
            left_over
            and not released
            and (releasing := self._workspace.tasks.start(self._release()))
        ):
            await asyncio.wait({releasing}, timeout=_PATIENCE)

    @property
    def _there(self) -> dict[str, Any]:
        return {"channel_id": self._channel, "thread_ts": self._thread}

    @property
    def _where(self) -> str:
        return f"{self._channel}:{self._thread}"

    @property
    def _place(self) -> str:
        return f"{self._channel}:{self._source.ts}"

    @property
    def _is_left_over(self) -> bool:
        """A former process took this message, and may have left signs."""
        return self._source.kind == "message" and float(self._source.ts) < self._workspace.started

    def _begin(self) -> None:
        if not self._workspace.latches.on("sessions"):
            self._line = self._workspace.tasks.start(self._keep_line())
            return
        self._session = self._workspace.tasks.start(self._stand())

    async def _stand(self) -> None:
        if not self._workspace.api.pace.reserve(_SESSION, 2):
            return  # there must be a place left to end it
        self._reserved = True
        self._workspace.working[self._where] = self._to.turn
        title = self._workspace.titles.get(self._to.turn) or None
        told = await self._try("sessions", _SESSION, status="processing", title=title,
                               claimed=True, **self._there)  # fmt: skip
        if told:
            self.native_stop = told.get("warning") != UNHEARD
        elif told is None:
            self._workspace.working.pop(self._where, None)
            if not self._ended:
                self._line = self._workspace.tasks.start(self._keep_line())

    async def _release(self) -> None:
        """Slack itself would show for an hour that work goes on."""
        latches = self._workspace.latches
        for _ in range(_TIMES):
            if not latches.on("sessions"):
                return
            if self._workspace.working.get(self._where, self._to.turn) != self._to.turn:
                return  # another turn works in this thread now
            try:
                await self._workspace.api.call(
                    _SESSION, status="active", claimed=self._reserved, **self._there
                )
                self._workspace.working.pop(self._where, None)
                return
            except SlackRefused as refused:
                latches.refused("sessions", refused.error)
                self._workspace.working.pop(self._where, None)
                return
            except (InDoubt, PlatformBusy):
                self._reserved = False
                await asyncio.sleep(_PAUSE)

    async def _keep_line(self) -> None:
        for _ in range(_TIMES):
            locale = self._workspace.directory.locale(self._to.asker.id)
            await self._status(self._doing or say(_THINKING, nearest(locale)))
            await asyncio.sleep(AGAIN)

    async def _status(self, words: str) -> None:
        method = "assistant.threads.setStatus"
        await self._try("status", method, status=words[:50], **self._there)

    async def _waits_no_more(self) -> None:
        self._workspace.waiting.discard(self._place)
        await self._try("reactions", "reactions.remove", channel=self._channel,
                        timestamp=self._source.ts, name=WAITS)  # fmt: skip

    async def _try(self, feature: Feature, method: str, **arguments: Any) -> dict[str, Any] | None:
        """Best effort: an answer never fails for want of a sign. None where it was refused, nothing
        in it where it may or may not have been done."""
        latches = self._workspace.latches
        if not latches.on(feature):
            return None
        try:
            told = await self._workspace.api.call(method, patience=_PATIENCE, **arguments)
        except SlackRefused as refused:
            # Where a command was typed, the app need not be a member, and is not authorised either.
            if self._source.kind == "message":
                latches.refused(feature, refused.error)
            return None
        except (InDoubt, PlatformBusy):
            return {}
        latches.worked(feature)
        return told
