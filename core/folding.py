"""Texts as people mean them: whatever their case, and in whichever way Unicode spells them."""

from __future__ import annotations

import unicodedata

from core.text import clean


def folded(text: str) -> str:
    """Equal for texts that differ in case alone; an accent may stand beside its letter or in it."""
    text = without_towers(text)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def without_towers(text: str) -> str:
    """`text` with as many marks on a letter as people write: 30, as in Unicode's stream-safe
    format (UAX 15). Putting them in their order takes time by the square of their number."""
    if text.isascii():
        return text
    kept, height = list[str](), 0
    for each in text:
        height = height + 1 if unicodedata.category(each)[0] == "M" else 0
        if height <= 30:
            kept.append(each)
    return "".join(kept)


def plain(text: str) -> str:
    """`folded` on one line, without accents and without what nobody sees."""
    line = " ".join(folded(clean(text)).split())
    letters = unicodedata.normalize("NFD", line)
    return "".join(each for each in letters if unicodedata.category(each) != "Mn")
