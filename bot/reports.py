"""The reports of `ponte usage`, `ponte turns` and the page /admin, and the words for days that
people type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import cast, get_args

from adapters.web import WEB
from bot.operation_results import Limit, PendingRequest, UsageReport
from core.base.errors import BadInput
from core.base.i18n import format_moment, say
from core.changes.service import ChangeService
from core.domain.messages import Address, Person
from core.money.allowances import COUNTED_WORDS, format_amount, period_end
from core.money.budget import Budget, ReportRow
from core.people.rules import OWNER_ID, place_names


async def report_usage(budget: Budget, by: str, since: str) -> UsageReport:
    """Return the rows by `by` since the day `since`, by default the first of this month.

    Raises BadInput.
    """
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
    models = await budget.models_without_price(first.isoformat())
    return UsageReport(by, first.isoformat(), rows, models)


async def report_pending(changes: ChangeService) -> Sequence[PendingRequest]:
    """Return everybody's requests that wait for a decision, without their values."""
    found = [(one, one.proposal) for one in await changes.ledger.list_waiting_for_people()]
    return [
        PendingRequest(
            change.id, changes.views.builder.build_title(change), proposal.asker.key,
            place_names(proposal.address)[-1], proposal.created_at, proposal.expires_at,
        )
        for change, proposal in found
    ]  # fmt: skip


async def report_limits(budget: Budget) -> Sequence[Limit]:
    """Return each limit with what is used of it now: first those that apply to the owner, then the
    counters of other people and places."""
    owner, page = Person(WEB.name, OWNER_ID), Address(WEB.name, "main")
    limits = []
    for count in await budget.list_counters(owner, page):
        scope, allowance = count.scope, count.scope.allowance
        for unit, limit in allowance.limits():
            spent = getattr(count.spent, unit)
            limits.append(Limit(
                scope.person or scope.place or say(COUNTED_WORDS[allowance.of]), scope.person,
                allowance.describe_limit(unit), format_amount(unit, spent),
                spent / limit if limit else 1.0,
                format_moment(period_end(count.period, budget.zone)), allowance.source,
            ))  # fmt: skip
    return limits


_DAYS_AGO = {
    "today": 0, "hoje": 0, "aujourd'hui": 0, "aujourd’hui": 0,
    "yesterday": 1, "ontem": 1, "hier": 1,
}  # fmt: skip


def parse_day_word(text: str, today: date) -> date | None:
    """Return the day that a word means, in English, Portuguese or French; None for other texts."""
    ago = _DAYS_AGO.get(text.strip().lower())
    return None if ago is None else today - timedelta(days=ago)


def parse_moment(written: str, zone: tzinfo, *, end: bool = False) -> str:
    """Return the moment in UTC as in the audit log. A day means its beginning, or its `end`.

    Raise BadInput.
    """
    if not written:
        return ""
    try:
        day = parse_day_word(written, datetime.now(zone).date())
        written = day.isoformat() if day else written
        moment = datetime.fromisoformat(written)
        if end and len(written) <= len("2026-11-01"):
            moment += timedelta(days=1)
        known = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return known.astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        raise BadInput(
            "{word} is not a date. Write it as 2026-11-01 or 2026-11-01T14:30, or write yesterday.",
            word=repr(written[:40]),
        ) from None
