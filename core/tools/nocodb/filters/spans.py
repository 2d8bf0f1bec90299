"""Stretches of time as a filter names them ("this_month", "2026-11"), in the zone of who asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from core.errors import ToolError

WORDS = (
    "today, yesterday, tomorrow, this_week, last_week, next_week, this_month, last_month, "
    "next_month, this_quarter, last_quarter, next_quarter, this_year, last_year, next_year, "
    "last_N_days, next_N_days"
)
_LONGEST = 3660
"""Days of a `last_N_days`."""

_DAY = timedelta(days=1)
_SHIFTS = {"last": -1, "this": 0, "next": 1}
_NEAR = {"yesterday": -1, "today": 0, "tomorrow": 1}
_NAMED = re.compile(r"(last|this|next)_(week|month|quarter|year)")
_DAYS = re.compile(r"(last|next)_(\d{1,5})_days", re.ASCII)
_WRITTEN = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_CLOCK = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Span:
    """From `start`, included, to `end`, not included; both aware, in the zone of who asks."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, text: str, now: datetime) -> Span:
        """`now` is aware and in the zone of who asks. Weeks begin on Monday (ISO 8601).

        `text` is one of `WORDS`, or a year, month, day or moment as ISO 8601 writes them; one
        without an offset is in that zone. `last_7_days` ends with today. Raises ToolError.
        """
        try:
            span = _read(text.strip(), now)
        except (ValueError, OverflowError):
            span = None
        if span is None or not 1 < span.start.year < span.end.year + 1 < 9999:
            raise ToolError(
                "{text!r} is not a date that I know.",
                code="bad_date",
                hint=f"write 2026-11-20, 2026-11, 2026, 2026-11-20T09:30, or one of: {WORDS}",
                text=text[:64],
            )
        return span

    def __str__(self) -> str:
        """Its year, month, day or minute, else its first and last day."""
        if self.start.time() != time() or self.end.time() != time():
            return self.start.isoformat(" ", "minutes")[: len("2026-11-20 09:30")]
        first, after = self.first_day, self.day_after
        for length, of in ((4, year_of), (7, month_of)):
            if (first, after) == (of(first), of(first, 1)):
                return first.isoformat()[:length]
        last = (after - _DAY).isoformat()
        return last if after - first == _DAY else f"{first.isoformat()} – {last}"

    def to(self, last: Span) -> Span:
        """From the beginning of this one to the end of `last`."""
        return Span(self.start, last.end)

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def day_after(self) -> date:
        """The first day that is not in it."""
        return (self.end - timedelta(microseconds=1)).date() + _DAY


def midnight(day: date, zone: tzinfo | None) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def week_of(day: date) -> date:
    return day - timedelta(days=day.weekday())


def month_of(day: date, later: int = 0) -> date:
    """The first day of its month, or of the one so many months later."""
    return _month(day.year, day.month + later)


def quarter_of(day: date, later: int = 0) -> date:
    return _month(day.year, (day.month - 1) // 3 * 3 + 1 + 3 * later)


def year_of(day: date, later: int = 0) -> date:
    return _month(day.year + later, 1)


_BEGINNINGS: dict[str, Callable[[date, int], date]] = {
    "week": lambda day, later: week_of(day) + timedelta(weeks=later),
    "month": month_of,
    "quarter": quarter_of,
    "year": year_of,
}


def _read(text: str, now: datetime) -> Span | None:
    today, zone = now.date(), now.tzinfo
    if text in _NEAR:
        return _days(today + _NEAR[text] * _DAY, today + (_NEAR[text] + 1) * _DAY, zone)
    if found := _NAMED.fullmatch(text):
        shift, begin = _SHIFTS[found[1]], _BEGINNINGS[found[2]]
        return _days(begin(today, shift), begin(today, shift + 1), zone)
    if found := _DAYS.fullmatch(text):
        count = int(found[2]) * _DAY
        if not _DAY <= count <= _LONGEST * _DAY:
            return None
        if found[1] == "last":
            return _days(today + _DAY - count, today + _DAY, zone)
        return _days(today, today + count, zone)
    return _written(text, zone)


def _written(text: str, zone: tzinfo | None) -> Span | None:
    if found := _WRITTEN.fullmatch(text):
        year, month, day = (int(part) if part else 0 for part in found.groups())
        first = date(year, month or 1, day or 1)
        if day:
            return _days(first, first + _DAY, zone)
        return _days(first, month_of(first, 1) if month else year_of(first, 1), zone)
    if found := _CLOCK.fullmatch(text):
        moment = datetime.fromisoformat(text)
        start = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
        step = timedelta(seconds=1) if found[1] else timedelta(minutes=1)
        return Span(start.replace(microsecond=0), start.replace(microsecond=0) + step)
    return None


def _days(first: date, after: date, zone: tzinfo | None) -> Span:
    return Span(midnight(first, zone), midnight(after, zone))


def _month(year: int, month: int) -> date:
    """Months before the first and after the twelfth belong to the years beside."""
    return date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1)
