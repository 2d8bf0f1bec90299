"""What StackSpot answers, read leniently, as no schema of it is published.

Clients in three languages agree on `{"execution_id", "quick_command_slug", "conversation_id",
"progress": {"status", "execution_percentage", …}, "steps": [{"step_name", "execution_order",
"step_result"}], "result"}`, where `result` is a text, often JSON, often in a fence, and a step's
result `{"answer", …}` of a model's step, `{"status_code", "json_data", "data"}` of a web request's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.text import clean, in_whole_characters, one_line

_FENCE = re.compile(
    r"(?P<mark>`{3,}(?!`)|~{3,}(?!~))[ \t]*(?P<info>[\w.+-]*)(?![\w.+-])[^\n]*\n(?P<body>.*)",
    re.DOTALL,
)
_JSON = ("", "json", "json5", "jsonc", "text", "txt")
_SUFFIXES = {
    "json": "json", "python": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts",
    "ts": "ts", "java": "java", "kotlin": "kt", "go": "go", "sql": "sql", "yaml": "yaml",
    "yml": "yaml", "csv": "csv", "xml": "xml", "bash": "sh", "sh": "sh",
}  # fmt: skip
_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class Agent:
    """One that an operator named: `id` is StackSpot's, `title` for people."""

    id: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """`text` is Markdown, as an agent writes it; `conversation` is the id to go on with."""

    text: str
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`answer` is empty while there is none."""

    name: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is StackSpot's own word, in capitals; one that is not known means: go on waiting.

    `share` is how much is done, 0.0 to 1.0, None where that is not told.
    """

    execution: str
    state: str = ""
    share: float | None = None
    steps: tuple[Step, ...] = ()
    result: str = ""
    slug: str = ""
    conversation: str = ""

    @property
    def completed(self) -> bool:
        return self.state == "COMPLETED"

    @property
    def failed(self) -> bool:
        """No reason is told with it."""
        return self.state in ("FAILURE", "FAILED")

    @property
    def step(self) -> str:
        """The name of the step that runs: the first without an answer, else the last."""
        waiting = [step.name for step in self.steps if not step.answer]
        return next(iter(waiting), self.steps[-1].name if self.steps else "")

    @property
    def answer(self) -> str:
        """The result, else what the last step that answered said."""
        spoken = [step.answer for step in self.steps if step.answer]
        return self.result if self.result.strip() else next(reversed(spoken), "")


def read_status(execution: str, answer: Mapping[str, Any]) -> Status:
    """`answer` as a Status; what is missing or odd in it is left out."""
    progress, told = answer.get("progress"), answer.get("steps")
    progress = progress if isinstance(progress, Mapping) else {}
    steps = [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []
    share = progress.get("execution_percentage")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
        share = None
    return Status(
        execution=execution,
        state=_text(progress.get("status")).strip().upper(),
        share=share / 100 if share is not None and share > 1 else share,
        steps=tuple(_step(each) for each in sorted(steps, key=_order)),
        result=_text(answer.get("result")),
        slug=_text(answer.get("quick_command_slug")),
        conversation=_text(answer.get("conversation_id")),
    )


@dataclass(frozen=True, slots=True)
class Result:
    """`text` is as StackSpot gave it; `execution` and `conversation` are its ids."""

    text: str
    execution: str = ""
    conversation: str = ""

    @property
    def data(self) -> Any:
        """The JSON that the whole text is, bare or in a fence; None where it is none."""
        return json_of(self.text)

    @property
    def bare(self) -> str:
        """The text without a fence around JSON; code keeps its fence, for it tells the language."""
        block = _only_block(self.text)
        return block[1].strip() if block and self.data is not None else self.text


@dataclass(frozen=True, slots=True)
class Document:
    """A result as a file: `data` in UTF-8."""

    name: str
    type: str
    data: bytes


def json_of(text: str) -> Any:
    """Also where a model put a fence around it, or did not close that."""
    block = _only_block(text)
    if block is not None and block[0].lower() not in _JSON:
        return None
    try:
        return json.loads(block[1] if block else text.strip(), parse_constant=_refused)
    except (ValueError, RecursionError):
        return None


def document_of(text: str, stem: str) -> Document:
    """`text` as a file named for `stem`, of the kind that it is; a fence around it is left out."""
    data = json_of(text)
    if isinstance(data, dict | list):
        laid_out = json.dumps(data, ensure_ascii=False, indent=2)
        return Document(f"{stem}.json", "application/json", clean(laid_out).encode())
    block = _only_block(text)
    if block is None:
        return Document(f"{stem}.md", "text/markdown", clean(text).encode())
    suffix = _SUFFIXES.get(block[0].lower(), "txt")
    return Document(f"{stem}.{suffix}", "text/plain", clean(block[1]).encode())


def is_agent_id(id: str) -> bool:
    return _AGENT_ID.fullmatch(id) is not None


def _order(step: Mapping[str, Any]) -> float:
    order = step.get("execution_order")
    return order if isinstance(order, int | float) else 0


def _step(told: Mapping[str, Any]) -> Step:
    result = told.get("step_result")
    if isinstance(result, Mapping):
        found = (_text(result.get(name)) for name in ("answer", "json_data", "data"))
        answer = next(filter(str.strip, found), "")
    else:
        answer = _text(result)
    return Step(one_line(_text(told.get("step_name")), 60), answer)


def _text(value: object) -> str:
    """A text as it is, None as nothing, all else as JSON."""
    if value is None or isinstance(value, str):
        return in_whole_characters(value or "")
    return in_whole_characters(json.dumps(value, ensure_ascii=False))


def _only_block(text: str) -> tuple[str, str] | None:
    """Info and body where the whole text is one fenced block, closed or not."""
    match = _FENCE.fullmatch(text.strip())
    if match is None:
        return None
    *inner, last = match["body"].split("\n")
    mark = match["mark"]
    lines = inner if last.strip().startswith(mark) else [*inner, last]
    if any(line.lstrip().startswith(mark) for line in lines):
        return None  # there is more than one
    return match["info"], "\n".join(lines)


def _refused(constant: str) -> None:
    """JSON has no NaN (RFC 8259, section 6), but Python reads it."""
    raise ValueError(constant)
