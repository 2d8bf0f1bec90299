"""How the demo model writes: tables, code blocks, lists of what was said."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.fences import fenced
from core.text import clean, clip, one_line

ROWS = 20
COLUMNS = 8
_CELL = 60
_BLOCK = 3000
_MARKUP = re.compile(r"([\\`*\[\]<>|~])")


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
        return fenced(clip(clean(value).strip("\n"), _BLOCK), info)
    return fenced(clip(json.dumps(value, ensure_ascii=False, indent=2), _BLOCK), info or "json")


def inline(text: str, longest: int = 200) -> str:
    """Somebody's words on one line, without markup."""
    return _MARKUP.sub(r"\\\1", one_line(text, longest))


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
