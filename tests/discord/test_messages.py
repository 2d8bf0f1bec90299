"""DMs, mentions and follow-ups, as people see them."""

from __future__ import annotations

import pytest

from core.base.errors import NotStored
from core.domain.messages import Message
from core.domain.records import Receipt
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import PUBLIC_THREADS, Channel, Payload


def texts(messages: list[Payload]) -> list[str]:
    return [message["content"] for message in messages]


async def test_messages_of_one_dm_are_answered_in_order(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    questions = [await ana.say(f"number {number}") for number in range(5)]
    messages = await ana.wait_for_messages(lambda said: len(said) == 5)
    assert texts(messages) == [f"You said: number {number}" for number in range(5)]
    for question, answer in zip(questions, messages, strict=True):
        assert answer["message_reference"]["message_id"] == question["id"]
        assert answer["allowed_mentions"] == {"parse": [], "replied_user": False}


async def test_a_mention_gets_a_thread_and_the_talk_goes_on_there(
    discord: FakeDiscord, channel: Channel, live: DiscordPonte, ana: DiscordPerson
) -> None:
    question = await ana.mention("how many bolts?", channel)
    await discord.wait_until(lambda: int(question["id"]) in discord.world.channels)
    thread = discord.world.channels[int(question["id"])]
    await ana.wait_for_text("You said: how many bolts?", thread)
    assert thread.name == "how many bolts?"

    await ana.ask("and nuts?", thread)
    assert not discord.world.messages_by(discord.world.me.id, channel.id)
    assert len({ask.thread.conversation for ask in live.model.asks}) == 1


async def test_where_no_thread_may_be_made_each_person_has_their_own_conversation(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    bob = discord.user("Bob")
    guild = discord.guild("Bolts", ana, bob)
    guild.permissions &= ~PUBLIC_THREADS
    channel = discord.text_channel(guild, "general")
    await ponte.open()
    await ana.ask("I am Ana", channel)
    await bob.ask("I am Bob", channel)
    conversations = {ask.thread.conversation for ask in ponte.model.asks}
    assert len(conversations) == 2


async def test_a_thread_that_cannot_be_made_leaves_the_conversation_in_the_channel(
    discord: FakeDiscord, channel: Channel, live: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.refuse("POST", "/channels/*/threads", 403, 50013, times=9)
    first = await ana.mention("how many bolts?", channel)
    answer = await ana.wait_for_text("You said: how many bolts?", channel)
    assert answer["message_reference"]["message_id"] == first["id"]
    await ana.ask("and nuts?", channel)
    assert len({ask.thread.conversation for ask in live.model.asks}) == 1


async def test_what_is_not_addressed_to_ponte_is_not_stored(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    discord.grant_message_content()
    await ponte.open(message_content=True)
    await ana.say("between us: the word is hippopotamus", channel)
    await ana.say("@everyone the hippopotamus", channel, mention_everyone=True)
    await ana.mention("hello", channel)
    await discord.wait_until(lambda: len(ponte.model.asks) == 1)
    await ponte.close()
    text = b"".join(f.read_bytes() for f in ponte.home.glob("**/*") if f.is_file())
    assert b"hello" in text
    assert b"hippopotamus" not in text


async def test_bots_webhooks_and_system_messages_are_ignored(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    robot = discord.user("Robot")
    robot.user.bot = True
    await ponte.open()
    await robot.say("hello from a robot")
    await ana.say("a pin", type=6)
    await ana.say("by webhook", webhook_id="1")
    await ana.ask("hello")
    assert [ask.input[-1].text for ask in ponte.model.asks] == ["hello"]


async def test_an_edit_before_the_answer_counts_and_a_preview_that_discord_adds_is_none(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.model.say_in_steps({"first": ["one", " done"]})
    await ponte.open()
    await ana.say("first")
    waiting, message = await ana.say("secnod"), await ana.say("see https://example.com")
    await ana.edit(waiting, "second")
    change = {**message, "content": "changed without an edit"}
    await discord.rest.send_event("MESSAGE_UPDATE", change)
    await ana.wait_for_text("one")
    ponte.model.go_on()
    await ana.wait_for_text("You said: second")
    await ana.wait_for_text("You said: see")
    assert "secnod" not in str(texts(discord.world.messages_by(discord.world.me.id)))


async def test_an_edit_after_the_answer_buys_no_second_one(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    message = await ana.say("hello")
    await ana.wait_for_text("You said: hello")
    await ana.edit(message, "hello again")
    await ana.ask("next")
    assert len(await ana.wait_for_messages(lambda seen: len(seen) == 2)) == 2


async def test_queued_messages_that_are_deleted_alone_or_in_bulk_are_dropped(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    live.model.say_in_steps({"first": ["one", " done"]})
    await ana.say("first")
    await ana.wait_for_text("one")
    alone, *bulk = [await ana.say(text) for text in ("second", "third", "fourth")]
    await ana.delete(alone)
    data = {"ids": [m["id"] for m in bulk], "channel_id": str(ana.dm.id)}
    await ana.discord.gateway.send("MESSAGE_DELETE_BULK", lambda _: data)
    await ana.say("fifth")
    await live.wait_until_stored("fifth")
    live.model.go_on()
    await ana.wait_for_text("You said: fifth")
    assert [ask.input[-1].text for ask in live.model.asks] == ["first", "fifth"]


async def test_an_answer_that_someone_deletes_is_never_posted_again(
    ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.model.say_in_steps({"tell me": ["one", " two", " three"]})
    await ponte.open()
    await ana.say("tell me")
    message = await ana.wait_for_text("one")
    await ana.delete(message)
    ponte.model.go_on()
    ponte.model.go_on()
    await ana.ask("next")
    assert texts(ana.discord.world.messages_by(ana.discord.world.me.id)) == ["You said: next"]


async def test_a_closed_dm_is_given_up_and_told_of_later(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    ana.user.refuses_dms = True
    await ana.say("hello")
    await discord.wait_until(lambda: len(posts(discord)) == 1)
    ana.user.refuses_dms = False
    await ana.say("again")
    answer = await ana.wait_for_text("couldn't post my last answer")
    assert "You said: again" in answer["content"]
    assert len(posts(discord)) == 2, "a refusal for good is not tried again"


async def test_what_cannot_be_stored_is_said_and_not_answered(
    live: DiscordPonte, ana: DiscordPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(live.engine.conversations.inbox, "accept", refuse)
        await ana.say("hello")
        await ana.wait_for_text("I couldn't save your message")
    await ana.ask("again")
    assert len(live.model.asks) == 1


async def refuse(message: Message) -> Receipt:
    raise NotStored("The database did not accept a connection.")


async def hold_first_answer(ponte: DiscordPonte, ana: DiscordPerson, channel: Channel) -> None:
    """Open Ponte, and let the answer to "first" stop in the middle, so that others wait."""
    ponte.model.say_in_steps({"first": ["one", " done"]})
    await ponte.open(threads=False)
    await ana.mention("first", channel)
    await ana.wait_for_text("one", channel)


async def test_a_mention_that_is_edited_away_is_taken_back(
    ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await hold_first_answer(ponte, ana, channel)
    message = await ana.mention("second", channel)
    message["mentions"] = []
    await ana.edit(message, "never mind")
    await ana.mention("third", channel)
    await ponte.wait_until_stored("third")
    ponte.model.go_on()
    await ana.wait_for_text("You said: third", channel)
    assert [ask.input[-1].text for ask in ponte.model.asks] == ["first", "third"]


@pytest.mark.parametrize("granted", [False, True])
async def test_a_mention_that_an_edit_adds_is_answered_once(
    ponte: DiscordPonte, ana: DiscordPerson, channel: Channel, granted: bool
) -> None:
    if granted:
        ponte.discord.grant_message_content()
    ponte.model.say_in_steps({"first": ["one", " done"]})
    await ponte.open(threads=False, message_content=granted)
    me = f"<@{ponte.discord.world.me.id}>"
    await ana.mention("first", channel)
    await ana.wait_for_text("one", channel)
    message, deletion = [await ana.say(text, channel) for text in ("hello", "gone")]
    old = await ana.say("old", channel, ago=25 * 3600.0)
    await ana.edit(deletion, f"{me} gone")
    await ana.delete(deletion)
    for text in ("hello!", f"{me} helo", "hello", f"{me} hello"):
        await ana.edit(message, text)
    await ana.edit(old, f"{me} old")
    await ana.mention("last", channel)
    await ponte.wait_until_stored("last")
    ponte.model.go_on()
    await ana.wait_for_text("You said: last", channel)
    await ana.edit(message, f"{me} hello again")
    await ana.ask("bye", channel)
    texts = [ask.input[-1].text for ask in ponte.model.asks]
    assert texts == ["first", "hello", "last", "bye"]


async def test_a_mention_that_is_edited_away_and_back_is_answered_once(
    ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    ponte.model.say_in_steps({"first": ["one", " done"]})
    await ponte.open(threads=False)
    me = f"<@{ponte.discord.world.me.id}>"
    first = await ana.mention("first", channel)
    await ana.wait_for_text("one", channel)
    back, deletion = [await ana.mention(text, channel) for text in ("second", "gone")]
    await ponte.wait_until_stored("gone")
    await ponte.discord.wait_until(lambda: marks(ponte.discord, "PUT") == 2)
    for message in (back, deletion, first):
        await ana.edit(message, "never mind")
    await ponte.discord.wait_until(lambda: marks(ponte.discord, "DELETE") == 2)
    await ana.delete(deletion)
    await ana.edit(back, f"{me} third")
    await ana.edit(first, f"{me} first again")
    await ponte.wait_until_stored("third")
    ponte.model.go_on()
    await ana.wait_for_text("You said: third", channel)
    await ana.edit(back, "answered")
    await ana.edit(back, f"{me} third")
    await ana.ask("last", channel)
    assert [ask.input[-1].text for ask in ponte.model.asks] == ["first", "third", "last"]


async def test_a_mention_that_is_put_back_after_a_restart_is_answered_once(
    ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await hold_first_answer(ponte, ana, channel)
    second = await ana.mention("second", channel)
    await ponte.wait_until_stored("second")
    await ponte.close(0)
    ponte.discord.gateway.forget()
    await ana.edit(second, "never mind")
    ponte.model.pauses = None
    await ponte.open(threads=False)
    await ana.ask("third", channel)
    await ana.edit(second, f"<@{ponte.discord.world.me.id}> second again")
    await ana.wait_for_text("You said: second again", channel)
    await ana.ask("last", channel)
    texts = [ask.input[-1].text for ask in ponte.model.asks]
    assert texts == ["first", "first", "third", "second again", "last"]


def marks(discord: FakeDiscord, method: str) -> int:
    """How often the bot put an hourglass on a message, or removed one."""
    return sum(one[0] == method for one in discord.rest.reactions)


async def test_a_forwarded_message_comes_as_context(live: DiscordPonte, ana: DiscordPerson) -> None:
    snapshot = {
        "message": {
            "type": 0,
            "content": "the bolts are late",
            "embeds": [],
            "attachments": [],
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "flags": 0,
            "mentions": [],
            "mention_roles": [],
        }
    }
    text = {"type": 17, "components": [{"type": 10, "content": "the nuts, too"}]}
    app = {"message": {**snapshot["message"], "content": "", "components": [text]}}
    await ana.ask("why?", message_snapshots=[snapshot, app])
    context, _ = live.model.asks[0].input
    assert "the bolts are late" in context.text
    assert "the nuts, too" in context.text


def posts(discord: FakeDiscord) -> list[tuple[str, str]]:
    return [call for call in discord.calls if call[0] == "POST" and call[1].endswith("/messages")]
