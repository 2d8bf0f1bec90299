"""Rows of a card as a change stores them."""

from __future__ import annotations

from typing import Any

from core.changes.card_rows import _build_row
from core.domain.changes import ChangeStep, Row, RowWrite, TargetView


def card_row(before: Row | None, after: Row | None) -> dict[str, Any]:
    """Return the row with these cells; None where there is no row."""
    return _build_row(
        [ChangeStep(1, RowWrite(before=before, after=after))], TargetView(), is_whole=True
    )
