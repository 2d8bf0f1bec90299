"""A long answer in parts that fit, or a first part and a file when that reads better."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.discord.markup import Sheet, render
from core.splitting import split
from core.words import say

LIMIT = 2000
"""Code points in one message: resources/message.mdx#create-message-jsonform-params, and #1315 for
what a character is."""
MOST = 4
"""Posts in a row; a longer answer reads better as a file."""
WHOLE = "answer.md"
_NOTE = 120


@dataclass(frozen=True, slots=True)
class Pages:
    parts: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()


def pages(markdown: str, locale: str, most: int = MOST) -> Pages:
    """At least one part, empty where there is no text; what does not fit comes as a file."""
    rendered = render(markdown, locale)
    parts = split(rendered.text, LIMIT)
    if len(parts) <= most:
        return Pages(parts or ("",), rendered.sheets)
    note = say("*The whole answer is in {name}.*", locale, name=f"`{WHOLE}`")
    # The last part is cut again, to make room for the note.
    last = split(parts[most - 1], LIMIT - _NOTE)[0]
    shown = (*parts[: most - 1], f"{last}\n\n{note}")
    return Pages(shown, (*rendered.sheets, Sheet(WHOLE, markdown.encode())))
