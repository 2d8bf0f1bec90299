"""The demo model: no key, no network, no intelligence. It says so.

A small parser on the model port that drives the same rounds and tools as a real one. It keeps
nothing: each round is decided from the thread alone, so that it goes on after a crash.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.domain.messages import CONTEXT_NAME, NOTE_NAME, Item
from core.domain.records import (
    INTERRUPTED_TEXT,
    Health,
    ModelEvent,
    Remote,
    RoundCompleted,
    RoundRequest,
    TextDelta,
    text_for_person,
)
from core.text.i18n import plural, say
from core.text.text import clean_text, make_code_block, to_one_line, truncate_with_note

Filter = Mapping[str, str | None]
"""As `nocodb_query` takes them: {"field", "op", "value"}."""
Kind = Literal["history", "memory", "remember", "tables", "show", "python", "nocodb",
               "again", "count", "other"]  # fmt: skip

PYTHON = "run_python"
PREFIX = "nocodb_"
QUERY, TABLES, BRIDGE = "nocodb_query", "nocodb_tables", "nocodb_execute"

ROWS = 20
COLUMNS = 8
_CELL = 60
"""Characters of one cell of a table."""
_BLOCK = 3000
"""Characters of one code block."""
_BASES = 8
"""Bases that the bridge is asked about."""
_RECALLED = 20
"""Exchanges, or a person's messages, that are told from the thread."""

_WHOLE: dict[Kind, str] = {
    "python": r"run python\b[\s:]*(?P<rest>.*)",
    "nocodb": r"nocodb\b\s*(?P<rest>.*)",
    "remember": r"remember (?:that )?(?P<rest>.+)",
}
"""What a whole message may be, with all its lines."""
_LINES: dict[Kind, str] = {
    "history": r"history",
    "memory": r"what did i say(?: before)?|what do you remember",
    "tables": r"(?:list|show)(?: me)?(?: the| all)? tables|tables",
    "show": r"show(?: me)?(?: the)?(?: table)? (?P<rest>.+)",
    "again": r"again|once more",
    "count": r"how many(?: rows| tables| of them)?(?: are there| is that)?",
}
"""What its first line may be."""
_WHERE = re.compile(r"(?P<table>.+?)[\"'`“”]?\s+where\s+(?P<conditions>.+)", re.IGNORECASE)
_EMPTY = re.compile(r"(?P<field>.+?)\s+is\s+(?P<not>not\s+)?empty", re.IGNORECASE)
_COMPARED = re.compile(
    r"(?P<field>.+?)\s*(?P<op>\bis\s+not\b|\bis\b|\bcontains\b|!=|>=|<=|=|>|<"
    r"|\b(?:eq|neq|gt|gte|lt|lte|not_contains)\b)\s*(?P<value>.+)",
    re.IGNORECASE,
)
_OPS = {
    "is": "eq", "=": "eq", "is not": "neq", "!=": "neq",
    ">": "gt", ">=": "gte", "<": "lt", "<=": "lte",
}  # fmt: skip
_QUOTES = " \"'`“”"

_MARKUP = re.compile(r"([\\`*\[\]<>|~])")
_TABLE_ID = re.compile(r"m[a-z0-9]{10,30}")
_PROBLEM = {"error", "message", "detail"}
"""Fields of an answer that tells of a problem."""
_MADE = re.compile(r"\n?\[The person has: [^\n]*\]\Z")
"""How the outcome of Python ends where it made files; the person sees them."""

_NO_TABLES = (
    "I have no tables here. Either NocoDB is not connected (the operator sets `NOCODB_URL`, and "
    "`NOCODB_TOKEN` where it asks for one), or you may not read them."
)
_FAILED = "That did not work: {problem}"
_INTERRUPTED = (
    "I was interrupted while this ran, so it is not known what it did. It is not run again by "
    "itself; send it once more if it is needed."
)
_LISTED = "Tables that I can see: {count}"
_IN_BASE = "I could not look into the base {base}: {problem}"
_NO_BASE = "NocoDB shows me no base. The operator must check what its token may see."
_TOO_MANY = "I looked into the first {count} bases only."
_NO_TABLE = "I see no table named {name}. These are there: {names}."
_NO_ROWS = "**{name}** has no rows."
_NONE_FIT = "**{name}** has no rows that fit."
_NO_FILTER = (
    "I understand filters like `Status is Lead`, `Amount > 10`, `Name contains ann` or "
    "`Notes is empty`, several of them with `and`."
)
_NO_FILTERS_HERE = "I can filter only where NocoDB is connected directly, not through the bridge."
_SHOWN = ("**{name}**: {shown} of {count} row.", "**{name}**: {shown} of {count} rows.")
_SHOWN_SOME = ("**{name}**: the first row.", "**{name}**: the first {count} rows.")
_MORE_COLUMNS = "It has more columns than the {columns} here."
_ROWS_WERE = ("{name}: {count} row, when I looked.", "{name}: {count} rows, when I looked.")
_ROWS_SEEN = (
    "{name}: at least {count} row, when I looked.",
    "{name}: at least {count} rows, when I looked.",
)
_TABLES_WERE = ("{count} table, when I looked.", "{count} tables, when I looked.")

