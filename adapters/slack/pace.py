"""Calls at the pace that Slack allows, so that none is refused.

One post a second in each channel, with short bursts, and other methods by tier, in calls a minute
and workspace (docs.slack.dev/apis/web-api/rate-limits); which tier a method has stands on its own
page. A call takes the next free place in its line.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import PlatformBusy

POSTS = frozenset({"chat.postMessage", "chat.startStream", "chat.postEphemeral"})
CHANNEL_BURST, CHANNEL_INTERVAL = 5, 1.1
"""Calls do not arrive at the distances at which they leave: a tenth of a second for that."""
TIERS: dict[str, int] = {
    "chat.startStream": 20, "chat.stopStream": 20, "usergroups.list": 20, "reactions.remove": 20,
    "chat.update": 50, "chat.delete": 50, "conversations.replies": 50,
    "conversations.history": 50, "agents.sessions.setStatus": 50, "reactions.add": 50,
    "chat.appendStream": 100, "chat.postEphemeral": 100, "users.info": 100,
    "views.publish": 100, "views.open": 100, "files.info": 100,
    "files.getUploadURLExternal": 100, "files.completeUploadExternal": 100,
}  # fmt: skip
"""Tiers 2, 3 and 4. The limits of chat.postMessage, auth.test and assistant.threads.setStatus are
special: no tier stands on their pages."""
_MOST_CHANNELS = 10_000


@dataclass(slots=True)
class Line:
    """A line of calls: `burst` at once, then one each `interval` seconds (GCRA)."""

    interval: float
    burst: int
    _due: float = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the next call may leave."""
        return max(0.0, self._due - (self.burst - 1) * self.interval - now)

    def take(self, now: float) -> None:
        self._due = max(self._due, now) + self.interval

    def hold(self, until: float) -> None:
        """Slack said when to come back: nothing leaves before."""
        self._due = max(self._due, until + (self.burst - 1) * self.interval)

    def spare(self, now: float) -> bool:
        """Whether half of the burst is still there: enough for what may as well be left out."""
        return self._due - now <= self.burst * self.interval / 2


class Pace:
    """The lines of one workspace. A burst and a minute's pace together stay under the tier."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._methods = {
            method: Line(60 / (most * 2 / 3), most // 3) for method, most in TIERS.items()
        }
        self._channels: OrderedDict[str, Line] = OrderedDict()

    async def turn(self, method: str, channel: str, patience: float, claimed: bool = False) -> None:
        """Wait for a place. Raises PlatformBusy, taking none, when it is further than `patience`
        seconds away. `claimed`: the method's place was taken before, by `claim`."""
        lines = self._lines("" if claimed else method, channel if method in POSTS else "")
        now = self._clock()
        delay = max((line.delay(now) for line in lines), default=0.0)
        if delay > patience:
            raise PlatformBusy(delay)
        for line in lines:
            line.take(now)
        if delay > 0:
            await asyncio.sleep(delay)

    def hold(self, method: str, channel: str, seconds: float) -> None:
        lines = self._lines(method, channel if method in POSTS else "")
        for line in lines[-1:]:
            line.hold(self._clock() + seconds)

    def spare(self, method: str) -> bool:
        """Whether a call may be made that may as well be left out."""
        line = self._methods.get(method)
        return line is None or line.spare(self._clock())

    def claim(self, *methods: str) -> bool:
        """Take a place now for calls that will be made later, if each has one to spare."""
        if not all(map(self.spare, methods)):
            return False
        for method in methods:
            self._methods[method].take(self._clock())
        return True

    def reserve(self, method: str, places: int) -> bool:
        """Take so many places now for calls that belong together, if they are free."""
        line, now = self._methods[method], self._clock()
        if line.delay(now + (1 - places) * line.interval) > 0:
            return False
        for _ in range(places):
            line.take(now)
        return True

    def _lines(self, method: str, channel: str) -> list[Line]:
        """The method's line, then the channel's where it counts."""
        lines = [self._methods[method]] if method in self._methods else []
        return [*lines, self._channel(channel)] if channel else lines

    def _channel(self, channel: str) -> Line:
        line = self._channels.get(channel)
        if line is None:
            line = self._channels[channel] = Line(CHANNEL_INTERVAL, CHANNEL_BURST)
            if len(self._channels) > _MOST_CHANNELS:
                self._channels.popitem(last=False)
        self._channels.move_to_end(channel)
        return line
