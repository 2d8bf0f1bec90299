"""What the demo model sees of a thread: exchanges, each with what was said, called and read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from core.messages import CONTEXT, NOTE, Item

Kind = Literal["history", "memory", "remember", "tables", "show", "python", "nocodb",
               "again", "count", "other"]  # fmt: skip

_PROBLEM = {"error", "message", "detail"}
_TABLE_ID = re.compile(r"m[a-z0-9]{10,30}")


def _patterns(flags: re.RegexFlag, **patterns: str) -> list[tuple[Kind, re.Pattern[str]]]:
    """By kind. A leading / or ! does no harm, as with the commands."""
    return [
        (cast(Kind, kind), re.compile(rf"[/!]?(?:{pattern})", re.IGNORECASE | flags))
        for kind, pattern in patterns.items()
    ]


_WHOLE = _patterns(
    re.DOTALL,
    python=r"run python\b[\s:]*(?P<rest>.*)",
    nocodb=r"nocodb\b\s*(?P<rest>.*)",
    remember=r"remember (?:that )?(?P<rest>.+)",
)
_LINES = _patterns(
    re.NOFLAG,
    history=r"history",
    memory=r"what did i say(?: before)?|what do you remember",
    tables=r"(?:list|show)(?: me)?(?: the| all)? tables|tables",
    show=r"show(?: me)?(?: the)?(?: table)? (?P<rest>.+)",
    again=r"again|once more",
    count=r"how many(?: rows| tables| of them)?(?: are there| is that)?",
)


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
        return [{**row, **row["fields"]} if _is_map(row.get("fields")) else row for row in rows]

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


def understand(said: str) -> Intent:
    """The first pattern that the message fits as a whole."""
    text = said.strip()
    line = text.split("\n", 1)[0].rstrip(" .?!")
    for kind, pattern in _WHOLE:
        if match := pattern.fullmatch(text):
            return Intent(kind, match["rest"].strip())
    for kind, pattern in _LINES:
        if match := pattern.fullmatch(line):
            rest = match.groupdict().get("rest") or ""
            return Intent(kind, rest.strip(" \"'`“”"))
    return Intent("other")


def exchanges(items: Sequence[Item]) -> list[Exchange]:
    """The thread, oldest first. Quotes and notes are not what a person asked here."""
    thread: list[Exchange] = []
    calls: dict[str, Item] = {}
    for item in items:
        if item.role == "user":
            if item.name not in (CONTEXT, NOTE):
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


_MADE = re.compile(r"\n?\[The person has: [^\n]*\]\Z")
"""How the outcome of Python ends where it made files; the person sees them."""


def is_table_id(text: str) -> bool:
    return _TABLE_ID.fullmatch(text) is not None and any(char.isdigit() for char in text)


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
        return Read(error=output.removeprefix("error:").strip())
    value = _json(output)
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


def _is_map(value: object) -> bool:
    return isinstance(value, dict)
