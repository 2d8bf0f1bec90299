"""Tables in the demo model: which calls read them, and how their rows are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.domain.records import INTERRUPTED_TEXT
from core.models.demo_exchange import AnsweredCall, Decision, DemoExchange, PlannedCall, ToolReply
from core.text.i18n import plural, say
from core.text.text import clean_text, make_code_block, to_one_line, truncate_with_note

Filter = Mapping[str, str | None]
"""A filter as `nocodb_query` takes it: {"field", "op", "value"}."""
QUERY_TOOL, TABLES_TOOL, BRIDGE_TOOL = "nocodb_query", "nocodb_tables", "nocodb_execute"

MAX_DEMO_ROWS = 20
MAX_DEMO_COLUMNS = 8
_MAX_CELL_CHARACTERS = 60
"""Characters of one table cell."""
_MAX_BLOCK_CHARACTERS = 3000
"""Characters of one code block."""
_MAX_BASES = 8
"""Bases in which the bridge looks for tables."""
_WHERE_PATTERN = re.compile(r"(?P<table>.+?)[\"'`“”]?\s+where\s+(?P<conditions>.+)", re.IGNORECASE)
_EMPTY_PATTERN = re.compile(r"(?P<field>.+?)\s+is\s+(?P<not>not\s+)?empty", re.IGNORECASE)
_COMPARISON_PATTERN = re.compile(
    r"(?P<field>.+?)\s*(?P<op>\bis\s+not\b|\bis\b|\bcontains\b|!=|>=|<=|=|>|<"
    r"|\b(?:eq|neq|gt|gte|lt|lte|not_contains)\b)\s*(?P<value>.+)",
    re.IGNORECASE,
)
_OPERATORS = {
    "is": "eq", "=": "eq", "is not": "neq", "!=": "neq",
    ">": "gt", ">=": "gte", "<": "lt", "<=": "lte",
}  # fmt: skip
QUOTE_CHARACTERS = " \"'`“”"

_MARKUP = re.compile(r"([\\`*\[\]<>|~])")
_TABLE_ID = re.compile(r"m[a-z0-9]{10,30}")

_NO_TABLES = (
    "No tables are available here. Either NocoDB is not connected (`NOCODB_URL`, "
    "`NOCODB_TOKEN`), or you don't have permission to read them."
)
_FAILED = "That didn't work: {problem}"
_INTERRUPTED = (
    "I was interrupted while this code ran, so its effects are unknown. I won't run it again "
    "by myself. Send it again if you need it."
)
_LISTED = "Tables: {count}"
_IN_BASE = "I couldn't read the base {base}: {problem}"
_NO_BASE = "NocoDB shows no base. Check which bases its token can see."
_TOO_MANY = "I read only the first {count} bases."
_NO_TABLE = "Table {name} not found. Available tables: {names}."
_NO_ROWS = "**{name}** has no rows."
_NONE_FIT = "**{name}** has no matching rows."
_NO_FILTER = (
    "Use filters such as `Status is Lead`, `Amount > 10`, `Name contains ann` or `Notes is "
    "empty`. Join several with `and`."
)
_NO_FILTERS_HERE = (
    "I can filter rows only when NocoDB is connected directly, not through the bridge."
)
_SHOWN = ("**{name}**: {shown} of {count} row.", "**{name}**: {shown} of {count} rows.")
_SHOWN_SOME = ("**{name}**: the first row.", "**{name}**: the first {count} rows.")
_MORE_COLUMNS = "It has more than the {columns} columns shown here."
_ROWS_WERE = ("{name} had {count} row when I checked.", "{name} had {count} rows when I checked.")
_ROWS_SEEN = (
    "{name} had at least {count} row when I checked.",
    "{name} had at least {count} rows when I checked.",
)
_TABLES_WERE = ("I found {count} table.", "I found {count} tables.")
_SAMPLE_TITLE = "These are sample tables:"


@dataclass(frozen=True, slots=True)
class TableRequest:
    """A table that a person asked for. `filters` is None if the text after "where" was not
    understood."""

    table: str
    filters: tuple[Filter, ...] | None = ()


@dataclass(frozen=True, slots=True)
class _BridgeTable:
    id: str
    title: str
    base: str


@dataclass(frozen=True, slots=True)
class _TableSearch:
    tables: tuple[_BridgeTable, ...]
    problems: tuple[str, ...]


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of the first rows. Columns come in the order of their first use."""
    shown = rows[:MAX_DEMO_ROWS]
    names = list(dict.fromkeys(name for row in shown for name in row if name != "fields"))[
        :MAX_DEMO_COLUMNS
    ]
    if not names:
        return ""
    lines = [names, ["---"] * len(names)]
    lines += [[_format_cell(row.get(name)) for name in names] for row in shown]
    lines[0] = [_format_cell(name) for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_code_block(value: object, info: str = "") -> str:
    """Return a code block: text unchanged, any other value as JSON."""
    if isinstance(value, str):
        return make_code_block(
            truncate_with_note(clean_text(value).strip("\n"), _MAX_BLOCK_CHARACTERS), info
        )
    return make_code_block(
        truncate_with_note(json.dumps(value, ensure_ascii=False, indent=2), _MAX_BLOCK_CHARACTERS),
        info or "json",
    )


def escape_inline(text: str, longest: int = 200) -> str:
    """Return untrusted text on one line, without markup."""
    return _MARKUP.sub(r"\\\1", to_one_line(text, longest))


def parse_table_request(words: str) -> TableRequest:
    """Parse the text after "show", as in `Orders where Amount > 10 and Paid is true`."""
    found = _WHERE_PATTERN.fullmatch(words)
    if found is None:
        return TableRequest(words)
    conditions = re.split(r"\s+and\s+", found["conditions"], flags=re.IGNORECASE)
    filters = [_parse_filter(each) for each in conditions]
    table = found["table"].strip(QUOTE_CHARACTERS)
    known = tuple(each for each in filters if each is not None)
    return TableRequest(table, known if len(known) == len(filters) else None)


def list_tables(
    exchange: DemoExchange, offered: frozenset[str], *, is_sample: bool = False
) -> Decision:
    """Return the list of tables, or the calls that find them."""
    if TABLES_TOOL in offered:
        # `nocodb_tables` describes them in its own compact text.
        asked = exchange.calls_of(TABLES_TOOL)
        if not asked:
            return [PlannedCall(TABLES_TOOL, {})]
        told = format_reply("NocoDB", asked[-1].reply)
        return f"{say(_SAMPLE_TITLE)}\n\n{told}" if is_sample else told
    if BRIDGE_TOOL not in offered:
        return say(_NO_TABLES)
    found = _search_tables(exchange)
    if not isinstance(found, _TableSearch):
        return found
    several = len({each.base for each in found.tables}) > 1
    lines = [say(_LISTED, count=len(found.tables)), ""] if found.tables else []
    for each in found.tables:
        base = f", {escape_inline(each.base)}" if several else ""
        lines.append(f"- **{escape_inline(each.title)}** (`{each.id}`{base})")
    parts = ["\n".join(lines), *found.problems] if lines else found.problems
    return "\n\n".join(parts) or say(_LISTED, count=0)


def show_table(name: str, exchange: DemoExchange, offered: frozenset[str]) -> Decision:
    """Return the rows of a table, or the calls that read them."""
    wanted = parse_table_request(name)
    if wanted.filters is None:
        return say(_NO_FILTER)
    if QUERY_TOOL in offered:
        return _query_table(wanted, exchange)
    if BRIDGE_TOOL not in offered:
        return say(_NO_TABLES)
    if wanted.filters:
        return say(_NO_FILTERS_HERE)
    if read := exchange.calls_of(f"{BRIDGE_TOOL}:list_records"):
        return format_rows(_table_name(read[-1], exchange, name), read[-1].reply)
    if _TABLE_ID.fullmatch(name) and any(char.isdigit() for char in name):
        return [_bridge_call("list_records", table_id=name, limit=MAX_DEMO_ROWS)]
    found = _search_tables(exchange)
    if not isinstance(found, _TableSearch):
        return found
    plain = name.casefold()
    for each in found.tables:
        if plain in (each.title.casefold(), each.id.casefold()):
            return [_bridge_call("list_records", table_id=each.id, limit=MAX_DEMO_ROWS)]
    names = ", ".join(escape_inline(each.title) for each in found.tables[:MAX_DEMO_ROWS]) or "–"
    missing = say(_NO_TABLE, name=escape_inline(name), names=names)
    return "\n\n".join([missing, *found.problems])


def describe_count(exchange: DemoExchange) -> str:
    """Say how many rows or tables an earlier exchange found; "" if it read none."""
    for used in reversed(exchange.calls):
        if used.reply.error:
            continue
        if used.tool in (QUERY_TOOL, f"{BRIDGE_TOOL}:list_records"):
            name = _table_name(used, exchange, str(used.args.get("table", "")))
            seen, total = len(used.reply.rows), used.reply.total
            if total is None and seen == 0:
                continue
            if total is None:
                return plural(*_ROWS_SEEN, seen, name=escape_inline(name))
            return plural(*_ROWS_WERE, total, name=escape_inline(name))
        if used.tool in (TABLES_TOOL, f"{BRIDGE_TOOL}:list_tables"):
            return plural(*_TABLES_WERE, _count_tables(exchange))
    return ""


def describe_failure(read: ToolReply) -> str:
    """Return a tool's failure in words for a person."""
    if read.error.startswith(INTERRUPTED_TEXT):
        return say(_INTERRUPTED)
    return say(_FAILED, problem=escape_inline(read.error, 500))


def format_reply(name: str, read: ToolReply) -> str:
    """Return a tool's outcome for a person: rows as a table, other values as a code block."""
    if read.error:
        return describe_failure(read)
    return format_rows(name, read) if read.rows else format_code_block(read.value)


def _format_cell(value: object) -> str:
    """Return a cell as text: linked rows and attachments by title, lists by their members."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, list):
        return escape_inline(", ".join(_cell_title(each) for each in value), _MAX_CELL_CHARACTERS)
    return escape_inline(_cell_title(value), _MAX_CELL_CHARACTERS)


def _cell_title(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    named = (value[key] for key in ("title", "Title", "Name", "name") if key in value)
    plain = (each for each in value.values() if isinstance(each, str))
    return str(next(named, None) or next(plain, None) or json.dumps(value, ensure_ascii=False))


def _parse_filter(words: str) -> Filter | None:
    if found := _EMPTY_PATTERN.fullmatch(words):
        op = "notblank" if found["not"] else "blank"
        return {"field": found["field"].strip(QUOTE_CHARACTERS), "op": op, "value": None}
    if found := _COMPARISON_PATTERN.fullmatch(words):
        op = " ".join(found["op"].lower().split())
        value = found["value"].strip(QUOTE_CHARACTERS)
        field = found["field"].strip(QUOTE_CHARACTERS)
        return (
            {"field": field, "op": _OPERATORS.get(op, op), "value": value}
            if field and value
            else None
        )
    return None


def _query_table(wanted: TableRequest, exchange: DemoExchange) -> Decision:
    if not (used := exchange.calls_of(QUERY_TOOL)):
        args = {"table": wanted.table, "filters": list(wanted.filters or ()), "match": "all",
                "fields": [], "sort": [], "limit": MAX_DEMO_ROWS, "page": 1}  # fmt: skip
        return [PlannedCall(QUERY_TOOL, args)]
    name, read = _table_name(used[-1], exchange, wanted.table), used[-1].reply
    if wanted.filters and read.total == 0:
        return say(_NONE_FIT, name=escape_inline(name))
    return format_rows(name, read)


def _search_tables(exchange: DemoExchange) -> _TableSearch | Decision:
    """Return the tables, or the calls that are still needed, or the text of a failure.

    The bridge lists tables by base, so the bases are listed first.
    """
    asked = exchange.calls_of(f"{BRIDGE_TOOL}:list_bases")
    if not asked:
        return [_bridge_call("list_bases")]
    read = asked[-1].reply
    if read.error:
        return describe_failure(read)
    bases = {_row_id(row): _table_title(row) for row in read.rows if _row_id(row)}
    if not bases:
        return say(_NO_BASE)
    looked = {
        str(used.args.get("base_id")): used.reply
        for used in exchange.calls_of(f"{BRIDGE_TOOL}:list_tables")
    }
    first = list(bases)[:_MAX_BASES]
    if missing := [base for base in first if base not in looked]:
        return [_bridge_call("list_tables", base_id=base) for base in missing]
    return _collect_tables({bases[base]: looked[base] for base in first}, len(bases))


def _collect_tables(looked: Mapping[str, ToolReply], bases: int) -> _TableSearch:
    """Return the tables in `looked`, by base. `bases` is the number of all bases."""
    tables = tuple(
        _BridgeTable(_row_id(row), _table_title(row), base)
        for base, read in looked.items()
        for row in read.rows
        if _row_id(row)
    )
    problems = [
        say(_IN_BASE, base=escape_inline(base), problem=escape_inline(read.error, 500))
        for base, read in looked.items()
        if read.error
    ]
    if bases > len(looked):
        problems.append(say(_TOO_MANY, count=len(looked)))
    return _TableSearch(tables, tuple(problems))


def format_rows(name: str, read: ToolReply) -> str:
    """Return the rows that a call read as a sentence and a table, or its failure in words."""
    if read.error:
        return describe_failure(read)
    rows, total, title = read.rows, read.total, escape_inline(name)
    if not rows:
        return say(_NO_ROWS, name=title) if total in (None, 0) else format_code_block(read.value)
    shown = min(len(rows), MAX_DEMO_ROWS)
    if total is None:
        head = plural(*_SHOWN_SOME, shown, name=title)
    else:
        head = plural(*_SHOWN, total, name=title, shown=shown)
    if len({key for row in rows for key in row} - {"fields"}) > MAX_DEMO_COLUMNS:
        head += " " + say(_MORE_COLUMNS, columns=MAX_DEMO_COLUMNS)
    return f"{head}\n\n{format_table(rows)}"


def _bridge_call(tool: str, **args: object) -> PlannedCall:
    return PlannedCall(BRIDGE_TOOL, {"tool": tool, "args": args})


def _table_name(used: AnsweredCall, exchange: DemoExchange, otherwise: str) -> str:
    """Return the title of the table that a call read, by name or by id."""
    if isinstance(used.reply.value, dict) and isinstance(used.reply.value.get("table"), str):
        return str(used.reply.value["table"])
    id = str(used.args.get("table_id", ""))
    for listed in exchange.calls_of(f"{BRIDGE_TOOL}:list_tables"):
        for row in listed.reply.rows:
            if id and _row_id(row) == id:
                return _table_title(row)
    return otherwise or id


def _count_tables(exchange: DemoExchange) -> int:
    count = sum(len(used.reply.rows) for used in exchange.calls_of(f"{BRIDGE_TOOL}:list_tables"))
    for used in exchange.calls_of(TABLES_TOOL):
        told = used.reply.value
        count += len(re.findall(r"(?m)^\S.*\[m\w+\]", told)) if isinstance(told, str) else 0
        count += len(used.reply.rows)
    return count


def _row_id(row: Mapping[str, Any]) -> str:
    """Return a row's id without other characters, because it is shown in backticks."""
    return re.sub(r"[^\w-]", "", str(row.get("id") or ""))


def _table_title(row: Mapping[str, Any]) -> str:
    return str(row.get("title") or row.get("table_name") or row.get("id") or "")
