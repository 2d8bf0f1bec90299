"""The sentence below an answer that says whether its figures occur in what was read."""

from __future__ import annotations

import re
from functools import cache

from core.base.i18n import LOCALES, plural, say
from core.base.splitting import fence_after_line
from core.domain.rows import MAX_FENCE_CHARACTERS
from core.figures.check import FigureCheck

MAX_NAMED_FIGURES = 5
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
    """Quote the lines of a model's own text that look like those that only code writes."""
    lines, fence = text.split("\n"), None
    for at, line in enumerate(lines):
        if not fence and _receipt_lines().match(line):
            lines[at] = f"> {line.lstrip()}"
        fence = fence_after_line(line, fence, MAX_FENCE_CHARACTERS)
    return "\n".join(lines)


@cache
def _receipt_lines() -> re.Pattern[str]:
    beginnings = [
        say(sentence, locale).partition("{")[0].strip("⚠️ ")
        for sentence in (SOURCE, SOURCES, _MISSING)
        for locale in LOCALES
    ]
    ends = [
        plural(*forms, count, locale).strip("12 ")
        for forms in (_FOUND, _FROM_RUN)
        for locale in LOCALES
        for count in (1, 2)
    ]
    forms = "|".join(map(re.escape, beginnings)), "|".join(map(re.escape, ends))
    first, last = (re.sub(r"(?:\\?\s)+", r"\\s*", form) for form in forms)
    return re.compile(rf"(?!\s*>)[\W_]*(?:{first}|\d[\d.,\s]*(?:{last}))", re.IGNORECASE)
