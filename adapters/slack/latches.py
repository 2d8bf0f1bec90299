"""Features that Slack turned out not to have here: tried once, then left alone."""

from __future__ import annotations

from typing import Literal

import structlog

from adapters.slack.refusals import FEATURE_OFF

log = structlog.get_logger("slack")
Feature = Literal["streams", "status", "sessions", "reactions"]


class Latches:
    """Shared by all replies of the process."""

    def __init__(self) -> None:
        self._off: dict[Feature, str] = {}

    def on(self, feature: Feature) -> bool:
        return feature not in self._off

    def refused(self, feature: Feature, error: str) -> bool:
        """Whether `error` means that the feature is off; then it is not tried again."""
        if error not in FEATURE_OFF:
            return False
        if self.on(feature):
            log.info("slack feature off", feature=feature, why=error)
        self._off[feature] = error
        return True

    @property
    def words(self) -> str:
        """For the operator: which are off, and Slack's word for why."""
        return ", ".join(f"{feature}: {error}" for feature, error in self._off.items())
