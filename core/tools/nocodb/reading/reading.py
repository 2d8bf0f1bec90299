"""Reads the rows that a selection means, and counts them: by NocoDB where it can, else here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.tools.nocodb.filters.filters import Selection
from core.tools.nocodb.renamed import check_titles
from core.tools.nocodb.rest.api import PAGE, NocoApi
from core.tools.nocodb.rest.error import NocoError
from core.tools.nocodb.rest.records import Page, Record, Sort
from core.tools.nocodb.schema import Field, Table

MOST = 5_000
"""Rows that one call reads."""


@dataclass(frozen=True, slots=True)
class Rows:
    """`total` is how many fit in all; unless `counted`, there are more, and nobody knows how many.

    `complete`: `records` are all of them, where all were asked for. `read` is how many rows were
    looked at to find them.
    """

    records: tuple[Record, ...]
    total: int
    counted: bool = True
    complete: bool = True
    read: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What to bring: `fields` of each row (none for all that NocoDB describes), in which order."""

    fields: tuple[Field, ...] = ()
    sort: tuple[Sort, ...] = field(default=())

    def ids(self, table: Table, *more: Field) -> list[str]:
        """Never empty: NocoDB would add columns that it hides elsewhere."""
        return list(dict.fromkeys(each.id for each in (*self.columns(table), *more)))

    def columns(self, table: Table) -> Sequence[Field]:
        """When a row was made and changed is brought only where it is named."""
        return self.fields or [each for each in table.fields if each.id != each.title]

    def order(self, table: Table) -> list[Sort]:
        """Equal rows keep their places from page to page."""
        key = [Sort(each.id) for each in table.fields if each.type == "ID"][:1]
        return [*self.sort, *(each for each in key if each.field not in self._sorted)]

    @property
    def _sorted(self) -> set[str]:
        return {each.field for each in self.sort}


class Reading:
    def __init__(self, api: NocoApi, *, most: int = MOST) -> None:
        self._api = api
        self.most = most
        """Rows that one call reads."""

    async def page(self, selection: Selection, wish: Wish, *, number: int, size: int) -> Rows:
        """One page, from 1. Past the end there are no rows. The last one needs no count."""
        if not selection.exact:
            every = await self.every(selection, wish)
            start = (number - 1) * size
            shown = every.records[start : start + size]
            return replace(every, records=shown)
        page = await self._page(selection, wish, number, size)
        if not page.more and (page.records or number == 1):
            return Rows(page.records, (number - 1) * size + len(page.records))
        return Rows(page.records, await self._api.count(selection.table.at, selection.where.v3))

    async def every(self, selection: Selection, wish: Wish) -> Rows:
        """All of them, as far as `most` rows go that NocoDB is asked for."""
        at, where = selection.table.at, selection.where.v3
        asked = await self._api.count(at, where)
        numbers = range(1, -(-min(asked, self.most) // PAGE) + 1)
        pages = [await self._page(selection, wish, number, PAGE) for number in numbers]
        read = [record for page in pages for record in page.records][: self.most]
        fitting = tuple(record for record in read if selection.holds(record))
        complete = asked <= self.most
        total = asked if selection.exact else len(fitting)
        return Rows(
            fitting, total, counted=complete or selection.exact, complete=complete, read=len(read)
        )

    async def count(self, selection: Selection) -> Rows:
        """Without the rows, where NocoDB can count them."""
        if selection.exact:
            return Rows((), await self._api.count(selection.table.at, selection.where.v3))
        return await self.every(selection, Wish(selection.checked))

    async def _page(self, selection: Selection, wish: Wish, number: int, size: int) -> Page:
        table = selection.table
        try:
            page = await self._api.records(
                table.at,
                fields=wish.ids(table, *selection.checked),
                where=selection.where.v3,
                sort=wish.order(table),
                page=number,
                size=size,
            )
        except NocoError as error:
            if error.code == "bad_page":  # NocoDB's word for a page past the end
                return Page(())
            raise
        asked = (*wish.columns(table), *selection.checked)
        check_titles(self._api, table, asked, page.records)
        return page
