"""`nocodb_summarize`: counts, sums and the like over the rows that fit, whole or by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from core.errors import ToolError
from core.records import Outcome, Scene
from core.tools.nocodb import cells
from core.tools.nocodb.filters.filters import Filter, Match
from core.tools.nocodb.reading.asking import Asked, Asking
from core.tools.nocodb.reading.figures import Figure, Fn, checked, figure
from core.tools.nocodb.reading.groups import Bucket, grouped
from core.tools.nocodb.reading.query import CAP, DATA
from core.tools.nocodb.reading.reading import Rows, Wish
from core.tools.nocodb.reading.totals import Wanted, there, totals
from core.tools.nocodb.rest.records import Record
from core.tools.nocodb.schema import Field
from core.tools.nocodb.values import line
from core.tools.outcome import compact, fitting

MOST_FIGURES = 12


@dataclass(frozen=True, slots=True)
class By:
    """One figure over one field."""

    field: str
    fn: Fn


@dataclass(frozen=True, slots=True)
class Summary:
    """`whole` are the figures over all rows; `groups` the rows of each, by label."""

    rows: Rows
    whole: Sequence[Figure]
    groups: dict[str, list[Record]] = field(default_factory=dict)
    rounded: bool = False
    """NocoDB added them up, maybe in floats."""


class Summarize:
    """The function that becomes a tool."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def nocodb_summarize(
        self,
        scene: Scene,
        table: str,
        filters: Sequence[Filter] = (),
        match: Match = "all",
        aggregates: Sequence[By] = (),
        group_by: str | None = None,
        bucket: Bucket | None = None,
    ) -> Outcome:
        """How many rows of a table fit filters, with sums and the like, whole or by group.

        Args:
            table: its name, as nocodb_tables tells it
            filters: none for every row
            match: whether rows must fit all filters or any; null means all
            aggregates: null only counts rows
            group_by: a field; null for one figure over all
            bucket: for a group_by of dates
        """
        if len(aggregates) > MOST_FIGURES:
            raise ToolError("At most {most} figures fit in one call.", code="bad_aggregate",
                            most=MOST_FIGURES)  # fmt: skip
        names = [*(each.field for each in aggregates), *([group_by] if group_by else [])]
        asked = await self._asking.asked(scene, table, filters, match, names)
        fields = ((asked.field(each.field), each.fn) for each in aggregates)
        wanted = [(field, checked(field, fn)) for field, fn in fields]
        group = asked.field(group_by) if group_by else None
        summary = await self._summary(asked, wanted, group, bucket)
        told = _told(asked, wanted, summary, group)
        rows = summary.rows
        counted = rows.total if rows.complete else len(rows.records)
        return Outcome("ok", compact(told), sources=(asked.source(rows, counted),))

    async def _summary(
        self, asked: Asked, wanted: Sequence[Wanted], group: Field | None, bucket: Bucket | None
    ) -> Summary:
        if group is None and (summary := await self._by_nocodb(asked, wanted)):
            return summary
        fields = [each for each, _ in wanted] + ([group] if group else [])
        rows = await self._asking.reading.every(asked.selection, Wish(tuple(fields)))
        groups = grouped(rows.records, group, bucket, asked.zone) if group else {}
        return Summary(rows, _figures(asked, wanted, rows.records), groups)

    async def _by_nocodb(self, asked: Asked, wanted: Sequence[Wanted]) -> Summary | None:
        """Without reading rows, where that is exact or there are too many to read.

        The count comes first: it refuses a filter that the aggregates would ignore.
        """
        selection, reading = asked.selection, self._asking.reading
        exact = there(selection, wanted, exact=True)
        if wanted and not exact and not there(selection, wanted, exact=False):
            return None
        rows = await reading.count(selection)
        if wanted and not exact and rows.total <= reading.most:
            return None
        figures = await totals(self._asking.api, selection, wanted, asked.zone)
        return None if figures is None else Summary(rows, figures, rounded=not exact)


def _figures(asked: Asked, wanted: Sequence[Wanted], records: Sequence[Record]) -> Sequence[Figure]:
    return [
        figure(field, fn, [record.fields.get(field.title) for record in records], asked.zone)
        for field, fn in wanted
    ]


def _told(
    asked: Asked, wanted: Sequence[Wanted], summary: Summary, group: Field | None
) -> dict[str, Any]:
    rows = summary.rows
    told: dict[str, Any] = {
        "table": line(asked.table.title),
        "total" if rows.counted else "total_at_least": rows.total,
        "zone": str(asked.zone),
    }
    if not rows.complete:
        told["read"] = (
            f"only the first {rows.read} rows were looked at; these figures are of them alone"
        )
    if summary.rounded:
        told["rounded"] = "NocoDB added up so many rows itself; the last digits may be off"
    if wanted:
        told["all"] = _row(wanted, summary.whole)
    if group is None:
        return {**told, "note": DATA}
    rows_of = [
        {
            line(group.title): label,
            "rows": len(records),
            **_row(wanted, _figures(asked, wanted, records)),
        }
        for label, records in summary.groups.items()
    ]
    if any(cells.may_lack(group, row.fields.get(group.title)) for row in rows.records):
        told["links"] = "NocoDB may not tell all that a row links to: groups may lack some rows"
    kept = fitting(rows_of, CAP)
    if len(kept) < len(rows_of):
        told["cut"] = f"the first {len(kept)} of {len(rows_of)} groups"
    return {**told, "note": DATA, "rows": kept}


def _row(wanted: Sequence[Wanted], figures: Sequence[Figure]) -> dict[str, object]:
    return {
        f"{fn} of {line(field.title)}": _shown(figure)
        for (field, fn), figure in zip(wanted, figures, strict=True)
    }


def _shown(figure: Figure) -> object:
    """A whole number as one, any other by its digits: a JSON float would round it."""
    if not isinstance(figure, Decimal):
        return figure
    whole = figure == figure.to_integral_value() and figure.adjusted() < 15
    return int(figure) if whole else format(figure, "f")
