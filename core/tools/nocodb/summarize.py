"""`nocodb_summarize`: counts, sums and similar figures over matching rows, in all or by group.

Code computes the figures, in decimal arithmetic, or NocoDB does, so that the model needs no rows.
"""

from __future__ import annotations

import decimal
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, tzinfo
from decimal import Decimal
from itertools import islice
from typing import Any, Literal

from core.base.errors import ToolError
from core.base.i18n import format_date, plural, say
from core.base.redaction import redact
from core.base.text import to_one_line
from core.base.value_formats import (
    MAX_DIGITS,
    decimal_places,
    fix_places,
    format_kind,
    format_value,
    parse_number,
)
from core.domain.ports import Tool
from core.domain.records import Outcome, ToolContext
from core.domain.rows import RowColumn, RowsResult, Value
from core.tools.nocodb import cells, fieldtypes
from core.tools.nocodb.api import FieldAggregate, Json, NocoRecord, TableApi
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.cells import format_label, format_moment
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.filters import FILTER_GUIDE, LooseFilters, Match, RowSelection
from core.tools.nocodb.read import (
    CHANGED_NOTE,
    MAX_ROWS_CHARACTERS,
    UNTRUSTED_CELLS_NOTE,
    QueryTools,
    TableQuestion,
    describe_placing,
)
from core.tools.nocodb.row_reader import MAX_ROWS_READ, ColumnChoice, RowReader, SelectedRows
from core.tools.nocodb.schema import Schemas, explain
from core.tools.tool import Function, FunctionTool, compact_json, parse_docstring, rows_that_fit

EMPTY_LABEL = "(empty)"
MAX_GROUP_LABEL_CHARACTERS = 80
MAX_FIGURES = 12

_ANY_FNS: tuple[Fn, ...] = ("count", "filled", "empty", "unique")
_DATE_FNS: tuple[Fn, ...] = (*_ANY_FNS, "min", "max")
_NUMBER_FNS: tuple[Fn, ...] = (*_DATE_FNS, "sum", "avg", "median")
_ADDED_FNS: tuple[Fn, ...] = ("count", "filled", "empty", "sum")
"""Functions whose figures of all groups add up to the one of all rows."""
_NO_TOTAL = {"read", "changed", "linked", "overlap", "links", "cut", "total_at_least"}
"""What the model reads where groups do not add up to all rows."""
_DIGITS = 4 * MAX_DIGITS
"""Digits of the decimal arithmetic: a sum has them before and after the decimal sign."""
_PLACES = 2
"""Decimal places that an average has beyond those of its numbers."""
_BUCKETS: Mapping[Bucket, Callable[[date], str]] = {
    "day": date.isoformat,
    "week": lambda day: "{}-W{:02}".format(*day.isocalendar()[:2]),
    "month": lambda day: day.isoformat()[: len("2026-11")],
    "quarter": lambda day: f"{day.year}-Q{(day.month + 2) // 3}",
    "year": lambda day: f"{day.year:04}",
}

_FIGURES: Mapping[Fn, str] = {
    "count": "{field}: rows",
    "filled": "{field}: filled",
    "empty": "{field}: empty",
    "unique": "{field}: different values",
    "sum": "{field}: sum",
    "avg": "{field}: average",
    "min": "{field}: minimum",
    "max": "{field}: maximum",
    "median": "{field}: median",
}
_MONTH = re.compile(r"\d{4}-\d\d")
_DAY_OR_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( [\d:]+)?")
_GROUPS_CUT = ("First {shown} of {count} group.", "First {shown} of {count} groups.")
_FILLED = "count_filled"
_FLOAT_DIGITS = 15
"""Digits that a float represents exactly (IEEE 754)."""

PLACING_RULE = "To show rows, place the table by its id, never type it; code adds the source"
_QUERY = (
    "Gives a total and rows with ids. For counts and sums take "
    f"nocodb_summarize. {PLACING_RULE}.\n\n"
)

_SUMMARY = (
    "Figures are exact: never work them out from rows. Filters and fields as in nocodb_query; "
    "count of a link counts its rows. Dates group by day, or by bucket"
)

Fn = Literal["count", "filled", "empty", "unique", "sum", "avg", "min", "max", "median"]
Figure = Decimal | str | None
"""A number, a date as text, or None if no cell is filled."""

Bucket = Literal["day", "week", "month", "quarter", "year"]

