"""The form that changes a proposal: opened from a card's button, filled in, sent."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from core.base.errors import BadInput, NotAllowed
from core.changes.cards import REPLACED
from core.domain.changes import FormField
from tests.discord.discord_ponte import DiscordPonte
from tests.discord.test_cards import Deciding, post_cards
from tests.fakes.change_form import CARD, FIELDS, FORM, FormBoard
from tests.fakes.choices import make_choices
from tests.fakes.discord import DiscordPerson, Exchange
from tests.fakes.discord.interactions import DEFER_UPDATE, EPHEMERAL, MESSAGE, MODAL
from tests.fakes.discord.limits import CHECKBOX, SELECT, TEXT_INPUT
from tests.fakes.discord.people import fields
from tests.fakes.discord.world import Payload
from tests.time_limits import Limits


@pytest.fixture
def board() -> FormBoard:
    return FormBoard()


@pytest.fixture
async def deciding(ponte: DiscordPonte, board: FormBoard) -> Deciding:
    deciding = Deciding(ponte)
    ponte.inbox = deciding.before
    ponte.choices = replace(make_choices(ponte.model, policy=ponte.policy), board=board)
    await ponte.open()
    return deciding


def types(modal: Exchange) -> list[int]:
    return [item["type"] for item in fields(modal.data["components"])]


async def open_form(ana: DiscordPerson, message: Payload) -> Exchange:
    ack = await (await ana.click(message, "Change…")).wait_for_ack()
    assert ack.kind == MODAL, ack.data
    return ack


async def test_the_button_opens_a_form_and_stores_nothing(
    deciding: Deciding, board: FormBoard, ana: DiscordPerson
) -> None:
    message = await post_cards(deciding.ponte, ana, CARD)
    (row,) = message["components"]
    assert [button["label"] for button in row["components"]] == ["Approve", "Change…", "Deny"]
    form = await open_form(ana, message)
    assert board.presses == ["abc234.2"]
    assert types(form) == [SELECT, TEXT_INPUT, TEXT_INPUT, CHECKBOX, TEXT_INPUT]
    assert form.data["components"][4]["label"] == "*Notes* <!channel> @everyone"
    assert form.data["title"] == "Update 1 row"
    assert deciding.taken == []


async def test_only_changed_values_are_sent_and_answered_on_the_card(
    deciding: Deciding, ana: DiscordPerson
) -> None:
    message = await post_cards(deciding.ponte, ana, CARD)
    form = await open_form(ana, message)
    values: dict[str, object] = {"0": "Paid", "1": "12.50", "2": "", "3": True}
    ack = await (await ana.submit(form, **values)).wait_for_ack()
    assert ack.kind == DEFER_UPDATE
    (record,) = deciding.taken
    word, press, text = record.text.split(" ", 2)
    assert (word, press) == ("change", "abc234.2")
    assert json.loads(text) == {"Status": "Paid", "Due": "", "Done": "true"}
    assert record.is_click
    assert record.reply_to.source == message["id"]


async def test_a_form_that_changes_nothing_is_not_sent(
    deciding: Deciding, ana: DiscordPerson
) -> None:
    form = await open_form(ana, await post_cards(deciding.ponte, ana, CARD))
    ack = await (await ana.submit(form)).wait_for_ack()
    assert (ack.data["content"], ack.ephemeral) == ("You didn't change any values.", True)
    assert deciding.taken == []


@pytest.mark.parametrize(
    ("error", "words"),
    [(NotAllowed("Only members may."), "Only members may."), (BadInput(REPLACED), "replaced")],
)
async def test_who_may_not_gets_a_sentence(
    deciding: Deciding, board: FormBoard, ana: DiscordPerson, error: Exception, words: str
) -> None:
    message = await post_cards(deciding.ponte, ana, CARD)
    form = await open_form(ana, message)
    board.error = error
    for exchange in (await ana.click(message, "Change…"), await ana.submit(form, Status="Paid")):
        await exchange.wait_for_ack()
        assert (exchange.kind, exchange.ephemeral) == (MESSAGE, True)
        assert words in exchange.data["content"]
    assert deciding.taken == []


async def test_a_form_that_is_not_known_in_time_is_not_opened(
    deciding: Deciding, board: FormBoard, ana: DiscordPerson, limits: Limits
) -> None:
    message = await post_cards(deciding.ponte, ana, CARD)
    limits(CHANGE_FORM_SECONDS=0.01)
    board.gate = asyncio.Event()
    ack = await (await ana.click(message, "Change…")).wait_for_ack()
    assert "couldn't be opened in time" in ack.data["content"]
    assert ack.ephemeral


async def test_more_than_five_fields_are_chosen_first(
    deciding: Deciding, board: FormBoard, ana: DiscordPerson
) -> None:
    rows = [
        FormField(f"{n}.Name", "Name", "text", f"v{n}", (), f"Row *{n}*") for n in range(1, 131)
    ]
    long = FormField("131.@everyone Sto`ry`", "S", "lines", "x" * 4001, (), "131. Ada")
    board.form = replace(FORM, fields=(long, *rows))
    message = await post_cards(deciding.ponte, ana, CARD)
    ack = await (await ana.click(message, "Change…")).wait_for_ack()
    assert (ack.kind, ack.ephemeral) == (MESSAGE, True)
    assert ack.original is not None
    menus = [row["components"][0] for row in ack.original["components"]]
    assert [len(menu["options"]) for menu in menus] == [25] * 5
    assert menus[0]["options"][0]["description"] == "Row *1*"
    text = ack.original["content"]
    assert text.startswith("Choose up to 5 fields to change.\nNot in this form: ")
    assert "@everyone" not in text
    assert "131." in text, "the name to type"
    assert "Sto\\`ry\\`" in text
    assert "`change abc234 FIELD = VALUE`" in text

    choices = [option["value"] for option in menus[1]["options"][:5]]
    modal = await (await ana.select(ack.original, *choices, menu=1)).wait_for_ack()
    assert modal.kind == MODAL
    assert modal.data["components"][0]["description"] == "Row *26*"
    request = await (await ana.submit(modal, **{choices[1]: "new"})).wait_for_ack()
    await request.wait_until(lambda exchange: exchange.original is None)  # the menus are gone
    (record,) = deciding.taken
    assert record.text == 'change abc234.2 {"27.Name": "new"}'


async def test_a_forged_choice_is_refused(
    deciding: Deciding, board: FormBoard, ana: DiscordPerson
) -> None:
    board.form = replace(FORM, fields=FIELDS * 2)
    message = await post_cards(deciding.ponte, ana, CARD)
    press = await (await ana.click(message, "Change…")).wait_for_ack()
    assert press.original is not None
    ack = await (await ana.select(press.original, "99", "x")).wait_for_ack()
    assert (ack.kind, ack.data["flags"]) == (MESSAGE, EPHEMERAL)
    assert "couldn't read this form" in ack.data["content"]


async def test_a_forged_form_is_refused(deciding: Deciding, ana: DiscordPerson) -> None:
    card = await post_cards(deciding.ponte, ana, CARD)
    for forgeries in ({"custom_id": "17"}, {"custom_id": "Secret"}, {"value": "x" * 2_000_000}):
        form = await open_form(ana, card)
        for item in form.data["components"]:
            item["component"] = (
                item["component"] | forgeries if item["component"]["type"] == 4 else {"type": 0}
            )
        ack = await (await ana.submit(form)).wait_for_ack()
        assert "couldn't read this form" in ack.data["content"], [*forgeries]
    assert deciding.taken == []


async def test_odd_fields_open_as_text(
    deciding: Deciding, board: FormBoard, ana: DiscordPerson
) -> None:
    odd = (
        FormField("a", "a" * 5000, "select", "Gone", ("Open", "Paid")),
        FormField("b", "", "select", "1", tuple(map(str, range(26)))),
        FormField("c", "c", "select", "", ("x" * 101, "y")),
        FormField("d", "d", "select", "", ()),
        FormField("e", "e", "text", "two\nlines"),
    )
    board.form = replace(FORM, title="", fields=odd)
    form = await open_form(ana, await post_cards(deciding.ponte, ana, CARD))
    assert types(form) == [TEXT_INPUT] * 5
    ack = await (await ana.submit(form)).wait_for_ack()
    assert ack.data["content"] == "You didn't change any values."
