"""The sentence below an answer that says whether its figures occur in what was read."""

from __future__ import annotations

import re
import unicodedata

from core.base.commonmark import parse_blocks, unescape
from core.base.i18n import plural, say
from core.base.markdown import BREAK
from core.figures.check import FigureCheck

MAX_NAMED_FIGURES = 5
_BEGINNINGS = (
    *("source:", "sources:", "notfoundinwhatiread:", "figuref", "figuresallf", "calculatedbythem"),
    *("fonte:", "fontes:", "nãoencontradonoqueli:", "númeroen", "númerovindo", "númerostodose"),
    *("calculadopelo", "calculéparlem"),
    *("introuvabledanscequejailu:", "chiffrere", "chiffreissu", "chiffrestousr"),
)
"""How Ponte's lines begin in all languages, as `_read_letters` returns them. Their catalogues are
not read for an answer."""
_LIST_MARK = re.compile(r"\A([ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)")
_UNSEEN = re.compile(r"\](?:\([^()]*\)|\[[^][]*\])|[^\w:]|[\d_]")
_LOOK_ALIKES = str.maketrans("асеорѕіοսոԁһт", "aceopsioundht")
SOURCE = "Source: {caption}, {time} ({zone})."
SOURCES = "Sources:"
_FOUND = ("{count} figure, found in what I read.", "{count} figures, all found in what I read.")
_FROM_RUN = (
    "{count} figure, from the run of Python.",
    "{count} figures, all found in what I read or from the run of Python.",
)
_MISSING = "⚠️ Not found in what I read: {figures}."
_WORKED_OUT = "Calculated by the model, not found in what I read: {figures}."


def describe_check(check: FigureCheck) -> str:
    if check.missing:
        figures = list(dict.fromkeys(check.missing))[:MAX_NAMED_FIGURES]
        return say(_MISSING if check.slips else _WORKED_OUT, figures="; ".join(figures))
    count = len(check.found) + len(check.from_run)
    return plural(*(_FROM_RUN if check.from_run else _FOUND), count) if count else ""


def quote_receipts(text: str) -> str:
    """Quote the lines of a model's own text that look like those that only code writes. Code, rows
    of tables and the marks of lists stay."""
    lines = text.splitlines()
    receipts = {
        at
        for at, line in enumerate(lines)
        for part in BREAK.split(line)
        if not line.lstrip().startswith(">") and _read_letters(part).startswith(_BEGINNINGS)
    }
    for token in parse_blocks("\n".join(lines)) if receipts else ():
        if token.type in ("fence", "code_block", "table_open") and token.map:
            receipts.difference_update(range(*token.map))
    for at in receipts:
        # Without an empty line, the next one would become a part of the quote.
        lines[at] = _LIST_MARK.sub(r"\1> ", lines[at], 1) + "\n"
    return "\n".join(lines) if receipts else text


def _read_letters(line: str) -> str:
    """Return the letters and colons that a reader sees."""
    text = unicodedata.normalize("NFKC", unescape(line)).casefold()
    return _UNSEEN.sub("", text).translate(_LOOK_ALIKES)
