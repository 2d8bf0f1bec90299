"""A new button needs only a row of the table, on Discord; those without room are in a menu."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import discord as sdk
import pytest

from adapters.discord.card_embeds import build_buttons
from core.chat.buttons import BUTTONS
from core.chat.incoming import EVENT_FAILED
from core.chat.interactions import FORM_UNREADABLE
from core.domain.buttons import ButtonOffer
from core.domain.messages import Card
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.faults import Fault
from tests.fakes.discord.interactions import COMPONENT, MODAL_SUBMIT
from tests.toys.clap import SAVE

CARD = Card("abcde2", "proposal", "Update 1 row", "", actions=("approve", "change", "deny"))


async def test_a_new_row_is_drawn_asks_in_its_form_and_becomes_its_command(
    ponte: DiscordPonte, ana: DiscordPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUTTONS, SAVE.name, SAVE)
    await ponte.open()
    await ponte.ready()
    await ana.say("hello")
    await ana.wait_for_messages(lambda seen: "Save…" in str([m["components"] for m in seen][-1:]))
    post = await ana.wait_for_text("You said: hello")
    turn = post["components"][0]["components"][-1]["custom_id"].rpartition(":")[2]
    conversations = ponte.engine.conversations
    entry = await conversations.journal.history_entry(turn)
    await conversations.inbox.wait_for_answer(entry.seq)
    form = await (await ana.click(post, "Save…")).wait_for_ack()
    assert form.data["title"] == "Save answer"
    await (await ana.submit(form, title="Leads")).wait_for_ack()
    (text,) = [text for text in ponte.taken if text.startswith("save ")]
    assert text == f"save {turn} as Leads"
    await ana.say("and now")
    await ana.wait_for_messages(lambda seen: "Save…" in str([m["components"] for m in seen][-1:]))
    other = await ana.wait_for_text("You said: and now")
    other["components"] = post["components"]  # forged: the button of another answer
    refusal = await (await ana.click(other, "Save…")).wait_for_ack()
    assert (refusal.ephemeral, refusal.text) == (True, SAVE.gone)


async def test_a_press_that_is_no_row_and_a_form_without_its_value_are_told_and_do_nothing(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    await ponte.open()
    await ponte.ready()
    await ana.say("hello")
    post = await ana.wait_for_text("You said: hello")
    field = {"type": 18, "component": {"type": 4, "custom_id": "reason", "value": None}}
    presses: tuple[tuple[int, str, dict[str, Any], str], ...] = (
        (COMPONENT, "ponte:of_next_year:abc234", {"component_type": 2}, EVENT_FAILED),
        (COMPONENT, "ponte:approve:abcdef", {"component_type": 2}, EVENT_FAILED),
        (COMPONENT, "ponte:menu", {"component_type": 3, "values": []}, EVENT_FAILED),
        (MODAL_SUBMIT, "ponte:of_next_year:abc234", {"components": [field]}, EVENT_FAILED),
        (MODAL_SUBMIT, "ponte:reason:abc234", {"components": [field]}, FORM_UNREADABLE),
    )
    for kind, id, data, words in presses:
        begin = discord.interactions.begin(
            kind, ana.user, ana.dm, {"custom_id": id, **data}, "en-US", message=post
        )
        exchange = await (await begin).wait_for_ack()
        assert (exchange.ephemeral, exchange.text) == (True, words)
    assert ponte.taken == ["hello"]
    made_up = {"custom_id": "ponte:stop:stop", "component_type": 2}  # Slack's, and no person's
    begin = discord.interactions.begin(COMPONENT, ana.user, ana.dm, made_up, "en-US", message=post)
    await (await begin).wait_for_ack()
    assert ponte.taken == ["hello", "stop"]


async def test_a_thumb_down_counts_and_is_confirmed_though_discord_refuses_its_form(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    """Told that it failed, a person would press again, which takes the vote back."""
    await ponte.open()
    await ponte.ready()
    await ana.say("hello")
    await ana.wait_for_messages(lambda seen: "👎" in str([m["components"] for m in seen][-1:]))
    post = await ana.wait_for_text("You said: hello")
    turn = post["components"][0]["components"][-1]["custom_id"].rpartition(":")[2]
    conversations = ponte.engine.conversations
    entry = await conversations.journal.history_entry(turn)
    await conversations.inbox.wait_for_answer(entry.seq)
    discord.rest.faults.add(
        Fault("refuse", "POST", "/interactions/*/callback", status=400, code=50035)
    )
    exchange = await (await ana.click(post, "👎")).wait_for_ack()
    assert (exchange.ephemeral, exchange.text) == (True, "Thanks for your feedback.")


@pytest.mark.parametrize(("cards", "drawn"), [(0, 5), (2, 5), (4, 0), (5, 2)])
async def test_buttons_without_room_are_in_a_menu(cards: int, drawn: int) -> None:
    """Below five cards, no row is left for one."""
    offers = [ButtonOffer(replace(SAVE, name=f"save{n}"), "a" * 16, f"Save {n}") for n in range(9)]
    view = build_buttons([replace(CARD, id=f"abcde{n + 2}") for n in range(cards)], offers)
    rows: dict[int, list[Any]] = {}
    for item in view.children:
        rows.setdefault(item.row or 0, []).append(item)
    menus = [item for item in view.children if isinstance(item, sdk.ui.Select)]
    assert len([i for i in view.children if str(getattr(i, "label", ""))[:4] == "Save"]) == drawn
    assert [len(menu.options) for menu in menus] == ([9 - drawn] if cards < 5 else [])
    assert len(rows) <= 5
    assert all(len(row) <= 5 for row in rows.values())
