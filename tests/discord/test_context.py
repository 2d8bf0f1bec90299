"""What people point at is read: the message that they reply to, a thread's earlier ones, files."""

from __future__ import annotations

from typing import Any

import pytest

from core.base.i18n import TIME_ZONE
from core.chat import incoming as participants
from core.domain.messages import Item, Message
from core.domain.ports import NO_STEP, TransactionStep
from core.domain.records import Receipt
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import Channel, Guild, Payload
from tests.fakes.loop_clock import LoopClock
from tests.time_limits import Limits

PNG, CSV = ("plot.png", b"png"), ("sales.csv", b"a,b\n1,2\n")


@pytest.fixture
def bob(discord: FakeDiscord) -> DiscordPerson:
    return discord.user("Bob")


@pytest.fixture
def guild(discord: FakeDiscord, ana: DiscordPerson, bob: DiscordPerson) -> Guild:
    return discord.guild("Bolts", ana, bob)


@pytest.fixture
def channel(discord: FakeDiscord, guild: Guild) -> Channel:
    return discord.text_channel(guild, "general")


@pytest.fixture
async def ponte_with_content(discord: FakeDiscord, ponte: DiscordPonte) -> DiscordPonte:
    """With the message content intent, and no threads of its own."""
    discord.grant_message_content()
    return await ponte.open(message_content=True, threads=False)


def newest_input(ponte: DiscordPonte) -> tuple[str, Item]:
    """What stood around the newest message, and the message."""
    *before, message = ponte.model.asks[-1].input
    return "\n".join(item.text for item in before), message


def names(item: Item) -> list[str]:
    return [file.name for file in item.files]


