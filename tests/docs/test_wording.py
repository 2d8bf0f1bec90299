"""Phrases that the documents do not use: the old wording, which readers had to translate."""

from __future__ import annotations

import re

from tests.docs.site import ROOT, documents

REJECTED = (
    r"\bwhom\b", r"\bwherein\b", r"\bthereby\b", r"\banew\b", r"\bof before\b",
    r"\b(is|are|was|were|be|been) told\b", r"\b(is|are|was|were) said\b", r"\bit is kept\b",
    r"\bstands? (in|there|for|under|beside|as|where)\b", r"\bstood still\b",
    r"\bspeaks? (to|with|as)\b", r"\bhears?\b", r"\b(reads?|reading) along\b",
    r"\btaken? (back|over|up)\b", r"\bwhat it took\b", r"\bhas to be had\b", r"\bcannot be had\b",
    r"\bholds? (for|there|good)\b", r"\bas long as it\b", r"\bthat is no [a-z]+\b",
    r"\bof a fault\b", r"\ba fault of ours\b", r"\bsomebody else's\b", r"\bwho(ever)? may\b",
    r"\bbrings? along\b", r"\bgoes on\b", r"\bin words\b", r"\bof its own\b",
    r"\bbeside\b", r"\bmade (from|of) the code\b", r"\bcomes? from the code as\b",
)  # fmt: skip
"""Regular expressions of the old wording: whole phrases, since a single word may be right."""


def prose(text: str) -> str:
    """Return the text without code, the targets of links, and generated or quoted sentences."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`", "", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"“[^”]*”", "", text)


def find_rejected_phrases(text: str) -> list[str]:
    words = prose(text)
    return [
        " ".join(words[max(0, matche.start() - 30) : matche.end() + 20].split())
        for phrase in REJECTED
        for matche in re.finditer(phrase, words, re.IGNORECASE)
    ]


def test_no_document_has_a_rejected_phrase() -> None:
    matches = {
        name: phrases
        for name in documents()
        if (phrases := find_rejected_phrases((ROOT / name).read_text("utf-8")))
    }
    assert matches == {}


def test_a_phrase_is_found_in_prose_and_not_in_code() -> None:
    assert find_rejected_phrases("What it took is on disk before Slack hears.") != []
    assert find_rejected_phrases("`what it took` and [a link](whom.md)") == []
