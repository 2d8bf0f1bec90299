"""Values as people write them, read alike on every surface: typed, in the forms of Slack, Discord
and the page, each in three languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.discord.forms import change_form
from adapters.slack.forms import build_change_form, read_new_values
from core.base.i18n import use_locale
from core.chat.interactions import find_new_values
from core.commands.grammar import render_change
from core.domain.changes import ChangeForm
from core.domain.messages import Answer
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import on_slack
from tests.dialogues.test_nocodb_rules import Team, team

PROPOSED = {"Name": "Zoé", "Value": 5, "Since": "2026-11-20", "Active": False, "Status": "Lead"}
TYPED = {
    "en": {"Value": "1,234.5", "Since": "12/24/2026", "Active": "Yes", "Status": "active"},
    "pt-BR": {"Value": "1.234,5", "Since": "24/12/2026", "Active": "Sim", "Status": "ACTIVE"},
    "fr": {"Value": "1\u202f234,5", "Since": "24 déc. 2026", "Active": "oui", "Status": "Active"},
}
AFTER = {**PROPOSED, "Value": 1234.5, "Since": "2026-12-24", "Active": True, "Status": "Active"}


def on_slack_form(form: ChangeForm, typed: Mapping[str, str]) -> dict[str, str]:
    """The values of Slack's modal. A menu, a calendar and a box have their own values."""
    values: dict[str, Any] = {}
    for at, block in enumerate(
        one for one in build_change_form(form, {})["blocks"] if one["type"] == "input"
    ):
        text, kind = typed.get(form.fields[at].label), block["element"]["type"]
        state: dict[str, Any] = {"type": kind, "value": block["element"].get("initial_value")}
        if kind == "static_select":
            state["selected_option"] = {"value": "Active" if text else "Lead"}
        elif kind == "datepicker":
            state["selected_date"] = "2026-12-24" if text else "2026-11-20"
        elif kind == "checkboxes":
            state["selected_options"] = [{"value": "true"}] if text else []
        elif text:
            state["value"] = text
        values[block["block_id"]] = {"value": state}
    return read_new_values({"state": {"values": values}})


def on_discord_form(form: ChangeForm, typed: Mapping[str, str]) -> dict[str, str]:
    """The values of Discord's modal, in which days are texts."""
    modal = change_form(form, range(len(form.fields))[:5]).to_dict()
    values = {}
    for label in modal["components"]:
        component: Any = label["component"]
        at = component["custom_id"]
        value = component.get("value") or ""
        if options := component.get("options"):
            value = next((one["value"] for one in options if one.get("default")), "")
        value = "false" if component["type"] == 23 else value
        text = typed.get(form.fields[int(at)].label, value)
        is_choice = component["type"] in (3, 23) and text != value
        values[at] = {"3": "Active", "23": "true"}[str(component["type"])] if is_choice else text
    return values


def on_the_page(form: ChangeForm, typed: Mapping[str, str]) -> dict[str, str]:
    """The values of the page's form, whose inputs of days, menus and boxes have their own."""
    own = {"date": "2026-12-24", "select": "Active", "checkbox": "true"}
    return {
        str(at): own.get(field.type, typed[field.label]) if field.label in typed else field.value
        for at, field in enumerate(form.fields)
    }


SURFACES: dict[str, Callable[[ChangeForm, Mapping[str, str]], dict[str, str]]] = {
    "slack": on_slack_form,
    "discord": on_discord_form,
    "page": on_the_page,
}


async def change(crm: Team, text: str, locale: str, clicked: bool = False) -> Answer:
    message = on_slack(text, f"{hash(text)}", clicked=clicked)
    return await crm.ponte.ask_message(replace(message, locale=locale))


async def propose(crm: Team, *rows: Mapping[str, object]) -> str:
    answer = await crm.mia_calls("k1", "create", table="Customers", rows=list(rows))
    (card,) = answer.cards
    return card.id


async def proposed_rows(crm: Team, id: str) -> list[Any]:
    response = await crm.ponte.engine.changes.ledger.get(id)
    return [step.write.after for step in response.steps]


@pytest.mark.parametrize("locale", TYPED)
@pytest.mark.parametrize("surface", ["typed", *SURFACES])
async def test_each_surface_reads_the_form_of_the_person(
    bot_home: BotHome, surface: str, locale: str
) -> None:
    async with team(bot_home, "Orders", "ask") as crm:
        id = await propose(crm, PROPOSED)
        if surface == "typed":
            lines = "\n".join(f"{name} = {text}" for name, text in TYPED[locale].items())
            answer = await change(crm, f"change {id}\n{lines}", locale)
        else:
            at = on_slack("x", "k2")
            with use_locale(locale):
                views = crm.ponte.engine.changes.views
                form = await views.find_form(f"{id}.1", at.author, at.address)
                assert next(one.value for one in form.fields if one.label == "Value") == "5"
                values = SURFACES[surface](form, TYPED[locale])
                text = render_change(f"{id}.1", find_new_values(form, values))
            answer = await change(crm, text, locale, clicked=True)
        assert await proposed_rows(crm, id) == [AFTER], answer.text


async def test_one_line_sets_all_rows_and_says_so(bot_home: BotHome) -> None:
    async with team(bot_home, "Orders", "ask") as crm:
        id = await propose(crm, *({"Name": f"N{n}", "Status": "Lead"} for n in range(3)))
        answer = await change(crm, f"alterar {id} status = lost", "pt-BR")
        assert answer.text.endswith(
            f"Os novos valores da solicitação `{id}` foram salvos em 3 linhas."
        )
        assert [row["Status"] for row in await proposed_rows(crm, id)] == ["Lost"] * 3
        response = await crm.ponte.engine.changes.ledger.get(id)
        assert response.proposal.revision == 2
        answer = await change(crm, f"alterar {id} 2.Status = quando", "pt-BR")
        assert answer.text == (
            "Linha 2, Status: \\`quando\\` não é uma opção. Escreva uma destas: Lead, Active, Lost."
        )


async def test_a_value_that_the_table_refuses_names_its_row(bot_home: BotHome) -> None:
    async with team(bot_home, "Orders", "ask") as crm:
        id = await propose(crm, *({"Name": f"N{n}", "Email": "a@b.co"} for n in range(2)))
        answer = await change(crm, f"modifier {id} 2.Email = quand", "fr")
        assert answer.text == (
            "Ligne 2, Email : écrivez une adresse e-mail, par exemple `ana@example.com`."
        )


async def test_a_day_in_numbers_is_read_as_in_the_country_of_who_types_it(
    bot_home: BotHome,
) -> None:
    async with team(bot_home, "Orders", "ask") as crm:
        id = await propose(crm, PROPOSED)
        refusal = await change(crm, f"change {id} Since = 03/04/2026", "en")
        assert "“03/04/2026” can mean 2026-03-04 or 2026-04-03." in refusal.text
        await change(crm, f"change {id} Since = 03.04.2026", "en-GB")
        assert [row["Since"] for row in await proposed_rows(crm, id)] == ["2026-04-03"]
