"""Kept conversations as lines of text, for an operator's terminal. Nothing in them is obeyed."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from core.text import clean, one_line

Json = Mapping[str, Any]


def threads_lines(threads: Iterable[Json]) -> Iterator[str]:
    """One line each: when it was last used (UTC), how many messages it has, its key."""
    for thread in threads:
        used = _when(thread.get("used_at"))
        count = thread.get("messages", 0)
        yield f"{used:<16}  {count:>6}  {one_line(str(thread.get('conversation', '')))}"


def thread_lines(thread: Json) -> Iterator[str]:
    """Each message: when and who in one line, its text in the next ones, indented."""
    for message in thread.get("messages", ()):
        who = message.get("name") or message.get("role", "")
        yield f"{_when(message.get('at'))}  {one_line(str(who))}"
        for line in clean(str(message.get("text", ""))).splitlines():
            yield f"    {line}"


def _when(at: object) -> str:
    if not isinstance(at, int | float) or not at:
        return ""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M}"
