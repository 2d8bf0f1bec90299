"""NocoDB over REST as a source of tools: what reads, what proposes, and how it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.changes.approval import TableRules
from core.http import HttpClient
from core.ports import Tool
from core.records import Health
from core.tasks import together
from core.tools.nocodb.api import PAUSES, NocoApi, NocoError
from core.tools.nocodb.draft import Writes
from core.tools.nocodb.rest import PATIENT, RestDriver
from core.tools.nocodb.schema import Schemas, shown, tables_tool
from core.tools.nocodb.summarize import reading_tools
from core.tools.nocodb.write import TableWriter

GLANCE = 30.0
"""Seconds between looks at whether the tables' names are still the same."""
PATIENCE = 3.0
"""Seconds that a turn waits for such a look."""

_ONLY_READ = ("viewer", "commenter")
_READS_ONLY = "Nothing can be changed here: NocoDB's user for this bot may only read (role {role})."
_PROPOSES = "Changes are proposed with nocodb_create, nocodb_update, nocodb_delete, nocodb_link."
_EXCEPT = " These tables can only be read: {tables}."
_UNKNOWN = "{sight}; rules for tables in the operator's file protect nothing: `ponte doctor`"


@dataclass(frozen=True, slots=True)
class Sight:
    """The base, its tables as they may be seen, and the role of the token's user there.

    `closed`: those that the operator's file keeps from being changed. `unknown`: names in that
    file that no table goes by.
    """

    base: str = ""
    titles: tuple[str, ...] = ()
    role: str = ""
    closed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def only_read(self) -> bool:
        return self.role in _ONLY_READ

    def __str__(self) -> str:
        """For the operator."""
        role = f"; role {self.role}" if self.role else ""
        return f"base {self.base}: {len(self.titles)} tables{role}"


async def sight(api: NocoApi, schemas: Schemas, rules: TableRules) -> Sight:
    """Raises NocoError."""
    base = await schemas.base()
    every, role = await together(schemas.every_name(), _role(api, base.id))
    names = await schemas.names()
    return Sight(
        base=base.title,
        titles=tuple(each.title for each in names),
        role=role,
        closed=tuple(each.title for each in names if rules.read_only(each.title, each.id)),
        unknown=tuple(rules.unknown({name for each in every for name in (each.id, each.title)})),
    )


class NocoSource:
    """`url` is NocoDB's origin. The HTTP client belongs to whoever gave it."""

    name = "nocodb"

    def __init__(
        self,
        url: str,
        token: str,
        http: HttpClient,
        *,
        base_id: str = "",
        rules: TableRules | None = None,
        pauses: Sequence[float] = PAUSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules = rules or TableRules()
        self.api = NocoApi(url, token, http, pauses=pauses)
        self.schemas = Schemas(self.api, base_id, rules=rules, clock=clock)
        self.rows = TableWriter(RestDriver(self.api.patient(PATIENT)))
        """What does the writes that were approved."""
        self._clock = clock
        self._reading = reading_tools(self.api, self.schemas)
        self._writing = Writes(self.api, self.schemas).tools()
        self._known = Sight()
        self._tables = self._told()
        self._until = 0.0

    async def tools(self) -> Sequence[Tool]:
        """Offered also while NocoDB is away: its errors then tell so, in words."""
        if self._clock() >= self._until:
            # Set before the look, so that no other turn waits for it too.
            self._until = self._clock() + GLANCE
            with suppress(NocoError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    now = await sight(self.api, self.schemas, self._rules)
                if now != self._known:
                    self._known = now
                    self._tables = self._told()
        writing = () if self._known.only_read else self._writing
        return [self._tables, *self._reading, *writing]

    async def health(self) -> Health:
        try:
            now = await sight(self.api, self.schemas, self._rules)
        except NocoError as error:
            return Health(self.name, "failing", str(error))
        if now.unknown:
            return Health(self.name, "failing", _UNKNOWN.format(sight=now))
        return Health(self.name, "on", str(now))

    async def close(self) -> None:
        """Nothing is held open here."""

    def _told(self) -> Tool:
        known = self._known
        writing = _READS_ONLY.format(role=known.role) if known.only_read else _PROPOSES
        if known.closed and not known.only_read:
            writing += _EXCEPT.format(tables=", ".join(shown(title) for title in known.closed))
        return tables_tool(self.schemas, known.base, known.titles, writing)


async def _role(api: NocoApi, base: str) -> str:
    """ "" where an older or newer NocoDB does not tell it."""
    try:
        return await api.role(base)
    except NocoError as error:
        if error.code in ("nocodb_missing", "bad_call", "nocodb_forbidden"):
            return ""
        raise
