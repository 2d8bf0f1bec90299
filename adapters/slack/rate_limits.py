"""Slack's rate limits: when a call may leave."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import not_
from typing import TypeVar

from core.base.errors import NotStored, PlatformBusy
from core.base.tasks import BoundedDict
from core.journal.jobs import SharedPace

T = TypeVar("T")

POSTS = frozenset({"chat.postMessage", "chat.startStream"})
"""Methods that also count against the rate limit of their channel. `chat.postEphemeral` has its
own tier instead (see its page), so a refusal takes no place from an answer."""
REFUSAL_LINE, REFUSALS_A_MINUTE = "refusals", 50
"""The queue of messages that refuse a request: half the tier of `chat.postEphemeral`. Other answers
to one person alone use the same method."""
CHANNEL_BURST, CHANNEL_INTERVAL = 5, 1.1
"""The limit of posts in one channel: how many may leave at once, and seconds between posts.

Slack allows one post a second in each channel, with short bursts
(docs.slack.dev/apis/web-api/rate-limits). The extra 0.1 seconds are a margin, because intervals
change on the way to Slack.
"""
SHARED_CHANNEL_BURST = 3
"""The burst for a channel in which several processes post. It is smaller, because each may add one
post to a quiet channel without asking the database."""
QUIET_SECONDS = 10.0
"""After this time without a post from this process in a channel, its next post there does not ask
the database."""
TIERS: dict[str, int] = {
    "chat.startStream": 20, "chat.stopStream": 20, "usergroups.list": 20, "reactions.remove": 20,
    "users.list": 20,
    "chat.update": 50, "chat.delete": 50, "conversations.replies": 50,
    "conversations.history": 50, "agents.sessions.setStatus": 50, "reactions.add": 50,
    "chat.appendStream": 100, "chat.postEphemeral": 100, "users.info": 100,
    "views.publish": 100, "views.open": 100, "files.info": 100,
    "files.getUploadURLExternal": 100, "files.completeUploadExternal": 100,
    "assistant.threads.setSuggestedPrompts": 100,
    "conversations.open": 50, "conversations.info": 50, "conversations.members": 100,
    "users.conversations": 50, "bots.info": 50,
}  # fmt: skip
"""Calls per minute and workspace: Slack's tiers 2, 3 and 4. Each method's page names its tier
(docs.slack.dev/apis/web-api/rate-limits). chat.postMessage, auth.test and
assistant.threads.setStatus have special limits: their pages name no tier.
"""
_MOST_CHANNELS = 10_000
"""How many channels' rate limits are kept in memory."""


