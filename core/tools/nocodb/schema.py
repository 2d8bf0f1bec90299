"""The base's tables and their fields, as NocoDB describes them; asked once, kept for minutes.

A model repeats names as it was shown them, on one line and cut, and as people write them, without
accents or in another case: each becomes a table or a field, or is told what it may have meant.
`nocodb_tables` tells a model each of them in a line or two.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from core.changes.approval import TableRules
from core.runtime.tasks import run_together
from core.text.text import clean_text, find_character_boundary, fold_case, fold_to_letters
from core.tools.nocodb.api import At, Base, Named, NocoApi, NocoError, Record, unreadable
from core.tools.nocodb.fieldtypes import Field, line
from core.tools.tool import FunctionTool

FRESH = 300.0
"""Seconds that a description is taken as true."""
RECENT = 5.0
"""Seconds within which an unknown name is no reason to ask anew."""
VIEWS = 16
"""Sets of tables that people may see, for each of which a description is kept."""
LONGEST = 60
"""Characters of a name that a model is shown."""
CUT = "…"
"""Ends a name that is longer."""
UNKNOWN_TABLES = "{sight}; rules for tables in the operator's file protect nothing: `ponte doctor`"
"""Where rules name tables that do not exist."""
_NAMES = 30
"""Titles in a hint."""
_TIMES = (("CreatedAt", "CreatedTime"), ("UpdatedAt", "LastModifiedTime"))
"""Every table that NocoDB made has them, and takes their titles for ids."""

T = TypeVar("T")


class Fresh(Generic[T]):
    """Who comes while it is asked for waits for that answer; a failure is not kept."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._turn = asyncio.Lock()
        self._kept: tuple[T, float] | None = None

    @property
    def age(self) -> float:
        """Seconds since it was asked for; without end where nothing is kept."""
        return self._clock() - self._kept[1] if self._kept else float("inf")

    async def value(self) -> T:
        async with self._turn:
            if self._kept is None or self.age >= FRESH:
                asked = self._clock()
                self._kept = await self._ask(), asked
            return self._kept[0]


