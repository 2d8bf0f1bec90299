"""Features that Slack turned out not to have here: tried, then left alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Literal

import structlog

from adapters.slack.refusals import FEATURE_OFF, OF_THE_MESSAGE

log = structlog.get_logger("slack")
Feature = Literal["streams", "status", "sessions", "reactions"]
IN_A_ROW = 3
PAUSE = 3600.0
"""Seconds that a feature is left alone which was refused so often in a row, for whatever reason."""


class Latches:
    """Shared by all replies of the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._off: dict[Feature, tuple[str, float]] = {}
        self._refusals: Counter[Feature] = Counter()

    def on(self, feature: Feature) -> bool:
        return feature not in self._off or self._off[feature][1] <= self._clock()

    def worked(self, feature: Feature) -> None:
        self._refusals.pop(feature, None)

    def refused(self, feature: Feature, error: str) -> bool:
        """Whether the feature is off now: for good where `error` means that, else for an hour
        where it is only refused."""
        if error in OF_THE_MESSAGE:
            return False
        self._refusals[feature] += 1
        for_good = error in FEATURE_OFF
        if not for_good and self._refusals[feature] < IN_A_ROW:
            return False
        if self.on(feature):
            log.info("slack feature off", feature=feature, why=error)
        self._off[feature] = (error, float("inf") if for_good else self._clock() + PAUSE)
        self._refusals.pop(feature, None)
        return True

    @property
    def words(self) -> str:
        """For the operator: which are off, and Slack's word for why."""
        off = {feature: error for feature, (error, _) in self._off.items() if not self.on(feature)}
        return ", ".join(f"{feature}: {error}" for feature, error in off.items())
