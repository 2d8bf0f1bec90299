"""The demo model: a small parser without key, network or intelligence. It says what it is.

It runs the same rounds and tools as a real model. It stores nothing: each round depends only on the
thread, so a turn continues after a crash.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.domain.errors import UnsupportedFormat
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
from core.models.demo_tour import (
    DRAW_CODE,
    EXPORT_SENTENCE,
    FILE_SENTENCE,
    PAY_SENTENCE,
    TOUR_MEANINGS,
    TOUR_SENTENCES,
    TourStep,
    find_tour_step,
    make_file_code,
)
from core.ports.tools import SAMPLE_TABLES_PHRASE
from core.text.i18n import plural, say
from core.text.text import clean_text, make_code_block, to_one_line, truncate_with_note

Filter = Mapping[str, str | None]
"""A filter as `nocodb_query` takes it: {"field", "op", "value"}."""
Kind = Literal["history", "memory", "remember", "tables", "show", "python", "nocodb",
               "again", "count", "more", "other"] | TourStep  # fmt: skip

PYTHON_TOOL = "run_python"
NOCODB_PREFIX = "nocodb_"
QUERY_TOOL, TABLES_TOOL, BRIDGE_TOOL = "nocodb_query", "nocodb_tables", "nocodb_execute"
UPDATE_TOOL, COMMAND_TOOL = "nocodb_update", "stackspot_quick_command"

MAX_DEMO_ROWS = 20
MAX_DEMO_COLUMNS = 8
_MAX_CELL_CHARACTERS = 60
"""Characters of one table cell."""
_MAX_BLOCK_CHARACTERS = 3000
"""Characters of one code block."""
_MAX_BASES = 8
"""Bases in which the bridge looks for tables."""
_MAX_RECALLED = 20
"""Exchanges or messages of the thread that one answer lists."""

_MESSAGE_PATTERNS: dict[Kind, str] = {
    "python": r"run python\b[\s:]*(?P<rest>.*)",
    "nocodb": r"nocodb\b\s*(?P<rest>.*)",
    "remember": r"remember (?:that )?(?P<rest>.+)",
}
"""Patterns for a whole message, with all its lines."""
_LINE_PATTERNS: dict[Kind, str] = {
    "history": r"history",
    "memory": r"what did i say(?: before)?|what do you remember",
    "tables": r"(?:list|show)(?: me)?(?: the| all)? tables|tables",
    "show": r"show(?: me)?(?: the)?(?: table)? (?P<rest>.+)",
    "again": r"again|once more",
    "more": r"more|mais|plus",
    "count": r"how many(?: rows| tables| of them)?(?: are there| is that)?",
}
"""Patterns for the first line of a message."""
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
_QUOTES = " \"'`“”"

_MARKUP = re.compile(r"([\\`*\[\]<>|~])")
_TABLE_ID = re.compile(r"m[a-z0-9]{10,30}")
_PROBLEM = {"error", "message", "detail"}
"""Keys of an answer that describes a problem."""
_DAY_IN_PREFACE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b", re.ASCII)
_CHANGE_NOTE = re.compile(r"Proposal (\w{6}) \([^)]*\([^)]*\)[^)]*\): (.*)", re.DOTALL)
"""A note about a decided change: its id and its outcome."""
_OVERDUE_FILTERS: list[Filter] = [{"field": "Status", "op": "eq", "value": "Overdue"}]
_INVOICES: Mapping[str, Any] = {
    "table": "Invoices", "match": "all", "page": 1,
    "fields": ["Number", "Customer", "Amount", "Status", "Due"],
    "sort": [{"field": "Due", "direction": "asc"}],
}  # fmt: skip
"""The question about the sample tables' invoices, the one that is due first on top."""
_FILE_NOTE = re.compile(r"\n?\[The person has: [^\n]*\]\Z")
"""The end of a Python outcome that lists created files. The person sees the files themselves."""

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