async def test_a_reply_brings_the_text_and_the_files_of_what_it_replies_to(
    ponte_with_content: DiscordPonte, channel: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    message = await bob.say("the bolts are late", channel, files=[PNG, CSV])
    await ana.ask("is that so?", channel, reply_to=message)
    around, question = newest_input(ponte_with_content)
    assert "> 'Bob': the bolts are late\n> [with the files plot.png, sales.csv]" in around
    assert names(question) == ["plot.png", "sales.csv"]
    assert (await ponte_with_content.engine.conversations.files.get(question.files[1].id))[
        1
    ] == CSV[1]
    picture = await bob.say("", channel, files=[PNG])
    answer = await ana.ask("what is this?", channel, reply_to=picture)
    assert names(newest_input(ponte_with_content)[1]) == ["plot.png"]
    assert answer["content"] == "You said: what is this?", "nothing was missing"


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_what_is_replied_to_is_fetched_if_the_event_lacks_it_and_was_not_deleted(
    discord: FakeDiscord,
    ponte_with_content: DiscordPonte,
    channel: Channel,
    ana: DiscordPerson,
    bob: DiscordPerson,
    is_deleted: bool,
) -> None:
    """Discord leaves the field out if it did not fetch the message; a deleted message is null."""
    message = await bob.say("the bolts are late", channel)
    reference = {"message_id": message["id"], "channel_id": str(channel.id)}
    resolved: Payload = {"referenced_message": None} if is_deleted else {}
    if is_deleted:
        await bob.delete(message)
    answer = await ana.ask("so?", channel, type=19, message_reference=reference, **resolved)
    assert answer["content"] == "You said: so?", "nothing is reported as missing"
    assert ("> 'Bob': the bolts are late" in newest_input(ponte_with_content)[0]) != is_deleted
    fetched = ("GET", f"/channels/{channel.id}/messages/{message['id']}")
    assert discord.calls.count(fetched) == (not is_deleted)


async def test_a_reply_to_a_forwarded_message_brings_what_was_forwarded(
    ponte_with_content: DiscordPonte, channel: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    message = await bob.say("the bolts are late", files=[PNG])
    await bob.wait_for_text("You said: the bolts are late")  # a turn of its own
    forward = await bob.forward(message, channel)
    await ana.ask("is that so?", channel, reply_to=forward)
    around, question = newest_input(ponte_with_content)
    assert "the bolts are late" in around
    assert names(question) == ["plot.png"]


async def test_an_alert_of_another_app_is_read(
    discord: FakeDiscord, ponte_with_content: DiscordPonte, channel: Channel, ana: DiscordPerson
) -> None:
    robot = discord.user("Grafana")
    robot.user.bot = True
    embed = {
        "type": "rich",
        "title": "Disk full",
        "description": "on db-1",
        "fields": [{"name": "used", "value": "99 %"}],
        "author": {"name": "Rui"},
        "footer": {"text": "rule 7"},
    }
    alert = await robot.say("", channel, embeds=[embed])
    await ana.ask("what now?", channel, reply_to=alert)
    quote = "> 'Grafana': Rui\n> Disk full\n> on db-1\n> used: 99 %\n> rule 7"
    assert quote in newest_input(ponte_with_content)[0]


async def test_what_an_app_says_in_components_and_what_a_poll_asks_is_read(
    ponte_with_content: DiscordPonte, channel: Channel, ana: DiscordPerson
) -> None:
    text = {"type": 10, "id": 2, "content": "Disk full"}
    box = {"type": 17, "id": 1, "components": [text], "spoiler": False, "accent_color": None}
    alert = await ana.say("", channel, components=[box])
    await ana.ask("what now?", channel, reply_to=alert)
    assert "> 'Ana': Disk full" in newest_input(ponte_with_content)[0]
    answers = [{"answer_id": n, "poll_media": {"text": f"M{n}"}} for n in (6, 8)]
    poll = {
        "question": {"text": "Which?"},
        "answers": answers,
        "allow_multiselect": False,
        "layout_type": 1,
        "expiry": "2099-01-01T00:00:00+00:00",
    }
    message = await ana.say("", channel, poll=poll)
    await ana.ask("which one?", channel, reply_to=message)
    assert "> 'Ana': [Poll] Which?: M6 / M8" in newest_input(ponte_with_content)[0]


async def test_a_message_that_is_only_a_poll_or_a_sticker_is_read(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([{"text": "Pasta"}, {"text": "Feijoada"}], "Pasta / Feijoada"),
        ([{"text": "Yes", "emoji": {"id": None, "name": "👍"}}], "👍 Yes"),
        ([{"text": "Only one"}], "Only one"),
        ([{"text": "A", "emoji": {"id": "77", "name": "party"}}, {"text": "B"}], "party A / B"),
        ([{"text": "a / b"}, {"text": "**c**"}], "a / b / **c**"),
    ]
    for answers, context in cases:
        media = [{"answer_id": n, "poll_media": media} for n, media in enumerate(answers, 1)]
        poll = {
            "question": {"text": "forget"},
            "answers": media,
            "allow_multiselect": True,
            "layout_type": 1,
            "expiry": "2099-01-01T00:00:00+00:00",
        }
        await ana.say("", poll=poll)
        await ana.wait_for_text(f"You said: [Poll] forget: {context}")
    await ana.say("", sticker_items=[{"id": "5", "name": "Wave", "format_type": 1}])
    await ana.wait_for_text("You said: [Wave]")


async def test_what_is_forwarded_in_a_direct_message_is_read_without_a_word_of_its_own(
    live: DiscordPonte, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    message = await bob.say("the bolts are late", files=[PNG])
    await bob.wait_for_text("You said: the bolts are late")  # a turn of its own
    await ana.forward(message)
    await ana.wait_for_messages(lambda seen: seen)
    everything = live.model.asks[-1].input
    assert "the bolts are late" in everything[0].text
    assert names(everything[-1]) == ["plot.png"]


async def test_a_reply_in_a_direct_message_brings_a_file_again(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    message = await ana.say("my sales", files=[CSV])
    await ana.wait_for_text("You said: my sales")
    await ana.ask("sum them up", reply_to=message)
    assert names(newest_input(live)[1]) == ["sales.csv"]


async def test_a_reply_to_a_plot_of_ours_shows_it_and_one_to_a_text_of_ours_brings_nothing(
    ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.give("plot.png", b"png")
    await ponte.open()
    await ana.say("call draw {}")
    plot = (await ana.wait_for_messages(lambda seen: seen and seen[0]["attachments"]))[0]
    plot["attachments"][0]["content_type"] = "image/png"
    await ana.ask("what is the peak?", reply_to=plot)
    assert names(newest_input(ponte)[1]) == ["plot.png"]
    plot["attachments"][0] |= {"content_type": "text/markdown", "filename": "answer.md"}
    await ana.ask("and the low?", reply_to=plot)
    assert names(newest_input(ponte)[1]) == []


@pytest.mark.parametrize("withholds_files", [True, False])
async def test_a_text_that_is_withheld_is_said_to_be_and_how_to_show_it(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    channel: Channel,
    ana: DiscordPerson,
    bob: DiscordPerson,
    withholds_files: bool,
) -> None:
    discord.world.withholds_files = withholds_files
    await ponte.open(threads=False)
    message = await bob.say("the bolts are late", channel, files=[PNG])
    await ana.mention("is that so?", channel, reply_to=message)
    answer = await ana.wait_for_text("Apps → Ask Ponte", channel)
    assert answer["content"].count("Apps → Ask Ponte") == 1
    around, question = newest_input(ponte)
    assert "Bob" not in around
    assert names(question) == ([] if withholds_files else ["plot.png"])


async def test_what_the_portal_lets_us_read_is_read_though_no_event_tells_it(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    channel: Channel,
    ana: DiscordPerson,
    bob: DiscordPerson,
) -> None:
    discord.grant_message_content()
    await ponte.open(threads=False)
    message = await bob.say("the bolts are late", channel, files=[PNG])
    answer = await ana.ask("is that so?", channel, reply_to=message)
    assert "Ask Ponte" not in answer["content"]
    around, question = newest_input(ponte)
    assert "the bolts are late" in around
    assert names(question) == ["plot.png"]


async def test_a_quick_command_takes_the_words_before_the_files(
    ponte_with_content: DiscordPonte, channel: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    message = await bob.say("the bolts are late", channel, files=[PNG])
    await ana.mention("quick-command sum-up", channel, reply_to=message)
    answer = await ana.wait_for_text("quick commands", channel)
    assert "plot.png" not in answer["content"]


# Apps → Ask Ponte: this interaction tells everything, whatever the intents.


async def test_ask_ponte_takes_the_files_of_the_message(
    channel: Channel, live: DiscordPonte, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await live.ready()
    message = await bob.say("the bolts are late", channel, files=[PNG, CSV])
    ack = await (await ana.context_menu("Ask Ponte", message)).wait_for_ack()
    descriptions = [item.get("description") for item in ack.data["components"]]
    assert descriptions[1] == "Files included: plot.png, sales.csv"
    await live.close()
    await live.open()
    submission = await ana.submit(ack, prompt="why?")
    await submission.wait_for_answer()
    around, question = newest_input(live)
    assert "the bolts are late" in around
    assert names(question) == ["plot.png", "sales.csv"]


async def test_ask_ponte_about_what_is_forwarded(
    channel: Channel, live: DiscordPonte, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await live.ready()
    message = await bob.say("", files=[PNG])
    await bob.wait_for_messages(lambda seen: seen)  # a turn of its own
    forward = await bob.forward(message, channel)
    ack = await (await ana.context_menu("Ask Ponte", forward)).wait_for_ack()
    submission = await ana.submit(ack, prompt="what is this?")
    await submission.wait_for_answer()
    assert names(newest_input(live)[1]) == ["plot.png"]


async def test_files_of_a_form_that_nobody_remembers_are_said_to_be_lost(
    channel: Channel, live: DiscordPonte, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await live.ready()
    message = await bob.say("the bolts are late", channel, files=[PNG])
    ack = await (await ana.context_menu("Ask Ponte", message)).wait_for_ack()
    live.adapter.state.form_files.clear()
    submission = await ana.submit(ack, prompt="why?")
    await submission.wait_until(lambda e: "couldn't get that message's files" in e.text)
    assert "the bolts are late" in newest_input(live)[0]


# A thread that Ponte is called into.


@pytest.fixture
async def thread(
    discord: FakeDiscord, guild: Guild, channel: Channel, bob: DiscordPerson
) -> Channel:
    """Bob's, made from a message of his."""
    root = await bob.say("Which bolts do we buy?", channel, files=[CSV])
    return discord.world.channel(
        id=int(root["id"]), type=11, name="bolts", guild=guild, parent=channel.id, owner=bob.id
    )


async def test_what_was_said_before_in_the_thread_is_read(
    ponte_with_content: DiscordPonte, thread: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await bob.say("M6 or M8?", thread)
    await ana.say("here is what we use", thread, files=[PNG])
    await ana.say("a pin", thread, type=6)
    answer = await ana.ask("what do you think?", thread)
    around, question = newest_input(ponte_with_content)
    questions = ("'Bob': Which bolts do we buy?", "'Bob': M6 or M8?", "'Ana': here is what we use")
    assert [around.index(each) for each in questions] == sorted(
        around.index(each) for each in questions
    )
    assert "a pin" not in around
    assert names(question) == ["sales.csv", "plot.png"]
    assert answer["content"] == "You said: what do you think?"


async def test_a_file_that_is_replied_to_in_a_thread_comes_once(
    ponte_with_content: DiscordPonte, thread: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    plot = await bob.say("look", thread, files=[PNG])
    await ana.ask("what is this?", thread, reply_to=plot)
    assert names(newest_input(ponte_with_content)[1]) == ["plot.png", "sales.csv"]


async def test_only_what_is_new_is_read_again(
    ponte_with_content: DiscordPonte, thread: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await bob.say("M6 or M8?", thread)
    await ana.ask("what do you think?", thread)
    await bob.say("I am for M8", thread)
    await ana.ask("and now?", thread)
    around, _ = newest_input(ponte_with_content)
    assert "I am for M8" in around
    assert "M6 or M8?" not in around
    assert "what do you think?" not in around
    await ponte_with_content.close()
    await ponte_with_content.open()
    await ana.ask("sure?", thread)
    assert "M8" not in newest_input(ponte_with_content)[0]


async def test_where_others_talk_ponte_waits_to_be_mentioned(
    ponte_with_content: DiscordPonte, thread: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await bob.say("M6 or M8?", thread)
    await ana.ask("what do you think?", thread)
    await ana.say("thank you", thread)
    await ana.wait_for_text("I only answer when you mention me", thread)
    assert len(ponte_with_content.model.asks) == 1


async def test_a_long_thread_is_read_as_far_as_quotes_go(
    ponte_with_content: DiscordPonte, thread: Channel, bob: DiscordPerson, ana: DiscordPerson
) -> None:
    for number in range(40):
        await bob.say(f"number {number} {'x' * 600}", thread)
    for number in range(12):
        await bob.say(f"file {number}", thread, files=[(f"f{number}.csv", b"%d" % number)])
    answer = await ana.ask("well?", thread)
    around, question = newest_input(ponte_with_content)
    count = around.count("'Bob':")
    assert 40 < count < 53
    cut = f"I read only {count} of 53 messages in the thread"
    assert cut in around
    assert cut in answer["content"]
    assert "Which bolts do we buy?" in around
    assert "x" * (participants.EARLIER_MESSAGE_CHARACTERS + 1) not in around
    assert names(question) == [f"f{number}.csv" for number in range(2, 12)]


async def test_more_new_messages_than_one_reading_has_are_said_to_be_left_out(
    limits: Limits,
    ponte_with_content: DiscordPonte,
    thread: Channel,
    ana: DiscordPerson,
    bob: DiscordPerson,
) -> None:
    limits(MAX_THREAD_MESSAGES=4)
    await ana.ask("hello?", thread)
    for number in range(6):
        await bob.say(f"number {number}.", thread)
    answer = await ana.ask("well?", thread)
    around, _ = newest_input(ponte_with_content)
    assert "number 2." in around
    assert "number 1." not in around
    assert "I read only 4 of " in around
    assert "I read only 4 of " in answer["content"]


async def test_without_the_intent_the_model_is_told_that_there_is_more(
    ponte: DiscordPonte, thread: Channel, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await ponte.open()
    await bob.say("M6 or M8?", thread)
    for question in ("what do you think?", "and now?"):
        await ana.mention(question, thread)
        await ana.wait_for_text(f"You said: {question}", thread)
    first, second = (ask.input for ask in ponte.model.asks)
    assert "Discord does not show what was said before" in first[0].text
    assert [item.text for item in second] == ["and now?"]


async def test_a_thread_that_cannot_be_read_is_answered_without_and_that_is_said(
    discord: FakeDiscord, ponte_with_content: DiscordPonte, thread: Channel, ana: DiscordPerson
) -> None:
    discord.refuse("GET", f"/channels/{thread.id}/messages", 403, 50001)
    await ana.mention("what do you think?", thread)
    await ana.wait_for_text("couldn't read the earlier messages", thread)


async def test_a_slow_thread_is_waited_for_with_a_sign_and_not_for_ever(
    discord: FakeDiscord, ponte_with_content: DiscordPonte, thread: Channel, ana: DiscordPerson
) -> None:
    clock = LoopClock()
    gate = discord.hold("GET", f"/channels/{thread.id}/messages")
    await ana.mention("what do you think?", thread)
    await discord.wait_until(lambda: thread.typing)
    clock.skip(participants.CONTEXT_SECONDS)
    await ana.wait_for_text("couldn't read the earlier messages", thread)
    gate.release()


# Files that are too much.


async def test_a_file_that_is_too_large_is_not_read_and_refused_in_words_that_name_the_limit(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    small = ("relatório.csv", CSV[1])
    await ana.say("look", files=[("film.mp4", b"x" * (21 * 1024 * 1024)), small])
    answer = await ana.wait_for_text("`film.mp4` (21 MiB) is too large")
    assert "files of up to 20 MiB" in answer["content"]
    item = newest_input(live)[1]
    assert names(item) == ["relatório.csv"]
    assert "film.mp4 could not be fetched" in item.text
    assert (await live.engine.conversations.files.get(item.files[0].id))[1] == CSV[1]
    # On its arrival, and again in the turn if that had not ended yet. Never the large one.
    assert discord.downloads in (1, 2)
    await ana.say("quick-command sum-up", files=[("film.mp4", b"x" * (21 * 1024 * 1024))])
    await ana.wait_for_messages(lambda seen: len(seen) == 2)


async def test_a_text_file_of_more_characters_than_are_read_is_said_to_be_long(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    words = "`log.txt` is long. I read only the first 100,000 characters."
    for text, is_cut in (("x" * 99_000, False), ("é" * 90_000, False), ("x" * 100_001, True)):
        question = f"look at {text[0]}{len(text)}"
        await ana.say(question, files=[("log.txt", text.encode())])
        answer = await ana.wait_for_text(question)
        await ana.discord.wait_until(lambda: "Stop" not in str(answer["components"]))  # noqa: B023
        assert (words in answer["content"]) is is_cut, question


MOMENT = 1796126400
"""2026-12-01, 12:00 in UTC."""


@pytest.mark.parametrize("how", ["message", "ask", "form", "quote", "embed"])
async def test_references_are_read_as_discord_shows_them(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    channel: Channel,
    ana: DiscordPerson,
    bob: DiscordPerson,
    how: str,
) -> None:
    """Names of people, roles, channels and emoji, and dates in the zone of the installation."""
    assert channel.guild is not None
    channel.guild.roles[77] = "Sales"
    other = discord.text_channel(channel.guild, "orders")
    discord.grant_message_content()
    token = TIME_ZONE.set("America/Sao_Paulo")
    await ponte.open(message_content=True, threads=False)
    await ponte.ready()
    TIME_ZONE.reset(token)
    people = f"<@{bob.id}> <@!{bob.id}>"
    code = (
        f"<@&77> <#{other.id}> <a:party:55> <:ok:56> </stop:57> <t:{MOMENT}:F> <t:{MOMENT}> "
        f"<t:{MOMENT}:D> <t:{MOMENT}:R> <t:999999999999:F> <t:x>"
    )
    text = (
        "@Sales #orders :party: :ok: /stop 2026-12-01 09:00 2026-12-01 09:00 2026-12-01 "
        "2026-12-01 09:00 <t:999999999999:F> <t:x>"
    )
    match how:
        case "message":
            await ana.mention(f"{people} {code}", channel)
        case "ask":
            await ana.slash("ask", channel, prompt=f"{people} {code}")
        case "form":
            form = await ana.slash("ask", channel)
            await form.wait_for_ack()
            await ana.submit(form, prompt=f"{people} {code}")
        case "quote":
            message = await bob.say(f"{people} {code}", channel)
            await ana.mention("what?", channel, reply_to=message)
        case "embed":  # Discord names the people of an embed to nobody
            embed = {"type": "rich", "title": "x", "description": f"@Bob @Bob {code}"}
            await ana.mention("what?", channel, reply_to=await bob.say("", channel, embeds=[embed]))
    await discord.wait_until(lambda: bool(ponte.model.asks))
    context = "".join(item.text for item in ponte.model.asks[-1].input)
    assert f"@Bob @Bob {text}" in context


async def test_what_discord_does_not_name_stays_as_it_came(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    """An unknown id delays a prompt no longer than its deadline."""
    await live.ready()
    discord.refuse("GET", "/users/404", 404, 10013)
    exchange = await ana.slash("ask", prompt="<@404> <@&405> <#406> hi")
    await exchange.wait_for_answer()
    assert live.model.asks[-1].input[-1].text == "<@404> @405 #406 hi"


async def test_a_place_that_a_prompt_names_can_be_posted_in(
    channel: Channel, live: DiscordPonte, ana: DiscordPerson, bob: DiscordPerson
) -> None:
    await live.ready()
    receipts: list[Message] = []
    inbox = live.engine.conversations.inbox
    accept = inbox.accept

    async def record(message: Message, also: TransactionStep = NO_STEP) -> Receipt:
        receipts.append(message)
        return await accept(message, also)

    inbox.accept = record  # type: ignore[method-assign]
    exchange = await ana.slash("ask", channel, prompt=f"tell <@{bob.id}> in <#{channel.id}> hi")
    await exchange.wait_for_answer()
    assert receipts[0].mentions == (("@Bob", str(bob.id)), ("#general", str(channel.id)))
