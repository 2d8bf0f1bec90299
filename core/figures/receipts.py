"""The sentence below an answer that says whether its figures occur in what was read."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from core.base.commonmark import parse_blocks, unescape
from core.base.i18n import LOCALES, plural, say
from core.base.markdown import BREAK
from core.figures.check import FigureCheck

MAX_NAMED_FIGURES = 5
_KEPT_BLOCKS = ("fence", "code_block", "table_open")
_LIST_MARK = re.compile(r"[ \t]*(?:[-*+][ \t]+)?")
_TARGET = re.compile(r"\](?:\([^()]*\)|\[[^][]*\])")
_MARKS = re.compile(r"[^\w:]|_")
_LOOK_ALIKES = str.maketrans("асеорѕіοսոԁһт", "aceopsioundht")
SOURCE = "Source: {caption}, {time} ({zone})."
SOURCES = "Sources:"
_FOUND = ("{count} figure, found in what I read.", "{count} figures, all found in what I read.")
_FROM_RUN = (
    "{count} figure, from the run of Python.",
    "{count} figures, all found in what I read or from the run of Python.",
)
_MISSING = "⚠️ Not found in what I read: {figures}."


def describe_check(check: FigureCheck) -> str:
    if check.missing:
        figures = list(dict.fromkeys(check.missing))[:MAX_NAMED_FIGURES]
        return say(_MISSING, figures="; ".join(figures))
    count = len(check.found) + len(check.from_run)
    return plural(*(_FROM_RUN if check.from_run else _FOUND), count) if count else ""


def quote_receipts(text: str) -> str:
    """Quote the lines of a model's own text that look like those that only code writes. Code, rows
    of tables and the marks of lists stay."""
    lines = text.splitlines()
    receipts = [at for at, line in enumerate(lines) if _is_receipt(line)]
    if not receipts:
        return text
    blocks = [token for token in parse_blocks("\n".join(lines)) if token.type in _KEPT_BLOCKS]
    kept = {at for token in blocks if token.map for at in range(*token.map)}
    for at in receipts:
        if at not in kept:
            mark = _LIST_MARK.match(lines[at])[0]  # type: ignore[index]
            # A line below that is no item of the list would become a part of the quote.
            end = "" if mark.strip() else "\n"
            lines[at] = f"{mark}> {lines[at][len(mark) :]}{end}"
    return "\n".join(lines)


def _is_receipt(line: str) -> bool:
    letters = map(_read_letters, BREAK.split(line))
    return not line.lstrip().startswith(">") and any(map(_receipt_lines().match, letters))


def _read_letters(line: str) -> str:
    """Return the letters, digits and colons that a reader sees, without targets of links."""
    line = _TARGET.sub("", unicodedata.normalize("NFKC", unescape(line)))
    return _MARKS.sub("", line.casefold().translate(_LOOK_ALIKES))


@cache
def _receipt_lines() -> re.Pattern[str]:
    beginnings = [
        _read_letters(say(sentence, locale).partition("{")[0])
        for sentence in (SOURCE, SOURCES, _MISSING)
        for locale in LOCALES
    ]
    ends = [
        _read_letters(plural(*forms, count, locale)).lstrip("12")
        for forms in (_FOUND, _FROM_RUN)
        for locale in LOCALES
        for count in (1, 2)
    ]
    return re.compile(rf"{'|'.join(beginnings)}|\d+(?:{'|'.join(ends)})")
