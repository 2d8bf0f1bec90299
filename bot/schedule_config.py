"""The section `[schedules]` of ponte.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from bot.config_types import STRICT, Count, Days, Dollars, Many, Positive
from core.domain.schedules import ScheduleLimits


@dataclass(frozen=True, slots=True)
class SchedulesConfig:
    """Limits of schedules and reminders."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    shortest_minutes: Positive = 15
    """the shortest time between two runs of a schedule"""
    per_person: Count = 20
    """active and paused schedules of one person"""
    money_per_day: Dollars | None = None
    """US dollars that one schedule may cost a day; left out: only `allowances` limit it"""
    failures: Positive = 3
    """failed runs in a row after which a schedule is paused"""
    max_days: Days = 0
    """a repeating schedule ends after so many days; 0: it does not end"""
    max_runs: Many = 0
    """a repeating schedule ends after so many runs; 0: it does not end"""

    @property
    def limits(self) -> ScheduleLimits:
        """The limits for `core`."""
        return ScheduleLimits(
            self.shortest_minutes, self.per_person, self.failures, self.max_days, self.max_runs
        )
