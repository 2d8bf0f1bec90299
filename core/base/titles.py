"""Short titles of conversations: from the first words of a message, or as a model suggests them."""

from __future__ import annotations

import re

from core.base.text import clean_text, to_one_line, truncate

MAX_CONVERSATION_TITLE_CHARACTERS = 60
_MARKUP = re.compile(
    r"^[ \t]*(?:```|~~~)[^\n]*|^[ \t]*(?:\#{1,6}|>|[-*+])[ \t]+"
    r"|!?\[(?P<label>[^\[\]\n]*)\]\([^()\n]*\)|(?<!\w)[*_~`]+(?=\S)|(?<=\S)[*_~`]+(?!\w)",
    re.MULTILINE,
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+|\bwww\.\S+|<[^<>\n]*>", re.IGNORECASE)
_LABEL = re.compile(r"^(?:title|título|titre)\s*:\s*", re.IGNORECASE)
_QUOTATION_MARKS = "\"'“”‘’«»„"


def first_words(text: str) -> str:
    """Return the beginning of a message without Markdown, short enough for a title."""
    head = text[: 4 * MAX_CONVERSATION_TITLE_CHARACTERS]
    return shorten_title(_MARKUP.sub(lambda found: found["label"] or "", head))


def shorten_title(text: str) -> str:
    """Return the text on one line, cut between words to MAX_CONVERSATION_TITLE_CHARACTERS."""
    plain = to_one_line(text)
    if len(plain) <= MAX_CONVERSATION_TITLE_CHARACTERS:
        return plain
    words, space, _ = plain[:MAX_CONVERSATION_TITLE_CHARACTERS].rpartition(" ")
    return f"{words}…" if space else truncate(plain, MAX_CONVERSATION_TITLE_CHARACTERS)


def clean_title(suggested: str) -> str:
    """Return a model's suggestion as a title: its first line without Markdown, addresses, mentions
    and quotation marks, at most MAX_CONVERSATION_TITLE_CHARACTERS. Return "" if nothing is left."""
    lines = (line.strip() for line in clean_text(suggested[:2000]).splitlines())
    line = next((line for line in lines if line and not line.startswith(("```", "~~~"))), "")
    line = _LABEL.sub("", _MARKUP.sub(lambda found: found["label"] or "", line))
    line = _ADDRESS.sub("", line).replace("@", "")
    return shorten_title(line.strip(_QUOTATION_MARKS + " ").rstrip("."))