FieldFunction = tuple[Field, Fn]
GroupKey = tuple[str, str, str]
"""Several linked rows can have one title, so a key has the row's id beside the label, and what else
differs between values of one label."""
_EMPTY: GroupKey = EMPTY_LABEL, "", ""


@dataclass(frozen=True, slots=True)
class RequestedFigure:
    """One figure over one field, such as the sum of Total, as the model asks for it in a call."""

    field: str
    fn: Fn


@dataclass(frozen=True, slots=True)
class RowSummary:
    """Figures (sums, counts, averages) over selected rows of a table.

    `whole` holds the figures over all the rows, in the order in which the model asked for them.
    `groups` holds the rows of each group by the group's label; their figures are computed later.
    """

    rows: SelectedRows
    whole: Sequence[Figure]
    groups: dict[str, list[NocoRecord]] = field(default_factory=dict)
    is_rounded: bool = False
    """Whether NocoDB added the numbers, possibly as floats."""


def compute_figure(field: Field, fn: Fn, column: Sequence[object], zone: tzinfo | None) -> Figure:
    """`column` holds the field's cell of every row. None: no cell has a value of which the figure
    could be made."""
    filled = [cell for cell in column if not fieldtypes.is_blank(field, cell)]
    counts = {"count": len(column), "filled": len(filled), "empty": len(column) - len(filled)}
    if fn in counts:
        return Decimal(counts[fn])
    if fn == "unique":
        return Decimal(len({_identity(field, cell) for cell in filled}))
    if not field.is_time:
        # A link whose cell is a number of rows counts also at 0. A rating of 0 counts as blank.
        cells = column if fieldtypes.counts_rows(field) else filled
        numbers = map(fieldtypes.parse_number, cells)
        return compute_number(fn, [number for number in numbers if number is not None])
    # Of times, `_check_function` allows only "min" and "max" besides the functions above.
    pick = min if fn == "min" else max
    if field.kind == "day":
        days = [day for day in map(fieldtypes.parse_day, filled) if day]
        return pick(days).isoformat() if days else None
    moments = [moment for cell in filled if (moment := fieldtypes.parse_moment(cell, zone))]
    return format_moment(pick(moments)) if moments else None


def _identity(field: Field, cell: object) -> object:
    """Equal values share a key. Linked rows and people are told apart by id or address, because two
    can have one name; numbers and lists are equal in any form or order."""
    if isinstance(cell, list):
        return frozenset(_identity(field, member) for member in cell)
    if isinstance(cell, Mapping) and ("fields" in cell or "email" in cell):
        return str(cell.get("id") or cell.get("email"))
    number = fieldtypes.parse_number(cell) if field.kind == "number" else None
    return cells.cell_texts(cell) if number is None else number


def compute_number(fn: Fn, numbers: Sequence[Decimal]) -> Decimal | None:
    """The sum of no numbers is 0, any other figure of none is None. An average gets as many decimal
    places as the numbers have, and two more (`divide_exactly`)."""
    with decimal.localcontext(prec=_DIGITS):
        total = sum(numbers, Decimal())
        if fn == "sum" or not numbers:
            return total if fn == "sum" else None
        # The negative exponent of a decimal is the number of its decimal places.
        if fn == "avg":
            exponents = [number.as_tuple().exponent for number in numbers]
            places = [-power for power in exponents if isinstance(power, int) and power < 0]
            return divide_exactly(total, len(numbers), max(places, default=0))
        if fn == "median":
            return statistics.median(numbers)
        return min(numbers) if fn == "min" else max(numbers)


def divide_exactly(total: Decimal, count: int, places: int) -> Decimal:
    with decimal.localcontext(prec=_DIGITS):
        return (total / count).quantize(Decimal(1).scaleb(-places - _PLACES))


