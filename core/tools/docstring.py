"""What a docstring says to a model: the description, and a line for each argument."""

from __future__ import annotations

import inspect
import itertools
import re
from dataclasses import dataclass, field

_ENTRY = re.compile(r"(?P<name>\w+)\s*(?:\([^)]*\))?:\s+(?P<text>\S.*)")
_HEADING = re.compile(r"(?:Args|Arguments|Returns|Raises|Yields|Note|Example|Examples):\s*$")


@dataclass(frozen=True, slots=True)
class Docstring:
    """`description` is all that stands before the first section; `arguments` by name.

    Sections are those of the Google style; all but the arguments are for programmers only.
    """

    description: str
    arguments: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Docstring:
        lines = inspect.cleandoc(text).splitlines()
        headings = [number for number, line in enumerate(lines) if _HEADING.match(line)]
        edges = [*headings, len(lines)]
        arguments: dict[str, str] = {}
        for start, end in itertools.pairwise(edges):
            if lines[start].startswith("Arg"):
                arguments = _entries(lines[start + 1 : end])
        return cls("\n".join(lines[: edges[0]]).strip(), arguments)


def _entries(lines: list[str]) -> dict[str, str]:
    """`name: text` at the section's indent; what is indented further goes on with it."""
    filled = [line for line in lines if line.strip()]
    indent = min((_indent(line) for line in filled), default=0)
    found: dict[str, list[str]] = {}
    name = ""
    for line in filled:
        entry = _ENTRY.match(line.strip())
        if entry and _indent(line) == indent:
            name = entry["name"]
            found[name] = [entry["text"]]
        elif name:
            found[name].append(line.strip())
    return {name: " ".join(texts) for name, texts in found.items()}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
