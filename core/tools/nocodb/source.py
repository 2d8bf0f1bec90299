"""NocoDB over REST as a source of tools: what reads, what proposes, and how it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.changes.approval import TableRules
from core.clients.http import HttpClient
from core.domain.records import Health
from core.ports.tools import Tool
from core.rights.policy import turn_may
from core.runtime.tasks import run_together
from core.text.i18n import plural, say
from core.tools.nocodb.api import READ_PAUSES_SECONDS, Named, NocoApi, NocoError
from core.tools.nocodb.draft import Writes
from core.tools.nocodb.rest import PATIENT, RestDriver
from core.tools.nocodb.schema import (
    UNKNOWN_TABLES,
    VIEWS,
    Schemas,
    names_of,
    shown,
    tables_tool,
)
from core.tools.nocodb.summarize import reading_tools
from core.tools.nocodb.write import TableWriter

GLANCE = 30.0
"""Seconds between looks at whether the tables' names are still the same."""
PATIENCE = 3.0
"""Seconds that a turn waits for such a look."""

_ONLY_READ = ("viewer", "commenter")
_READS_ONLY = "Nothing can be changed here: NocoDB's user for this bot may only read (role {role})."
_PROPOSES = "Changes are proposed with nocodb_create, nocodb_update, nocodb_delete, nocodb_link."
_MAY_NOT = "Who asks here may change nothing."
_EXCEPT = " These tables can only be read: {tables}."


@dataclass(frozen=True, slots=True)
class Sight:
    """The base, its tables as they may be seen, and the role of the token's user there.

    `closed`: those that the operator's file keeps from being changed. `unknown`: names in that
    file that no table goes by. `proposes`: whether who asks may propose any change.
    """

    base: str = ""
    titles: tuple[str, ...] = ()
    role: str = ""
    closed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    proposes: bool = True

    @property
    def only_read(self) -> bool:
        return self.role in _ONLY_READ

    def words(self) -> str:
        """For the operator."""
        tables = plural("base {base}: {count} table", "base {base}: {count} tables",
                        len(self.titles), base=self.base)  # fmt: skip
        return f"{tables}; {say('role {role}', role=self.role)}" if self.role else tables


@dataclass(frozen=True, slots=True)
class Known:
    """The base, all of its tables, and the role of the token's user ("": it is not told)."""

    title: str = ""
    every: tuple[Named, ...] = ()
    role: str = ""

    def sight(self, rules: TableRules) -> Sight:
        """What the turn that runs may see of it."""
        seen = [each for each in self.every if rules.is_visible(each.title, each.id)]
        return Sight(
            base=self.title,
            titles=tuple(each.title for each in seen),
            role=self.role,
            closed=tuple(each.title for each in seen if rules.is_closed(each.title, each.id)),
            unknown=tuple(rules.find_unknown(names_of(self.every))),
            proposes=turn_may("propose"),
        )


async def look(api: NocoApi, schemas: Schemas) -> Known:
    """Raises NocoError."""
    own = await schemas.base()
    every, role = await run_together(schemas.every_name(), _role(api, own.id))
    return Known(own.title, tuple(every), role)


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
        rules: Callable[[], TableRules] = TableRules,
        pauses: Sequence[float] = READ_PAUSES_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self.api = NocoApi(url, token, http, pauses=pauses)
        self.schemas = Schemas(self.api, base_id, rules=rules, clock=clock)
        self.rows = TableWriter(RestDriver(self.api.patient(PATIENT)))
        """What does the writes that were approved."""
        self._clock = clock
        self._reading = reading_tools(self.api, self.schemas)
        self._writing = Writes(self.api, self.schemas).tools()
        self._known = Known()
        self._told: dict[Sight, Tool] = {}
        self._until = 0.0

    async def tools(self) -> Sequence[Tool]:
        """Offered also while NocoDB is away: its errors then tell so, in words."""
        if self._clock() >= self._until:
            # Set before the look, so that no other turn waits for it too.
            self._until = self._clock() + GLANCE
            with suppress(NocoError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    self._known = await look(self.api, self.schemas)
        sight = self._known.sight(self._rules())
        writing = () if sight.only_read else self._writing
        return [self._tables(sight), *self._reading, *writing]

    async def titles(self) -> Sequence[str]:
        """The names of the tables, as they were last seen."""
        await self.tools()
        return self._known.sight(self._rules()).titles

    async def health(self) -> Health:
        try:
            now = (await look(self.api, self.schemas)).sight(self._rules())
        except NocoError as error:
            return Health(self.name, "failing", error.words())
        if now.unknown:
            return Health(self.name, "failing", say(UNKNOWN_TABLES, sight=now.words()))
        return Health(self.name, "on", now.words())

    async def close(self) -> None:
        """Nothing is held open here."""

    def _tables(self, sight: Sight) -> Tool:
        """The tool that tells of them; the same one for the same sight."""
        if sight not in self._told:
            if len(self._told) >= VIEWS:
                self._told.clear()
            writing = _PROPOSES if sight.proposes else _MAY_NOT
            if sight.only_read:
                writing = _READS_ONLY.format(role=sight.role)
            elif sight.closed and sight.proposes:
                writing += _EXCEPT.format(tables=", ".join(shown(title) for title in sight.closed))
            self._told[sight] = tables_tool(self.schemas, sight.base, sight.titles, writing)
        return self._told[sight]


async def _role(api: NocoApi, base: str) -> str:
    """ "" where an older or newer NocoDB does not tell it."""
    try:
        return await api.role(base)
    except NocoError as error:
        if error.code in ("nocodb_missing", "bad_call", "nocodb_forbidden"):
            return ""
        raise
