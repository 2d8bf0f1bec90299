"""A thread as the demo model reads it: messages with their calls and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.domain.messages import CONTEXT_NAME, NOTE_NAME, Item
from core.domain.records import text_for_person

_PROBLEM = {"error", "message", "detail"}
"""Keys of an answer that describes a problem."""
_FILE_NOTE = re.compile(r"\n?\[The person has: [^\n]*\]\Z")
"""The end of a Python outcome that lists created files. The person sees the files themselves."""


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
