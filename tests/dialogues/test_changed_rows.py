"""A person changes proposed rows of NocoDB: other values of the same row stay as proposed."""

from __future__ import annotations

from adapters.slack.forms import build_change_form
from core.commands.grammar import render_change
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import on_slack, says
from tests.dialogues.test_nocodb_rules import team

VALUES = {
    "Name": " Ana\u200d \u202e& co ",
    "Status": "Lead",
    "Tags": ["new"],
    "Active": True,
    "Since": "2026-11-20",
    "Email": "z@example.com",
    "Value": 7.25,
    "Notes": "a\nb = c\n\n d",
    "Seen": "2026-11-20 10:00",
}


async def test_values_that_a_person_does_not_change_stay_as_proposed(bot_home: BotHome) -> None:
    async with team(bot_home, "Orders", "ask") as crm:
        (card,) = (await crm.mia_calls("k1", "create", table="Customers", rows=[VALUES])).cards
        ledger = crm.ponte.engine.changes.ledger
        before = (await ledger.get(card.id)).steps[0].write.after
        answer = await says(crm.ponte, render_change(card.press_id, {"Value": "8"}), "k2")
        after = (await ledger.get(card.id)).steps[0].write.after
        assert after == {**(before or {}), "Value": 8}, answer.text
        answer = await says(crm.ponte, f"change {card.id} Tags =\nSeen =\nNotes =", "k3")
        after = (await ledger.get(card.id)).steps[0].write.after
        emptied = {"Tags": None, "Seen": None, "Notes": None}
        assert after == {**(before or {}), "Value": 8, **emptied}, answer.text


async def test_links_are_found_by_title(bot_home: BotHome) -> None:
    """A row that the proposal does not link to, too. Nothing is guessed among several."""
    async with team(bot_home, "Orders", "ask") as crm:
        orders = crm.table("Orders")
        (display,) = (title for title, value in orders.rows[12].items() if value == "Order 12")
        orders.rows[44] = {**orders.rows[12], display: "Order 14", "Id": 44}
        row = {"Name": "Z", "Orders": [12]}
        (card,) = (await crm.mia_calls("k1", "create", table="Customers", rows=[row])).cards
        links = {"Order 13, 15, Order 12": ["13", "15", "12"], "Order 14": [], "Order 999": []}
        for number, (text, ids) in enumerate(links.items()):
            answer = await says(crm.ponte, f"change {card.id} Orders = {text}", f"k{number + 2}")
            change = await crm.ponte.engine.changes.ledger.get(card.id)
            after = change.steps[0].write.after or {}
            got = [each["id"] for each in after["Orders"]]
            assert got == (ids or ["13", "15", "12"]), answer.text
            assert ids or "Order 14: 14, 44" in answer.text or "Order 999" in answer.text


async def test_forms_tell_rows_with_one_name_apart(bot_home: BotHome) -> None:
    async with team(bot_home, "Orders", "ask") as crm:
        for name, values in (("Ada", {"Name": "Ada", "Status": "Lead"}), ("", {"Status": "Lead"})):
            rows = [values, values]
            (card,) = (
                await crm.mia_calls(name or "k", "create", table="Customers", rows=rows)
            ).cards
            at = on_slack("x", "k2")
            views = crm.ponte.engine.changes.views
            form = await views.find_form(card.press_id, at.author, at.address)
            labels = [field.row for field in form.fields if field.label == "Status"]
            assert labels == [f"1. {name}".strip(), f"2. {name}".strip()]
            view = build_change_form(form, {})
            assert [one["type"] for one in view["blocks"]].count("header") == 2
