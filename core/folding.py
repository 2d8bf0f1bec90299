"""Texts as people mean them: whatever their case, and in whichever way Unicode spells them."""

from __future__ import annotations

import unicodedata

from core.text import clean


def folded(text: str) -> str:
    """Equal for texts that differ in case alone; an accent may stand beside its letter or in it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def plain(text: str) -> str:
    """`folded` on one line, without accents and without what nobody sees."""
    line = " ".join(folded(clean(text)).split())
    letters = unicodedata.normalize("NFD", line)
    return "".join(each for each in letters if unicodedata.category(each) != "Mn")
