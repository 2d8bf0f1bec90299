"""`/ask` with `private`: only its asker sees the answer."""

from __future__ import annotations

import pytest

from core.domain.messages import Address, AskedIn
from tests.discord.discord_ponte import DiscordPonte, bot_messages
from tests.fakes.choices import allow_list
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.interactions import DEFER
from tests.fakes.discord.world import Channel


def direct_posts(discord: FakeDiscord, person: DiscordPerson) -> list[str]:
    me = discord.world.me.id
    return [post["content"] for post in discord.world.messages_by(me, person.dm.id)]


@pytest.fixture
async def asked(ponte: DiscordPonte) -> DiscordPonte:
    ponte.policy = allow_list(frozenset({"*"}))
    await ponte.open()
    await ponte.ready()
    return ponte


async def test_discord_shows_the_answer_to_the_asker_alone(
    discord: FakeDiscord, asked: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    exchange = await ana.slash("ask", channel, prompt="who is late?", private=True)
    await exchange.wait_for_text("You said: who is late?")
    assert (exchange.kind, exchange.ephemeral) == (DEFER, True)
    assert bot_messages(discord) == []
    public = await ana.slash("ask", channel, prompt="hello")
    await public.wait_for_text("You said: hello")
    assert "late" not in str(asked.model.asks[-1].input)
    journal = asked.engine.conversations.journal
    (entry,) = await journal.list_entries(f"discord:{ana.dm.id}:@{channel.id}")
    assert entry.message.asked_in == AskedIn(
        Address("discord", str(channel.id), str(channel.guild.id), is_shared=True), "#general"
    )


async def test_discord_asks_in_a_form_that_stays_private(
    asked: DiscordPonte, ana: DiscordPerson, channel: Channel, discord: FakeDiscord
) -> None:
    form = await ana.slash("ask", channel, private=True)
    await form.wait_for_ack()
    sent = await ana.submit(form, prompt="who is late?")
    await sent.wait_for_text("You said: who is late?")
    assert sent.ephemeral
    assert bot_messages(discord) == []


@pytest.mark.parametrize("case", ["late", "refused", "unknown"])
async def test_discord_posts_in_the_direct_message_what_the_response_cannot_show(
    discord: FakeDiscord, asked: DiscordPonte, ana: DiscordPerson, channel: Channel, case: str
) -> None:
    asked.model.say_in_steps({"who is late?": ["Ana", " is."]})
    exchange = await ana.slash("ask", channel, prompt="who is late?", private=True)
    await exchange.wait_for_ack()
    if case == "late":
        discord.clock.advance(15 * 60 + 1)
    else:
        code = {"refused": 50027, "unknown": 10015}[case]
        discord.refuse("PATCH", "/webhooks/*", 401, code, times=99)
    asked.model.go_on()
    await discord.wait_until(lambda: direct_posts(discord, ana))
    await asked.close()
    assert direct_posts(discord, ana) == ["Ana is."]
    assert bot_messages(discord) == ["Ana is."]
