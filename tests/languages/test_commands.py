"""Commands in a person's own language: theirs alone, and what wipes takes two words."""

from __future__ import annotations

import pytest

from core.commands.grammar import Command, is_decision, parse

WORDS = [
    ("pt-BR", "ajuda", Command("help")),
    ("pt-BR", "/Estado", Command("status")),
    ("pt_BR", "parar", Command("stop")),
    ("pt-PT", "Alterações", Command("changes")),
    ("pt-BR", "aprovar abc234", Command("approve", id="abc234")),
    ("pt-BR", "recusar ABC234", Command("deny", id="abc234")),
    ("pt-BR", "desfazer abc234", Command("undo", id="abc234")),
    ("pt-BR", "aprovações", Command("approvals")),
    ("pt-BR", "nova conversa", Command("new")),
    ("pt-BR", "esquecer  sim", Command("forget", confirmed=True)),
    ("pt-BR", "comando-rápido abc x=1", Command("quick-command", slug="abc", input={"x": "1"})),
    ("fr", "aide", Command("help")),
    ("fr-CA", "état", Command("status")),
    ("fr", "ARRÊTER", Command("stop")),
    ("fr", "arreter", Command("stop")),
    ("fr", "!approuver abc234", Command("approve", id="abc234")),
    ("fr", "refuser abc234", Command("deny", id="abc234")),
    ("fr", "annuler abc234", Command("undo", id="abc234")),
    ("fr", "Approbations", Command("approvals")),
    ("fr", "nouvelle conversation", Command("new")),
    ("fr", "Oublier oui", Command("forget", confirmed=True)),
    ("fr", "commande-rapide abc texte", Command("quick-command", slug="abc", input="texte")),
]  # fmt: skip


@pytest.mark.parametrize(("locale", "typed", "meant"), WORDS)
def test_it_is_a_command_in_its_own_language_alone(locale: str, typed: str, meant: Command) -> None:
    assert parse(typed, locale) == meant
    for other in {"en", "pt-BR", "fr"} - {"pt-BR" if locale.startswith("pt") else "fr"}:
        assert parse(typed, other) is None


@pytest.mark.parametrize("locale", ["en", "pt-BR", "fr"])
def test_the_english_ones_hold_for_everybody(locale: str) -> None:
    for typed in ("help", "stop", "forget", "forget yes", "new", "approve abc234"):
        assert parse(typed, locale) == parse(typed, "en") is not None


@pytest.mark.parametrize(
    ("locale", "asked"),
    [
        ("fr", "nouveau"), ("fr", "nouvelle"), ("fr", "oublier"), ("fr", "oublie ça"),
        ("fr", "aide-moi avec la table"), ("fr", "annuler la commande"), ("fr", "arrêter cela"),
        ("pt-BR", "novo"), ("pt-BR", "esquecer"), ("pt-BR", "esqueça isso"),
        ("pt-BR", "aprovar o pedido"), ("pt-BR", "uso de CPU"), ("pt-BR", "ajuda com isto"),
    ],
)  # fmt: skip
def test_a_word_that_could_be_a_question_is_no_command(locale: str, asked: str) -> None:
    assert parse(asked, locale) is None


def test_a_translated_stop_does_not_wait() -> None:
    assert is_decision("parar", "pt-BR")
    assert not is_decision("parar", "fr")
    assert not is_decision("nova conversa", "pt-BR"), "it keeps its place, as `new` does"
