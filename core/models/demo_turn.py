"""A turn as the demo model reads it: messages, tool calls, and their outcomes as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.base.i18n import LOCALES, plural, say
from core.base.splitting import make_code_block
from core.base.text import clean_text, to_one_line, truncate_with_note
from core.domain.messages import CONTEXT_NAME, NOTE_NAME, Item
from core.domain.model_rounds import RoundRequest
from core.domain.ports import SAMPLE_TABLES_PHRASE
from core.domain.records import ASK_IF_NONE_FITS, INTERRUPTED_TEXT, text_for_person

PYTHON_TOOL, QUERY_TOOL, BRIDGE_TOOL = "run_python", "nocodb_query", "nocodb_execute"
MAX_ROWS = 20
_MAX_COLUMNS = 8
_MAX_CELL_CHARACTERS = 60
_MAX_BLOCK_CHARACTERS = 3000
_MARKUP = re.compile(r"([\\`*\[\]<>|~])")
REFERENCE = re.compile(r"\[(?:table|chart): (r\d+)\]")
_PROBLEM_KEYS = {"error", "message", "detail"}
_ERROR = '{"error":{"code":'
"""The beginning of the outcome of a call that failed (`core.tools.tool.outcome_of_error`)."""
_FILE_NOTE = re.compile(r"\n?\[The person has: [^\n]*\]\Z")
"""The end of a Python outcome that lists created files. The person sees the files themselves."""
_DAY_IN_PREFACE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b", re.ASCII)

_INTERRUPTED = (
    "I was interrupted while this code ran, so its effects are unknown. I won't run it again on "
    "my own. Send it again if you need it."
)
_SHOWN = (
    "**{name}**: showing {shown} of {count} row.",
    "**{name}**: showing {shown} of {count} rows.",
)
_SHOWN_SOME = ("**{name}**: the first row.", "**{name}**: the first {count} rows.")
_NO_PYTHON = (
    "I can't run Python here. Either no sandbox is available (see `PONTE_CODE` and `ponte "
    "doctor`), or you don't have permission."
)


@dataclass(frozen=True, slots=True)
class ToolReply:
    """A tool's outcome: `value` is JSON or text, `error` the text of a failure."""

    value: Any = None
    error: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """v2 of NocoDB's API has the rows flat in `list`, v3 in `records`."""
        value = self.value
        if isinstance(value, dict):
            value = next((value[key] for key in ("list", "rows", "records") if key in value), None)
        if not isinstance(value, list):
            return []
        rows = [row for row in value if isinstance(row, dict)]
        return [{**row, **f} if isinstance(f := row.get("fields"), dict) else row for row in rows]

    @property
    def result_id(self) -> str:
        match = (
            REFERENCE.match(str(self.value.get("show"))) if isinstance(self.value, dict) else None
        )
        return match[1] if match else ""

    @property
    def total(self) -> int | None:
        value = self.value if isinstance(self.value, dict) else {}
        page = value.get("pageInfo")
        total = page.get("totalRows") if isinstance(page, dict) else value.get("total")
        return total if isinstance(total, int) else None


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A tool call of the demo model that has been answered."""

    tool: str
    args: Mapping[str, Any]
    reply: ToolReply


@dataclass(slots=True)
class DemoExchange:
    """A message of a person in the demo model's thread, with the tool calls and the answer that
    followed."""

    name: str
    text: str
    calls: list[AnsweredCall] = field(default_factory=list)
    answer: str = ""
    files: tuple[str, ...] = ()
    file_ids: tuple[str, ...] = ()

    def calls_of(self, tool: str) -> list[AnsweredCall]:
        """The bridge's tools are named like "nocodb_execute:list_bases"."""
        return [call for call in self.calls if call.tool == tool]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A tool call that the demo model makes before it can answer."""

    tool: str
    args: Mapping[str, Any]


Decision = str | list[PlannedCall]


@dataclass(frozen=True, slots=True)
class DemoTurn:
    """The message to answer (`now`), the earlier exchanges of its thread, and Ponte's notes about
    decided changes. `tools` are the names of the offered tools, `today` is the date ("" if it is
    unknown). `sample_language` is that of the sample tables, "" over other tables."""

    now: DemoExchange
    earlier: Sequence[DemoExchange]
    notes: Sequence[str]
    tools: frozenset[str]
    today: str
    sample_language: str

    @classmethod
    async def read(cls, request: RoundRequest) -> DemoTurn:
        """Return the turn of a round's request, with all that the demo model needs: it stores
        nothing itself. `now` is the last message with its calls so far, `earlier` is what came
        before it.

        Ponte writes the date into the preface before the last message. Sample tables are recognized
        by a phrase in the tools' descriptions, and their language by the title of the invoices
        there, "en" if it is in none: a real model reads these texts, too. A request without any
        message counts as an empty one."""
        items = [*await request.history(), *request.input]
        *earlier, now = _split_exchanges(items) or [DemoExchange("", "")]
        day = _DAY_IN_PREFACE.search(request.preface)
        described = [tool.description for tool in request.tools]
        language = ""
        if any(SAMPLE_TABLES_PHRASE in description for description in described):
            named = (
                locale for locale in LOCALES if any(say("Invoices", locale) in d for d in described)
            )
            language = next(named, "en")
        # Ponte's notes about the changes that people decided.
        return cls(
            now,
            earlier,
            [item.text for item in items if item.name == NOTE_NAME],
            frozenset(tool.name for tool in request.tools),
            day[0] if day else "",
            language,
        )

    @property
    def is_sample(self) -> bool:
        return bool(self.sample_language)

    def translate(self, word: str) -> str:
        return say(word, self.sample_language)

    def find_reply(self, tool: str) -> ToolReply | None:
        """Return the reply to the last call of the tool in this turn; None if it was not called
        yet."""
        calls = self.now.calls_of(tool)
        return calls[-1].reply if calls else None


def run_python(turn: DemoTurn, code: str) -> Decision:
    """Return the output of the code, or the call that runs it, if it did not run in this turn yet.
    `code` may be in a fence."""
    code = re.sub(r"\A(`{3,}|~{3,})[^\n]*\n(.*?)\n?\1\Z", r"\2", code, flags=re.DOTALL)
    if PYTHON_TOOL not in turn.tools:
        return say(_NO_PYTHON)
    if not code.strip():
        return say("Add the code, for example `run python print(2 + 2)`.")
    if (reply := turn.find_reply(PYTHON_TOOL)) is None:
        return [PlannedCall(PYTHON_TOOL, {"code": code})]
    return describe_failure(reply) if reply.error else format_code_block(reply.value)


def format_reply(name: str, reply: ToolReply) -> str:
    if reply.error or reply.rows:
        return format_rows(name, reply)
    return format_code_block(reply.value)


def format_rows(name: str, reply: ToolReply) -> str:
    """Return the rows that a call read as a sentence and a table, or its failure in words. If the
    outcome names a reference (`show`, as in "[table: r1]"), that takes the place of the table:
    Ponte shows the rows there. `name` is the table's."""
    if reply.error:
        return describe_failure(reply)
    rows, total, title = reply.rows, reply.total, escape_inline(name)
    # There are rows, but in a form that the demo model does not read: its answer as it is.
    if not rows and total:
        return format_code_block(reply.value)
    if not rows:
        return say("**{name}** has no rows.", name=title)
    first_rows = rows[:MAX_ROWS]
    told = reply.value if isinstance(reply.value, dict) else {}
    if "total" in told and "returned" not in told:
        head = f"**{title}**"  # figures or groups, whose total counts the rows behind them
    elif total is None:
        head = plural(*_SHOWN_SOME, len(first_rows), name=title)
    else:
        head = plural(*_SHOWN, total, name=title, shown=len(first_rows))
    if reference := REFERENCE.match(str(told.get("show"))):
        return f"{head}\n\n{reference[0]}"
    # v3 of NocoDB's API nests a row's values in `fields`. `reply.rows` has copied them beside it.
    columns = list(dict.fromkeys(key for row in first_rows for key in row if key != "fields"))
    if len(columns) > _MAX_COLUMNS:
        notice = say("There are more columns than the {columns} shown here.", columns=_MAX_COLUMNS)
        head = f"{head} {notice}"
    columns = columns[:_MAX_COLUMNS]
    if not columns:
        return head
    lines = [[_format_cell(name) for name in columns], ["---"] * len(columns)]
    lines += [[_format_cell(row.get(name)) for name in columns] for row in first_rows]
    return "\n".join([head, "", *(f"| {' | '.join(line)} |" for line in lines)])


