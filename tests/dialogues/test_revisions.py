"""A press carries the revision that its card showed."""

from __future__ import annotations

import json

import discord
import pytest

from adapters.discord import card_embeds
from adapters.slack import render as slack_render
from core.commands.grammar import parse_command, split_change_id
from core.domain.messages import Card
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import ADA, bot, propose
from tests.fakes.choices import make_message
from tests.fakes.memory_table import MemoryTable


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("abc234", ("abc234", 0, "")),
        ("abc234.2", ("abc234", 2, "")),
        ("abc234-1234", ("abc234", 0, "1234")),
        ("abc234.12-1234", ("abc234", 12, "1234")),
    ],
)
def test_a_typed_id_has_its_revision_and_its_code(word: str, parts: tuple[str, int, str]) -> None:
    command = parse_command(f"approve {word}")
    assert command
    assert split_change_id(command.id) == parts


def test_the_first_revision_is_not_named() -> None:
    card = Card("abc234", "proposal", "Title", "Text")
    assert card.press_id == "abc234"
    assert Card("abc234", "proposal", "Title", "Text", revision=3).press_id == "abc234.3"


async def test_a_press_of_another_revision_does_nothing(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        await ponte.engine.stores.database.write(
            lambda connection: connection.execute("UPDATE changes SET revision = 2")
        )
        at = make_message("unused", "k0")
        for word in ("approve", "deny"):
            late = await ponte.click(f"{word} {card.press_id}", at)
            assert (
                late.text == "This version was replaced, so nothing was done. See the newest one."
            )
            assert [(each.state, each.revision) for each in late.cards] == [("open", 2)]
        assert table.rows == {}
        (newest,) = late.cards
        click = await ponte.click(f"approve {newest.press_id}", at)
        assert click.cards[0].state == "done"
        assert table.rows == {"1": ADA}
        undone = await ponte.click(f"undo {card.id}", at)
        assert undone.cards[0].state == "undone", "the last version alone can be undone"
        assert table.rows == {}


async def test_buttons_carry_the_revision() -> None:
    card = Card("abc234", "proposal", "Title", "Text", actions=("approve",), revision=2)
    assert '"value": "abc234.2"' in json.dumps(slack_render.card_blocks(card))
    (button,) = card_embeds.build_buttons([card]).children
    assert isinstance(button, discord.ui.Button)
    assert card_embeds.read_press(button.custom_id or "") == ("approve", "abc234.2")
