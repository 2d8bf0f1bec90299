"""What a quick command gave, as a person gets it: text, code, or a file where it is long."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from core import links
from core.fences import fenced
from core.messages import File
from core.splitting import split
from core.text import aside, clean
from core.words import say

LONGEST = 8_000
"""Characters that are shown as text: one post on Slack, a few on Discord."""
BEGINNING = 1_500
"""Characters of a longer one that are shown above its file."""

Keep = Callable[[str, str, bytes], Awaitable[File]]
"""Keeps a file of this name, type and content for the conversation."""

_EMPTY = "It came to its end, and gave nothing."
_LONG = "The result has {count} characters: it is in the file `{name}`, and begins like this."


@dataclass(frozen=True, slots=True)
class Shown:
    """A result as a person gets it."""

    text: str
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """`hosts`: where links may lead in text that another system gave."""

    hosts: Collection[str] = ()

    async def shown(self, result: str, name: str, locale: str, keep: Keep | None) -> Shown:
        """`name` is what the file is called where one is made. Raises what `keep` raises."""
        readable, kind = await aside(self._readable, result)
        if not readable:
            return Shown(say(_EMPTY, locale))
        if keep is None or len(readable) <= LONGEST:
            return Shown(readable)
        data = _pretty(result) if kind == "json" else clean(result)
        file = await keep(f"{name}.{kind}", _TYPES[kind], data.encode())
        head = say(_LONG, locale, count=f"{len(data):,}", name=file.name)
        return Shown(f"{head}\n\n{split(readable, BEGINNING)[0]}", (file,))

    def _readable(self, result: str) -> tuple[str, str]:
        """As Markdown, and what kind of file it would be. A JSON object or list stands as code."""
        if pretty := _pretty(result):
            return fenced(pretty, "json"), "json"
        return links.tamed(clean(result), self.hosts).strip(), "md"


_TYPES = {"json": "application/json", "md": "text/markdown"}


def _pretty(result: str) -> str:
    """JSON as people write it; "" for what is none, or is a mere word or number."""
    if not result.lstrip().startswith(("{", "[")):
        return ""
    try:
        return clean(json.dumps(json.loads(result), ensure_ascii=False, indent=2))
    except (ValueError, RecursionError):
        return ""
