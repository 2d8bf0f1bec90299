"""Formats quotes of other people for the model, and removes a person's quotes again."""

from __future__ import annotations

import re
from collections.abc import Collection

from core.domain.messages import Quote
from core.text.text import clean_text

_QUOTE = re.compile(r"> (?:'[^'\n]*'|\"[^\"\n]*\"): ")


def render_quote(quote: Quote) -> str:
    """Return the quote with a mark before each line, so that no line looks like the asker's own
    text."""
    return "\n".join(
        f"> {line}" for line in f"{quote.name!r}: {clean_text(quote.text)}".splitlines()
    )


def remove_quotes_of(context: str, names: Collection[str]) -> str:
    """Return the text of a context item without the quotes of people with these names."""
    kept, left_out = list[str](), False
    begins = tuple(f"> {name!r}: " for name in names)
    for line in context.split("\n"):
        if _QUOTE.match(line):
            left_out = line.startswith(begins)
        if not (left_out and line.startswith(">")):
            kept.append(line)
    return "\n".join(kept)