def group_records(
    records: Sequence[NocoRecord], field: Field, bucket: Bucket | None, zone: tzinfo | None
) -> dict[str, list[NocoRecord]]:
    """Return the rows of each group by its label: times in order, other labels by number of rows,
    the largest first.

    A row with several options, links or people is in each of their groups. If the field belongs to
    linked rows (`via`), each group has the row with only those linked rows that have its value.
    Moments are assigned to their day in `zone`. Raise ToolError if `bucket` is given for a field
    without dates. Different groups can look alike; their labels then get the row's id or a number.
    """
    if bucket and not field.is_time:
        raise ToolError(
            "{field} doesn't contain dates, so it can't be grouped by {bucket}.",
            code="bad_group",
            hint="leave bucket out",
            field=field.title,
            bucket=bucket,
        )
    inner_field, link = field.in_own_table, field.via
    groups: dict[GroupKey, list[NocoRecord]] = {}
    for record in records:
        members: dict[GroupKey, list[NocoRecord]] = {}
        for row in [record] if link is None else record.fields.get(link.id, ()):
            keys = _group_keys(field, _read_cell(row, inner_field, link), bucket, zone)
            for key in dict.fromkeys(keys or [_EMPTY]):  # none: the group of empty cells
                members.setdefault(key, []).append(row)
        for key, rows in (members or {_EMPTY: []}).items():  # no linked row: the same group
            # Of the linked rows, only those of this group.
            part = replace(record, fields={**record.fields, link.id: rows}) if link else record
            groups.setdefault(key, []).append(part)
    order = sorted(groups, key=lambda key: (0 if field.is_time else -len(groups[key]), key))
    counts, numbers = Counter(label for label, _, _ in groups), Counter[str]()
    named: dict[str, list[NocoRecord]] = {}
    for key in order:
        label, id, _ = key  # the id of a linked row, "" for other groups
        name = f"{label} (row {id})" if id and counts[label] > 1 else label
        numbers[label] += 1
        # Groups may share a label, as people of one name do. It may also equal a name made here.
        while name in named:
            name = f"{label} ({numbers[label]})"
            numbers[label] += name in named
        named[name] = groups[key]
    return named


def _group_keys(
    field: Field, cell: object, bucket: Bucket | None, zone: tzinfo | None
) -> list[GroupKey]:
    """Return the keys of the groups that a row with this cell belongs to: one for each linked row,
    option or person in it, and none for an empty cell. A key is the label that people read, the id
    of a linked row, and what else keeps apart groups with one label; "" for nothing."""
    # A linked row: its id keeps apart rows with one title. Its cell may hold signed addresses.
    if isinstance(cell, Mapping) and "fields" in cell:
        title = cells.cell_title(redact(dict(cell)))
        return [(format_label(title, MAX_GROUP_LABEL_CHARACTERS), str(cell.get("id", "")), "")]
    if isinstance(cell, list):
        return [key for member in cell for key in _group_keys(field, member, bucket, zone)]
    if field.is_time:
        day = fieldtypes.parse_day(cell)
        if field.kind == "moment":  # it is on another day in another zone
            moment = fieldtypes.parse_moment(cell, zone)
            day = moment.date() if moment else None
        # `_BUCKETS` has the function that names a day's period, such as 2026-11.
        return [(_BUCKETS[bucket or "day"](day), "", "")] if day else []
    if field.kind == "check":
        return [("checked" if cell else "not checked", "", "")]
    if fieldtypes.is_blank(field, cell):
        return []
    if field.kind == "number" and (number := fieldtypes.parse_number(cell)) is not None:
        return [(format(number.normalize(), "f"), "", "")]  # without an exponent
    # Texts, options and people. A person's address keeps apart people with one name.
    name = str(cell.get("email", "")) if isinstance(cell, Mapping) else ""
    return [
        (format_label(text, MAX_GROUP_LABEL_CHARACTERS), "", name or to_one_line(text))
        for text in cells.cell_texts(cell)
        if text
    ]


def _field_cells(records: Sequence[NocoRecord], field: Field) -> list[object]:
    # If the field belongs to linked rows, return it for each of these once, however many rows link
    # to it.
    if field.via is None:
        return [fieldtypes.cell_of(record, field) for record in records]
    inner_field, link = field.in_own_table, field.via
    linked = {row.id: row for record in records for row in record.fields.get(link.id, ())}
    return [_read_cell(row, inner_field, link) for row in linked.values()]


def _read_cell(row: NocoRecord, field: Field, link: Field | None) -> object:
    # If the field is the link itself, the row stands for itself: its id and its first field, which
    # names it.
    if field == link:
        return {"id": row.id, "fields": dict(islice(row.fields.items(), 1))}
    return fieldtypes.cell_of(row, field)


