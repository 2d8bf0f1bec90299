"""Time and snowflakes, both of which a test may move forward."""

from __future__ import annotations

import datetime
import time

# Discord's epoch, 2015-01-01, in milliseconds: developers/reference.mdx#snowflakes.
EPOCH = 1_420_070_400_000


class Clock:
    def __init__(self) -> None:
        self._ahead = 0.0
        self._last = 0

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def snowflake(self, ago: float = 0.0) -> int:
        """A new id, larger than all before it unless `ago` seconds old."""
        result = (int((self.now() - ago) * 1000) - EPOCH) << 22
        if ago:
            return result | (self._last & 0xFFF)
        self._last = max(result, self._last + 1)
        return self._last

    def timestamp(self, snowflake: int | None = None) -> str:
        seconds = self.now() if snowflake is None else ((snowflake >> 22) + EPOCH) / 1000
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
