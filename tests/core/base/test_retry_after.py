"""How long servers ask us to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from core.base.http import MAX_PARSED_RETRY_AFTER_SECONDS, parse_retry_after


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("30", 30.0), (" 1.5 ", 1.5), ("0", 0.0), ("", None), ("soon", None), ("-5", None),
        ("٣", None), ("1e999", None), ("9" * 400, MAX_PARSED_RETRY_AFTER_SECONDS),
    ],
)  # fmt: skip
def test_retry_after_with_a_number_is_seconds(told: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": told}) == seconds


def test_a_date_is_when() -> None:
    now = datetime.now(UTC)
    soon = format_datetime(now + timedelta(seconds=30), usegmt=True)
    past = format_datetime(now - timedelta(days=1), usegmt=True)
    assert 25 < (parse_retry_after({"retry-after": soon}) or 0) <= 30
    assert parse_retry_after({"retry-after": past}) == 0


def test_retry_after_may_be_missing() -> None:
    assert parse_retry_after({}) is None
