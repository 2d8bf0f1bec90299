"""What a word for a time means depends on where the asker is."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from core.base.errors import ToolError
from core.tools.nocodb.filters import TimeSpan

PARIS = ZoneInfo("Europe/Paris")
FRIDAY = datetime(2026, 11, 20, 14, 5, tzinfo=PARIS)


def days(text: str, now: datetime = FRIDAY) -> tuple[str, str]:
    span = TimeSpan.of(text, now)
    return span.first_day.isoformat(), span.day_after.isoformat()


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("today", "2026-11-20", "2026-11-21"),
        ("yesterday", "2026-11-19", "2026-11-20"),
        ("tomorrow", "2026-11-21", "2026-11-22"),
        ("this_week", "2026-11-16", "2026-11-23"),
        ("last_week", "2026-11-09", "2026-11-16"),
        ("next_week", "2026-11-23", "2026-11-30"),
        ("this_month", "2026-11-01", "2026-12-01"),
        ("last_month", "2026-10-01", "2026-11-01"),
        ("next_month", "2026-12-01", "2027-01-01"),
        ("this_quarter", "2026-10-01", "2027-01-01"),
        ("last_quarter", "2026-07-01", "2026-10-01"),
        ("next_quarter", "2027-01-01", "2027-04-01"),
        ("this_year", "2026-01-01", "2027-01-01"),
        ("last_year", "2025-01-01", "2026-01-01"),
        ("next_year", "2027-01-01", "2028-01-01"),
        ("last_1_days", "2026-11-20", "2026-11-21"),
        ("last_7_days", "2026-11-14", "2026-11-21"),
        ("next_7_days", "2026-11-20", "2026-11-27"),
        ("last_3660_days", "2016-11-13", "2026-11-21"),
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        (" 2026-11-20T09:30 ", "2026-11-20", "2026-11-21"),
    ],
)
def test_a_word_is_a_stretch_of_days(text: str, first: str, after: str) -> None:
    assert days(text) == (first, after)


def test_last_month_in_january_was_last_year() -> None:
    assert days("last_month", datetime(2026, 1, 31, tzinfo=PARIS)) == ("2025-12-01", "2026-01-01")
    assert days("last_quarter", datetime(2026, 2, 1, tzinfo=PARIS)) == ("2025-10-01", "2026-01-01")


def test_today_is_the_askers() -> None:
    late = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    assert days("today", late.astimezone(ZoneInfo("Asia/Tokyo"))) == ("2026-11-21", "2026-11-22")
    assert days("today", late.astimezone(ZoneInfo("America/Bahia"))) == ("2026-11-20", "2026-11-21")


def test_a_day_of_the_clocks_change_has_25_hours() -> None:
    span = TimeSpan.of("2026-10-25", FRIDAY)
    assert (span.end.astimezone(UTC) - span.start.astimezone(UTC)).total_seconds() == 25 * 3600


def test_a_moment_keeps_its_own_offset() -> None:
    span = TimeSpan.of("2026-11-20T09:30:00Z", FRIDAY)
    assert span.start == datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    assert (span.end - span.start).total_seconds() == 1
    assert str(span) == "2026-11-20 10:30"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("this_month", "2026-11"),
        ("this_year", "2026"),
        ("today", "2026-11-20"),
        ("last_week", "2026-11-09 – 2026-11-15"),
        ("this_quarter", "2026-10-01 – 2026-12-31"),
        ("last_1_days", "2026-11-20"),
        ("2026-11-20T09:30", "2026-11-20 09:30"),
    ],
)
def test_a_span_is_described_by_its_dates(text: str, words: str) -> None:
    assert str(TimeSpan.of(text, FRIDAY)) == words


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "03/04/2026", "2026-13", "2026-02-30", "0000", "9999", "last_0_days"),
        *("last_3661_days", "0001", "2026-11-20T25:00", '2026-11-20" ~or (Id,gt,0', "٢٠٢٦-11-20"),
    ],
)
def test_what_is_no_date_is_told(text: str) -> None:
    with pytest.raises(ToolError) as caught:
        TimeSpan.of(text, FRIDAY)
    assert caught.value.code == "bad_date"
    assert "this_month" in caught.value.hint
