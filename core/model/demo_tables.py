"""How the demo model finds and shows tables: through the REST tools where they are offered, else
through the bridge, step by step. Each step is decided from what the steps before it read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.model.demo_filters import Asked, understood
from core.model.demo_story import Exchange, Read, Used, is_table_id
from core.model.demo_words import COLUMNS, ROWS, block, inline, table
from core.words import say

PREFIX = "nocodb_"
QUERY, TABLES, BRIDGE = "nocodb_query", "nocodb_tables", "nocodb_execute"
_BASES = 8

NO_TABLES = (
    "I have no tables here. Either NocoDB is not connected (the operator sets `NOCODB_URL`, and "
    "`NOCODB_TOKEN` where it asks for one), or you may not read them."
)
FAILED = "That did not work: {problem}"
_LISTED = "Tables that I can see: {count}"
_IN_BASE = "I could not look into the base {base}: {problem}"
_NO_BASE = "NocoDB shows me no base. The operator must check what its token may see."
_TOO_MANY = "I looked into the first {count} bases only."
_NO_TABLE = "I see no table named {name}. These are there: {names}."
_EMPTY = "**{name}** has no rows."
_NONE_FIT = "**{name}** has no rows that fit."
_NO_FILTER = (
    "I understand filters like `Status is Lead`, `Amount > 10`, `Name contains ann` or "
    "`Notes is empty`, several of them with `and`."
)
_NO_FILTERS_HERE = "I can filter only where NocoDB is connected directly, not through the bridge."
_SHOWN = "**{name}**: {shown} of {total} rows."
_SHOWN_SOME = "**{name}**: the first {shown} rows."
_MORE_COLUMNS = "It has more columns than the {columns} here."
_ROWS_WERE = "{name}: {total} rows, when I looked."
_ROWS_SEEN = "{name}: at least {total} rows, when I looked."
_TABLES_WERE = "{total} tables, when I looked."


@dataclass(frozen=True, slots=True)
class Use:
    """A call that the model wants to make."""

    tool: str
    args: Mapping[str, Any]


Decision = str | list[Use]
"""The answer's text, or the calls to make first."""


def list_tables(exchange: Exchange, offered: frozenset[str], locale: str) -> Decision:
    if TABLES in offered:
        return _told(exchange, locale)
    if BRIDGE not in offered:
        return say(NO_TABLES, locale)
    found = _Search(exchange, locale).found()
    if not isinstance(found, _Found):
        return found
    several = len({each.base for each in found.tables}) > 1
    lines = [say(_LISTED, locale, count=len(found.tables)), ""] if found.tables else []
    for each in found.tables:
        base = f", {inline(each.base)}" if several else ""
        lines.append(f"- **{inline(each.title)}** (`{each.id}`{base})")
    parts = ["\n".join(lines), *found.problems] if lines else found.problems
    return "\n\n".join(parts) or say(_LISTED, locale, count=0)


def show_table(name: str, exchange: Exchange, offered: frozenset[str], locale: str) -> Decision:
    wanted = understood(name)
    if wanted.filters is None:
        return say(_NO_FILTER, locale)
    if QUERY in offered:
        return _queried(wanted, exchange, locale)
    if BRIDGE not in offered:
        return say(NO_TABLES, locale)
    if wanted.filters:
        return say(_NO_FILTERS_HERE, locale)
    if read := exchange.outcomes(f"{BRIDGE}:list_records"):
        return _shown(_name_of(read[-1], exchange, name), read[-1].read, locale)
    if is_table_id(name):
        return [_bridge("list_records", table_id=name, limit=ROWS)]
    found = _Search(exchange, locale).found()
    if not isinstance(found, _Found):
        return found
    plain = name.casefold()
    for each in found.tables:
        if plain in (each.title.casefold(), each.id.casefold()):
            return [_bridge("list_records", table_id=each.id, limit=ROWS)]
    names = ", ".join(inline(each.title) for each in found.tables[:ROWS]) or "–"
    missing = say(_NO_TABLE, locale, name=inline(name), names=names)
    return "\n\n".join([missing, *found.problems])


def _queried(wanted: Asked, exchange: Exchange, locale: str) -> Decision:
    if not (used := exchange.outcomes(QUERY)):
        args = {"table": wanted.table, "filters": list(wanted.filters or ()), "match": "all",
                "fields": [], "sort": [], "limit": ROWS, "page": 1}  # fmt: skip
        return [Use(QUERY, args)]
    name, read = _name_of(used[-1], exchange, wanted.table), used[-1].read
    if wanted.filters and read.total == 0:
        return say(_NONE_FIT, locale, name=inline(name))
    return _shown(name, read, locale)


