"""The report of `ponte usage`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, cast, get_args

from bot.day_words import parse_day_word
from core.domain.errors import BadInput
from core.ports.rights import ReportRow
from core.store.budget import CountingBudget


async def report_usage(budget: CountingBudget, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the rows by `by` since the day `since`, by default the first of this month.

    Raises BadInput.
    """
    by, since = str(arguments.get("by", "")), str(arguments.get("since", ""))
    if by not in get_args(ReportRow):
        known = ", ".join(get_args(ReportRow))
        raise BadInput("Cannot group by {by}. Choose one of: {known}.", by=by, known=known)
    try:
        today = datetime.now(budget.zone).date()
        first = parse_day_word(since, today) if since else today.replace(day=1)
        first = first or date.fromisoformat(since)
    except ValueError:
        raise BadInput(
            "{since} is not a date. Write it as 2026-11-01, or write yesterday.", since=since
        ) from None
    rows = await budget.report(cast("ReportRow", by), first.isoformat())
    return {"by": by, "since": first.isoformat(), "rows": rows}
