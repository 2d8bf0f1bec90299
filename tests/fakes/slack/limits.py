"""Rate limits by method, and one post a second in a channel.

As docs.slack.dev/apis/web-api/rate-limits tells them. Tiers are calls a minute and workspace, and
which method has which stands in `reference`. Posting has its own limit: about one a second for each
channel, with short bursts let through.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque

from .records import SlackErrorResponse
from .reference import METHOD_TIERS, TIERS

POSTS = ("chat.postMessage", "chat.startStream")
BURST = 5


class Limits:
    """Of one workspace; `on` switches them all."""

    def __init__(self, on: bool = True) -> None:
        self.on = on
        self._calls: dict[str, deque[float]] = defaultdict(deque)
        self._posts: dict[str, tuple[float, float]] = {}

    def check(self, method: str, channel: str) -> None:
        """raises SlackErrorResponse("ratelimited") with its Retry-After."""
        if not self.on:
            return
        if method in POSTS:
            self._check_channel(channel)
        if method in METHOD_TIERS and method != "apps.connections.open":
            self._check_minute(method)

    def _check_minute(self, method: str) -> None:
        most = TIERS[METHOD_TIERS[method]]
        now = time.monotonic()
        calls = self._calls[method]
        while calls and now - calls[0] > 60:
            calls.popleft()
        if len(calls) >= most:
            raise SlackErrorResponse("ratelimited", 429, max(1, math.ceil(60 - (now - calls[0]))))
        calls.append(now)

    def _check_channel(self, channel: str) -> None:
        now = time.monotonic()
        tokens, at = self._posts.get(channel, (float(BURST), now))
        tokens = min(float(BURST), tokens + now - at)
        if tokens < 1:
            raise SlackErrorResponse("ratelimited", 429, 1)
        self._posts[channel] = (tokens - 1, now)