class _Titled(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def title(self) -> str: ...


Titled = TypeVar("Titled", bound=_Titled)


def resolved(name: str, among: Sequence[Titled]) -> Titled | None:
    """The one whose id or title is `name`, else the only one whose title reads like it."""
    exact = name.strip()
    for each in among:
        if exact in (each.id, each.title):
            return each
    for form in (fold_case, fold_to_letters):
        wanted = form(exact)
        alike = [each for each in among if wanted and form(each.title.strip()) == wanted]
        if alike:
            return alike[0] if len(alike) == 1 else None
    begun: list[Titled] = []
    start = fold_to_letters(exact).removesuffix(CUT)
    if start not in ("", fold_to_letters(exact)):  # it was cut
        begun = [each for each in among if fold_to_letters(each.title).startswith(start)]
    return begun[0] if len(begun) == 1 else None


def nearest(name: str, among: Iterable[_Titled]) -> str:
    """A hint: the titles that `name` may have meant, else all of them."""
    titles = [each.title for each in among]
    wanted = fold_to_letters(name)
    near = [title for title in titles if fold_to_letters(title) == wanted]
    if not near:
        plains = {fold_to_letters(title): title for title in titles}
        near = [plains[each] for each in difflib.get_close_matches(wanted, plains, 3)]
    if near:
        return f"did you mean {' or '.join(repr(shown(title)) for title in near)}?"
    rest = len(titles) - _NAMES
    told = ", ".join(map(shown, titles[:_NAMES]))
    return told + (f" and {rest} more" if rest > 0 else "")


def names_of(tables: Iterable[Named]) -> set[str]:
    """Return the ids and titles of tables: a rule may name either."""
    return {name for table in tables for name in (table.id, table.title)}


def shown(title: str) -> str:
    """A title on one line."""
    told = " ".join(clean_text(title).split())
    return (
        told if len(told) <= LONGEST else told[: find_character_boundary(told, LONGEST - 1)] + CUT
    )


@dataclass(frozen=True, slots=True)
class Table:
    """`fields` are what may be seen, in NocoDB's order; `display` is the id of the field that
    stands for a row. `concealed` are links to hidden tables: never shown or asked for by name, but
    part of a row that is given back. NocoDB does not describe CreatedAt and UpdatedAt: they are
    added, with their title as id, to tables that it made.
    """

    id: str
    title: str
    base: str
    fields: tuple[Field, ...]
    display: str = ""
    concealed: tuple[Field, ...] = ()

    @property
    def at(self) -> At:
        return At(self.base, self.id)

    @property
    def display_field(self) -> Field | None:
        return next((each for each in self.fields if each.id == self.display), None)

    @property
    def links(self) -> tuple[Field, ...]:
        """Those that may be seen."""
        return tuple(each for each in self.fields if each.is_link)

    def field(self, name: str) -> Field:
        """By title, id, or a title that reads like it where only one does.

        Raises NocoError `unknown_field`, with the nearest titles as hint.
        """
        found = resolved(name, self.fields)
        if found is None:
            raise NocoError(
                "The table {table} has no field {name!r}.",
                code="unknown_field", hint=nearest(name, self.fields),
                table=self.title, name=name[:64],
            )  # fmt: skip
        return found


def table_of(
    base: str,
    told: Mapping[str, Any],
    seen: Mapping[str, Named],
    foreign: Collection[str] = frozenset(),
) -> Table:
    """From NocoDB's own description; `seen` are the tables that are not hidden, by id, `foreign`
    the databases whose tables others made.

    Links to hidden tables, and lookups through them, are not among its fields. Raises NocoError.
    """
    columns = told.get("fields")
    if not isinstance(columns, list) or not told.get("id"):
        raise unreadable()
    fields = [_field(column, seen) for column in columns if isinstance(column, Mapping)]
    concealed = tuple(f for f in fields if f.is_link and f.related and f.related not in seen)
    closed = {each.id for each in concealed}
    shown = [
        each
        for each in fields
        if each.id not in closed and each.via not in closed and not each.of.hidden
    ]
    if told.get("source_id") not in foreign:
        titles = {each.title for each in shown}
        shown += [Field(title, title, type) for title, type in _TIMES if title not in titles]
    return Table(
        id=str(told["id"]),
        title=str(told.get("title") or told["id"]),
        base=base,
        fields=tuple(shown),
        display=str(told.get("display_field_id") or ""),
        concealed=concealed,
    )


@dataclass(slots=True)
class _Described:
    """A table as NocoDB describes it."""

    base: Base
    told: Mapping[str, Any]
    _seen: dict[Sequence[Named], Table] = field(default_factory=dict)

    def seen(self, names: Sequence[Named]) -> Table:
        """Among the tables of these names."""
        if names not in self._seen:
            if len(self._seen) >= VIEWS:
                self._seen.clear()
            by_id = {each.id: each for each in names}
            self._seen[names] = table_of(self.base.id, self.told, by_id, self.base.foreign)
        return self._seen[names]


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
        rules: Callable[[], TableRules] = TableRules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._base_id = base_id
        self.rules = rules
        self._clock = clock
        self._drifts = api.drifts
        self.drop()

    async def base(self) -> Base:
        """The one that is set, or the only one that the token sees."""
        self._look()
        return await self._base.value()

    async def names(self) -> Sequence[Named]:
        """Every table that the turn may know of, in NocoDB's order: id and title alone."""
        every = await self.every_name()
        return tuple(each for each in every if self.rules().is_visible(each.title, each.id))

    async def every_name(self) -> Sequence[Named]:
        """Hidden ones too: what the operator's file is checked against, never told."""
        self._look()
        return await self._names.value()

    async def table(self, name: str) -> Table:
        """By title, id, or a title that reads like it where only one does.

        Raises NocoError `unknown_table`, with the nearest titles as hint.
        """
        found = resolved(name, await self.names())
        if found is None:
            self._drop_old(self._names)
            found = resolved(name, await self.names())
        if found is None:
            raise NocoError(
                "There is no table {name!r} here.",
                code="unknown_table", hint=nearest(name, await self.names()), name=name[:64],
            )  # fmt: skip
        return await self._describe(found)

    async def tables(self) -> Sequence[Table]:
        """All that are not hidden, described: one call each where not known yet."""
        return await run_together(*(self._describe(each) for each in await self.names()))

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
        self._tables: dict[str, Fresh[_Described]] = {}

    async def _describe(self, named: Named) -> Table:
        """As the turn may see it: what is kept is the same for all."""
        self._look()
        if named.id not in self._tables:
            self._tables[named.id] = Fresh(functools.partial(self._ask, named), self._clock)
        described = await self._tables[named.id].value()
        return described.seen(await self.names())

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

    async def _ask(self, named: Named) -> _Described:
        base = await self.base()
        return _Described(base, await self._api.table(At(base.id, named.id)))

    def _look(self) -> None:
        """Whether NocoDB has told since that we were wrong."""
        if self._api.drifts != self._drifts:
            self._drifts = self._api.drifts
            self.drop()

    def _drop_old(self, kept: Fresh[Any] | None) -> None:
        if kept is None or kept.age > RECENT:
            self.drop()


def _field(told: Mapping[str, Any], seen: Mapping[str, Named]) -> Field:
    given = told.get("options")
    options = given if isinstance(given, Mapping) else {}
    choices = options.get("choices")
    titles = [c.get("title") for c in choices or () if isinstance(c, Mapping)]
    related = str(options.get("related_table_id") or "")
    return Field(
        id=str(told.get("id") or ""),
        title=str(told.get("title") or ""),
        type=str(told.get("type") or ""),
        options=tuple(title for title in titles if isinstance(title, str)),
        related=related,
        related_title=seen[related].title if related in seen else "",
        one=options.get("relation_type") in ("bt", "oo"),
        via=str(options.get("related_field_id") or ""),
        relation=str(options.get("relation_type") or ""),
    )


SHORT = 200
"""Characters of a table among others."""
LONG = 4_000
"""Characters of a table that was asked for by name."""
OPTIONS = 40
"""Characters of the options of a select in a short outline."""
FEW = 40
"""Tables that are told with their columns unasked, and names that stand in the description."""
ASKED = 10
"""Tables in one call."""
READ_ONLY = " (read only)"

_EVERYWHERE = {"ID", "CreatedTime", "LastModifiedTime"}
"""Types of the fields that every table has."""

_DESCRIPTION = """\
The tables of the team's NocoDB base {base} with their columns: `Name*:text` stands for the row, \
`select(a|b)` takes one of these, `Orders->Orders` links to rows of that table. Each has Id, and \
mostly CreatedAt and UpdatedAt. Tables: {tables}. Other tools take tables and fields by these \
names, as they are written. {writing}"""
_UNKNOWN = "(ask for them)"


def outline(table: Table, longest: int = SHORT, *, read_only: bool = False) -> str:
    """`Customers [m…]: Name*:text, Status:select(Lead|Active), Value:decimal, Orders->Orders`.

    The field with * stands for a row. `Id`, and when a row was made and changed, are left out.
    `read_only` is told behind the id. Cut to whole fields, with a count of those that are missing.
    """
    told = [
        _outlined(each, table.display, OPTIONS if longest == SHORT else longest)
        for each in table.fields
        if each.type not in _EVERYWHERE
    ]
    head = f"{shown(table.title)} [{table.id}]{READ_ONLY if read_only else ''}: "
    for kept in range(len(told), 0, -1):
        rest = len(told) - kept
        text = head + ", ".join(told[:kept]) + (f", and {rest} more" if rest else "")
        if len(text) <= longest:
            return text
    return f"{head}{len(told)} fields"


def tables_tool(schemas: Schemas, base: str, titles: Sequence[str], writing: str) -> FunctionTool:
    """As it tells of those tables; the same for the same words, so that prompts can be cached."""

    def told(table: Table, longest: int = SHORT) -> str:
        return outline(table, longest, read_only=schemas.rules().is_closed(table.title, table.id))

    async def nocodb_tables(tables: Sequence[str] = ()) -> str:
        """The tables of the team's NocoDB base.

        Args:
            tables: names of tables to see all columns of, at most 10; null for all tables in short
        """
        if tables:
            asked = [await schemas.table(name) for name in tables[:ASKED]]
            return "\n".join(told(table, LONG) for table in dict.fromkeys(asked))
        names = await schemas.names()
        if not names:
            return "There are no tables in this base."
        if len(names) <= FEW:
            return "\n".join(map(told, await schemas.tables()))
        listed = "\n".join(f"{shown(each.title)} [{each.id}]" for each in names)
        return f"{len(names)} tables; ask for columns with `tables`.\n{listed}"

    named = [shown(title) for title in titles[:FEW]]
    if len(titles) > FEW:
        named.append(f"and {len(titles) - FEW} more")
    description = _DESCRIPTION.format(
        base=shown(base), tables=", ".join(named) or _UNKNOWN, writing=writing
    )
    return FunctionTool.of(
        nocodb_tables,
        effect="read", doing="is looking at the tables…", description=description.strip(),
    )  # fmt: skip


def check_titles(
    api: NocoApi, table: Table, asked: Iterable[Field], told: Sequence[Record]
) -> None:
    """Raises NocoError `renamed`, and has all descriptions asked anew, where a title that was asked
    for is missing and one has come that the table did not have.

    Fields are asked for by id, which stays; NocoDB answers by title, and tells of no new name.
    """
    titles = told[0].fields.keys() if told else set()
    known = {each.title for each in (*table.fields, *table.concealed)}
    if titles - known and any(each.title not in titles for each in asked if each.type != "ID"):
        api.drifted()
        raise NocoError(
            "Fields of the table {table} were renamed a moment ago.",
            code="renamed", hint="look at nocodb_tables, then call again with the names of now",
            table=table.title,
        )  # fmt: skip


def _outlined(field: Field, display: str, room: int) -> str:
    name = shown(field.title) + ("*" if field.id == display else "")
    if field.is_link:
        return f"{name}->{shown(field.related_title)}"
    kind = f"{name}:{field.of.word or field.type.lower()}"
    told = [line(each, LONGEST) for each in field.options]
    for kept in range(len(told), 0, -1):
        text = "|".join(told[:kept]) + ("|…" if kept < len(told) else "")
        if len(text) <= room:
            return f"{kind}({text})"
    return f"{kind}({len(told)} options)" if told else kind
