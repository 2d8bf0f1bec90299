"""`python -m tests.watching.tables` updates two lists of the documents: metrics with their labels,
and the warnings and errors that the code logs. The meanings of log lines are written by hand, and
stay; a new line is left without one, which a test rejects.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.observability import metrics
from tests.docs.reference import with_section
from tests.sources import list_sources, parse, walk_nodes

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = DOCS / "guides" / "watching.md"
PAGES = {
    "metrics": DOCS / "reference" / "metrics.md",
    "events": DOCS / "reference" / "log.md",
}
"""Section that is made from the code → the page that has it."""
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
LEVELS = {"warning": "warning", "error": "error", "exception": "error", "critical": "error"}
BY_PLATFORM = "*"
"""The log of whichever platform it is."""
_SHARED = "processes proposals oldest_queued_message_seconds queued_messages"
SHARED_METRICS = tuple(f"ponte_{name}" for name in _SHARED.split())
"""Metrics read from the database, so that all processes on one Postgres report equal values."""
_ROW = re.compile(r"^- (`[^`]+`(?:, `[^`]+`)*): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log as it reads: who writes it, and its first words."""

    logger: str
    words: str
    level: str

    @property
    def name(self) -> str:
        return f"{self.logger}: {self.words}"


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    expression: str
    severity: str
    summary: str
    description: str


@functools.cache
def events() -> Sequence[Event]:
    """Every warning and error of ours, by log and words."""
    values: set[Event] = set()
    for path in list_sources():
        values |= set(_events(parse(path), str(path.relative_to(ROOT))))
    values |= {Event(log, "background task failed", "error") for log in _owners()}
    return sorted(values, key=lambda event: (event.logger, event.words))


def _events(tree: ast.Module, path: str) -> Iterator[Event]:
    logs = dict(_logs(tree))
    for node in walk_nodes(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, level = node.func.value, LEVELS.get(node.func.attr, "")
        result = isinstance(owner, ast.Call) and ast.unparse(owner.func).endswith("get_logger")
        logger = _constant(owner.args[0]) if result else logs.get(ast.unparse(owner))  # type: ignore[attr-defined]
        if not level or logger is None:
            continue
        words = _constant(node.args[0])
        assert words, f"{path}:{node.lineno}: the words of a log's line are one constant"
        if path != "core/base/tasks.py":  # its owners' names are told by `_owners`
            yield Event(logger, words, level)


def _logs(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names of loggers in a file, as they are written there, and of the logs."""
    for node in walk_nodes(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            value = node.value
            if ast.unparse(value.func) == "structlog.get_logger":
                yield ast.unparse(node.targets[0]), _constant(value.args[0]) or BY_PLATFORM


def _owners() -> set[str]:
    """The logs of `core.base.tasks.BackgroundTasks`."""
    texts = (path.read_text() for path in list_sources())
    return {name for text in texts for name in re.findall(r'\bBackgroundTasks\("(\w+)"\)', text)}


def _constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def alerts() -> Sequence[Alert]:
    """Of the rules file, whose lines are written in one way."""
    blocks = RULES.read_text().split("      - alert: ")[1:]
    return [
        Alert(
            name=block.splitlines()[0],
            expression=_field(block, "expr"),
            severity=_field(block, r"labels: \{severity")[:-1],
            summary=_field(block, "summary").strip("'"),
            description=_field(block, "description").strip("'"),
        )
        for block in blocks
    ]


def _field(block: str, name: str) -> str:
    match = re.search(rf"^ +{name}: (.+)$", block, re.MULTILINE)
    assert match, f"no {name} in\n{block}"
    return match[1]


def metric_rows() -> str:
    """Of all that is ours; what a Prometheus client tells of its process is told in words."""
    lines = []
    for one in sorted(metrics.registry.collect(), key=lambda one: one.name):
        if not one.name.startswith("ponte_"):
            continue
        name = {"counter": f"{one.name}_total", "info": f"{one.name}_info"}.get(one.type, one.name)
        kind = ", ".join([one.type, *(f"`{label}`" for label in _labels(one.name))])
        texts = one.documentation + (" ⁂" if one.name in SHARED_METRICS else "")
        lines.append(f"- `{name}` ({kind}): {texts}")
    return "\n".join(lines)


def _labels(name: str) -> Sequence[str]:
    for metric in vars(metrics).values():
        if getattr(metric, "_name", "") == name:
            labels: Sequence[str] = metric._labelnames
            return labels
    raise AssertionError(f"{name} is not one of core.observability.metrics")


def event_rows(known: Mapping[str, str]) -> str:
    """Return the rows; lines that mean the same share one, at the place of the first."""
    meanings: dict[str, dict[str, None]] = {}
    for event in events():
        meanings.setdefault(known.get(event.name, ""), {})[f"`{event.name}`"] = None
    return "\n".join(f"- {', '.join(names)}: {words}" for words, names in meanings.items())


def known_events(page: str) -> Mapping[str, str]:
    """What the page says of each now."""
    return {
        name.strip("`"): words for names, words in _ROW.findall(page) for name in names.split(", `")
    }


def updated_pages() -> Mapping[Path, str]:
    """Return each page with its table as the code has it now."""
    events_page = PAGES["events"].read_text("utf-8")
    definition = {"metrics": metric_rows(), "events": event_rows(known_events(events_page))}
    return {
        path: with_section(path.read_text("utf-8"), name, definition[name])
        for name, path in PAGES.items()
    }


if __name__ == "__main__":
    for path, text in updated_pages().items():
        path.write_text(text, encoding="utf-8")
