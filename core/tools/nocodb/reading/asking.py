"""What a call of a reading tool asks for: the rows that are meant, for whom, at which moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from core.errors import ToolError
from core.records import Scene
from core.tools.nocodb.filters.filters import Filter, Match, Selection
from core.tools.nocodb.reading.reading import Reading, Rows
from core.tools.nocodb.reading.sources import source
from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.schema import Field, Table
from core.tools.nocodb.schemas import Schemas
from core.withheld import withheld


@dataclass(frozen=True, slots=True)
class Asked:
    """`now` is in the asker's zone, `origin` where NocoDB's page is."""

    selection: Selection
    now: datetime
    locale: str
    origin: str

    @property
    def table(self) -> Table:
        return self.selection.table

    @property
    def zone(self) -> tzinfo | None:
        return self.now.tzinfo

    def field(self, name: str) -> Field:
        """Raises NocoError `unknown_field`."""
        return self.table.field(name)

    def source(self, rows: Rows, shown: int) -> str:
        return source(self.origin, self.selection, rows, shown, self.now, self.locale)


@dataclass(frozen=True, slots=True)
class Asking:
    """`clock` tells seconds since the epoch."""

    api: NocoApi
    schemas: Schemas
    reading: Reading
    clock: Callable[[], float] = time.time

    async def asked(
        self,
        scene: Scene,
        table: str,
        filters: Sequence[Filter],
        match: Match,
        names: Iterable[str] = (),
    ) -> Asked:
        """`names` are the other fields that are meant. Raises ToolError, NocoError."""
        now = self.now(scene)
        wanted = [*(each.field for each in filters), *names]
        known = await self.schemas.table_with(table, wanted)
        for each in wanted:
            check_open(known.field(each))
        selection = Selection.of(known, filters, match, now)
        return Asked(selection, now, scene.locale, self.api.url)

    def now(self, scene: Scene) -> datetime:
        return datetime.fromtimestamp(self.clock(), ZoneInfo(scene.zone))


def check_open(field: Field) -> None:
    """What no model may see, it may not find out by filters or groups either. Raises ToolError."""
    if withheld({field.title: True})[field.title] is not True:
        raise ToolError(
            "The field {field} is withheld here.",
            code="withheld", hint="leave it out", field=field.title,
        )  # fmt: skip
