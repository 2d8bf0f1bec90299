"""Phrases that Ponte does not use towards people, in any of its languages."""

from __future__ import annotations

import re

import pytest

from tests.languages.sentences import LANGUAGES, read

REJECTED = {
    "en": (
        r"\b(is|are|was|were) told\b", r"\bof (whom|which|before|itself)\b", r"\bto whom\b",
        r"\bby whom\b", r"\bwho(ever)? asked for it\b", r"\bstands? (in|there|for|as|out)\b",
        r"\bthe operator\b", r"\bmay not\b", r"\btaken? (back|over|up)\b", r"\bas it is now\b",
        r"\bno (word|token) of\b", r"\bread along\b", r"\bthis Ponte's\b", r"\bhere and now\b",
        r"\bcomes? of (it|that)\b", r"\bwhat it took\b", r"\bthat is no [a-z]+\b",
        r"\bthere is nobody\b", r"\bneither of\b", r"\bas long as it\b", r"\bhas to be had\b",
        r"\bholds? (for|there|good)\b", r"\bis not known whether\b", r"\bplease (try|look|ask)\b",
        r"\bsomebody (who|must|has)\b", r"\bis let\b", r"\bcannot be had\b", r"\bgo(es)? on as\b",
    ),
    "pt_BR": (
        r"\bpor favor\b", r"\b[oa] operador[a]?\b", r"\b(é|foi|são) dit[oa]s?\b",
        r"\bde tudo o que\b", r"\bfica(m)? de pé\b", r"\bao que parece\b", r"\bse faz favor\b",
        r"\bnão se sabe\b", r"\bquem (o )?opera\b", r"\bnão é (um )?token de\b",
        r"\b(este|deste) bot\b", r"\bvoltar atrás\b", r"\bpedido HTTP\b", r"\btu\b",
    ),
    "fr": (
        r"\bveuillez\b", r"s’il vous plaît", r"\bl’opérateur\b", r"\b(est|sont) dite?s?\b",
        r"\bn’est pas un jeton de\b", r"\bfait foi\b", r"\bse tient\b", r"\bon ne sait pas\b",
        r"\bfaire tourner\b", r"\btourne (sur|dans)\b", r"\btu\b", r"\bton\b",
        r"\bci-dessus mentionn", r"\bceci étant\b",
    ),
}  # fmt: skip
"""Regular expressions of the old wording: whole phrases, since a single word may be right."""


def sentences_of(language: str) -> list[str]:
    """All texts of a language; English is the source of both catalogues."""
    catalog = read("fr" if language == "en" else language)
    texts = [
        message.id if language == "en" else message.string for message in catalog if message.id
    ]
    return [
        str(text)
        for each in texts
        for text in (each if isinstance(each, list | tuple) else (each,))
    ]


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_no_sentence_has_a_rejected_phrase(language: str) -> None:
    found = [
        (phrase, sentence)
        for sentence in sentences_of(language)
        for phrase in REJECTED[language]
        if re.search(phrase, re.sub(r"`[^`]*`", "", sentence), re.IGNORECASE)
    ]
    assert found == []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_each_rejected_phrase_can_be_found(language: str) -> None:
    old = {
        "en": "The operator is told of whom the message was.",
        "pt_BR": "Por favor, fale com o operador.",
        "fr": "Veuillez demander à l’opérateur.",
    }[language]
    assert sum(bool(re.search(one, old, re.IGNORECASE)) for one in REJECTED[language]) >= 2
