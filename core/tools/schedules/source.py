"""The tools with which a model proposes and lists schedules. Only a person can start a schedule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.domain.errors import ToolError
from core.domain.records import Health, Outcome, ToolContext, Viewer
from core.domain.schedules import ScheduleDraft, ScheduleRule
from core.ports.tools import Tool
from core.tools.tool import FunctionTool

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)


class _ProposingTool(FunctionTool):
    """A tool whose calls change nothing before a person confirms, so that they may run again."""

    def only_proposes(self, arguments: str) -> bool:
        """Return True."""
        return True


class ScheduleSource:
    """The tools of schedules (the port `ToolSource`). They need no other system."""

    name = "schedules"

    def __init__(self) -> None:
        self._tools: Sequence[Tool] = (
            _ProposingTool(schedule_propose, effect="chat", doing="is preparing a schedule…"),
            FunctionTool(schedule_list, effect="chat", doing="is looking at the schedules…"),
        )

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        """Return the tools."""
        return self._tools

    async def health(self) -> Health:
        """Return "on"."""
        return Health(self.name, "on", "")

    async def close(self) -> None:
        """Do nothing."""


async def schedule_propose(
    ctx: ToolContext,
    kind: Literal["post", "ask", "command"],
    what: str,
    when: str,
    zone: str | None,
    ends: str | None,
    replaces: str | None,
) -> Outcome:
    """Prepare a reminder or repeated task here, which the person starts on its card.

    Args:
        what: text to post, full instruction to yourself, or `quick-command SLUG input`
        when: 2026-11-24T14:00, or cron 0 9 * * MON (day L: last, LW: last workday; weekday 5L:
            last Friday, 1#1: first Monday)
        zone: IANA; null: theirs
        ends: last date, or number of runs; 0: never
        replaces: ID of one to change; empty values stay, when may be 10:00
    """

    def make_draft(before: ScheduleDraft | None) -> ScheduleDraft:
        """Return the draft of a new schedule, or `before` with the values that are given."""
        draft = before or ScheduleDraft(kind, what, ScheduleRule(), ctx.zone)
        if what.strip():
            draft = replace(draft, kind=kind, text=what)
        draft = replace(draft, time_zone=zone or draft.time_zone)
        tz = _find_zone(draft.time_zone)
        if when.strip() or not before:
            draft = replace(draft, rule=_read_rule(when.strip(), draft.rule, tz))
        if ends and ends.isdecimal():
            draft = replace(draft, ends_at=0.0, max_runs=int(ends[:9]))
        elif ends:
            draft = replace(draft, ends_at=_read_time(f"{ends[:10]}T23:59:59", tz), max_runs=0)
        return draft

    return await ctx.propose_schedule(make_draft, (replaces or "").strip().lower())


async def schedule_list(ctx: ToolContext, page: int) -> str:
    """List the person's schedules and this place's, 20 a page."""
    return await ctx.list_schedules(page)


def _find_zone(name: str) -> ZoneInfo:
    """Return the time zone of this name. Raise ToolError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError("There is no time zone of this name.", hint="use an IANA name") from None


def _read_rule(when: str, before: ScheduleRule, zone: ZoneInfo) -> ScheduleRule:
    """Return the rule that `when` is: a rule with five fields, a local date and time, or a time of
    day on the days of the rule `before`. Raise ToolError."""
    if len(when.split()) > 2:  # a date and time has at most one space
        return ScheduleRule(cron=when)
    clock = _CLOCK.fullmatch(when)
    if clock and before.cron:
        days = before.cron.split()[2:]
        return ScheduleRule(" ".join([str(int(clock[2])), str(int(clock[1])), *days]))
    if clock and before.run_at:
        day = datetime.fromtimestamp(before.run_at, zone).date()
        when = f"{day}T{clock[1]:0>2}:{clock[2]}"
    return ScheduleRule(run_at=_read_time(when, zone))


def _read_time(words: str, zone: ZoneInfo) -> float:
    """Return a local time as seconds since the epoch. Raise ToolError."""
    try:
        moment = datetime.fromisoformat(words)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        at = moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise ToolError(
            "This is not a date and time.", hint=f"{error}; write it as 2026-11-24T14:00"
        ) from None
    if datetime.fromtimestamp(at, moment.tzinfo) != moment:
        raise ToolError(
            "This time does not exist: the clocks skip it on that day.", hint="ask for another one"
        )
    return at
