"""The form on Discord from its button to the approval: the card is redrawn where it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.dialogues.test_discord_approvers import Team, team
from tests.fakes.change_form import FormBoard
from tests.fakes.discord.people import fields

__all__ = ["team"]  # the fixture


async def test_a_changed_card_is_redrawn_in_place_and_somebody_else_approves(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = FormBoard()
    assert team.ponte.choices is not None
    team.ponte.choices = replace(team.ponte.choices, board=board)
    await team.restart()
    monkeypatch.setattr(board, "find_form", team.ponte.engine.changes.views.find_form)
    team.table.is_editable = True
    values = {"Name": "Ada L.", "Status": "Won", "Value": "7"}
    await team.ana.mention(f"call table_update {json.dumps({'rows': {'1': values}})}", team.channel)
    await team.discord.wait_until(lambda: team.cards(team.channel))
    (card,) = team.cards(team.channel)
    opened = await (await team.ana.click(card, "Change…")).wait_for_ack()
    labels = {
        label["label"]: item["custom_id"]
        for label, item in zip(
            opened.data["components"], fields(opened.data["components"]), strict=True
        )
    }
    await (await team.ana.submit(opened, **{labels["Status"]: "Lost"})).wait_for_ack()
    await team.discord.wait_until(
        lambda: "Version 2, changed by Ana." in card["embeds"][0]["description"]
    )
    assert "Lost" in card["embeds"][0]["description"]
    assert len(team.cards(team.channel)) == 1
    old = await (await team.ana.submit(opened, **{labels["Status"]: "Open"})).wait_for_ack()
    assert "This version was replaced" in old.data["content"]
    await (await team.cleo.click(card, "Approve")).wait_for_ack()
    await team.discord.wait_until(lambda: team.table.applied)
    await team.discord.wait_until(lambda: "Done." in card["embeds"][0]["description"])
    assert team.table.rows["1"]["Status"] == "Lost"
    late = await (await team.ana.submit(opened, **{labels["Status"]: "Open"})).wait_for_ack()
    assert late.ephemeral
