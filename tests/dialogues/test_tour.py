"""The demo model's tour over the sample tables, as a new owner takes it in each language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.base.i18n import say, use_locale
from core.models.demo_model import TOUR, TourStep, find_tour_step
from tests.dialogues.test_sample import owner

WORDS = {
    "en": ("demo model", "Next, try: ", "Change a row in Invoices (sample)", "undo"),
    "pt-BR": (
        "modelo de demonstração",
        "Agora experimente: ",
        "Alterar uma linha de Invoices (exemplo)",
        "desfazer",
    ),
    "fr": (
        "modèle de démonstration",
        "Essayez ensuite\u00a0: ",
        "Modifier une ligne dans Invoices (exemple)",
        "annuler",
    ),
}
NEAR: dict[str, TourStep | None] = {
    "overdue invoices please": "overdue",
    "quais faturas estao atrasadas": "overdue",
    "LES FACTURES IMPAYÉES": "overdue",
    "mark it as paid": "pay",
    "please set the first overdue one to paid": "pay",
    "marca a mais antiga como paga": "pay",
    "passe la plus ancienne en payée": "pay",
    "undo it": "undo",
    "desfaz": "undo",
    "peux-tu annuler ça ?": "undo",
    "summarize my csv": "file",
    "o que tem na planilha?": "file",
    "que contient ce fichier": "file",
    "faça um gráfico": "draw",
    "un graphique stp": "draw",
    "quick command?": "quick",
    "como rodo um comando rapido": "quick",
    "what tables are there?": "tables",
    "quais são as tabelas": "tables",
    "quelles tables as-tu": "tables",
    "What next?": "tour",
    "e o próximo passo": "tour",
    "hello": None,
    "escreva um poema": None,
    f"overdue {'very ' * 50}": None,
}


def test_sentences_near_a_step_are_understood() -> None:
    assert {message: find_tour_step(message) for message in NEAR} == NEAR
    for locale in WORDS:
        with use_locale(locale):
            message = {step: say(sentence) for step, (sentence, _) in TOUR.items()}
        assert {step: find_tour_step(sentence) for step, sentence in message.items()} == {
            step: step for step in TOUR
        }, locale


@pytest.mark.parametrize("locale", WORDS)
async def test_the_tour_from_a_question_to_an_undone_change(tmp_path: Path, locale: str) -> None:
    demo, following, title, undo = WORDS[locale]
    with use_locale(locale):
        messages = {step: say(sentence) for step, (sentence, _) in TOUR.items()}

    async with owner(tmp_path) as here:
        headers = {"Accept-Language": locale}
        welcome = (await here.web.get("/welcome", headers=headers)).json()
        assert (welcome["demo"], welcome["sample"]) == (True, True)
        assert welcome["suggestions"] == [
            {"kind": "ask", "text": messages["overdue"]},
            {"kind": "change", "text": messages["pay"]},
            {"kind": "chart", "text": messages["draw"]},
        ]
        hello = (await here.ask("?", locale))["response"]
        assert demo in hello
        assert "OPENAI_API_KEY=" in hello
        assert [messages[step] in hello for step in ("overdue", "pay", "undo", "quick")] == [
            True,
            True,
            True,
            False,  # there is none
        ]

        answer = (await here.ask(messages["overdue"], locale))["response"]
        assert "| Number | Customer | Amount | Status | Due |" in answer
        assert "| INV-2003 | " in answer
        assert f"{following}`{messages['pay']}`" in answer
        text = (await here.ask(messages["undo"], locale))["response"]
        assert messages["pay"] in text, "nothing to undo yet"

        card = await here.card(messages["pay"], locale)
        assert card["title"] == title
        (row,) = card["rows"]
        assert [each["field"] for each in row["changes"]] == ["Status", "Paid on"]
        assert (await here.click("approve", card["id"]))["state"] == "done"
        assert here.status(3) == "Paid"
        text = (await here.ask(messages["undo"], locale))["response"]
        assert f"`{undo} {card['id']}`" in text
        assert "quick-command" not in text
        assert re.search(re.escape(following) + "`.*`", text)
        outcome = await here.ask(f"{undo} {card['id']}", locale)
        assert outcome["status"] == "done"
        assert here.status(3) == "Overdue"

        chart = (await here.ask(messages["draw"], locale))["response"]
        assert len(re.findall(r"20\d\d .*█", chart)) > 3, chart
        assert "OPENAI_API_KEY=" in chart, "the tour ends"
        assert messages["quick"] not in chart
        assert "StackSpot" in (await here.ask(messages["quick"], locale))["response"]


NAMED = {
    "mark INV-2024 as paid": "INV-2024",
    "Please set invoice inv-2031 to paid.": "INV-2031",
    "Marque a fatura Inv-2010 como paga": "INV-2010",
    "Passe la facture INV-2017 en payée, stp": "INV-2017",
    "mark the oldest overdue invoice as paid please": "INV-2003",
    "Marque a fatura mais antiga atrasada como paga": "INV-2003",
    "Mets la plus ancienne facture impayée en payée": "INV-2003",
}
UNCLEAR = (
    "mark INV-2003 and INV-2024 as paid",
    "mark the oldest overdue invoice and INV-2024 as paid",
    "mark the two oldest overdue invoices as paid",
    "mark the second oldest overdue invoice as paid",
    "mark the oldest invoice as paid",
    "mark the newest overdue invoice as paid",
    "mark the oldest overdue invoice of Manon Chevalier as paid",
    "mark it as paid",
    "mark INV-2003",
    "don't mark INV-2003 as paid",
    "mark INV-2003 as not paid",
    "mark INV-2003 as overdue",
    "change the invoice INV-2003 to 10 euros",
    "change the oldest paid invoice to overdue",
    "marque todas as faturas como pagas",
    "marquez les factures en retard comme payées",
)
REFUSED = {
    "mark INV-9999 as paid": "Invoice INV-9999 not found.",
    "mark 2024 as paid": "Invoice 2024 not found.",
    "mark invoice number 24 as paid": "Invoice 24 not found.",
    "mark INV-2001 as paid": "INV-2001 is already paid.",
    **dict.fromkeys(UNCLEAR, "I didn't understand which change you mean."),
    **dict.fromkeys(
        ("delete INV-2003", "pay INV-2003", "INV-2003 is paid", "export the customers"),
        "understand only a few sentences",
    ),
}


async def test_a_payment_is_proposed_for_the_invoice_that_was_named(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        for message, number in NAMED.items():
            (row,) = (await here.card(message))["rows"]
            assert (row["name"], row["after"]["Status"]) == (number, "Paid"), message


async def test_what_names_no_invoice_proposes_no_change(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        for message, answer in REFUSED.items():
            text = await here.ask(message)
            assert (text["cards"], answer in text["response"]) == ([], True), text["response"]


async def test_every_overdue_invoice_can_be_paid_and_the_tour_says_so(tmp_path: Path) -> None:
    async with owner(tmp_path) as here:
        everyone = (
            '/nocodb nocodb_update {"table": "Invoices", "filters":'
            ' [{"field": "Status", "op": "eq", "value": "Overdue"}], "set": {"Status": "Paid"}}'
        )
        card = await here.card(everyone)
        await here.click("approve", card["id"])
        for step in ("overdue", "pay"):
            text = (await here.ask(TOUR[step][0]))["response"]
            assert text.startswith("No invoices are overdue anymore. `ponte sample reset`")
