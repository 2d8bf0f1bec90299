"""Days as people type them: `yesterday`, `ontem`, `hier`, or an ISO date."""

from __future__ import annotations

from datetime import date, timedelta

_DAYS_AGO = {
    "today": 0, "hoje": 0, "aujourd'hui": 0, "aujourd’hui": 0,
    "yesterday": 1, "ontem": 1, "hier": 1,
}  # fmt: skip


def parse_day_word(text: str, today: date) -> date | None:
    """Return the day that a word means, in English, Portuguese or French; None for other texts."""
    ago = _DAYS_AGO.get(text.strip().lower())
    return None if ago is None else today - timedelta(days=ago)
