"""Compares two dumps by dialogue."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

HEAD = "#### "
"""Begins the first line of a dialogue in a dump."""
CONTEXT_LINES = 1


def compare(old: str, new: str, only: Sequence[str] = ()) -> str:
    """Return the differences, "" for none. With `only`, dialogues that a part of the names in it
    does not match are left out."""
    before, after = _split(old), _split(new)
    names = [*before, *(name for name in after if name not in before)]
    found = []
    for name in names:
        if only and not any(part in name for part in only):
            continue
        lines = difflib.unified_diff(
            before.get(name, []), after.get(name, []), "old", "new", n=CONTEXT_LINES, lineterm=""
        )
        if different := list(lines):
            found += [f"{HEAD}{name}", *different[2:], ""]
    return "\n".join(found)


def _split(dump: str) -> dict[str, list[str]]:
    """Return the lines of each dialogue by its name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in dump.splitlines():
        if line.startswith(HEAD):
            name = line.removeprefix(HEAD)
            found[name] = []
        elif name:
            found[name].append(line)
    return found
