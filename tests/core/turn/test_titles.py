"""Titles that a model suggests are text from outside: short, on one line, without markup."""

from __future__ import annotations

from core.turn.titles import MAX_CONVERSATION_TITLE_CHARACTERS, clean_title, first_words

SUGGESTED = {
    "Overdue invoices": "Overdue invoices",
    '"Overdue invoices."': "Overdue invoices",
    "**Title:** Overdue *invoices*": "Overdue invoices",
    "Título: Faturas vencidas\n\nI chose this because": "Faturas vencidas",
    "```\nFactures\n```": "Factures",
    "# Plan [here](https://evil.example/x) now": "Plan here now",
    "See https://evil.example/?q=1 or www.evil.example": "See or",
    "<!channel> <@U123> @everyone look": "everyone look",
    "\x1b[31mRed\x1b[0m \u202etitle": "Red title",
    "What now?": "What now?",
    "Here is a title:\n\nOrders of Ana": "Orders of Ana",
    "**Title:**\nOrders": "Orders",
    '{"title": "Orders"}': "Orders",
    '```json\n{"title": "Orders"}\n```': "Orders",
    "Conversation title: Orders": "Orders",
    "Título da conversa: Pedidos": "Pedidos",
    "Titre de la conversation : Commandes": "Commandes",
    "  \n \n": "",
    "***": "",
}


def test_a_suggested_title_is_cleaned() -> None:
    got = {raw: clean_title(raw) for raw in SUGGESTED}
    assert got == SUGGESTED
    for long in ("word " * 50, "x" * 5000, "語" * 200, "# " + "very " * 9000):
        assert 0 < len(clean_title(long)) <= MAX_CONVERSATION_TITLE_CHARACTERS + 1, long[:20]
    assert first_words("## The *first* [words](https://a.example) of it") == "The first words of it"