def format_code_block(value: object) -> str:
    if isinstance(value, str):
        text, language = clean_text(value).strip("\n"), ""
    else:
        text, language = json.dumps(value, ensure_ascii=False, indent=2), "json"
    return make_code_block(truncate_with_note(text, _MAX_BLOCK_CHARACTERS), language)


def describe_failure(reply: ToolReply) -> str:
    """A call that a crash interrupted has one of its own: its effects are unknown."""
    if reply.error.startswith(INTERRUPTED_TEXT):
        return say(_INTERRUPTED)
    return say("That didn't work: {problem}", problem=escape_inline(reply.error, 500))


def escape_inline(text: str, longest: int = 200) -> str:
    return _MARKUP.sub(r"\\\1", to_one_line(text, longest))


def _format_cell(value: object) -> str:
    """Return a cell of a row for a table in an answer: linked rows and attachments by title, lists
    by their members."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "✓" if value else "✗"
    members = value if isinstance(value, list) else [value]
    return escape_inline(", ".join(map(_find_cell_title, members)), _MAX_CELL_CHARACTERS)


def _find_cell_title(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    titles = (value[key] for key in ("title", "Title", "Name", "name") if key in value)
    texts = (text for text in value.values() if isinstance(text, str))
    return str(next(titles, None) or next(texts, None) or json.dumps(value, ensure_ascii=False))


def _split_exchanges(items: Sequence[Item]) -> list[DemoExchange]:
    """Return the thread as exchanges, oldest first: a message of a person, with the calls and the
    answer that followed. Quotes and notes of Ponte are left out, and what comes before the first
    message. `calls` are the calls so far, to find the one of an output. A call without an output
    is left out."""
    thread: list[DemoExchange] = []
    calls: dict[str, Item] = {}
    for item in items:
        if item.role == "user":
            if item.name not in (CONTEXT_NAME, NOTE_NAME):
                names, ids = tuple(f.name for f in item.files), tuple(f.id for f in item.files)
                thread.append(DemoExchange(item.name, item.text, files=names, file_ids=ids))
        elif not thread:
            continue
        elif item.role == "assistant":
            thread[-1].answer = f"{thread[-1].answer}\n{item.text}".strip()
        elif item.kind == "call":
            calls[item.call_id] = item
        elif item.kind == "output" and item.call_id in calls:
            thread[-1].calls.append(_parse_call(calls[item.call_id], item.text))
    return thread


def _parse_call(call: Item, output: str) -> AnsweredCall:
    args = _parse_json(call.arguments)
    name, args = call.name, args if isinstance(args, dict) else {}
    if name == PYTHON_TOOL and not output.startswith(_ERROR):
        return AnsweredCall(name, args, ToolReply(_FILE_NOTE.sub("", output)))
    if name == BRIDGE_TOOL:
        name, args = f"{name}:{args.get('tool', '')}", args.get("args")
    return AnsweredCall(name, args if isinstance(args, dict) else {}, _parse_output(output))


def _parse_output(output: str) -> ToolReply:
    """Ponte writes a failure as {"error": {"code", "message", "hint"}}; the bridge to NocoDB sends
    {"result": …}, or {"detail": text} for a failure. A `message` alone is a failure, too."""
    value = _parse_json(output)
    if value == output:
        return ToolReply(text_for_person(output))
    if isinstance(value, dict):
        if value and set(value) <= _PROBLEM_KEYS:  # a row may have such a column, but not alone
            problem = value.get("error", value.get("detail"))
            message = problem
            if isinstance(problem, dict):
                message, hint = str(problem.get("message") or ""), problem.get("hint") or ""
                # The hint about an unknown name lists the known names. Its end, an order to the
                # model, is left out.
                if hint and str(problem.get("code")).startswith("unknown_"):
                    message = f"{message} ({hint.removesuffix(ASK_IF_NONE_FITS)})"
            return ToolReply(error=str(message or value.get("message") or output))
        if set(value) == {"result"}:
            value = value["result"]
    return ToolReply(value)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
