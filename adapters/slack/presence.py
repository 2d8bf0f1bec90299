"""The signs that a turn is under way: Slack's session with its Stop, the status line, a mark."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from adapters.slack.client import (
    Feature,
    InDoubt,
    SlackRefused,
)
from adapters.slack.events import Source
from adapters.slack.workspace import Workspace
from core.chat.presence import SIGN_AFTER_SECONDS
from core.domain.errors import PlatformBusy
from core.domain.messages import ReplyTo
from core.runtime.retry import retry, wait_after_each
from core.text.i18n import nearest_locale, say

STATUS_PERIOD_SECONDS = 90.0
"""Seconds after which the status line is said again: Slack shows it for two minutes."""
NO_STOP_WARNING = "missing_agent_session_stopped_event_subscription"
"""A warning of agents.sessions.setStatus: there is no Stop, since nobody would hear it
(docs.slack.dev/reference/events/agent_session_stopped)."""
_THINKING = "is thinking…"
_SESSION = "agents.sessions.setStatus"
"""What it shows goes on until it is ended, for up to an hour (NousResearch/hermes-agent issue
90978)."""
_SIGN_TIMES, _SIGN_PATIENCE, _SIGN_PAUSE = 20, 2.0, 5.0
"""How often a sign is tried or said again; seconds that one may take, and between two tries."""


class Presence:
    """Of one turn, in one thread; without a thread Slack has no place for them, and the message
    that is answered wears a mark.

    A session that is "processing" is shown with Slack's own Stop (docs.slack.dev/ai/
    agent-sessions). The status line stands for two minutes or until the app posts. Both write one
    place, and the last one wins (agentconnect-md/agentconnect pull 1483).
    """

    def __init__(self, workspace: Workspace, to: ReplyTo, resumed: bool = False) -> None:
        self._workspace = workspace
        self._to = to
        self._resumed = resumed
        self._channel = to.address.channel
        self._source = Source.read(to.source)
        self._thread = self._source.thread
        self._doing = ""
        self._timer: asyncio.TimerHandle | None = None
        self._session: asyncio.Task[object] | None = None
        self._line: asyncio.Task[object] | None = None
        self._posts = True
        self._begun = False
        self._ended = False
        self._released = False
        self._reserved = False
        self.native_stop = False
        """Whether Slack shows its own Stop for this turn."""

    def soon(self, posts: bool = True) -> None:
        """Show them if the turn takes its time. `posts`: its outcome will be a post; that of a
        click may stand in its card alone."""
        if self._begun:
            return
        self._begun, self._posts = True, posts
        if self._is_left_over:
            self._workspace.tasks.start(self._workspace.unmark(self._place))
        self._workspace.marks.clear(self._to.turn)
        if self._shows and not self._ended:
            self._timer = asyncio.get_running_loop().call_later(SIGN_AFTER_SECONDS, self._begin)

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
        self._workspace.marks.clear(self._to.turn)

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
            await asyncio.wait({self._session}, timeout=_SIGN_PATIENCE)
        self._released = self._workspace.working.get(self._where) == self._to.turn
        if self._released and released:
            del self._workspace.working[self._where]
        elif self._released:
            await self._let_go()

    async def tidy(self) -> None:
        """Take away what a former process left; this one may have shown nothing, where the answer
        was there already."""
        if not self._is_left_over or self._released:
            return
        self._released = True
        if not self._begun:
            self._workspace.tasks.start(self._workspace.unmark(self._place))
        if self._thread:
            await self._let_go()

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
    def _shows(self) -> bool:
        return bool(self._thread) or self._source.kind == "message"

    @property
    def _is_left_over(self) -> bool:
        """A former process took this message, or another one had it, and may have left signs."""
        early = self._resumed or float(self._source.ts) < self._workspace.started
        return self._source.kind == "message" and early

    def _begin(self) -> None:
        if not self._thread:
            self._workspace.tasks.start(self._mark())
            return
        if not self._workspace.flags.is_on("sessions"):
            self._line = self._workspace.tasks.start(self._keep_line())
            return
        self._session = self._workspace.tasks.start(self._stand())

    async def _mark(self) -> None:
        spare = await self._workspace.api.limiter.spare("reactions.remove")
        if spare and not self._ended:  # it must come off again
            self._workspace.marks.put(self._to.turn, self._place)

    async def _stand(self) -> None:
        if not await self._workspace.api.limiter.reserve(_SESSION, 2):
            return  # there must be a place left to end it
        self._reserved = True
        self._workspace.working[self._where] = self._to.turn
        title = self._workspace.titles.get(self._to.turn) or None
        told = await self._try("sessions", _SESSION, status="processing", title=title,
                               claimed=True, **self._there)  # fmt: skip
        if told:
            self.native_stop = told.get("warning") != NO_STOP_WARNING
        elif told is None:
            self._workspace.working.pop(self._where, None)
            if not self._ended:
                self._line = self._workspace.tasks.start(self._keep_line())

    async def _let_go(self) -> None:
        if releasing := self._workspace.tasks.start(self._release()):
            await asyncio.wait({releasing}, timeout=_SIGN_PATIENCE)

    async def _release(self) -> None:
        """Slack itself would show for an hour that work goes on."""
        flags = self._workspace.flags

        async def release() -> None:
            if not flags.is_on("sessions"):
                return
            if self._workspace.working.get(self._where, self._to.turn) != self._to.turn:
                return  # another turn works in this thread now
            try:
                await self._workspace.api.call(
                    _SESSION, status="active", claimed=self._reserved, **self._there
                )
            except SlackRefused as refused:
                flags.note_refusal("sessions", refused.error)
            except (InDoubt, PlatformBusy):
                self._reserved = False
                raise
            self._workspace.working.pop(self._where, None)

        with suppress(InDoubt, PlatformBusy):
            pauses = [_SIGN_PAUSE] * (_SIGN_TIMES - 1)
            await retry(release, (InDoubt, PlatformBusy), wait_after_each(pauses))

    async def _keep_line(self) -> None:
        for _ in range(_SIGN_TIMES):
            locale = self._workspace.directory.locale(self._to.asker.id)
            await self._status(self._doing or say(_THINKING, nearest_locale(locale)))
            await asyncio.sleep(STATUS_PERIOD_SECONDS)

    async def _status(self, words: str) -> None:
        method = "assistant.threads.setStatus"
        await self._try("status", method, status=words[:50], **self._there)

    async def _try(self, feature: Feature, method: str, **arguments: Any) -> dict[str, Any] | None:
        """Best effort: an answer never fails for want of a sign. None where it was refused, nothing
        in it where it may or may not have been done."""
        flags = self._workspace.flags
        if not flags.is_on(feature):
            return None
        try:
            told = await self._workspace.api.call(method, patience=_SIGN_PATIENCE, **arguments)
        except SlackRefused as refused:
            # Where a command was typed, the app need not be a member, and is not authorised either.
            if self._source.kind == "message":
                flags.note_refusal(feature, refused.error)
            return None
        except (InDoubt, PlatformBusy):
            return {}
        flags.note_success(feature)
        return told
