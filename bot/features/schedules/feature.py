"""Schedules and reminders: `[schedules]` of ponte.toml, and the turns of their runs."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class AlertsConfig(StrictSection):
    """Limits of alerts."""

    shortest_minutes: Positive = 5
    """minutes between two looks, at least"""
    per_person: Count = 20
    """active and paused alerts of one person"""


FEATURE = Feature(
    tables=(SCHEDULES_TABLE, SCHEDULE_RUNS_TABLE),
    tables_after="outbox",
    kinds={SCHEDULE_KIND: SCHEDULE_CHANGE},
    origins={"schedule": lambda engine: engine.schedules.origin},
    sections={"schedules": SchedulesConfig, "alerts": AlertsConfig},
    audit_sentences={
        "schedule-written": "{asker} saved the schedule {schedule}",
        "schedule-paused": "{asker} paused the schedule {schedule}",
        "schedule-resumed": "{asker} resumed the schedule {schedule}",
        "schedule-run-requested": "{asker} started a run of the schedule {schedule}",
        "schedule-deleted": "{asker} deleted the schedule {schedule}",
        "schedule-refused": "A program tried to change the schedule {schedule} and was refused",
        "schedule-run-skipped": "A run of the schedule {schedule} was skipped: {reason}",
    },
)