@dataclass(slots=True)
class RateLimit:
    """A rate limit by the generic cell rate algorithm (GCRA): `burst` calls at once, then one every
    `interval` seconds. Without a burst, the next call would leave at `due`, by the caller's
    clock."""

    interval: float
    burst: int
    due: float = 0.0

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may leave."""
        return max(0.0, self.due - (self.burst - 1) * self.interval - now)

    def take(self, now: float) -> None:
        self.due = max(self.due, now) + self.interval

    def hold(self, until: float) -> None:
        """`until` is the time that Slack gave in Retry-After."""
        self.due = max(self.due, until + (self.burst - 1) * self.interval)

    def has_spare(self, now: float) -> bool:
        """Return whether at least half of the burst is free, which is enough for an optional
        call."""
        return self.due - now <= self.burst * self.interval / 2


class RateLimiter:
    """Delays calls so that they stay within Slack's rate limits for one workspace.

    Each method of `TIERS` and each channel has its own queue (a `RateLimit`), in which a call takes
    the next free place. The burst and one minute of calls at the interval together stay within the
    tier.

    `pace` shares these queues between all processes. A post in a channel where this process has not
    posted for QUIET_SECONDS takes no place in the shared queue, which saves a database transaction
    for most answers.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, pace: SharedPace | None = None
    ) -> None:
        """`clock` returns monotonic seconds. `pace` shares the queues between all processes that
        use the token; None if there is one."""
        self._clock = clock
        self._pace = pace
        # Of the calls that Slack allows in a minute, a third is the burst, two thirds are the rate.
        # REFUSAL_LINE is our own queue, for messages that refuse a request.
        self._methods = {
            method: RateLimit(60 / (most * 2 / 3), most // 3)
            for method, most in {**TIERS, REFUSAL_LINE: REFUSALS_A_MINUTE}.items()
        }
        self._channels: BoundedDict[str, RateLimit] = BoundedDict(_MOST_CHANNELS)
        """The rate limits of posts, by channel."""
        self._posted_at: BoundedDict[str, float] = BoundedDict(_MOST_CHANNELS)
        """The time of this process's last post in a channel, or the end of a Retry-After."""

    async def turn(self, method: str, channel: str, patience: float, claimed: bool = False) -> None:
        """Wait until a call of `method` may leave, and count it.

        Raises PlatformBusy, without counting the call, if the wait exceeds `patience` seconds.
        `claimed`: `claim` or `reserve` has already counted the call for its method.
        """
        names = [method] if method in self._methods and not claimed else []
        if channel and method in POSTS:
            now, last_post = self._clock(), self._posted_at.get(channel, -math.inf)
            # Noted even if the call has to wait, so that the next one finds the channel busy. After
            # a Retry-After (`hold`), `last_post` is in the future and stays.
            self._posted_at[channel] = max(now, last_post)
            # A post also counts against its channel. In a quiet one it takes no place that
            # processes share, which saves most answers a transaction.
            if self._pace is None or now - last_post <= QUIET_SECONDS:
                names.append(f"channel:{channel}")
        if not names:
            return

        def take(limits: Sequence[RateLimit], now: float) -> float:
            wait = max(limit.delay(now) for limit in limits)
            if wait <= patience:
                for limit in limits:
                    limit.take(now)
            return wait

        # A wait that is too long in memory is too long in the database as well, which is then not
        # asked.
        wait = await self._with_limits(names, take, lambda wait: wait > patience)
        if wait > patience:
            raise PlatformBusy(wait)
        if wait > 0:
            await asyncio.sleep(wait)

    async def hold(self, method: str, channel: str, seconds: float) -> None:
        """Let no call of the method leave for `seconds`, as Slack asked in Retry-After, in any
        process. After a post, this holds its channel instead: Slack limits posts by channel. A
        method without a known limit has no queue."""
        if channel and method in POSTS:
            # The channel counts as busy, so that the next post takes a place there.
            self._posted_at[channel] = self._clock() + seconds
            name = f"channel:{channel}"
        elif method in self._methods:
            name = method
        else:
            return
        # Never refused, so it is always written to the database.
        await self._with_limits(
            [name], lambda limits, now: limits[0].hold(now + seconds), lambda _: False
        )

    async def has_spare(self, method: str) -> bool:
        """Return whether an optional call of this method has room, without counting one."""
        return await self._with_limits([method], lambda limits, now: limits[0].has_spare(now), not_)

    async def claim(self, *methods: str) -> bool:
        """Take one place for each method, for calls that follow later. Return False and take none
        unless at least half of each method's burst is free. A stream, for example, is only started
        if the call that stops it has a place too."""

        def take(limits: Sequence[RateLimit], now: float) -> bool:
            if not all(limit.has_spare(now) for limit in limits):
                return False
            for limit in limits:
                limit.take(now)
            return True

        # A claim refused in memory does not ask the shared database. `not_` (of the module
        # operator): False is a refusal.
        return await self._with_limits(methods, take, not_)

    async def reserve(self, method: str, places: int) -> bool:
        """Take `places` places of one method for calls that belong together. Return False and take
        none if they are not free now."""

        def take(limits: Sequence[RateLimit], now: float) -> bool:
            (limit,) = limits
            # Each call moves the next place one interval later. So the last of them is free now
            # only if the first one was already free `places - 1` intervals ago.
            if limit.delay(now + (1 - places) * limit.interval) > 0:
                return False
            for _ in range(places):
                limit.take(now)
            return True

        # `not_` (of the module operator): a result of False is a refusal.
        return await self._with_limits([method], take, not_)

    async def _with_limits(
        self,
        names: Sequence[str],
        work: Callable[[Sequence[RateLimit], float], T],
        is_refused: Callable[[T], bool],
    ) -> T:
        """Run `work` on the rate limits of these methods and channels, while no other process
        changes them.

        `work` gets the limits and the time, may change the limits, and returns a result. Without
        other processes it runs once, on the limits in memory. Otherwise it first runs on copies of
        them. Other processes only add calls, so a queue that was full there is still full: if
        `is_refused` is true for that result, the database is not asked.
        """
        own: list[RateLimit] = []
        for name in names:
            limit = self._methods.get(name)
            if limit is None:
                burst = CHANNEL_BURST if self._pace is None else SHARED_CHANNEL_BURST
                limit = self._channels.get(name) or RateLimit(CHANNEL_INTERVAL, burst)
                # Written at each use, because the dict drops what was written longest ago.
                self._channels[name] = limit
            own.append(limit)
        pace = self._pace
        # No other process: the limits in memory are the only ones.
        if pace is None:
            return work(own, self._clock())
        if is_refused(result := work([replace(limit) for limit in own], self._clock())):
            return result

        # `now` and `dues` are by the shared clock, `RateLimit.due` here by our own. So seconds from
        # now come back.
        def on_dues(
            dues: Sequence[float], now: float
        ) -> tuple[Sequence[float], tuple[T, Sequence[float]]]:
            """Return the new due times for the database, then the result with the seconds from now
            until each. The transaction may be repeated, so it changes copies."""
            limits = [replace(limit, due=due) for limit, due in zip(own, dues, strict=True)]
            result = work(limits, now)
            new_dues = [limit.due for limit in limits]
            return new_dues, (result, [due - now for due in new_dues])

        began = self._clock()
        try:
            result, ahead = await pace.run([f"slack:{name}" for name in names], on_dues)
        except NotStored:  # without the database, each process limits only its own calls
            return work(own, self._clock())
        for limit, seconds in zip(own, ahead, strict=True):
            # Another call of this process may have moved it further.
            limit.due = max(limit.due, began + seconds)
        return result
