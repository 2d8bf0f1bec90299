"""What is known of the base's tables: asked once, kept for minutes, dropped when it is wrong."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from core.together import together
from core.tools.nocodb.fresh import Fresh
from core.tools.nocodb.names import nearest, resolved
from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.rest.error import NocoError
from core.tools.nocodb.rest.records import At, Base, Named
from core.tools.nocodb.schema import Table, table_of

RECENT = 5.0
"""Seconds within which an unknown name is no reason to ask anew."""

Hidden = Callable[[str, str], bool]
"""Of a table's title and id: whether nobody here may know of it."""


def nothing_hidden(title: str, id: str) -> bool:
    return False


class Schemas:
    """The tables of one base, each described when it is first asked for.

    A hidden table is as one that is not there: it is in no list, no name finds it, and links to it
    are no fields. Everything raises NocoError. When NocoDB says that something is not there that
    was here (`NocoApi.drifts`), all is asked anew.
    """

    def __init__(
        self,
        api: NocoApi,
        base_id: str = "",
        *,
        hidden: Hidden = nothing_hidden,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._base_id = base_id
        self._hidden = hidden
        self._clock = clock
        self._drifts = api.drifts
        self.drop()

    async def base(self) -> Base:
        """The one that is set, or the only one that the token sees."""
        self._look()
        return await self._base.value()

    async def names(self) -> Sequence[Named]:
        """Every table that is not hidden, in NocoDB's order: id and title alone."""
        every = await self.every_name()
        return tuple(each for each in every if not self._hidden(each.title, each.id))

    async def every_name(self) -> Sequence[Named]:
        """Hidden ones too: what the operator's file is checked against, never told."""
        self._look()
        return await self._names.value()

    async def table(self, name: str) -> Table:
        """By title, id, or a title that reads like it where only one does.

        Raises NocoError `unknown_table`, with the nearest titles as hint.
        """
        return await self._describe(await self._named(name))

    async def tables(self) -> Sequence[Table]:
        """All that are not hidden, described: one call each where not known yet."""
        return await together(*(self._describe(each) for each in await self.names()))

    async def table_with(self, name: str, fields: Iterable[str]) -> Table:
        """`table`, looked at anew where it lacks one of the fields and what we know is not recent.

        Raises NocoError `unknown_table`, `unknown_field`.
        """
        wanted = tuple(fields)
        table = await self.table(name)
        if any(resolved(each, table.fields) is None for each in wanted):
            self._drop_old(self._tables.get(table.id))
            table = await self.table(name)
        for each in wanted:
            table.field(each)
        return table

    async def table_now(self, name: str, fields: Iterable[str]) -> Table:
        """`table_with`, as it is now: what is proposed stands on it. Raises as it does."""
        table = await self.table(name)
        self._drop_old(self._tables.get(table.id))
        return await self.table_with(name, fields)

    def drop(self) -> None:
        """Ask anew from here on."""
        self._base = Fresh(self._find_base, self._clock)
        self._names = Fresh(self._list, self._clock)
        self._tables: dict[str, Fresh[Table]] = {}

    async def _named(self, name: str) -> Named:
        found = resolved(name, await self.names())
        if found is None:
            self._drop_old(self._names)
            found = resolved(name, await self.names())
        if found is None:
            raise NocoError(
                "There is no table {name!r} here.",
                code="unknown_table", hint=nearest(name, await self.names()), name=name[:64],
            )  # fmt: skip
        return found

    async def _describe(self, named: Named) -> Table:
        self._look()
        kept = self._tables.get(named.id)
        if kept is None:
            kept = Fresh(functools.partial(self._ask, named), self._clock)
            self._tables[named.id] = kept
        return await kept.value()

    async def _find_base(self) -> Base:
        bases = await self._api.bases()
        if self._base_id:
            found = next((each for each in bases if each.id == self._base_id), None)
            # A base can be open to a token without being in its list (shared, or by another role).
            return found or Base(self._base_id, self._base_id)
        if not bases:
            raise NocoError(
                "NocoDB shows me no base. The operator must invite the token's user to one.",
                code="no_base",
            )
        if len(bases) > 1:
            raise NocoError(
                "NocoDB shows me {count} bases, and I work in one. "
                "The operator must set NOCODB_BASE_ID to one of: {bases}.",
                code="several_bases", count=len(bases),
                bases=", ".join(f"{each.id} ({each.title})" for each in bases[:8]),
            )  # fmt: skip
        return bases[0]

    async def _list(self) -> Sequence[Named]:
        return await self._api.tables((await self.base()).id)

    async def _ask(self, named: Named) -> Table:
        base = await self.base()
        seen = {each.id: each for each in await self.names()}
        told = await self._api.table(At(base.id, named.id))
        return table_of(base.id, told, seen, base.foreign)

    def _look(self) -> None:
        """Whether NocoDB has told since that we were wrong."""
        if self._api.drifts != self._drifts:
            self._drifts = self._api.drifts
            self.drop()

    def _drop_old(self, kept: Fresh[Any] | None) -> None:
        if kept is None or kept.age > RECENT:
            self.drop()
