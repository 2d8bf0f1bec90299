"""Phrases that Ponte does not use towards people, in any of its languages."""

from __future__ import annotations

import re

import pytest

from core.commands.grammar import TRANSLATED
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
        r"\bis let\b", r"\bcannot be had\b", r"\bgo(es)? on as\b",
        r"\b(no|every|some)body\b", r"\bany more\b", r"\bby myself\b", r"\ballowance\b",
        r"\bthe setting\b", r"\bthe role \{", r"\bthis Ponte\b", r"\banother place\b",
        r"\b(failed|running|waiting) turns?\b", r"\bturns? (that|is|has)\b",
        r"^There (is|are) no (schedule|API token|field|time zone)",
    ),
    "pt_BR": (
        r"\bpor favor\b", r"\b[oa] operador[a]?\b", r"\b(é|foi|são) dit[oa]s?\b",
        r"\bde tudo o que\b", r"\bfica(m)? de pé\b", r"\bao que parece\b", r"\bse faz favor\b",
        r"\bnão se sabe\b", r"\bquem (o )?opera\b", r"\bnão é (um )?token de\b",
        r"\b(este|deste) bot\b", r"\bvoltar atrás\b", r"\bpedido HTTP\b", r"\btu\b",
        r"\bpublica(r|ções|ção|da)\b", r"\brodando\b", r"\b(o|ao|do) StackSpot\b", r"\bturnos?\b",
        r"\bresponsável (por este|pelo) agendamento\b", r"\blog de auditoria\b", r"\bdeste Ponte\b",
    ),
    "fr": (
        r"\bveuillez\b", r"s’il vous plaît", r"\bl’opérateur\b", r"\b(est|sont) dite?s?\b",
        r"\bn’est pas un jeton de\b", r"\bfait foi\b", r"\bse tient\b", r"\bon ne sait pas\b",
        r"\bfaire tourner\b", r"\btourne (sur|dans)\b", r"\btu\b", r"\bton\b",
        r"\bci-dessus mentionn", r"\bceci étant\b", r"\blà-bas\b", r"\bsaisissez\b", r"\ble pont\b",
        r"(\d|\}|\bde|\bet)\stokens?\b", r"\bdécider pour\b", r"\bredemandez\b",
        r"\bresponsable de cette\b",
        r"\btours? (en|qui|est)\b", r"\bde ce Ponte\b",
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
    matches = [
        (phrase, sentence)
        for sentence in sentences_of(language)
        for phrase in REJECTED[language]
        if re.search(phrase, re.sub(r"`[^`]*`", "", sentence), re.IGNORECASE)
    ]
    assert matches == []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_each_entry_is_a_whole_sentence_without_quotes_of_python(language: str) -> None:
    """A part that is put behind another begins with a mark or ends with a space."""
    assert [
        sentence
        for sentence in sentences_of(language)
        if re.search(r"!r\}|^[.,;:)]|[^:\s] $", sentence) and not sentence.startswith("…")
    ] == []


def without_code(sentence: str) -> str:
    return re.sub(r"`[^`]*`", "`x`", sentence)


def test_english_is_contracted() -> None:
    """As people write to people: can't, doesn't, isn't, won't, it's, you're. The guides are not."""
    verbs = "do|does|did|is|are|was|were|has|have|had|will|would|could|should"
    long_form = re.compile(
        rf"\bcannot\b|\b({verbs}) not\b|(^|[.?!:,] )(it is|you are|they are|i am) [a-z]",
        re.IGNORECASE,
    )
    assert [one for one in sentences_of("en") if long_form.search(without_code(one))] == []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_two_sentences_end_with_a_mark(language: str) -> None:
    assert [
        sentence
        for sentence in map(without_code, sentences_of(language))
        if re.search(r"[^.][.?!] [A-Z]", sentence)
        and re.search(r"(?<!: `x`)(?<![.?!:…_”»})])$", sentence)
        and "\n" not in sentence
    ] == []


@pytest.mark.parametrize(("locale", "language"), [("pt-BR", "pt_BR"), ("fr", "fr")])
def test_people_read_commands_in_their_language(locale: str, language: str) -> None:
    """Also the action after `schedule ID`. What Slack and the shell read stays English."""
    own = set(TRANSLATED[locale].values())
    english = {name for name in own if " " not in name} | {"quick-command"}
    actions = {"pause", "resume", "delete"}
    matches = []
    for sentence in sentences_of(language):
        for matche in re.findall(r"`([^`/]+)`", sentence):
            name, *more = matche.split()
            is_english = name in english and bool(more)
            if is_english or (actions & {*more} and name != "ponte"):
                matches.append(sentence)
    assert matches == []


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_each_rejected_phrase_can_be_found(language: str) -> None:
    old = {
        "en": "The operator is told of whom the message was.",
        "pt_BR": "Por favor, fale com o operador.",
        "fr": "Veuillez demander à l’opérateur.",
    }[language]
    assert sum(bool(re.search(one, old, re.IGNORECASE)) for one in REJECTED[language]) >= 2
