"""Ponte in company: who is answered in a thread without a mention, and what is said of it."""

from __future__ import annotations

import pytest

from adapters.discord import intake
from core.chat.incoming import WAITS_FOR_MENTION
from core.domain.messages import Person
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import Channel, Payload


async def thread_of(discord: FakeDiscord, question: Payload) -> Channel:
    await discord.wait_until(lambda: int(question["id"]) in discord.world.channels)
    return discord.world.channels[int(question["id"])]


def count(discord: FakeDiscord, words: str) -> int:
    messages = discord.world.messages_by(discord.world.me.id)
    return len([message for message in messages if message["content"] == words])


async def test_our_own_role_is_a_mention_and_another_is_none(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.grant_message_content()
    guild = discord.guild("Bolts", ana, roles={77: "buyers"})
    channel = discord.text_channel(guild, "general")
    await ponte.open(message_content=True, threads=False)
    await ana.say("<@&77> how many?", channel)
    await ana.mention_role("how many bolts?", channel)
    await ana.wait_for_text("You said: how many bolts?", channel)
    await ana.mention_role("quick-command sum-up", channel)
    await ana.wait_for_text("have permission to run quick commands", channel)
    assert [ask.input[-1].text for ask in ponte.model.asks] == ["how many bolts?"]


async def test_where_what_mentions_our_role_is_withheld_the_person_is_told(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ponte.open(threads=False)
    for times in range(1, 3):
        await ana.mention_role("how many bolts?", channel)
        await discord.wait_until(lambda: count(discord, intake.ROLE_MENTIONED) == times)  # noqa: B023
    await ana.ask("how many bolts?", channel)


async def test_a_follow_up_needs_no_mention_until_a_second_one_joins_in_which_is_said_once(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    bob = discord.user("Bob")
    discord.grant_message_content()
    channel = discord.text_channel(discord.guild("Bolts", ana, bob), "general")
    await ponte.open(message_content=True)
    thread = await thread_of(discord, await ana.mention("bolts?", channel))
    await ana.wait_for_text("You said: bolts?", thread)
    await ana.say("and nuts?", thread)
    await ana.wait_for_text("You said: and nuts?", thread)
    await bob.say("I know that", thread)
    await bob.wait_for_text(WAITS_FOR_MENTION, thread)
    await ana.say("do you?", thread)
    await bob.ask("what do you say?", thread)
    assert count(discord, WAITS_FOR_MENTION) == 1
    assert len(ponte.model.asks) == 3
    await ponte.close()
    await ponte.open()
    await ana.say("still there?", thread)
    await ana.ask("hello?", thread)
    assert count(discord, WAITS_FOR_MENTION) == 1


async def test_without_message_content_a_follow_up_gets_one_hint_and_a_role_an_explanation(
    discord: FakeDiscord, channel: Channel, live: DiscordPonte, ana: DiscordPerson
) -> None:
    thread = await thread_of(discord, await ana.mention("bolts?", channel))
    await ana.wait_for_text("You said: bolts?", thread)
    await ana.say("and nuts?", thread)
    await ana.wait_for_text(intake.MENTION_NEEDED, thread)
    await ana.say("hello?", thread)
    await ana.ask("and nuts?", thread)
    assert count(discord, intake.MENTION_NEEDED) == 1
    await ana.mention_role("and screws?", thread)
    await ana.wait_for_text(intake.ROLE_MENTIONED, thread)


async def test_a_reply_with_the_mention_on_is_answered_and_one_without_gets_the_hint(
    ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ponte.open(threads=False)
    answer = await ana.ask("bolts?", channel)
    await ana.say("and nuts?", channel, reply_to=answer)
    await ana.wait_for_text("You said: and nuts?", channel)
    await ana.say("and washers?", channel, reply_to=answer, ping=False)
    await ana.wait_for_text(intake.MENTION_NEEDED, channel)
    assert len(ponte.model.asks) == 2


async def test_talk_in_a_thread_that_is_none_of_ours_is_left_alone(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.grant_message_content()
    guild = discord.guild("Bolts", ana)
    channel = discord.text_channel(guild, "general")
    other = discord.world.channel(
        type=11, name="lunch", guild=guild, parent=channel.id, owner=ana.id
    )
    await ponte.open(message_content=True)
    await ana.say("who comes along?", other)
    await ana.mention("hello", channel)
    await discord.wait_until(lambda: len(ponte.model.asks) == 1)
    assert ponte.model.asks[0].input[-1].text == "hello"


async def test_a_mention_in_a_thread_or_a_channel_that_the_cache_lacks(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    """The thread was archived when Ponte started: the session does not name it."""
    guild = discord.guild("Bolts", ana)
    channel = discord.text_channel(guild, "general")
    await ponte.open(threads=False)
    thread = discord.world.channel(
        type=11, name="old", guild=guild, parent=channel.id, owner=discord.world.me.id
    )
    await ana.ask("still here?", thread)
    conversation = ponte.model.asks[0].thread.conversation
    assert conversation == f"discord:{guild.id}:{channel.id}:{thread.id}"
    new = discord.text_channel(guild, "new")
    await ana.ask("here?", new)
    assert ponte.model.asks[1].thread.conversation.startswith(f"discord:{guild.id}:{new.id}")


async def test_a_role_named_in_the_allow_list_opens_tables_to_its_members(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    bob = discord.user("Bob")
    guild = discord.guild("Bolts", ana, bob, roles={77: "buyers"})
    ana.user.roles.add(77)
    channel = discord.text_channel(guild, "general")
    ponte.give("plot.png", b"png", allow="discord:77")
    await ponte.open(threads=False)
    await ana.mention("call draw {}", channel)
    await ana.wait_for_messages(lambda seen: seen and seen[0]["attachments"], channel)
    await bob.mention("call draw {}", channel)
    await bob.wait_for_messages(lambda seen: len(seen) == 2, channel)
    assert [len(ask.tools) for ask in ponte.model.asks] == [1, 1, 0, 0]
    await ana.say("call draw {}")
    await ana.wait_for_messages(lambda seen: seen)
    assert len(ponte.model.asks[-1].tools) == 1, "a role holds in DMs too"


async def test_a_person_who_is_forgotten_has_no_language_and_no_roles_in_memory(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    guild = discord.guild("Bolts", ana, roles={77: "buyers"})
    ana.user.roles.add(77)
    await ponte.open(threads=False)
    await ponte.ready()
    exchange = await ana.slash(
        "ask", discord.text_channel(guild, "general"), prompt="olá", locale="pt-BR"
    )
    await exchange.wait_for_answer()
    person, lookup = Person("discord", str(ana.id)), ("GET", f"/guilds/{guild.id}/members/{ana.id}")
    assert (await ponte.adapter.open_direct_message(person))[1] == "pt-BR"
    assert await ponte.adapter.membership(person, 3600.0) == frozenset({"77"})
    assert lookup not in discord.calls, "the command told her roles"
    await ponte.engine.people.directory.forget("discord", [person.id])
    await ponte.adapter.forget(frozenset({person.id}))
    assert (await ponte.adapter.open_direct_message(person))[1] == ""
    assert await ponte.adapter.membership(person, 3600.0) == frozenset({"77"})
    assert discord.calls.count(lookup) == 1


NOTHING_IS_ANSWERED = -60.0
"""The age up to which missed messages are answered: all of them are older."""


async def test_only_what_was_for_it_counts_as_missed(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    """Without message content, Discord withholds a reply without the mention."""
    await ponte.open(threads=False)
    answer = await ana.ask("bolts?", channel)
    await ponte.close()
    discord.gateway.forget()
    await ana.say("and nuts?", channel, reply_to=answer, ping=False)
    await ana.say("and washers?", channel, reply_to=answer)
    await ponte.open(threads=False, answer_age=NOTHING_IS_ANSWERED)
    await ana.wait_for_text("I was offline and didn't answer 1 older message here.", channel)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "several people"])
async def test_what_was_written_in_a_thread_of_ours_counts_as_missed(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, together: bool
) -> None:
    bob = discord.user("Bob")
    discord.grant_message_content()
    channel = discord.text_channel(discord.guild("Bolts", ana, bob), "general")
    await ponte.open(message_content=True)
    thread = await thread_of(discord, await ana.mention("bolts?", channel))
    await ana.ask("and screws?", thread)
    if together:
        await bob.say("I know that", thread)
        await bob.wait_for_text(WAITS_FOR_MENTION, thread)
    await ponte.close()
    discord.gateway.forget()
    await ana.say("and nuts?", thread)
    await ana.mention("and washers?", thread)
    await ponte.open(message_content=True, answer_age=NOTHING_IS_ANSWERED)
    words = "1 older message here" if together else "2 older messages here"
    await ana.wait_for_text(f"I was offline and didn't answer {words}", thread)


async def test_the_first_follow_up_in_a_new_thread_is_read_back(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.grant_message_content()
    channel = discord.text_channel(discord.guild("Bolts", ana), "general")
    await ponte.open(message_content=True)
    thread = await thread_of(discord, await ana.mention("bolts?", channel))
    await ana.wait_for_text("You said: bolts?", thread)
    await ponte.close()
    discord.gateway.forget()
    await ana.say("and nuts?", thread)
    await ponte.open(message_content=True)
    await ana.wait_for_text("You said: and nuts?", thread)
