"""Reads rows for the tools: by NocoDB's filters where those are exact; else Ponte checks them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from core.base.tasks import run_together
from core.tools.nocodb.api import (
    MAX_PAGE_ROWS,
    NocoRecord,
    PageQuery,
    RecordPage,
    SortField,
    TableApi,
)
from core.tools.nocodb.api_errors import NocoError
from core.tools.nocodb.fieldtypes import Field, cell_of, is_blank, linked_ids, lists_linked_rows
from core.tools.nocodb.filters import (
    MAX_FILTER_VALUES,
    FilterCondition,
    Join,
    RowSelection,
    build_clause,
    filter_error,
)
from core.tools.nocodb.schema import TableDescription, check_titles

MAX_ROWS_READ = 10_000
MAX_LINK_READS = 200
"""Rows whose links are read one by one, because their cells do not list them."""
READ_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """`total` is how many match in all; unless `is_counted`, there are more.

    `is_complete`: all rows were read. `read_count` is how many rows were read to find these.
    `is_stable`: none was added or deleted between two pages. `linked`: the titles of the tables
    that links lead to, how many of their rows were read, and how many there are.
    """

    records: tuple[NocoRecord, ...]
    total: int
    is_counted: bool = True
    is_complete: bool = True
    read_count: int = 0
    is_stable: bool = True
    linked: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """The fields of a table to read (none means all described fields), and the order of the
    rows."""

    fields: tuple[Field, ...] = ()
    sort: tuple[SortField, ...] = ()

    def columns(self, table: TableDescription) -> Sequence[Field]:
        """CreatedAt and UpdatedAt are read only if they are named."""
        return self.fields or [f for f in table.fields if f.id != f.title and f.via is None]


LinkedRows = tuple[SelectedRows, Mapping[str, Sequence[NocoRecord]]]


def _among_ids(selection: RowSelection, ids: Sequence[str]) -> RowSelection:
    """Return the selection narrowed to the rows of these ids, so that fewer rows are read. It stays
    as it is if the system takes no filters, the table has no single id field, or there are more ids
    than one filter holds. Without ids, no row may fit; an id is never blank."""
    keys = [field for field in selection.table.fields if field.type == "ID"]
    if not selection.is_sent or len(keys) != 1 or len(ids) > MAX_FILTER_VALUES:
        return selection
    key = keys[0].id
    clause = build_clause(key, "in", *ids) if ids else build_clause(key, "blank")
    condition = FilterCondition(keys[0], "in", (), clause, True, bool)
    return replace(selection, conditions=(condition, *selection.conditions), match="all")


def _join_rows(
    records: Sequence[NocoRecord], join: Join, by_row: Mapping[str, Sequence[NocoRecord]]
) -> list[NocoRecord]:
    """Return the rows, each with its linked rows under the link's id, and with a cell for each
    field of `join.fields`, such as "Customer.City". If the link holds one row, that is its value;
    else the values that are not blank, as a tuple: a list would count as one that NocoDB may have
    cut. `by_row` has the linked rows by row id."""

    def cells(rows: Sequence[NocoRecord]) -> Iterator[tuple[str, object]]:
        yield join.link.id, rows
        for field in join.fields:
            values = tuple(cell for row in rows if not is_blank(field, cell := cell_of(row, field)))
            cell = next(iter(values), None) if join.link.holds_one else values or None
            yield f"{join.link.title}.{field.title}", cell

    return [
        replace(record, fields={**record.fields, **dict(cells(by_row.get(record.id, ())))})
        for record in records
    ]


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads the rows that a question of the model selects, page by page, with the rows to which
    they link."""

    api: TableApi
    max_rows: int = MAX_ROWS_READ

    async def fetch_page(
        self, selection: RowSelection, wish: ColumnChoice, *, number: int, size: int
    ) -> SelectedRows:
        """Pages are counted from 1; after the last one there are no rows. If NocoDB cannot filter
        exactly, all rows are read and checked, and the page is cut from them."""
        if not selection.is_exact:
            every = await self.fetch_all(selection, wish)
            start = (number - 1) * size
            return replace(every, records=every.records[start : start + size])
        # With a link back (`back`), linked rows are found by reading the whole other table. Without
        # it, only those of this page's rows are read, which are few.
        joins = tuple(replace(join, back=None) for join in selection.joins)
        selection = replace(selection, joins=joins)
        page = await self._fetch_page(selection, wish, number, size)
        records = page.records
        for join in selection.joins:
            _, by_row = await self._fetch_linked(selection, join, records)
            records = tuple(_join_rows(records, join, by_row))
        # The rows before this page and on it.
        total = (number - 1) * size + len(records)
        # The rows of a last page tell the total; an empty page after it does not.
        if page.has_more or (number > 1 and not page.records):
            # `v3`: the filter in the syntax of NocoDB's API v3.
            total = await self.api.count_rows(selection.table.at, selection.where.v3)
        return SelectedRows(records, total)

    async def fetch_all(self, selection: RowSelection, wish: ColumnChoice) -> SelectedRows:
        """Return all matching rows among the first `max_rows` that NocoDB returns. Raise NocoError,
        and ToolError if not all linked rows that a filter needs can be read.

        Linked tables with a link back (`back`) are read first: the rows that fit name the rows that
        they belong to, so fewer of these need to be read. Then come the rows themselves, twice if
        somebody changed the table meanwhile, and last the linked rows that are still missing.
        """
        found: dict[Field, LinkedRows] = {}
        # What NocoDB is asked for: the selection, narrowed to the rows that can fit.
        read = selection
        for join in selection.joins:
            # `back` is the link's other side, a field of the linked table; None: it cannot be read
            # there.
            if join.back is None:
                continue
            rows = await self._fetch_linked_table(selection, join)
            owned: dict[str, list[NocoRecord]] = {}
            for record in rows.records:  # each names the one row that it belongs to
                cell = record.fields.get(join.back.title)
                # A cell without ids of rows: these links must be read row by row, as without
                # `back`.
                if not (is_blank(join.back, cell) or lists_linked_rows(cell)):
                    joins = (replace(join, back=None) for join in selection.joins)
                    return await self.fetch_all(replace(selection, joins=tuple(joins)), wish)
                for owner in linked_ids(cell):
                    owned.setdefault(owner, []).append(record)
            found[join.link] = rows, owned
            condition = selection.linked_condition(join.link)
            # Only rows with a linked row that fits can match, so only they are read.
            if condition and condition.op == "notblank":
                read = _among_ids(read, list(owned))
        for _ in range(READ_ATTEMPTS):
            match_count = await self.api.count_rows(read.table.at, read.where.v3)
            most = min(match_count, self.max_rows)
            # `-(-most // MAX_PAGE_ROWS)` is the number of pages, rounded up.
            numbers = range(1, -(-most // MAX_PAGE_ROWS) + 1)
            pages = [await self._fetch_page(read, wish, n, MAX_PAGE_ROWS) for n in numbers]
            by_id = {record.id: record for page in pages for record in page.records}
            records = list(by_id.values())[:most]
            # Rows that came twice or are missing: somebody changed the table between two pages.
            is_stable = len(records) == most and sum(len(p.records) for p in pages) == len(by_id)
            if is_stable:
                break
        for join in selection.joins:
            if join.link not in found:
                found[join.link] = await self._fetch_linked(selection, join, records)
            rows, by_row = found[join.link]
            is_stable = is_stable and rows.is_stable
            records = _join_rows(records, join, by_row)
        fitting = tuple(record for record in records if selection.matches(record))
        # Of an exact filter, NocoDB's count is the total, even if not all rows were read.
        is_exact, is_complete = selection.is_exact, match_count <= self.max_rows
        # Without it, the total is only of the rows that were read, and `is_counted` is False.
        return SelectedRows(
            fitting,
            match_count if is_exact and is_stable else len(fitting),
            is_stable and (is_complete or is_exact),
            is_complete,
            len(records),
            is_stable,
            tuple(
                (link.related_title, len(rows.records), rows.total)
                for link, (rows, _) in found.items()
            ),
        )

    async def _fetch_linked(
        self, selection: RowSelection, join: Join, records: Sequence[NocoRecord]
    ) -> LinkedRows:
        """Return the linked rows, also by the id of the record that links to them. A linked row
        that was deleted meanwhile is left out.

        The cell of a link lists its rows with their ids. Where a link can have many rows, some
        versions of NocoDB put only their number there, or a list that is cut. Such cells are
        `unlisted`: each costs a request of its own.
        """
        link = join.link
        cells = {record.id: record.fields.get(link.title) for record in records}
        ids: dict[str, Collection[str]] = {id: linked_ids(cell) for id, cell in cells.items()}
        unlisted = [
            id
            for id, cell in cells.items()
            if not (is_blank(link, cell) or lists_linked_rows(cell))
        ]
        if len(unlisted) > MAX_LINK_READS:
            raise filter_error(
                f"too many rows link to several in {link.title}: filter them, or ask the table "
                f"{join.table.title} for its own rows"
            )
        calls = (self.api.fetch_linked_rows(selection.table.at, link.id, id) for id in unlisted)
        for id, rows in zip(unlisted, await run_together(*calls), strict=True):
            ids[id] = [row.id for row in rows]
        wanted = list(dict.fromkeys(id for linked in ids.values() for id in linked))
        found = await self._fetch_linked_table(selection, join, wanted)
        by_id = {record.id: record for record in found.records}
        # In the order in which NocoDB returned them, which does not depend on the cell's.
        order = {id: number for number, id in enumerate(by_id)}
        by_row = {
            id: [
                by_id[linked_id]
                for linked_id in sorted(by_id.keys() & linked, key=order.__getitem__)
            ]
            for id, linked in ids.items()
        }
        return found, by_row

    async def _fetch_linked_table(
        self, selection: RowSelection, join: Join, ids: Sequence[str] | None = None
    ) -> SelectedRows:
        """Return the rows of the linked table that fit the filters on them. With `ids`, only those
        rows are wanted; NocoDB is asked for them alone if they are few. Each row has its display
        field first, because that names it.

        Raise ToolError if a filter or `ids` needs rows beyond the limit: a row must not count as
        one without linked rows only because they were not read. Otherwise the caption of the
        result says how many of them were read."""
        condition = selection.linked_condition(join.link)
        conditions = condition.linked if condition else ()
        # One linked row must fit all the filters. `filters_rows` is False for the sample base,
        # whose rows Ponte checks itself.
        linked = RowSelection(join.table, conditions, "all", self.api.filters_rows)
        # The fields to read: the row's name, its id, the link back, and those that are asked for.
        keys = [field for field in join.table.fields if field.type == "ID"]
        first = [field for field in (join.table.display_field, *keys, join.back) if field]
        wish = ColumnChoice(tuple(dict.fromkeys((*first, *join.fields))))
        rows = await self.fetch_all(linked if ids is None else _among_ids(linked, ids), wish)
        if shown := join.table.display_field:  # it comes first, to name the row
            title = shown.title
            rows = replace(
                rows,
                records=tuple(
                    replace(record, fields={title: record.fields.get(title), **record.fields})
                    for record in rows.records
                ),
            )
        if not rows.is_complete and (condition or ids is not None):
            raise filter_error(
                f"more than {self.max_rows} rows of {join.table.title} would have to be looked "
                "through; filter them further"
            )
        return rows

    async def _fetch_page(
        self, selection: RowSelection, wish: ColumnChoice, number: int, size: int
    ) -> RecordPage:
        """Fetch one page of the rows that match, in an order that stays the same from page to page,
        with the fields to show, those to check filters by, and the links to follow."""
        table = selection.table
        # Fields of linked rows (`via`) are not of this table: their rows are read by themselves. A
        # link with a link back is followed from the other table.
        links = (join.link for join in selection.joins if not join.back)
        fields = [f for f in (*wish.columns(table), *selection.checked_fields, *links) if not f.via]
        # Never without fields: NocoDB would add hidden columns. The key keeps equal rows in place.
        keys = [field.id for field in table.fields if field.type == "ID"][:1]
        ids = list(dict.fromkeys(field.id for field in fields)) or keys or [table.fields[0].id]
        sorted_fields = {sort_field.field for sort_field in wish.sort}
        sort = [*wish.sort, *(SortField(key) for key in keys if key not in sorted_fields)]
        try:
            # `v3` is the filter in the form of version 3 of NocoDB's API.
            query = PageQuery(ids, selection.where.v3, sort, number, size)
            page = await self.api.fetch_page(table.at, query)
        except NocoError as error:
            if error.code == "bad_page":  # NocoDB's error for a page after the last one
                return RecordPage(())
            raise
        # NocoDB answers by titles of fields. If one was renamed since the description was read, its
        # values would count as empty, so this raises NocoError `renamed`.
        check_titles(self.api, table, fields, page.records)
        return page
