"""Rows and charts as data: a tool returns them, a model places them, and a platform shows them.

A model places a result of its turn by a line of its own, such as `[table: r1]`, and types no cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from core.base.i18n import say
from core.base.markdown import escape_cell
from core.base.splitting import fence_after_line, make_code_block
from core.base.spreadsheets import Cell, ExportColumn
from core.base.value_formats import parse_number

MAX_EXACT_NUMBER = 2**53
"""Larger numbers are not exact as floats, which Slack and browsers use."""
MAX_FENCE_CHARACTERS = 100
BAR_CHARACTERS = 20
_REFERENCE = re.compile(r"[ \t]*\[(?:table|chart): ?(r\d{1,3})\][ \t]*")
_OPEN_REFERENCE = re.compile(r"[ \t]*\[(?:[tc][a-z]{0,4}(?::[ r\d]*\]?[ \t]*)?)?")
"""A line that may become a reference, or is one and may go on."""
_GONE = "_These rows are no longer available. Ask for them again._"

Value = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class RowColumn:
    """`kind` is "number" for numbers, "words" for other values. `name` is the one that the model
    reads, "" if it is the title. `format`: see `core/base/value_formats.py`, or "month" for months
    by their first day."""

    title: str
    kind: Literal["number", "words"] = "words"
    name: str = ""
    format: str = ""

    def read_cell(self, text: str, value: Value) -> Cell:
        """Return a cell for a file to download, with its own type: a number, truth value, day,
        moment or text. `text` is what the cell shows. `value` is the value behind it, or None if
        the cell is only text."""
        if value is None:  # an empty cell in a column of numbers; text in any other column
            return None if self.kind == "number" else text or None
        if not isinstance(value, str):
            return value
        if self.format == "month":  # it has the month's first day: 2026-11-01
            return value[: len("2026-11")]
        if self.format in ("date", "moment"):
            return (date if self.format == "date" else datetime).fromisoformat(value)
        # The source may write a number as a text.
        number = parse_number(value)
        return value if number is None else number

    def sort_number(self, value: Value) -> float | None:
        """Dates sort by days since the year 1. None: the value sorts as text."""
        if self.format in ("date", "month", "moment") and isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440
        return to_number(value)


@dataclass(frozen=True, slots=True)
class RowsResult:
    """`rows` are the texts of the cells. `values` are the numbers as their source writes them,
    truth values, and days and moments in ISO 8601; None for cells that are text. `caption` is plain
    text: the source, and how many rows of how many these are. `total` are the texts of a last row
    with what the rows add up to, () for none."""

    caption: str
    columns: tuple[RowColumn, ...]
    rows: tuple[tuple[str, ...], ...]
    values: tuple[tuple[Value, ...], ...]
    total: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """Markup in cells is escaped, because anybody can write it into a table."""
        marks = ["---:" if column.kind == "number" else ":---" for column in self.columns]
        titles = [escape_cell(column.title) for column in self.columns]
        rows = (*self.rows, self.total) if self.total else self.rows
        cells = [titles, marks, *([escape_cell(cell) for cell in row] for row in rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)

    def to_export(self) -> tuple[list[ExportColumn], list[list[Cell]]]:
        return [ExportColumn(column.title, column.format) for column in self.columns], [
            [column.read_cell(*cell) for column, cell in zip(self.columns, cells, strict=True)]
            for cells in map(zip, self.rows, self.values)
        ]


@dataclass(frozen=True, slots=True)
class Series:
    """A missing value is None. `format`: see `core/base/value_formats.py`; "" for numbers without a
    unit."""

    name: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    format: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Each series has one value for each of the `labels`."""

    kind: Literal["bar", "line", "area", "pie"]
    title: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]

    def to_rows(self) -> RowsResult:
        """The rows have a column of labels, and one of each series."""
        columns = (RowColumn(series.name, "number") for series in self.series)
        texts = zip(*(series.texts for series in self.series), strict=True)
        values = zip(*(series.values for series in self.series), strict=True)
        return RowsResult(
            self.title,
            (RowColumn(""), *columns),
            tuple((label, *cells) for label, cells in zip(self.labels, texts, strict=True)),
            tuple((None, *cells) for cells in values),
        )

    def to_markdown(self) -> str:
        """Return the chart as a list of bars made of characters, in a code block, for platforms
        that draw no charts. A bar's length is that of the absolute value."""
        lines = list[tuple[str, str, float]]()  # for each bar: its name, its text, its value
        for at, label in enumerate(self.labels):
            for series in self.series:
                name = f"{label} · {series.name}" if len(self.series) > 1 else label
                lines.append((name, series.texts[at], abs(series.values[at] or 0)))
        longest = max(value for _, _, value in lines) or 1  # all values may be 0
        names, texts = max(len(name) for name, *_ in lines), max(len(line[1]) for line in lines)
        bars = [
            f"{name:<{names}}  {text:>{texts}}  {'█' * round(BAR_CHARACTERS * value / longest)}"
            for name, text, value in lines
        ]
        block = "\n".join([self.title, *map(str.rstrip, bars)])
        return make_code_block(block.replace("`", "'"))  # a backtick could end the block


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows or a chart in an answer. `text` is its Markdown, exactly as in the text of the answer; a
    platform may show `data` in its place."""

    text: str
    data: RowsResult | Chart


def to_number(value: Value) -> float | None:
    """Return None for any other value, and for a number so large that a float would not be
    exact."""
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) <= MAX_EXACT_NUMBER else None


def place_results(
    text: str,
    find_results: Callable[[], Mapping[str, RowsResult | Chart]],
    is_growing: bool = False,
) -> tuple[str, tuple[Placed, ...]]:
    """Put tables and charts in place of the lines that name them, and return them, too.
    `find_results` returns the results of the turn by id, such as `r1`.

    The model refers to a table or a chart by a line such as `[table:r1]`. Each is placed once;
    another line that names it is removed. A sentence replaces an id that no result has. In a text
    that is growing, a last line that may become such a line is left out, so that nobody sees half
    of it. Lines of code blocks stay as they are. Blank lines separate a table from the text, as
    Markdown needs it.
    """
    # The last line of a growing text may be the beginning of `[table:r1]`.
    if is_growing and _OPEN_REFERENCE.fullmatch(text, text.rfind("\n") + 1):
        text = text[: max(0, text.rfind("\n"))]
    if "[table:" not in text and "[chart:" not in text:
        return text, ()
    results = find_results()
    source, lines = text.split("\n"), list[str]()
    placed, fence = dict[str, Placed](), None
    ends_with_result = False
    for line in source:
        # `fence` is the mark of an open code block; then the line belongs to it.
        match = None if fence else _REFERENCE.fullmatch(line)
        fence = fence_after_line(line, fence, MAX_FENCE_CHARACTERS)
        if match is None:
            lines += [""] if ends_with_result and line.strip() else []
            lines.append(line)
            ends_with_result = False
        elif (id := match[1]) not in placed:
            lines += [""] if lines and lines[-1].strip() else []
            data = results.get(id)
            lines.append(data.to_markdown() if data else say(_GONE))
            ends_with_result = True
            if data:
                placed[id] = Placed(lines[-1], data)
    return "\n".join(lines), tuple(placed.values())


def split_placed(
    text: str, placed: Sequence[Placed]
) -> list[tuple[str, RowsResult | Chart | None]]:
    """Split a text at the tables and charts that `place_results` placed in it, so that a platform
    can show each in a form of its own. Return pieces of Markdown, each with its data; None for
    text. A result whose Markdown was cut or changed is not found, and stays a part of the text."""
    pieces = list[tuple[str, RowsResult | Chart | None]]()
    for placed_result in placed:
        before, found, after = f"\n{text}\n".partition(f"\n{placed_result.text}\n")
        if found:
            pieces += [(before.strip("\n"), None), (placed_result.text, placed_result.data)]
            text = after.strip("\n")
    return [piece for piece in [*pieces, (text, None)] if piece[0]]