_WHO = (
    "I am Ponte's demo model: a small parser, without a key and without a network. "
    "I understand only this:"
)
_UNDERSTOOD = (
    ("history", "what was said in this thread"),
    ("what did I say", "your own words, and what I was to remember"),
    ("remember …", "keeps a note in this thread"),
    ("list tables", "the tables of NocoDB"),
    ("show TABLE", "the first rows of a table"),
    ("show TABLE where …", "the rows that fit, as in `where Status is Lead and Amount > 10`"),
    ("run python …", "runs Python in the sandbox"),
    ("/nocodb TOOL {json}", "one call of a NocoDB tool"),
    ("again", "does the last of these once more"),
    ("how many?", "how many rows or tables that were"),
    ("help", "the commands that work with every model"),
)
_ONE_LINE = "For a real model, put this one line into `.env` and start Ponte again:"
_KEY_LINE = "OPENAI_API_KEY=your key"

_NOTHING_BEFORE = "Nothing was said in this thread before."
_SAID_BEFORE = "This was said in this thread before:"
_ME = "I"
_YOU = "You"
_YOU_SAID = "You said in this thread:"
_YOU_NOTED = "You asked me to remember:"
_NOTED = "Noted: {note}. It stays in this thread; ask me `what did I say`."
_NO_AGAIN = "There is nothing in this thread that I could do again."
_NO_COUNT = "I have counted nothing in this thread yet. Try `list tables` or `show TABLE` first."
_NO_PYTHON = (
    "I cannot run Python here. Either there is no sandbox (the operator sets `PONTE_CODE`; "
    "`ponte doctor` says what it lacks), or you may not use it."
)
_NO_CODE = "Write the code after it, as in `run python print(2 + 2)`."
_NO_NOCODB = (
    "I have no such NocoDB tool here{near}. Either `NOCODB_URL` and `NOCODB_TOKEN` are not set "
    "(a bridge's address ends in /execute; the operator does that), or you may not use it."
)
_THESE = "; these are there: {tools}"
_NO_TOOL = "Write it as `/nocodb TOOL {json}`: the name of a tool, then its arguments as JSON."


