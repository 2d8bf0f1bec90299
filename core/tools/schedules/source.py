"""The tools with which a model proposes and lists schedules. Only a person can start a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.domain.errors import ToolError
from core.domain.records import Health, Outcome, ToolContext
from core.domain.schedules import ScheduleDraft, ScheduleRule
from core.ports.tools import Tool
from core.tools.tool import FunctionTool

_NO_TIME = "Give `at` for one run, or `cron` for a rule that repeats, and not both."


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
            _ProposingTool.of(
                schedule_propose, effect="chat", doing="is preparing a schedule…"
            ),
            FunctionTool.of(
                schedule_list, effect="chat", doing="is looking at the schedules…"
            ),
        )  # fmt: skip

    async def tools(self) -> Sequence[Tool]:
        """Return the tools."""
        return self._tools

    async def health(self) -> Health:
        """Return "on"."""
        return Health(self.name, "on", "")

    async def close(self) -> None:
        """Do nothing."""


async def schedule_propose(
    ctx: ToolContext,
    kind: Literal["ask", "post", "command"],
    what: str,
    at: str | None,
    cron: str | None,
    zone: str | None,
    ends: str | None,
    max_runs: int | None,
    replaces: str | None,
) -> Outcome:
    """Propose a reminder or a repeated task in this conversation. Nothing runs before the person
    starts it on its card, so do not say that it is set up.

    Args:
        kind: "post" posts a fixed text, such as a reminder. "ask" asks you again each time, with
            your tools. "command" runs a quick command.
        what: the text to post, the complete instruction for you, or `quick-command SLUG input`.
        at: local date and time of a single run, as 2026-11-24T14:00. Null if it repeats.
        cron: five fields (minute hour day month weekday) for a rule that repeats, as `0 9 * * MON`.
            Day `L` is the last day of the month, `LW` its last day from Monday to Friday; weekday
            `5L` is the last Friday and `1#1` the first Monday. Null for a single run.
        zone: IANA time zone. Null for the zone of the person.
        ends: last local date, as 2026-12-31. Null for no end.
        max_runs: number of runs after which it ends. Null for no limit.
        replaces: the id of a schedule to change. Null for a new one.
    """
    name = zone or ctx.zone
    try:
        tz = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError("There is no time zone of this name.", hint="use an IANA name") from None
    if bool(at) == bool(cron):
        raise ToolError(_NO_TIME)
    rule = ScheduleRule(cron=cron or "", at=_read_time(at, tz) if at else 0.0)
    end = _read_time(f"{ends[:10]}T23:59:59", tz) if ends else 0.0
    draft = ScheduleDraft(kind, what, rule, name, ends=end, max_runs=max(0, max_runs or 0))
    return await ctx.propose_schedule(draft, (replaces or "").strip().lower())


async def schedule_list(ctx: ToolContext) -> str:
    """List the person's schedules and those of this conversation, with their ids. The person
    manages them by typing `schedule ID pause`, `resume`, `run` or `delete`."""
    return await ctx.list_schedules()


def _read_time(words: str, zone: ZoneInfo) -> float:
    """Return a local time as seconds since the epoch. Raise ToolError."""
    try:
        moment = datetime.fromisoformat(words)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise ToolError(
            "This is not a date and time.", hint="write it as 2026-11-24T14:00"
        ) from None