def can_aggregate(selection: RowSelection, pairs: Sequence[FieldFunction], *, exact: bool) -> bool:
    """`exact`: only without floats, which NocoDB uses for sums of decimal numbers."""
    # NocoDB's filter finds too many rows (`is_exact` False), or its route for aggregates (v2)
    # cannot express it.
    if not selection.is_exact or selection.where.v2 is None:
        return False
    # What NocoDB computes of a type (`total`): exact sums, sums by floats, or only first and last.
    sums = ("exact",) if exact else ("exact", "rounded")
    for column, fn in pairs:
        total = column.field_type.total
        # Its aggregates know neither linked rows (`via`) nor CreatedAt and UpdatedAt, which have
        # their titles as ids.
        if column.via or column.id == column.title:
            return False
        known = total and fn in ("filled", "empty", "min", "max")
        if not (total in sums if fn in ("sum", "avg") else known):
            return False
    return True


async def fetch_figures(
    api: TableApi,
    selection: RowSelection,
    pairs: Sequence[FieldFunction],
    zone: tzinfo | None,
    row_count: int,
) -> Sequence[Figure] | None:
    """The figures are in the order of `pairs`, of `row_count` rows. None if NocoDB returns no
    figures or rounds an exact one. On 0.301.3, aggregates have the field's title as key, and a
    second one of a field "<id>:1". The minimum of no numbers is 0. The median counts empty cells.
    One wrong field empties the whole answer. An unknown field in `where` is ignored, so the caller
    must send the same `where` to v3, which refuses it."""
    asked = [pair for pair in pairs if pair[1] != "count"]
    types = ((name, type) for name, fn in asked for type in (_aggregate_type(name, fn), _FILLED))
    aggregates = list(dict.fromkeys(FieldAggregate(field.id, type) for field, type in types))
    answer: Json = {}
    try:
        where = selection.where.v2 or ""
        if aggregates:
            answer = await api.fetch_aggregates(selection.table.at, aggregates, where)
    except NocoError as error:
        if error.code != "nocodb_missing":
            raise
        return None  # this version has no such route
    cells: dict[FieldAggregate, object] = {}
    titles = {field.id: field.title for field, _ in pairs}
    for figure in aggregates:
        earlier = sum(other.field == figure.field for other in cells)
        key = f"{figure.field}:{earlier}" if earlier else titles[figure.field]
        if key not in answer:
            return None
        cells[figure] = answer[key]
    figures: list[Figure] = []
    # Each figure is checked with the number of filled cells, which was asked for beside it.
    for column, fn in pairs:
        if fn == "count":
            figures.append(Decimal(row_count))
            continue
        filled = fieldtypes.parse_number(cells[FieldAggregate(column.id, _FILLED)]) or Decimal()
        total = column.field_type.total
        if fn in ("filled", "empty"):
            figures.append(filled if fn == "filled" else row_count - filled)
            continue
        cell = cells[FieldAggregate(column.id, _aggregate_type(column, fn))]
        # Without filled cells, NocoDB answers 0, where Ponte has none; dates only change their
        # form.
        if not filled or total == "time":
            figures.append(compute_figure(column, fn, [cell] if filled else [], zone))
            continue
        number = fieldtypes.parse_number(cell)
        # A whole number so large was rounded on its way as a JSON number.
        if number and total == "exact" and abs(number) >= fieldtypes.EXACT:
            return None
        if number and total == "rounded":
            # Later digits come from the float, not from the rows.
            number = round(number, _FLOAT_DIGITS - 1 - number.adjusted()).normalize()
        # NocoDB was asked for the sum: its own average is a float.
        if number is not None and fn == "avg":
            number = divide_exactly(number, int(filled), _PLACES if total == "rounded" else 0)
        figures.append(number)
    return figures


