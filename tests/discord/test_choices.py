"""The buttons of a question on Discord."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.tools.asking import AskingSource
from tests.dialogues.test_asking_person import HOSTILE, Asker
from tests.discord.discord_ponte import DiscordPonte
from tests.discord.test_saved_questions import list_labels
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.discord import DiscordPerson
from tests.fakes.discord.world import Channel


@pytest.fixture
async def office(ponte: DiscordPonte) -> AsyncIterator[DiscordPonte]:
    ponte.policy = allow_list(frozenset({"*"}))
    ponte.choices = make_choices(Asker(), [AskingSource()], ponte.policy)
    await ponte.open()
    await ponte.ready()
    yield ponte
    await ponte.close()


async def test_the_asker_chooses_once_and_the_post_shows_it(
    office: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ana.mention("How many?", channel)
    post = await ana.wait_for_text("Which one?", channel)
    labels = ["This month", "The last 30 days", "Something else…"]
    await office.discord.wait_until(lambda: list_labels(post) == labels)
    bo = DiscordPerson(office.discord, office.discord.world.user("Bo"))
    refused = await (await bo.click(post, "This month")).wait_for_ack()
    assert (refused.ephemeral, refused.text) == (True, "Only the person who was asked can choose.")
    typing = await (await ana.click(post, "Something else…")).wait_for_ack()
    assert (typing.ephemeral, typing.text) == (True, "Type your answer as a message.")
    for label in ("The last 30 days", "This month"):
        await ana.click(post, label)
    answer = await ana.wait_for_text("You said: The last 30 days", channel)
    assert answer["message_reference"]["message_id"] == post["id"]
    text = "Which one?\n\n✓ The last 30 days"
    await office.discord.wait_until(lambda: (post["content"], post["components"]) == (text, []))


async def test_five_choices_and_typing_have_a_button_each(
    office: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    model = office.engine.manager._assistant.model
    assert isinstance(model, Asker)
    model.choices = HOSTILE
    await ana.mention("How many?", channel)
    post = await ana.wait_for_text("Which one?", channel)
    await office.discord.wait_until(lambda: len(post["components"]) == 2)
    assert len(list_labels(post)) == 6
    await ana.click(post, "stop")
    await ana.wait_for_text("You said: stop", channel)


async def test_a_choice_in_a_private_answer_stays_private(
    office: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    exchange = await ana.slash("ask", channel, prompt="How many?", private=True)
    await exchange.wait_for_text("Which one?")
    post = exchange.original
    assert post
    await office.discord.wait_until(lambda: list_labels(post)[:1] == ["This month"])
    await ana.click(post, "This month")
    me = office.discord.world.me.id

    def list_answers() -> list[str]:
        return [str(one["content"]) for one in office.discord.world.messages_by(me, ana.dm.id)]

    # It is streamed.
    await office.discord.wait_until(lambda: "You said: This month" in "".join(list_answers()))
    assert len(list_answers()) == 1
    assert office.discord.world.messages_by(me, channel.id) == []
