"""Whether a table holds what was to be written: it may read "79" as 79, or a date as a time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def same(wanted: Any, found: Any) -> bool:
    """Equal as JSON, or as the number, truth or moment that both of them write."""
    if bool(wanted == found) or (_is_empty(wanted) and _is_empty(found)):
        return True
    if isinstance(wanted, bool) or isinstance(found, bool):
        return _truth(wanted) == _truth(found)
    if not isinstance(wanted, str | int | float) or not isinstance(found, str | int | float):
        return False
    numbers = _number(wanted), _number(found)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return _same_moment(str(wanted), str(found))


def differing(wanted: dict[str, Any], found: dict[str, Any]) -> tuple[str, ...]:
    """The fields of `wanted` that do not stand in `found`."""
    return tuple(name for name, value in wanted.items() if not same(value, found.get(name)))


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [])


def _truth(value: Any) -> bool | str:
    words = str(value).lower()
    return _TRUTH.get(words, words)


def _number(value: str | float) -> Decimal | None:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _same_moment(wanted: str, found: str) -> bool:
    """A day alone is the same as any time on it."""
    try:
        stands = datetime.fromisoformat(found)
        if len(wanted) == len("2026-11-20"):
            return stands.date() == date.fromisoformat(wanted)
        return _utc(datetime.fromisoformat(wanted)) == _utc(stands)
    except ValueError:
        return False


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