class ReadTools(QueryTools):
    """The methods that become the tools that read rows: those for rows themselves, and
    `nocodb_summarize` for figures."""

    async def nocodb_summarize(
        self,
        ctx: ToolContext,
        table: str,
        filters: LooseFilters = (),
        match: Match = "all",
        aggregates: Sequence[RequestedFigure] = (),
        group_by: str | None = None,
        bucket: Bucket | None = None,
    ) -> Outcome:
        """Count the rows of a table that match filters; sums and the like, in total or by group.

        Args:
            aggregates: none: only the count
        """
        if len(aggregates) > MAX_FIGURES:
            raise ToolError(
                "One call can compute at most {most} figures.",
                code="bad_aggregate",
                most=MAX_FIGURES,
            )
        # Links whose linked rows must be read: to count them, or to group by them.
        links = [figure.field for figure in aggregates if figure.fn == "count"]
        links += [group_by] if group_by else []
        names = [*(figure.field for figure in aggregates), *links]
        query = await self.resolve_question(ctx, table, filters, match, names, links)

        joined = [join.link for join in query.selection.joins]

        # A link whose linked rows are read stands for those rows: `via` is then the link itself.
        def find_field(name: str, *, stands_for_rows: bool = True) -> Field:
            field = query.table.field(name)
            return replace(field, via=field) if stands_for_rows and field in joined else field

        fields = [
            find_field(figure.field, stands_for_rows=figure.fn == "count") for figure in aggregates
        ]
        fields = await self.schemas.fill_formats(ctx.viewer, query.table, fields)
        pairs = [(field, aggregate.fn) for field, aggregate in zip(fields, aggregates, strict=True)]
        for column, fn in pairs:
            _check_function(column, fn)
        group = find_field(group_by) if group_by else None
        # NocoDB has no groups, so rows are read for them, and for figures that it cannot compute.
        summary = None if group else await self._ask_nocodb(query, pairs)
        if summary is None:
            fields = fields + ([group] if group else [])
            rows = await self.reading.fetch_all(query.selection, ColumnChoice(tuple(fields)))
            groups = group_records(rows.records, group, bucket, query.now.tzinfo) if group else {}
            summary = RowSummary(rows, _compute_figures(query, pairs, rows.records), groups)
        data = _build_outcome(query, pairs, summary, group)
        rows = summary.rows
        # The rows that the figures are of: all, or those that were read.
        counted = rows.total if rows.is_complete else len(rows.records)
        cut, count = "", len(summary.groups)
        if group and len(data["rows"]) < count:
            cut = plural(*_GROUPS_CUT, count, shown=len(data["rows"]))
        sources = (query.describe_source(rows, counted, cut),)
        result: RowsResult | None = None
        if ctx.result_id and (not group or data["rows"]):
            caption = ". ".join(filter(None, [query.describe_rows(rows, counted), cut]))
            result = _build_table(pairs, group, bucket, data, caption, query.now.year)
            if group:
                data["show"] = describe_placing(ctx)
        data |= explain(ctx, *query.tables)
        stored = await self.store_question(
            ctx,
            query,
            "nocodb_summarize",
            filters,
            [query.table.field(name) for name in names],
            aggregates=[replace(figure, field=query.path(figure.field)) for figure in aggregates],
            group_by=group_by and query.path(group_by),
            bucket=bucket,
        )
        return Outcome("ok", compact_json(data), sources=sources, data=result, query=stored)

    async def _ask_nocodb(
        self, query: TableQuestion, pairs: Sequence[FieldFunction]
    ) -> RowSummary | None:
        """None if rows must be read instead: because NocoDB cannot compute the figures, or would
        round sums of rows that are few enough to be added up exactly here. Of more rows, a rounded
        sum is better than one of the first rows only."""
        selection = query.selection
        # The count of rows needs no aggregate, but the count of linked rows does (`via`: the link
        # through which a field is reached).
        asked = [pair for pair in pairs if pair[1] != "count" or pair[0].via]
        if not asked and not selection.is_exact:
            # NocoDB cannot express the filter in full, so each row is checked and counted here.
            wish = ColumnChoice(selection.checked_fields)
            rows = await self.reading.fetch_all(selection, wish)
            return RowSummary(rows, [Decimal(rows.total)] * len(pairs))
        if asked and not can_aggregate(selection, asked, exact=False):
            return None
        # The count comes first: it refuses a filter with unknown fields, which the aggregates would
        # ignore, so that they would be of all rows.
        count = await self.api.count_rows(selection.table.at, selection.where.v3)
        is_rounded = bool(asked) and not can_aggregate(selection, asked, exact=True)
        # Few enough to add up exactly here.
        if is_rounded and count <= self.reading.max_rows:
            return None
        figures = await fetch_figures(self.api, selection, pairs, query.now.tzinfo, count)
        if figures is None:
            return None
        return RowSummary(SelectedRows((), count), figures, is_rounded=is_rounded)