_WHO = "I'm Ponte's demo model. I work without a key or a network, and understand only this:"
_TOUR = (
    "I'm Ponte's demo model, not a real one. I work without a key or a network, cost nothing, and "
    "understand only a few sentences. Try these, from the top:"
)
_MORE = "To see what else I understand, type `more`."
_NEXT = "Next, try: `{message}`"
_LAST = "That was the last step. To use a real model, add `{line}` to `.env` and restart Ponte."
_NONE_OVERDUE = "No invoice is overdue any more. `ponte sample reset` restores the sample tables."
_MAY_NOT_CHANGE = "Rows can't be changed here, because you don't have permission."
_UNDO = "Only a person can undo a change. Click **Undo** on its card, or type `undo {id}`."
_NO_UNDO = (
    "There is no approved change in this conversation yet. Propose one, click **Approve** on its "
    "card, and ask again. To propose one: `{message}`"
)
_NO_FILE = (
    "Attach a file to your message, for example a CSV file: on the page with the paperclip, in "
    "the terminal as `@path`. Then write `{message}`. If you have no file, type `{export}` first."
)
_HOW_TO_QUICK_COMMANDS = (
    "No quick command is set up yet. Set `STACKSPOT_CLIENT_ID` and `STACKSPOT_CLIENT_SECRET` in "
    "`.env`, list your commands in `ponte.toml` under `[quick_commands]`, and restart Ponte. Then "
    "type `quick-command NAME` and a text."
)
_QUICK_COMMANDS_READY = (
    "Type `quick-command NAME` and a text. `help` lists the commands that you can run."
)
_SAMPLE_TITLE = "These are sample tables:"
_UNDERSTOOD = (
    ("history", "show the messages of this thread"),
    ("what did I say", "show your own messages and your notes"),
    ("remember …", "keep a note in this thread"),
    ("list tables", "list the tables of NocoDB"),
    ("show TABLE", "show the first rows of a table"),
    (
        "show TABLE where …",
        "show matching rows, for example `where Status is Lead and Amount > 10`",
    ),
    ("run python …", "run Python in the sandbox"),
    ("/nocodb TOOL {json}", "call a NocoDB tool"),
    ("again", "repeat the last one of these"),
    ("how many?", "say how many rows or tables there were"),
    ("help", "show the commands that work with every model"),
)
_ONE_LINE = "To use a real model, add this line to `.env` and restart Ponte:"
_KEY_LINE = "OPENAI_API_KEY=your key"

_NOTHING_BEFORE = "There are no earlier messages in this thread."
_SAID_BEFORE = "Earlier messages in this thread:"
_ME = "I"
_YOU = "You"
_YOU_SAID = "You said in this thread:"
_YOU_NOTED = "You asked me to remember:"
_NOTED = "Noted: {note}. I keep it in this thread. To see it, type `what did I say`."
_NO_AGAIN = "There is nothing to repeat in this thread."
_NO_COUNT = (
    "I haven't counted anything in this thread yet. Try `list tables` or `show TABLE` first."
)
_NO_PYTHON = (
    "I can't run Python here. Either no sandbox is available (see `PONTE_CODE` and `ponte "
    "doctor`), or you don't have permission."
)
_NO_CODE = "Add the code, for example `run python print(2 + 2)`."
_NO_NOCODB = (
    "That NocoDB tool is not available here{near}. Either NocoDB is not connected "
    "(`NOCODB_URL`, `NOCODB_TOKEN`; a bridge's URL ends in /execute), or you don't have "
    "permission."
)
_THESE = ". Available tools: {tools}"
_NO_TOOL = "Type `/nocodb TOOL {json}`: the name of a tool, then its arguments as JSON."