@dataclass(frozen=True, slots=True)
class Asked:
    """`filters` is None where the words after "where" are not understood."""

    table: str
    filters: tuple[Filter, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Intent:
    """What a message asks for; `rest` is the table, the code or the tool with its arguments."""

    kind: Kind
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """A tool's outcome: `value` as JSON or text, or the words of what went wrong."""

    value: Any = None
    error: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of a NocoDB answer: v2 has them flat under `list`, v3 under `records`."""
        value = self.value
        if isinstance(value, dict):
            value = next((value[key] for key in ("list", "rows", "records") if key in value), None)
        if not isinstance(value, list):
            return []
        rows = [row for row in value if isinstance(row, dict)]
        return [
            {**row, **row["fields"]} if isinstance(row.get("fields"), dict) else row for row in rows
        ]

    @property
    def total(self) -> int | None:
        """How many rows there are in all, where the answer tells."""
        value = self.value if isinstance(self.value, dict) else {}
        page = value.get("pageInfo")
        total = page.get("totalRows") if isinstance(page, dict) else value.get("total")
        return total if isinstance(total, int) else None


@dataclass(frozen=True, slots=True)
class Used:
    """One call and how it ended; `args` are its arguments."""

    tool: str
    args: Mapping[str, Any]
    read: Read


@dataclass(slots=True)
class Exchange:
    """A person's message and what was done for it so far."""

    name: str
    said: str
    used: list[Used] = field(default_factory=list)
    answer: str = ""

    def outcomes(self, tool: str) -> list[Used]:
        """Of `tool`; the bridge's own tools go by their names, as "nocodb_execute:list_bases"."""
        return [used for used in self.used if used.tool == tool]


@dataclass(frozen=True, slots=True)
class Use:
    """A call that the model wants to make."""

    tool: str
    args: Mapping[str, Any]


Decision = str | list[Use]
"""The answer's text, or the calls to make first."""


@dataclass(frozen=True, slots=True)
class _Table:
    id: str
    title: str
    base: str


@dataclass(frozen=True, slots=True)
class _Found:
    tables: tuple[_Table, ...]
    problems: tuple[str, ...]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A markdown table of the first rows; columns in the order in which they turn up."""
    shown = rows[:ROWS]
    names = list(dict.fromkeys(name for row in shown for name in row if name != "fields"))[:COLUMNS]
    if not names:
        return ""
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row.get(name)) for name in names] for row in shown]
    lines[0] = [_cell(name) for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def block(value: object, info: str = "") -> str:
    """Text as it is, anything else as JSON, in a code block."""
    if isinstance(value, str):
        return make_code_block(truncate_with_note(clean_text(value).strip("\n"), _BLOCK), info)
    return make_code_block(
        truncate_with_note(json.dumps(value, ensure_ascii=False, indent=2), _BLOCK), info or "json"
    )


def inline(text: str, longest: int = 200) -> str:
    """Somebody's words on one line, without markup."""
    return _MARKUP.sub(r"\\\1", to_one_line(text, longest))


def understood(words: str) -> Asked:
    """What stands after "show", as in `Orders where Amount > 10 and Paid is true`."""
    found = _WHERE.fullmatch(words)
    if found is None:
        return Asked(words)
    conditions = re.split(r"\s+and\s+", found["conditions"], flags=re.IGNORECASE)
    filters = [_filter(each) for each in conditions]
    table = found["table"].strip(_QUOTES)
    known = tuple(each for each in filters if each is not None)
    return Asked(table, known if len(known) == len(filters) else None)


def understand(said: str) -> Intent:
    """The first pattern that the message fits as a whole."""
    text = said.strip()
    line = text.split("\n", 1)[0].rstrip(" .?!")
    for kind, pattern in _WHOLE.items():
        if match := _match(pattern, text, re.DOTALL):
            return Intent(kind, match["rest"].strip())
    for kind, pattern in _LINES.items():
        if match := _match(pattern, line):
            return Intent(kind, (match.groupdict().get("rest") or "").strip(_QUOTES))
    return Intent("other")


def exchanges(items: Sequence[Item]) -> list[Exchange]:
    """The thread, oldest first. Quotes and notes are not what a person asked here."""
    thread: list[Exchange] = []
    calls: dict[str, Item] = {}
    for item in items:
        if item.role == "user":
            if item.name not in (CONTEXT_NAME, NOTE_NAME):
                thread.append(Exchange(item.name, item.text))
        elif not thread:
            continue
        elif item.role == "assistant":
            thread[-1].answer = f"{thread[-1].answer}\n{item.text}".strip()
        elif item.kind == "call":
            calls[item.call_id] = item
        elif item.kind == "output" and item.call_id in calls:
            thread[-1].used.append(_used(calls[item.call_id], item.text))
    return thread


def list_tables(exchange: Exchange, offered: frozenset[str], locale: str) -> Decision:
    if TABLES in offered:
        # `nocodb_tables` describes them in its own compact text.
        asked = exchange.outcomes(TABLES)
        return rows_or_block("NocoDB", asked[-1].read, locale) if asked else [Use(TABLES, {})]
    if BRIDGE not in offered:
        return say(_NO_TABLES, locale)
    found = _search(exchange, locale)
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
        return say(_NO_TABLES, locale)
    if wanted.filters:
        return say(_NO_FILTERS_HERE, locale)
    if read := exchange.outcomes(f"{BRIDGE}:list_records"):
        return _shown(_name_of(read[-1], exchange, name), read[-1].read, locale)
    if _TABLE_ID.fullmatch(name) and any(char.isdigit() for char in name):
        return [_bridge("list_records", table_id=name, limit=ROWS)]
    found = _search(exchange, locale)
    if not isinstance(found, _Found):
        return found
    plain = name.casefold()
    for each in found.tables:
        if plain in (each.title.casefold(), each.id.casefold()):
            return [_bridge("list_records", table_id=each.id, limit=ROWS)]
    names = ", ".join(inline(each.title) for each in found.tables[:ROWS]) or "–"
    missing = say(_NO_TABLE, locale, name=inline(name), names=names)
    return "\n\n".join([missing, *found.problems])


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
            if total is None:
                return plural(*_ROWS_SEEN, seen, locale, name=inline(name))
            return plural(*_ROWS_WERE, total, locale, name=inline(name))
        if used.tool in (TABLES, f"{BRIDGE}:list_tables"):
            return plural(*_TABLES_WERE, _how_many_tables(exchange), locale)
    return ""


def failure(read: Read, locale: str) -> str:
    """What went wrong, for a person."""
    if read.error.startswith(INTERRUPTED_TEXT):
        return say(_INTERRUPTED, locale)
    return say(_FAILED, locale, problem=inline(read.error, 500))


def rows_or_block(name: str, read: Read, locale: str) -> str:
    """An outcome for a person: rows as a table, all else as a code block."""
    if read.error:
        return failure(read, locale)
    return _shown(name, read, locale) if read.rows else block(read.value)


class DemoParser:
    """One decision: what to say, or which tools to call first."""

    def __init__(self, ask: RoundRequest, earlier: Sequence[Exchange], now: Exchange) -> None:
        self._earlier = earlier
        self._now = now
        self._asker = ask.asker
        self._locale = ask.locale
        self._offered = frozenset(tool.name for tool in ask.tools)

    def decide(self) -> Decision:
        intent = understand(self._now.said)
        if intent.kind == "again":
            before = [understand(exchange.said) for exchange in self._earlier if exchange.used]
            able = [each for each in before if each.kind not in ("again", "other")]
            if not able:
                return self._say(_NO_AGAIN)
            intent = able[-1]
        return self._do(intent)

    def _do(self, intent: Intent) -> Decision:
        match intent.kind:
            case "tables":
                return list_tables(self._now, self._offered, self._locale)
            case "show":
                return show_table(intent.rest, self._now, self._offered, self._locale)
            case "python":
                return self._python(intent.rest)
            case "nocodb":
                return self._nocodb(intent.rest)
            case "history":
                return self._history()
            case "memory":
                return self._memory()
            case "remember":
                return self._say(_NOTED, note=inline(intent.rest))
            case "count":
                return self._count()
            case _:
                return self._about()

    def _python(self, code: str) -> Decision:
        code = re.sub(r"\A(`{3,}|~{3,})[^\n]*\n(.*?)\n?\1\Z", r"\2", code, flags=re.DOTALL)
        if PYTHON not in self._offered:
            return self._say(_NO_PYTHON)
        if not code.strip():
            return self._say(_NO_CODE)
        if not (ran := self._now.outcomes(PYTHON)):
            return [Use(PYTHON, {"code": code})]
        read = ran[-1].read
        return rows_or_block(PYTHON, read, self._locale) if read.error else block(read.value)

    def _nocodb(self, rest: str) -> Decision:
        """One of NocoDB's own tools, with or without `nocodb_`, or one of the bridge's."""
        tool, _, text = rest.partition(" ")
        named = f"{PREFIX}{tool.removeprefix(PREFIX)}"
        if named not in self._offered and BRIDGE not in self._offered:
            return self._no_nocodb()
        try:
            args = json.loads(text or "{}")
        except (ValueError, RecursionError):
            args = None
        if not re.fullmatch(r"\w+", tool) or not isinstance(args, dict):
            return self._say(_NO_TOOL)
        if named in self._offered and named != BRIDGE:
            used, use = self._now.outcomes(named), Use(named, args)
        else:
            used = self._now.outcomes(f"{BRIDGE}:{tool}")
            use = Use(BRIDGE, {"tool": tool, "args": args})
        return rows_or_block(tool, used[-1].read, self._locale) if used else [use]

    def _no_nocodb(self) -> str:
        tools = [f"`{name.removeprefix(PREFIX)}`" for name in sorted(self._offered)
                 if name.startswith(PREFIX)]  # fmt: skip
        near = self._say(_THESE, tools=", ".join(tools)) if tools else ""
        return self._say(_NO_NOCODB, near=near)

    def _history(self) -> str:
        if not self._earlier:
            return self._say(_NOTHING_BEFORE)
        lines = []
        for exchange in self._earlier[-_RECALLED:]:
            name = inline(exchange.name) or self._say(_YOU)
            lines.append(f"- **{name}**: {inline(exchange.said)}")
            if exchange.answer:
                lines.append(f"- **{self._say(_ME)}**: {inline(exchange.answer)}")
        return "\n".join([self._say(_SAID_BEFORE), "", *lines])

    def _memory(self) -> str:
        mine = [e.said for e in self._earlier if e.name in ("", self._asker.name)]
        intents = [understand(said) for said in mine]
        notes = [intent.rest for intent in intents if intent.kind == "remember"]
        told = []
        for head, words in ((_YOU_NOTED, notes), (_YOU_SAID, mine)):
            if words:
                lines = [f"- {inline(said)}" for said in words[-_RECALLED:]]
                told.append("\n".join([self._say(head), "", *lines]))
        return "\n\n".join(told) or self._say(_NOTHING_BEFORE)

    def _count(self) -> str:
        counts = (counted(exchange, self._locale) for exchange in reversed(self._earlier))
        return next((count for count in counts if count), self._say(_NO_COUNT))

    def _about(self) -> str:
        lines = [f"- `{words}`: {self._say(meaning)}" for words, meaning in _UNDERSTOOD]
        parts = [self._say(_WHO), "\n".join(lines), self._say(_ONE_LINE), block(_KEY_LINE)]
        return "\n\n".join(parts)

    def _say(self, sentence: str, **values: object) -> str:
        return say(sentence, self._locale, **values)


class DemoModel:
    """A `Model` that can always be had."""

    name = "demo"
    level = "demo"

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        *earlier, now = exchanges([*await ask.history(), *ask.input]) or [Exchange("", "")]
        decision = DemoParser(ask, earlier, now).decide()
        if isinstance(decision, list):
            yield RoundCompleted(tuple(_calls(ask, decision)))
            return
        for piece in re.findall(r"\s*\S+\s*", decision):
            yield TextDelta(piece)
            await asyncio.sleep(0)
        yield RoundCompleted((Item(kind="message", role="assistant", text=decision),))

    async def health(self) -> Health:
        return Health("model", "on", say("the demo model; OPENAI_API_KEY in .env adds a real one"))

    async def erase(self, remote: Remote) -> bool:
        """Nothing of ours is kept anywhere; what another model left is not ours to erase."""
        return False

    async def close(self) -> None:
        return None


def _cell(value: object) -> str:
    """A linked row or an attachment is shown by its title, a list by its members."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, list):
        return inline(", ".join(_title(each) for each in value), _CELL)
    return inline(_title(value), _CELL)


def _title(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    named = (value[key] for key in ("title", "Title", "Name", "name") if key in value)
    plain = (each for each in value.values() if isinstance(each, str))
    return str(next(named, None) or next(plain, None) or json.dumps(value, ensure_ascii=False))


def _match(pattern: str, text: str, flags: re.RegexFlag = re.NOFLAG) -> re.Match[str] | None:
    """A leading / or ! does no harm, as with the commands."""
    return re.fullmatch(rf"[/!]?(?:{pattern})", text, re.IGNORECASE | flags)


def _filter(words: str) -> Filter | None:
    if found := _EMPTY.fullmatch(words):
        op = "notblank" if found["not"] else "blank"
        return {"field": found["field"].strip(_QUOTES), "op": op, "value": None}
    if found := _COMPARED.fullmatch(words):
        op = " ".join(found["op"].lower().split())
        value = found["value"].strip(_QUOTES)
        field = found["field"].strip(_QUOTES)
        return {"field": field, "op": _OPS.get(op, op), "value": value} if field and value else None
    return None


def _used(call: Item, output: str) -> Used:
    args = _json(call.arguments)
    name, args = call.name, args if isinstance(args, dict) else {}
    if name == "run_python" and not output.startswith("error:"):
        return Used(name, args, Read(_MADE.sub("", output)))
    if name == "nocodb_execute":
        name, args = f"{name}:{args.get('tool', '')}", args.get("args")
    return Used(name, args if isinstance(args, dict) else {}, _read(output))


def _read(output: str) -> Read:
    """The bridge wraps what it has in {"result": …}, or {"detail": text} when it failed."""
    if output.startswith("error:"):
        return Read(error=text_for_person(output).removeprefix("error:").strip())
    value = _json(output)
    if value == output:
        return Read(text_for_person(output))
    if isinstance(value, dict):
        if value and set(value) <= _PROBLEM:  # a row may have such a column, but not alone
            problem = value.get("error", value.get("detail"))
            words = _words(problem) if isinstance(problem, dict) else problem
            return Read(error=str(words or value.get("message") or output))
        if set(value) == {"result"}:
            value = value["result"]
    return Read(value)


def _words(problem: Mapping[str, Any]) -> str:
    """The message, and for a name that is not there its hint too: it tells the names that are."""
    message, hint = problem.get("message") or "", problem.get("hint") or ""
    told = str(problem.get("code")).startswith("unknown_") and hint
    return f"{message} ({hint})" if told else str(message)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _queried(wanted: Asked, exchange: Exchange, locale: str) -> Decision:
    if not (used := exchange.outcomes(QUERY)):
        args = {"table": wanted.table, "filters": list(wanted.filters or ()), "match": "all",
                "fields": [], "sort": [], "limit": ROWS, "page": 1}  # fmt: skip
        return [Use(QUERY, args)]
    name, read = _name_of(used[-1], exchange, wanted.table), used[-1].read
    if wanted.filters and read.total == 0:
        return say(_NONE_FIT, locale, name=inline(name))
    return _shown(name, read, locale)


def _search(exchange: Exchange, locale: str) -> _Found | Decision:
    """What is there, once everything was asked; before, the next calls, or the answer.

    The bridge knows tables by base: first the bases, then the tables of each.
    """
    asked = exchange.outcomes(f"{BRIDGE}:list_bases")
    if not asked:
        return [_bridge("list_bases")]
    read = asked[-1].read
    if read.error:
        return failure(read, locale)
    bases = {_id(row): _table_title(row) for row in read.rows if _id(row)}
    if not bases:
        return say(_NO_BASE, locale)
    looked = {
        str(used.args.get("base_id")): used.read
        for used in exchange.outcomes(f"{BRIDGE}:list_tables")
    }
    first = list(bases)[:_BASES]
    if missing := [base for base in first if base not in looked]:
        return [_bridge("list_tables", base_id=base) for base in missing]
    return _found({bases[base]: looked[base] for base in first}, len(bases), locale)


def _found(looked: Mapping[str, Read], bases: int, locale: str) -> _Found:
    """`looked`: the tables of each base that was looked into; there are `bases`."""
    tables = tuple(
        _Table(_id(row), _table_title(row), base)
        for base, read in looked.items()
        for row in read.rows
        if _id(row)
    )
    problems = [
        say(_IN_BASE, locale, base=inline(base), problem=inline(read.error, 500))
        for base, read in looked.items()
        if read.error
    ]
    if bases > len(looked):
        problems.append(say(_TOO_MANY, locale, count=len(looked)))
    return _Found(tables, tuple(problems))


def _shown(name: str, read: Read, locale: str) -> str:
    if read.error:
        return failure(read, locale)
    rows, total, title = read.rows, read.total, inline(name)
    if not rows:
        return say(_NO_ROWS, locale, name=title) if total in (None, 0) else block(read.value)
    shown = min(len(rows), ROWS)
    if total is None:
        head = plural(*_SHOWN_SOME, shown, locale, name=title)
    else:
        head = plural(*_SHOWN, total, locale, name=title, shown=shown)
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
                return _table_title(row)
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


def _table_title(row: Mapping[str, Any]) -> str:
    return str(row.get("title") or row.get("table_name") or row.get("id") or "")


def _calls(ask: RoundRequest, uses: Sequence[Use]) -> list[Item]:
    """Their ids are the same when the same round is asked again."""
    properties = {tool.name: tool.parameters.get("properties", {}) for tool in ask.tools}
    items = []
    for number, use in enumerate(uses, 1):
        known = properties[use.tool]
        args = {name: value for name, value in use.args.items() if name in known or not known}
        items.append(
            Item(
                kind="call",
                call_id=f"demo-{ask.turn}-{ask.number}-{number}",
                name=use.tool,
                arguments=json.dumps(args, ensure_ascii=False),
            )
        )
    return items