def _check_function(column: Field, fn: Fn) -> None:
    """Raise ToolError if the function cannot be computed of the field. Its hint names those that
    can, for the model."""
    functions, hint = _ANY_FNS, ""
    if column.kind == "number" or column.field_type.may_hold_numbers:
        functions = _NUMBER_FNS
    elif column.is_time:
        functions = _DATE_FNS
    # A link of linked rows, such as Customer.Orders: `via` is Customer, and `in_own_table` is the
    # field Orders there. A link that stands for its own linked rows has itself as both.
    if column.is_link and column.via and column.in_own_table != column.via:
        # Without `count`, the first one: it would count the linked rows, and not the rows that
        # these link to.
        functions, hint = functions[1:], f"ask the table {column.via.related_title}"
    if fn not in functions:
        raise ToolError(
            "{fn} can't be computed for the field {field} ({type}).",
            code="bad_aggregate",
            hint=hint or f"use one of {', '.join(functions)}",
            fn=fn,
            field=column.title,
            type=column.type,
        )


def build_read_tools(
    api: TableApi, schemas: Schemas, clock: Callable[[], float], most: int = MAX_ROWS_READ
) -> tuple[Sequence[Tool], Tool]:
    """Return the tools that read rows, up to `most` in one call, and the one that reads a row's
    history of changes."""
    tools = ReadTools(api, schemas, RowReader(api, max_rows=most), clock)
    reading = (
        _build_tool(tools.nocodb_query, _QUERY + FILTER_GUIDE),
        _build_tool(tools.nocodb_summarize, _SUMMARY, strict=False),
        _build_tool(tools.nocodb_get, ""),
    )
    return reading, _build_tool(tools.nocodb_history, "")


def _aggregate_type(field: Field, fn: Fn) -> str:
    if fn in ("filled", "empty"):
        return _FILLED
    if field.field_type.total == "time":
        return "earliest_date" if fn == "min" else "latest_date"
    return "sum" if fn == "avg" else fn


def _compute_figures(
    query: TableQuestion, pairs: Sequence[FieldFunction], records: Sequence[NocoRecord]
) -> Sequence[Figure]:
    columns = {field: _field_cells(records, field) for field, _ in pairs}
    return [compute_figure(field, fn, columns[field], query.now.tzinfo) for field, fn in pairs]


def _build_outcome(
    query: TableQuestion, pairs: Sequence[FieldFunction], summary: RowSummary, group: Field | None
) -> dict[str, Any]:
    """A note stands wherever the figures are not what the model may take them for: not of all rows,
    rounded, or of overlapping groups."""
    rows = summary.rows
    data: dict[str, Any] = {
        "table": format_label(query.table.title),
        "total" if rows.is_counted else "total_at_least": rows.total,
        "zone": str(query.now.tzinfo),
    }
    if not rows.is_complete:
        data["read"] = (
            f"only the first {rows.read_count} rows were looked at; these figures are of them alone"
        )
    if not rows.is_stable:
        data["changed"] = CHANGED_NOTE
    for title, read_count, count in rows.linked:
        if read_count < count:
            data["linked"] = f"only {read_count} of {count} rows of {format_label(title)} were read"
    if summary.is_rounded:
        data["rounded"] = "NocoDB added up so many rows itself; the last digits may be off"
    if pairs:
        data["all"] = _format_figures(pairs, summary.whole)
    if group is None:
        return {**data, "note": UNTRUSTED_CELLS_NOTE}
    title = _group_title(group)
    rows_of = [
        {
            title: label,
            "rows": len(records),
            **_format_figures(pairs, _compute_figures(query, pairs, records)),
        }
        for label, records in summary.groups.items()
    ]
    # Fields of linked rows: of these, groups may overlap even if each row is in one group.
    linked = [column for column, _ in pairs if column.via]

    def count_cells(records: Sequence[NocoRecord]) -> int:
        return len(records) + sum(len(_field_cells(records, column)) for column in linked)

    # A row with several options or links counts in several groups.
    if sum(map(count_cells, summary.groups.values())) > count_cells(rows.records):
        data["overlap"] = (
            "some rows, or linked rows, are in several groups: groups add up to more than all"
        )
    cells = _field_cells(rows.records, group)
    if any(fieldtypes.may_be_incomplete(group, cell) for cell in cells):
        data["links"] = "NocoDB may not tell all that a row links to: groups may lack some rows"
    # Too many groups for one outcome: the first ones, which have the most rows, or the earliest.
    head = rows_that_fit(rows_of, MAX_ROWS_CHARACTERS)
    if len(head) < len(rows_of):
        data["cut"] = f"the first {len(head)} of {len(rows_of)} groups"
    return {**data, "note": UNTRUSTED_CELLS_NOTE, "rows": head}


def _group_title(group: Field) -> str:
    # "rows" is the key of the number of rows, so a field of that title gets another one.
    title = format_label(group.title)
    return "rows (field)" if title == "rows" else title


