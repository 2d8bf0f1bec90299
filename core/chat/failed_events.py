"""Events of a chat platform that could not be handled: each one is logged and counted."""

from __future__ import annotations

from dataclasses import replace

import structlog

from core.base.i18n import plural
from core.domain.records import Health
from core.observability import metrics

EVENT_FAILED = (
    "Something went wrong, and I couldn't handle this message. Try again, or send it as plain text."
)
"""The sentence for the person whose message could not be handled."""
_COUNT = (
    "{count} event failed (last: {error}); see the log",
    "{count} events failed (last: {error}); see the log",
)


class FailedEvents:
    """The events of one platform whose handling raised an exception, since the process started."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._log = structlog.get_logger(platform)
        self._count = 0
        self._last = ""

    def note(self, error: BaseException, event: object) -> None:
        """Log and count an event of this type, which caused `error`."""
        self._count, self._last = self._count + 1, type(error).__name__
        metrics.failed_events.labels(self._platform).inc()
        self._log.error(
            "event failed", event_type=str(event)[:100], error=self._last, exc_info=error
        )

    def describe(self, health: Health) -> Health:
        """Return the state of the platform with the number of failed events."""
        if not self._count:
            return health
        words = plural(*_COUNT, self._count, error=self._last)
        return replace(health, words=f"{health.words}; {words}")
