"""Every sentence of the page, by the key that its script and its `data-say` marks use."""

from __future__ import annotations

from core.words import say

SENTENCES = {
    "title": "Ponte",
}


def wording(locale: str) -> dict[str, str]:
    return {key: say(sentence, locale) for key, sentence in SENTENCES.items()}
