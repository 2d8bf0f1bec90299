"""Buttons and forms that version 0.2 posted on Discord do the same after an upgrade."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.interactions import COMPONENT, MODAL_SUBMIT
from tests.fakes.discord.people import fields, read_default
from tests.fakes.discord.world import Payload
from tests.fakes.old_buttons import (
    EFFECTS,
    FORM,
    LONG_FORM,
    RECORDED,
    TURN,
    VALUES,
    Board,
    record_effects,
)

FORMS = {
    "ponte:ask": "ask",
    "ponte:about": "about",
    "ponte:quick:summary:named": "inputs",
    "ponte:quick:summary": "quick",
    "ponte:change:abc234.2": "change",
    "ponte:reason:abc234.2": "reason",
    f"ponte:why:{TURN}": "feedback",
}


def fill_in(field: Payload) -> Payload:
    value = VALUES.get(field["custom_id"], read_default(field))
    value = value == "true" if field["type"] == 23 else value
    return {"type": field["type"], "custom_id": field["custom_id"], "value": value}


async def test_old_buttons_do_what_they_did(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects, done, board = record_effects(monkeypatch), dict[str, list[str]](), Board()
    ponte.policy = allow_list(frozenset({"*"}))
    ponte.choices = replace(make_choices(ponte.model, policy=ponte.policy), board=board)
    await ponte.open()
    await ponte.ready()
    await ana.say("hello")
    post = await ana.wait_for_text("You said: hello")
    effects.record_messages(ponte.adapter._interactions)
    begin = discord.interactions.begin
    rows = (row for rows in RECORDED["discord"]["messages"] for row in rows)
    for item in (item for row in rows for item in row["components"]):
        data = {"component_type": item["type"], "values": ["1", "3"]}
        data["custom_id"] = item["custom_id"].replace("ASKER", str(ana.user.id))
        board.form = LONG_FORM if "fields" in data["custom_id"] else FORM
        exchange = await begin(COMPONENT, ana.user, ana.dm, data, "en-US", message=post)
        await exchange.wait_for_ack()
        if "custom_id" in exchange.data:
            labels = (label["label"] for label in exchange.data["components"])
            effects.append(f"form: {', '.join(labels)}")
        effects += ["shown: x = 1"] if "x = 1" in exchange.text else []
        name = item["custom_id"].removeprefix("ponte:").replace(":ASKER", "")
        done[name.replace(":", " ").replace(",", " ")] = effects.take()
    board.form = FORM
    for form in RECORDED["discord"]["forms"]:
        components = [{"type": 18, "component": fill_in(f)} for f in fields(form["components"])]
        data = {"custom_id": form["custom_id"], "components": components}
        name = FORMS[form["custom_id"]]
        opener = {"message": post} if name in ("change", "reason", "feedback") else {}
        exchange = await begin(MODAL_SUBMIT, ana.user, ana.dm, data, "en-US", **opener)
        await exchange.wait_for_ack()
        done[f"form {name}"] = effects.take()
    assert done == {name: EFFECTS[name] for name in done}
    assert EFFECTS.keys() - done.keys() == {"schedule schedule abc234 pause"}