def _build_table(
    pairs: Sequence[FieldFunction],
    group: Field | None,
    bucket: Bucket | None,
    data: Mapping[str, Any],
    caption: str,
    this_year: int,
) -> RowsResult:
    """`data` is what the model reads: `rows` are the groups, `all` the figures over all rows.
    Counts and sums of groups have a total in the last row, unless a note in `data` (`_NO_TOTAL`)
    says that groups overlap or are incomplete. Dates of `this_year` are written without the
    year."""
    totals = {**data.get("all", {}), "rows": data.get("total", data.get("total_at_least"))}
    rows = data["rows"] if group else [totals]
    has_total = len(rows) > 1 and not data.keys() & _NO_TOTAL
    total_names = ["rows"]
    columns = dict[str, RowColumn]()
    if group:
        form = "month" if bucket == "month" else "date" if group.is_time else ""
        label = _group_title(group)
        columns[label] = RowColumn(label, format=form)
    columns["rows"] = RowColumn(say("Rows"), "number", "rows", "plain")
    # Averages and medians of money, which have more decimal places than the currency.
    averages: dict[str, Decimal] = {}
    """The smallest coin of each column with averages of money, which people see rounded to it."""
    for column, fn in pairs:
        name = f"{fn} of {format_label(column.title)}"
        # Averages, smallest and largest values of groups do not add up.
        total_names += [name] if fn in _ADDED_FNS else []
        title = format_label(say(_FIGURES[fn], field=column.title))
        is_number = fn in _ANY_FNS or not column.is_time
        form = "plain" if fn in _ANY_FNS else column.format or "plain"
        if fn in ("avg", "median") and format_kind(form) == "currency":
            averages[name] = Decimal(1).scaleb(-decimal_places(form))
        form = fix_places(form, [row[name] for row in rows])
        columns[name] = RowColumn(title, "number" if is_number else "words", name, form)
    return RowsResult(
        caption,
        tuple(columns.values()),
        tuple(
            tuple(
                _format_cell(column, _round(row[name], averages.get(name)), this_year)
                for name, column in columns.items()
            )
            for row in rows
        ),
        tuple(
            tuple(_to_value(column, row[name]) for name, column in columns.items()) for row in rows
        ),
        (
            say("Total"),
            *(
                _format_cell(column, totals[name], this_year) if name in total_names else ""
                for name, column in islice(columns.items(), 1, None)
            ),
        )
        if has_total
        else (),
    )


def _round(cell: Any, coin: Decimal | None) -> Any:
    number = parse_number(cell) if coin else None
    if number is None or coin is None:
        return cell
    with decimal.localcontext(prec=_DIGITS):
        return format(number.quantize(coin), "f")


def _to_value(column: RowColumn, cell: Any) -> Value:
    # Other labels have no value besides their text: None.
    if column.format == "month":
        return f"{cell}-01" if _MONTH.fullmatch(str(cell)) else None
    is_time = bool(column.format) and _DAY_OR_MOMENT.fullmatch(str(cell))
    return cell if column.kind == "number" or is_time else None


def _format_cell(column: RowColumn, cell: Any, this_year: int) -> str:
    if column.format == "month" and (day := _to_value(column, cell)):
        return format_date(date.fromisoformat(str(day)), length="yMMM")
    value = column.read_cell(cell, _to_value(column, cell))
    return "" if value is None else format_value(value, column.format, None, this_year)


def _format_figures(pairs: Sequence[FieldFunction], figures: Sequence[Figure]) -> dict[str, object]:
    """Return JSON values by what they are, as in "sum of Total"."""
    values: dict[str, object] = {}
    for (column, fn), figure in zip(pairs, figures, strict=True):
        value: object = figure
        if isinstance(figure, Decimal):
            # A JSON number beyond 15 digits, or with decimal places, would be rounded as a float.
            is_whole = figure == figure.to_integral_value() and figure.adjusted() < _FLOAT_DIGITS
            value = int(figure) if is_whole else format(figure, "f")
        values[f"{fn} of {format_label(column.title)}"] = value
    return values


def _build_tool(function: Function, guide: str, *, strict: bool = True) -> FunctionTool:
    summary, _ = parse_docstring(function.__doc__ or "")
    return FunctionTool(
        function,
        effect="read",
        doing="is reading the tables…",
        description=f"{summary} {guide}".strip(),
        strict=strict,
    )
