"""Translated commands work for everybody. Commands that erase something have two words."""

from __future__ import annotations

import pytest

from core.base.i18n import LOCALES, use_locale
from core.commands.grammar import TypedCommand, is_decision, parse_command
from tests.fakes.choices import make_message

WORDS = [
    ("pt-BR", "ajuda", TypedCommand("help")),
    ("pt-BR", "/Estado", TypedCommand("status")),
    ("pt_BR", "parar", TypedCommand("stop")),
    ("pt-PT", "Alterações", TypedCommand("changes")),
    ("pt-BR", "aprovar abc234", TypedCommand("approve", id="abc234")),
    ("pt-BR", "recusar ABC234", TypedCommand("deny", id="abc234")),
    ("pt-BR", "desfazer abc234", TypedCommand("undo", id="abc234")),
    ("pt-BR", "aprovações", TypedCommand("approvals")),
    ("pt-BR", "nova conversa", TypedCommand("new")),
    ("pt-BR", "esquecer  sim", TypedCommand("forget", confirmed=True)),
    ("pt-BR", "comando-rápido abc x=1",
     TypedCommand("quick-command", slug="abc", input={"x": "1"})),
    ("fr", "aide", TypedCommand("help")),
    ("fr-CA", "état", TypedCommand("status")),
    ("fr", "ARRÊTER", TypedCommand("stop")),
    ("fr", "arreter", TypedCommand("stop")),
    ("fr", "!approuver abc234", TypedCommand("approve", id="abc234")),
    ("fr", "refuser abc234", TypedCommand("deny", id="abc234")),
    ("fr", "annuler abc234", TypedCommand("undo", id="abc234")),
    ("fr", "Approbations", TypedCommand("approvals")),
    ("fr", "nouvelle conversation", TypedCommand("new")),
    ("fr", "Oublier oui", TypedCommand("forget", confirmed=True)),
    ("fr", "commande-rapide abc texte", TypedCommand("quick-command", slug="abc", input="texte")),
]  # fmt: skip


@pytest.mark.parametrize(("locale", "typed", "meant"), WORDS)
def test_a_translated_command_works_in_every_language(
    locale: str, typed: str, meant: TypedCommand
) -> None:
    for current in LOCALES:
        with use_locale(current):
            assert parse_command(typed) == meant, (locale, current)


def test_english_commands_work_in_every_language() -> None:
    for locale in LOCALES:
        with use_locale(locale):
            for inputs in ("help", "stop", "forget", "forget yes", "new", "approve abc234"):
                assert parse_command(inputs) is not None, locale


QUESTIONS = """
nouveau | nouvelle | oublier | oublie ça | aide-moi avec la table | annuler la commande |
arrêter cela | novo | esquecer | esqueça isso | aprovar o pedido | uso de CPU | ajuda com isto
"""


def test_a_word_that_could_be_a_question_is_no_command() -> None:
    assert [text for text in QUESTIONS.split("|") if parse_command(text.strip())] == []


def test_a_translated_stop_does_not_wait() -> None:
    assert is_decision(make_message("parar", "k1"))
    assert not is_decision(make_message("nova conversa", "k1")), "it keeps its place, as `new` does"
