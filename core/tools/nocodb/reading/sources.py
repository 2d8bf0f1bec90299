"""Where figures come from: the line that code, not the model, puts under an answer."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from core.markdown import markless
from core.tools.nocodb.filters.filter_words import words
from core.tools.nocodb.filters.filters import Selection
from core.tools.nocodb.reading.reading import Rows
from core.tools.nocodb.schema import Table
from core.words import say

_LINE = "Source: {what}: {shown} of {total} rows, {time} ({zone})."
_AT_LEAST = "Source: {what}: {shown} of at least {total} rows, {time} ({zone})."
_ROW = "Source: {what}: row {id}, {time} ({zone})."


def source(
    origin: str, selection: Selection, rows: Rows, shown: int, now: datetime, locale: str
) -> str:
    """One line of Markdown: the table, the filter in words, how many rows, when, and a link.

    `shown` is how many the answer stands on, `now` in the zone of who asked.
    """
    told = words(selection, locale)
    what = f"{selection.table.title}, {told}" if told else selection.table.title
    sentence = _LINE if rows.counted else _AT_LEAST
    said = say(
        sentence, locale, what=markless(what), shown=f"{shown:,}", total=f"{rows.total:,}",
        **_when(now),
    )  # fmt: skip
    return f"{said} {_link(origin, selection.table)}"


def source_of_row(origin: str, table: Table, id: str, now: datetime, locale: str) -> str:
    said = say(_ROW, locale, what=markless(table.title), id=markless(id), **_when(now))
    return f"{said} {_link(origin, table, id)}"


def _when(now: datetime) -> dict[str, str]:
    """The zone's name has no markup in it: an underscore between letters is nothing but that."""
    return {"time": now.strftime("%Y-%m-%d %H:%M"), "zone": str(now.tzinfo)}


def _link(origin: str, table: Table, row: str = "") -> str:
    """NocoDB's page is a single one; "nc" stands for the workspace (its router, 0.301.3)."""
    step = "/".join(quote(each, safe="") for each in ("nc", table.base, table.id))
    opened = f"?rowId={quote(row, safe='')}" if row else ""
    return f"[NocoDB]({origin}/dashboard/#/{step}{opened})"