@dataclass(frozen=True, slots=True)
class TableRequest:
    """A table that a person asked for. `filters` is None if the text after "where" was not
    understood."""

    table: str
    filters: tuple[Filter, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Intent:
    """The request that a message contains. `rest` is the table, the code, or the tool with its
    arguments."""

    kind: Kind
    rest: str = ""


@dataclass(frozen=True, slots=True)
class ToolReply:
    """A tool's outcome: `value` is JSON or text, `error` the text of a failure."""

    value: Any = None
    error: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of a NocoDB answer: v2 has them flat in `list`, v3 in `records`."""
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
        """Return how many rows there are in all, or None if the answer does not say."""
        value = self.value if isinstance(self.value, dict) else {}
        page = value.get("pageInfo")
        total = page.get("totalRows") if isinstance(page, dict) else value.get("total")
        return total if isinstance(total, int) else None


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A call with its arguments and its outcome."""

    tool: str
    args: Mapping[str, Any]
    reply: ToolReply


@dataclass(slots=True)
class DemoExchange:
    """A person's message, and the calls and the answer that followed."""

    name: str
    text: str
    calls: list[AnsweredCall] = field(default_factory=list)
    answer: str = ""
    files: tuple[str, ...] = ()

    def calls_of(self, tool: str) -> list[AnsweredCall]:
        """Return the calls of `tool`. The bridge's tools are named like
        "nocodb_execute:list_bases"."""
        return [used for used in self.calls if used.tool == tool]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that the model wants to make."""

    tool: str
    args: Mapping[str, Any]


Decision = str | list[PlannedCall]
"""The answer's text, or the calls to make first."""


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
    table = found["table"].strip(_QUOTES)
    known = tuple(each for each in filters if each is not None)
    return TableRequest(table, known if len(known) == len(filters) else None)


def parse_intent(said: str) -> Intent:
    """Return what a message asks for: the first pattern that matches, else a step of the tour."""
    text = said.strip()
    line = text.split("\n", 1)[0].rstrip(" .?!")
    for kind, pattern in _MESSAGE_PATTERNS.items():
        if match := _match_command(pattern, text, re.DOTALL):
            return Intent(kind, match["rest"].strip())
    for kind, pattern in _LINE_PATTERNS.items():
        if match := _match_command(pattern, line):
            return Intent(kind, (match.groupdict().get("rest") or "").strip(_QUOTES))
    return Intent(find_tour_step(text) or "other")


def split_exchanges(items: Sequence[Item]) -> list[DemoExchange]:
    """Return the thread as exchanges, oldest first, without quotes and notes."""
    thread: list[DemoExchange] = []
    calls: dict[str, Item] = {}
    for item in items:
        if item.role == "user":
            if item.name not in (CONTEXT_NAME, NOTE_NAME):
                names = tuple(file.name for file in item.files)
                thread.append(DemoExchange(item.name, item.text, files=names))
        elif not thread:
            continue
        elif item.role == "assistant":
            thread[-1].answer = f"{thread[-1].answer}\n{item.text}".strip()
        elif item.kind == "call":
            calls[item.call_id] = item
        elif item.kind == "output" and item.call_id in calls:
            thread[-1].calls.append(_parse_call(calls[item.call_id], item.text))
    return thread


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
        return _format_rows(_table_name(read[-1], exchange, name), read[-1].reply)
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
    return _format_rows(name, read) if read.rows else format_code_block(read.value)


class DemoParser:
    """Decides what to answer, or which tools to call first."""

    def __init__(
        self,
        ask: RoundRequest,
        earlier: Sequence[DemoExchange],
        now: DemoExchange,
        notes: Sequence[str] = (),
    ) -> None:
        """`notes` are Ponte's own notes in the thread, about decided changes."""
        self._earlier = earlier
        self._now = now
        self._notes = notes
        self._asker = ask.asker
        self._offered = frozenset(tool.name for tool in ask.tools)
        self._is_sample = any(SAMPLE_TABLES_PHRASE in tool.description for tool in ask.tools)
        day = _DAY_IN_PREFACE.search(ask.preface)
        self._today = day[0] if day else None

    def decide(self) -> Decision:
        """Return the answer's text or the calls for this round."""
        intent = self._parse_intent(self._now.text)
        if intent.kind == "again":
            before = [
                self._parse_intent(exchange.text) for exchange in self._earlier if exchange.calls
            ]
            able = [each for each in before if each.kind not in ("again", "other")]
            if not able:
                return self._say(_NO_AGAIN)
            intent = able[-1]
        return self._decide_intent(intent)

    def _parse_intent(self, said: str) -> Intent:
        """Return what a message asks for. With sample tables, "show me the overdue invoices" is a
        step of the tour and not the name of a table."""
        intent = parse_intent(said)
        if intent.kind == "show" and self._is_sample and " where " not in said.casefold():
            step = find_tour_step(said)
            return Intent(step) if step in ("overdue", "pay") else intent
        return intent

    def _decide_intent(self, intent: Intent) -> Decision:
        match intent.kind:
            case "tables":
                return list_tables(self._now, self._offered, is_sample=self._is_sample)
            case "show":
                return show_table(intent.rest, self._now, self._offered)
            case "python":
                return self._run_python(intent.rest)
            case "nocodb":
                return self._call_nocodb(intent.rest)
            case "history":
                return self._list_history()
            case "memory":
                return self._recall_messages()
            case "remember":
                return self._say(_NOTED, note=escape_inline(intent.rest))
            case "count":
                return self._describe_last_count()
            case "overdue" | "export" if self._is_sample:
                return self._ask_for_overdue(export=intent.kind == "export")
            case "pay" if self._is_sample:
                return self._propose_payment()
            case "undo":
                return self._explain_undo()
            case "file":
                return self._describe_file()
            case "draw":
                drawn = self._run_python(DRAW_CODE)
                is_silent = drawn == format_code_block("")
                return self._with_next("draw", "" if is_silent else drawn)
            case "quick":
                known = COMMAND_TOOL in self._offered
                told = self._say(_QUICK_COMMANDS_READY if known else _HOW_TO_QUICK_COMMANDS)
                return f"{told}\n\n{self._say(_LAST, line=_KEY_LINE)}"
            case "more":
                return self._list_sentences()
            case _:
                return self._introduce()

    def _steps(self) -> list[TourStep]:
        """Return the steps of the tour that work here, in order."""
        reads, runs = self._is_sample and QUERY_TOOL in self._offered, PYTHON_TOOL in self._offered
        changes = reads and UPDATE_TOOL in self._offered
        found: list[TourStep] = ["overdue"] if reads else []
        found += ["pay", "undo"] if changes else []
        found += ["export"] if reads and runs else []
        found += ["file", "draw"] if runs else []
        return [*found, "quick"]

    def _with_next(self, step: TourStep, decision: Decision) -> Decision:
        """Return an answer with the step that comes after `step`; calls unchanged."""
        steps = self._steps()
        if isinstance(decision, list) or step not in steps[:-1]:
            return decision
        following = TOUR_SENTENCES[steps[steps.index(step) + 1]]
        return f"{decision}\n\n{self._say(_NEXT, message=self._say(following))}".strip()

    def _ask_for_overdue(self, *, export: bool) -> Decision:
        filters = [] if export else _OVERDUE_FILTERS
        args = {**_INVOICES, "filters": filters, "limit": MAX_DEMO_ROWS, "export": export}
        if not (used := self._now.calls_of(QUERY_TOOL)):
            return [PlannedCall(QUERY_TOOL, args)]
        if used[-1].reply.error:
            return describe_failure(used[-1].reply)
        if not used[-1].reply.rows:
            return self._say(_NONE_OVERDUE)
        told = _format_rows("Invoices", used[-1].reply)
        return self._with_next("export" if export else "overdue", told)

    def _propose_payment(self) -> Decision:
        """Find the oldest overdue invoice and propose to mark it as paid. A proposal ends the
        turn, so there is an answer here only if nothing could be proposed."""
        if UPDATE_TOOL not in self._offered:
            return self._say(_MAY_NOT_CHANGE)
        args = {**_INVOICES, "filters": _OVERDUE_FILTERS, "limit": 1}
        if not (found := self._now.calls_of(QUERY_TOOL)):
            return [PlannedCall(QUERY_TOOL, args)]
        if found[-1].reply.error:
            return describe_failure(found[-1].reply)
        if not (rows := found[-1].reply.rows):
            return self._say(_NONE_OVERDUE)
        if used := self._now.calls_of(UPDATE_TOOL):
            return format_reply(UPDATE_TOOL, used[-1].reply)
        fields = {"Status": "Paid", **({"Paid on": self._today} if self._today else {})}
        change = {"id": str(rows[0].get("id", "")), "fields": fields}
        return [PlannedCall(UPDATE_TOOL, {"table": "Invoices", "changes": [change]})]

    def _explain_undo(self) -> Decision:
        """Name the command that undoes the newest approved change of this thread."""
        outcomes = {m[1]: m[2] for note in self._notes if (m := _CHANGE_NOTE.search(note))}
        done = [
            id
            for id, told in outcomes.items()
            if "Done." in told and not told.startswith("Requested by")
        ]
        if not done:
            return self._say(_NO_UNDO, message=self._say(PAY_SENTENCE))
        return self._with_next("undo", self._say(_UNDO, id=done[-1]))

    def _describe_file(self) -> Decision:
        """Run Python on the newest file of the thread."""
        if PYTHON_TOOL not in self._offered:
            return self._say(_NO_PYTHON)
        exchanges = (*self._earlier, self._now)
        names = [name for exchange in exchanges for name in exchange.files]
        has_export = any(
            used.args.get("export") for each in exchanges for used in each.calls_of(QUERY_TOOL)
        )
        if not names and not has_export:
            return self._say(
                _NO_FILE, message=self._say(FILE_SENTENCE), export=self._say(EXPORT_SENTENCE)
            )
        code = make_file_code(self._now.files[-1] if self._now.files else (names or [""])[-1])
        return self._with_next("file", self._run_python(code))

    def _run_python(self, code: str) -> Decision:
        code = re.sub(r"\A(`{3,}|~{3,})[^\n]*\n(.*?)\n?\1\Z", r"\2", code, flags=re.DOTALL)
        if PYTHON_TOOL not in self._offered:
            return self._say(_NO_PYTHON)
        if not code.strip():
            return self._say(_NO_CODE)
        if not (ran := self._now.calls_of(PYTHON_TOOL)):
            return [PlannedCall(PYTHON_TOOL, {"code": code})]
        read = ran[-1].reply
        return format_reply(PYTHON_TOOL, read) if read.error else format_code_block(read.value)

    def _call_nocodb(self, rest: str) -> Decision:
        """Call a NocoDB tool, named with or without `nocodb_`, or one of the bridge's tools."""
        tool, _, text = rest.partition(" ")
        named = f"{NOCODB_PREFIX}{tool.removeprefix(NOCODB_PREFIX)}"
        if named not in self._offered and BRIDGE_TOOL not in self._offered:
            return self._no_nocodb()
        try:
            args = json.loads(text or "{}")
        except (ValueError, RecursionError):
            args = None
        if not re.fullmatch(r"\w+", tool) or not isinstance(args, dict):
            return self._say(_NO_TOOL)
        if named in self._offered and named != BRIDGE_TOOL:
            used, use = self._now.calls_of(named), PlannedCall(named, args)
        else:
            used = self._now.calls_of(f"{BRIDGE_TOOL}:{tool}")
            use = PlannedCall(BRIDGE_TOOL, {"tool": tool, "args": args})
        return format_reply(tool, used[-1].reply) if used else [use]

    def _no_nocodb(self) -> str:
        tools = [f"`{name.removeprefix(NOCODB_PREFIX)}`" for name in sorted(self._offered)
                 if name.startswith(NOCODB_PREFIX)]  # fmt: skip
        near = self._say(_THESE, tools=", ".join(tools)) if tools else ""
        return self._say(_NO_NOCODB, near=near)

    def _list_history(self) -> str:
        if not self._earlier:
            return self._say(_NOTHING_BEFORE)
        lines = []
        for exchange in self._earlier[-_MAX_RECALLED:]:
            name = escape_inline(exchange.name) or self._say(_YOU)
            lines.append(f"- **{name}**: {escape_inline(exchange.text)}")
            if exchange.answer:
                lines.append(f"- **{self._say(_ME)}**: {escape_inline(exchange.answer)}")
        return "\n".join([self._say(_SAID_BEFORE), "", *lines])

    def _recall_messages(self) -> str:
        mine = [e.text for e in self._earlier if e.name in ("", self._asker.name)]
        intents = [parse_intent(said) for said in mine]
        notes = [intent.rest for intent in intents if intent.kind == "remember"]
        told = []
        for head, words in ((_YOU_NOTED, notes), (_YOU_SAID, mine)):
            if words:
                lines = [f"- {escape_inline(said)}" for said in words[-_MAX_RECALLED:]]
                told.append("\n".join([self._say(head), "", *lines]))
        return "\n\n".join(told) or self._say(_NOTHING_BEFORE)

    def _describe_last_count(self) -> str:
        counts = (describe_count(exchange) for exchange in reversed(self._earlier))
        return next((count for count in counts if count), self._say(_NO_COUNT))

    def _introduce(self) -> str:
        """Return the tour's steps, or everything that is understood if the tour would be short."""
        steps = self._steps()
        if len(steps) == 1:
            return self._list_sentences()
        lines = [
            f"{number}. `{self._say(TOUR_SENTENCES[step])}` – {self._say(TOUR_MEANINGS[step])}"
            for number, step in enumerate(steps, 1)
        ]
        key = [f"{self._say(_ONE_LINE)}\n\n{format_code_block(_KEY_LINE)}"]
        return "\n\n".join([self._say(_TOUR), "\n".join(lines), self._say(_MORE), *key])

    def _list_sentences(self) -> str:
        lines = [f"- `{words}`: {self._say(meaning)}" for words, meaning in _UNDERSTOOD]
        parts = [
            self._say(_WHO),
            "\n".join(lines),
            self._say(_ONE_LINE),
            format_code_block(_KEY_LINE),
        ]
        return "\n\n".join(parts)

    def _say(self, sentence: str, **values: object) -> str:
        return say(sentence, **values)


class DemoModel:
    """A `Model` that needs no key and no network."""

    name = "demo"
    level = "demo"

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Yield the answer, or the calls of this round. Raise UnsupportedFormat if an answer in
        JSON is asked for."""
        if ask.format:
            raise UnsupportedFormat
        if ask.for_title:
            words = ask.input[0].text.strip().partition("\n")[0].rstrip("?!.… ")
            yield RoundCompleted((Item(kind="message", role="assistant", text=words),))
            return
        items = [*await ask.history(), *ask.input]
        *earlier, now = split_exchanges(items) or [DemoExchange("", "")]
        notes = [item.text for item in items if item.name == NOTE_NAME]
        decision = DemoParser(ask, earlier, now, notes).decide()
        if isinstance(decision, list):
            yield RoundCompleted(tuple(_call_items(ask, decision)))
            return
        for piece in re.findall(r"\s*\S+\s*", decision):
            yield TextDelta(piece)
            await asyncio.sleep(0)
        yield RoundCompleted((Item(kind="message", role="assistant", text=decision),))

    async def health(self) -> Health:
        """Return the demo model's state, which is always "on"."""
        return Health(
            "model", "on", say("the demo model; add OPENAI_API_KEY to .env to use a real one")
        )

    async def erase(self, remote: Remote) -> bool:
        """Return False: the demo model stores nothing, and it cannot erase what another model
        stored."""
        return False

    async def close(self) -> None:
        """Do nothing: the demo model holds nothing open."""
        return


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


def _match_command(
    pattern: str, text: str, flags: re.RegexFlag = re.NOFLAG
) -> re.Match[str] | None:
    """Match a command, which may begin with / or ! as typed commands do."""
    return re.fullmatch(rf"[/!]?(?:{pattern})", text, re.IGNORECASE | flags)


def _parse_filter(words: str) -> Filter | None:
    if found := _EMPTY_PATTERN.fullmatch(words):
        op = "notblank" if found["not"] else "blank"
        return {"field": found["field"].strip(_QUOTES), "op": op, "value": None}
    if found := _COMPARISON_PATTERN.fullmatch(words):
        op = " ".join(found["op"].lower().split())
        value = found["value"].strip(_QUOTES)
        field = found["field"].strip(_QUOTES)
        return (
            {"field": field, "op": _OPERATORS.get(op, op), "value": value}
            if field and value
            else None
        )
    return None


def _parse_call(call: Item, output: str) -> AnsweredCall:
    args = _parse_json(call.arguments)
    name, args = call.name, args if isinstance(args, dict) else {}
    if name == "run_python" and not output.startswith("error:"):
        return AnsweredCall(name, args, ToolReply(_FILE_NOTE.sub("", output)))
    if name == "nocodb_execute":
        name, args = f"{name}:{args.get('tool', '')}", args.get("args")
    return AnsweredCall(name, args if isinstance(args, dict) else {}, _parse_output(output))


def _parse_output(output: str) -> ToolReply:
    """Parse a tool's output. The bridge sends {"result": …}, or {"detail": text} for a failure."""
    if output.startswith("error:"):
        return ToolReply(error=text_for_person(output).removeprefix("error:").strip())
    value = _parse_json(output)
    if value == output:
        return ToolReply(text_for_person(output))
    if isinstance(value, dict):
        if value and set(value) <= _PROBLEM:  # a row may have such a column, but not alone
            problem = value.get("error", value.get("detail"))
            words = _describe_problem(problem) if isinstance(problem, dict) else problem
            return ToolReply(error=str(words or value.get("message") or output))
        if set(value) == {"result"}:
            value = value["result"]
    return ToolReply(value)


def _describe_problem(problem: Mapping[str, Any]) -> str:
    """Return a problem's message. For an unknown name, add the hint that lists the known names."""
    message, hint = problem.get("message") or "", problem.get("hint") or ""
    told = str(problem.get("code")).startswith("unknown_") and hint
    return f"{message} ({hint})" if told else str(message)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _query_table(wanted: TableRequest, exchange: DemoExchange) -> Decision:
    if not (used := exchange.calls_of(QUERY_TOOL)):
        args = {"table": wanted.table, "filters": list(wanted.filters or ()), "match": "all",
                "fields": [], "sort": [], "limit": MAX_DEMO_ROWS, "page": 1}  # fmt: skip
        return [PlannedCall(QUERY_TOOL, args)]
    name, read = _table_name(used[-1], exchange, wanted.table), used[-1].reply
    if wanted.filters and read.total == 0:
        return say(_NONE_FIT, name=escape_inline(name))
    return _format_rows(name, read)


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


def _format_rows(name: str, read: ToolReply) -> str:
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


def _call_items(ask: RoundRequest, uses: Sequence[PlannedCall]) -> list[Item]:
    """Return calls as items. Their ids are the same if the same round is asked again."""
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