def counted(exchange: Exchange, locale: str) -> str:
    """How many there were, from what an earlier exchange read; "" when it read no rows."""
    for used in reversed(exchange.used):
        if used.read.error:
            continue
        if used.tool in (QUERY, f"{BRIDGE}:list_records"):
            name = _name_of(used, exchange, str(used.args.get("table", "")))
            seen, total = len(used.read.rows), used.read.total
            if total is None and seen == 0:
                continue
            sentence = _ROWS_SEEN if total is None else _ROWS_WERE
            return say(sentence, locale, name=inline(name), total=seen if total is None else total)
        if used.tool in (TABLES, f"{BRIDGE}:list_tables"):
            return say(_TABLES_WERE, locale, total=_how_many_tables(exchange))
    return ""


def rows_or_block(name: str, read: Read, locale: str) -> str:
    """An outcome for a person: rows as a table, all else as a code block."""
    if read.error:
        return say(FAILED, locale, problem=inline(read.error, 500))
    return _shown(name, read, locale) if read.rows else block(read.value)


@dataclass(frozen=True, slots=True)
class _Table:
    id: str
    title: str
    base: str


@dataclass(frozen=True, slots=True)
class _Found:
    tables: tuple[_Table, ...]
    problems: tuple[str, ...]


class _Search:
    """The bridge knows tables by base: first the bases, then the tables of each."""

    def __init__(self, exchange: Exchange, locale: str) -> None:
        self._exchange = exchange
        self._locale = locale

    def found(self) -> _Found | Decision:
        """What is there, once everything was asked; before, the next calls, or the answer."""
        asked = self._exchange.outcomes(f"{BRIDGE}:list_bases")
        if not asked:
            return [_bridge("list_bases")]
        read = asked[-1].read
        if read.error:
            return say(FAILED, self._locale, problem=inline(read.error, 500))
        bases = {_id(row): _title(row) for row in read.rows if _id(row)}
        if not bases:
            return say(_NO_BASE, self._locale)
        looked = {
            str(used.args.get("base_id")): used.read
            for used in self._exchange.outcomes(f"{BRIDGE}:list_tables")
        }
        first = list(bases)[:_BASES]
        if missing := [base for base in first if base not in looked]:
            return [_bridge("list_tables", base_id=base) for base in missing]
        return self._put_together({bases[base]: looked[base] for base in first}, len(bases))

    def _put_together(self, looked: Mapping[str, Read], bases: int) -> _Found:
        tables = tuple(
            _Table(_id(row), _title(row), base)
            for base, read in looked.items()
            for row in read.rows
            if _id(row)
        )
        problems = [
            say(_IN_BASE, self._locale, base=inline(base), problem=inline(read.error, 500))
            for base, read in looked.items()
            if read.error
        ]
        if bases > len(looked):
            problems.append(say(_TOO_MANY, self._locale, count=len(looked)))
        return _Found(tables, tuple(problems))


def _told(exchange: Exchange, locale: str) -> Decision:
    """`nocodb_tables` describes them in its own compact text."""
    if not (asked := exchange.outcomes(TABLES)):
        return [Use(TABLES, {})]
    return rows_or_block("NocoDB", asked[-1].read, locale)


def _shown(name: str, read: Read, locale: str) -> str:
    if read.error:
        return say(FAILED, locale, problem=inline(read.error, 500))
    rows, total, title = read.rows, read.total, inline(name)
    if not rows:
        return say(_EMPTY, locale, name=title) if total in (None, 0) else block(read.value)
    shown = min(len(rows), ROWS)
    if total is None:
        head = say(_SHOWN_SOME, locale, name=title, shown=shown)
    else:
        head = say(_SHOWN, locale, name=title, shown=shown, total=total)
    if len({key for row in rows for key in row} - {"fields"}) > COLUMNS:
        head += " " + say(_MORE_COLUMNS, locale, columns=COLUMNS)
    return f"{head}\n\n{table(rows)}"


def _bridge(tool: str, **args: object) -> Use:
    return Use(BRIDGE, {"tool": tool, "args": args})


def _name_of(used: Used, exchange: Exchange, otherwise: str) -> str:
    """The title of the table that was read, by whatever name or id."""
    if isinstance(used.read.value, dict) and isinstance(used.read.value.get("table"), str):
        return str(used.read.value["table"])
    id = str(used.args.get("table_id", ""))
    for listed in exchange.outcomes(f"{BRIDGE}:list_tables"):
        for row in listed.read.rows:
            if id and _id(row) == id:
                return _title(row)
    return otherwise or id


def _how_many_tables(exchange: Exchange) -> int:
    count = sum(len(used.read.rows) for used in exchange.outcomes(f"{BRIDGE}:list_tables"))
    for used in exchange.outcomes(TABLES):
        told = used.read.value
        count += len(re.findall(r"(?m)^\S.*\[m\w+\]", told)) if isinstance(told, str) else 0
        count += len(used.read.rows)
    return count


def _id(row: Mapping[str, Any]) -> str:
    """Only what can be an id: it is shown between backticks."""
    return re.sub(r"[^\w-]", "", str(row.get("id") or ""))


def _title(row: Mapping[str, Any]) -> str:
    return str(row.get("title") or row.get("table_name") or row.get("id") or "")
