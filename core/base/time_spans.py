"""The time spans that a model's filters name: dates, words such as "today", and periods."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from core.base.errors import ToolError

DATE_WORDS = (
    "today, yesterday, tomorrow, this_week, last_week, next_week, this_month, last_month, "
    "next_month, this_quarter, last_quarter, next_quarter, this_year, last_year, next_year, "
    "last_N_days, next_N_days"
)
_MAX_RELATIVE_DAYS = 3660

_DAY = timedelta(days=1)
_SHIFTS = {"last": -1, "this": 0, "next": 1}
_NEAR = {"yesterday": -1, "today": 0, "tomorrow": 1}
_NAMED_PERIOD = re.compile(r"(last|this|next)_(week|month|quarter|year)")
_RELATIVE_DAYS = re.compile(r"(last|next)_(\d{1,5})_days", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A span of time from `start` (included) to `end` (excluded), both aware, in the asker's
    zone."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, text: str, now: datetime) -> TimeSpan:
        """Raise ToolError if the text describes no time.

        `text` is one of `DATE_WORDS`, or a year, month, day or moment in ISO 8601. `now` is aware
        and in the asker's zone, which also applies to moments without an offset. Weeks begin on
        Monday (ISO 8601). `last_7_days` ends with today.
        """
        term, zone, today = text.strip(), now.tzinfo, now.date()
        try:
            if match := _MOMENT.fullmatch(term):
                moment = datetime.fromisoformat(term)
                start = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
                start = start.replace(microsecond=0)
                # It lasts as long as its last unit: a second, or a minute if the text has no
                # seconds (`match[1]`).
                end = start + timedelta(seconds=1 if match[1] else 60)
            else:
                if term in _NEAR:
                    first = today + _NEAR[term] * _DAY  # -1, 0 or 1 days
                    after = first + _DAY
                elif match := _NAMED_PERIOD.fullmatch(term):
                    # The period's distance from the present one, and the function that finds its
                    # first day.
                    shift, begin = _SHIFTS[match[1]], _PERIOD_STARTS[match[2]]
                    first, after = begin(today, shift), begin(today, shift + 1)
                elif match := _RELATIVE_DAYS.fullmatch(term):
                    count = int(match[2]) * _DAY
                    if not _DAY <= count <= _MAX_RELATIVE_DAYS * _DAY:
                        raise ValueError
                    # Both include today: the last 7 days end with it, the next 7 begin with it.
                    first = today + _DAY - count if match[1] == "last" else today
                    after = first + count
                elif match := _DATE.fullmatch(term):
                    year, month, nth = (int(part) if part else 0 for part in match.groups())
                    first, next_start = (
                        date(year, month or 1, nth or 1),
                        month_start if month else year_start,
                    )
                    after = first + _DAY if nth else next_start(first, 1)
                else:
                    raise ValueError
                start, end = (datetime.combine(day, time(), zone) for day in (first, after))
            # Both are converted to UTC later, which may lead into the year before or after, and a
            # datetime has only the years 1 to 9999.
            is_valid = 1 < start.year < end.year + 1 < 9999
        except (ValueError, OverflowError):
            is_valid = False
        if not is_valid:
            raise ToolError(
                "`{text}` isn't a valid date.",
                code="bad_date",
                hint=f"write 2026-11-20, 2026-11, 2026, 2026-11-20T09:30, or one of: {DATE_WORDS}",
                text=text[:64],
            )
        return cls(start, end)

    def __str__(self) -> str:
        """Return the span as a person would write it: the year, month, day or minute if it is
        exactly that, else its first and last day. It is shown in the line about the source."""
        if self.start.time() != time() or self.end.time() != time():
            return self.start.isoformat(" ", "minutes")[: len("2026-11-20 09:30")]
        first, after = self.first_day, self.day_after
        for length, of in ((4, year_start), (7, month_start)):
            if (first, after) == (of(first), of(first, 1)):
                return first.isoformat()[:length]
        last = (after - _DAY).isoformat()
        return last if after - first == _DAY else f"{first.isoformat()} – {last}"

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def day_after(self) -> date:
        return (self.end - timedelta(microseconds=1)).date() + _DAY


def month_start(day: date, later: int = 0) -> date:
    return _first_of_month(day.year, day.month + later)


def year_start(day: date, later: int = 0) -> date:
    return _first_of_month(day.year + later, 1)


_PERIOD_STARTS: dict[str, Callable[[date, int], date]] = {
    "week": lambda day, later: day - timedelta(days=day.weekday(), weeks=-later),
    "month": month_start,
    "quarter": lambda day, later: _first_of_month(
        day.year, (day.month - 1) // 3 * 3 + 1 + 3 * later
    ),
    "year": year_start,
}


def _first_of_month(year: int, month: int) -> date:
    # `month` may be below 1 or above 12: month 0 is December of the year before.
    return date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1)
