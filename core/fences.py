"""Code in Markdown: fenced blocks, read line by line as CommonMark does (spec 0.31, section 4.5),
and spans.

Any indentation counts, because a fence inside a list item is indented by as much as its item.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

_OPENING = re.compile(
    r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)"
    r"(?P<mark>`{3,}|~{3,})"
    r"(?P<info>[^\n]*)"
)
_TICKS = re.compile("`+")
_CLOSING = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*")


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code block: `mark` is its run of backticks or tildes, `info` what follows it."""

    indent: str
    mark: str
    info: str

    @property
    def opening(self) -> str:
        return f"{self.indent}{self.mark}{self.info}"

    @property
    def closing(self) -> str:
        return f"{self.indent}{self.mark}"

    def continued(self, room: int) -> Fence:
        """The fence that goes on in another post: not indented, its info kept if `room` allows."""
        fence = replace(self, indent="")
        return fence if len(fence.opening) <= room else replace(fence, info="")


def after(line: str, fence: Fence | None, longest: int) -> Fence | None:
    """The fence that is open after `line`, when `fence` is before it.

    A mark of more than `longest` characters is text: no post could hold it twice.
    """
    if fence is not None:
        return None if _closes(line, fence) else fence
    match = _OPENING.fullmatch(line)
    if match is None or len(match["mark"]) > longest:
        return None
    if match["mark"][0] == "`" and "`" in match["info"]:
        return None
    indent = " " * len(match["indent"].expandtabs(4))
    return Fence(indent[:longest], match["mark"], match["info"].rstrip())


def fenced(text: str, info: str = "") -> str:
    """`text` as a code block, whatever fences stand within it."""
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{info}\n{text}\n{mark}"


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each code span of a text without blocks begins and ends: from a run of backticks to the
    next one that is as long (section 6.1)."""
    runs = [run.span() for run in _TICKS.finditer(text)]
    places: defaultdict[int, deque[int]] = defaultdict(deque)
    for start, end in runs:
        places[end - start].append(start)
    at = 0
    for start, end in runs:
        if start < at:
            continue
        same = places[end - start]
        while same and same[0] <= start:
            same.popleft()
        if same:
            at = same.popleft() + end - start
            yield start, at


def after_all(text: str, fence: Fence | None, longest: int) -> Fence | None:
    """The fence that is open after every line of `text`."""
    for line in text.split("\n"):
        fence = after(line, fence, longest)
    return fence


def dedent(text: str, fence: Fence) -> str:
    """The rest of an indented block as it must stand under `fence.continued`: moved to the left."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        spaces = len(line) - len(line.lstrip(" "))
        lines[number] = line[min(spaces, len(fence.indent)) :]
        if _closes(line, fence):
            break
    return "\n".join(lines)


def _closes(line: str, fence: Fence) -> bool:
    match = _CLOSING.fullmatch(line)
    return match is not None and match["mark"].startswith(fence.mark)
