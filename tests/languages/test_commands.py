"""Commands in a person's own language: theirs alone, and what wipes takes two words."""

from __future__ import annotations

import pytest

from core.commands.grammar import TypedCommand, is_decision, parse_command

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
def test_it_is_a_command_in_its_own_language_alone(
    locale: str, typed: str, meant: TypedCommand
) -> None:
    assert parse_command(typed, locale) == meant
    for other in {"en", "pt-BR", "fr"} - {"pt-BR" if locale.startswith("pt") else "fr"}:
        assert parse_command(typed, other) is None


@pytest.mark.parametrize("locale", ["en", "pt-BR", "fr"])
def test_the_english_ones_hold_for_everybody(locale: str) -> None:
    for typed in ("help", "stop", "forget", "forget yes", "new", "approve abc234"):
        assert parse_command(typed, locale) == parse_command(typed, "en") is not None


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
    assert parse_command(asked, locale) is None


def test_a_translated_stop_does_not_wait() -> None:
    assert is_decision("parar", "pt-BR")
    assert not is_decision("parar", "fr")
    assert not is_decision("nova conversa", "pt-BR"), "it keeps its place, as `new` does"
