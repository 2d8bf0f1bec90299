"""Schedules and reminders: `[schedules]` of ponte.toml, and the turns of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bot.config.toml_values import Count, Positive, StrictSection
from bot.features.base import Feature
from core.schedules.kind import SCHEDULE_CHANGE, SCHEDULE_KIND
from core.schedules.schedule import SCHEDULE_RUNS_TABLE, SCHEDULES_TABLE


@dataclass(frozen=True, slots=True)
class SchedulesConfig(StrictSection):
    """Limits of schedules and reminders."""

    shortest_minutes: Positive = 15
    """minutes between two runs, at least"""
    per_person: Count = 20
    """active and paused schedules of one person"""


class SchedulesFeature(Feature):
    tables = (SCHEDULES_TABLE, SCHEDULE_RUNS_TABLE)
    tables_after = "outbox"
    kinds: ClassVar = {SCHEDULE_KIND: SCHEDULE_CHANGE}
    origins: ClassVar = {"schedule": lambda engine: engine.schedules.origin}
    sections: ClassVar = {"schedules": SchedulesConfig}


FEATURE = SchedulesFeature()
