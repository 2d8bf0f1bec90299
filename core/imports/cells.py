"""Cells of a file, as its program shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time


@dataclass(frozen=True, slots=True)
class CellError:
    """An error such as `#N/A`, or a formula without a stored result, which begins with `=`."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ShownNumber:
    """A number that its program shows as `text`, such as a percentage or a postal code."""

    value: int | float
    text: str

    def __str__(self) -> str:
        return self.text


SheetCell = str | int | float | bool | date | datetime | time | CellError | ShownNumber | None
