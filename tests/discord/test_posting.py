"""One visible answer, whatever the wire does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.discord import client
from adapters.discord.posts import own_posts_since
from adapters.discord.surface import ChannelSurface
from core.base.errors import Undeliverable
from core.chat.reply import GrowingReply
from core.domain.messages import Address, Answer, File, Person, ReplyTo, turn_id
from core.domain.model_rounds import RoundRequest
from core.domain.ports import AnswerPart
from tests.discord.discord_ponte import DiscordPonte, bot_messages
from tests.fakes.choices import allow_list
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import ATTACH, READ_HISTORY, Channel
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.posts import KeptPosts
from tests.fakes.schedules import post_alert
from tests.time_limits import Limits

MESSAGES = "/channels/*/messages"


@pytest.mark.slow
async def test_an_answer_whose_post_or_edit_was_lost_stands_once(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.lose("POST", MESSAGES, times=2)
    await ana.ask("one")
    discord.break_after("POST", MESSAGES)  # with a 502
    await ana.ask("two")
    discord.lose("PATCH", f"{MESSAGES}/*")
    await ana.ask("three")
    await ana.ask("four")
    texts = [f"You said: {word}" for word in ("one", "two", "three", "four")]
    assert bot_messages(discord) == texts


@pytest.mark.slow
async def test_limits_are_met_without_one_refused_call(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.faults.rate = (5, 2.0)  # longer than a slow machine takes for five posts
    await ponte.open()
    # One after the other: discord.py miscounts calls that overlap the first answer of a window.
    for number in range(7):
        await ana.ask(f"number {number}")
    assert len(bot_messages(discord)) == 7
    assert discord.faults.refused == []


@pytest.mark.slow
async def test_a_rate_limit_that_was_not_announced_is_waited_out(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    """Other programs with the same token used the bucket up."""
    discord.faults.rate = (1, 2.0)  # longer than a slow machine takes from "one" to "two"
    discord.faults.announced = False
    await ponte.open()
    await ana.say("one")
    await ana.ask("two")
    assert bot_messages(discord) == ["You said: one", "You said: two"]
    assert discord.faults.refused


async def test_a_rate_limit_of_more_than_a_minute_is_waited_out_with_one_call(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits,
) -> None:
    limits(SIGN_AFTER_SECONDS=600.0)
    limits(WHOLE_ANSWER_SECONDS=600.0)  # posted whole
    monkeypatch.setattr(ChannelSurface, "interval", 600.0)
    await ponte.open()
    await ana.ask("one")
    discord.faults.rate = (0, 120.0)
    discord.faults.announced = False
    await ana.say("two")
    await discord.wait_until(lambda: discord.faults.refused)
    clock = LoopClock()
    await run_ready()  # the refusal arrives
    clock.skip(60.0)
    await run_ready()
    assert len(discord.faults.refused) == 1
    discord.faults.rate = None
    clock.skip(120.0)
    await ana.wait_for_text("You said: two")
    assert bot_messages(discord) == ["You said: one", "You said: two"]


async def test_a_file_that_is_too_large_does_not_take_the_text_with_it(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.give("plot.png", b"p" * 12 * 1024 * 1024)
    await ponte.open()
    await ana.say("call draw {}")
    answer = await ana.wait_for_text("`plot.png` (12 MiB) is too large for Discord")
    assert answer["content"].startswith("You said: ")
    assert not answer["attachments"]
    assert len(bot_messages(discord)) == 1


@pytest.mark.parametrize(("tier", "size", "fits"), [(2, 12, True), (3, 25, False)])
async def test_a_boosted_server_takes_larger_files_as_far_as_a_request_goes(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, tier: int, size: int, fits: bool
) -> None:
    channel = discord.text_channel(discord.guild("Bolts", ana, tier=tier), "general")
    ponte.give("plot.png", b"p" * size * 1024 * 1024)
    await ponte.open(threads=False)
    await ana.mention("call draw {}", channel)
    if fits:
        await ana.wait_for_messages(lambda seen: seen and seen[0]["attachments"], channel)
    else:
        answer = await ana.wait_for_text("accepts files of up to 24 MiB", channel)
        assert not answer["attachments"]


async def test_files_come_with_the_answer_and_a_surprising_limit_leaves_the_text(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.give("plot.png", b"png")
    await ponte.open()
    # The progress was posted; the final edit comes before the one that brings the files.
    await ana.say("call draw {}")
    answer = await ana.wait_for_text("You said: ")
    await discord.wait_until(lambda: answer["attachments"])
    assert [file["filename"] for file in answer["attachments"]] == ["plot.png"]
    discord.faults.largest = 2
    await ana.say("call draw {}")
    answer = await ana.wait_for_text("is too large for Discord")
    assert not answer["attachments"]


async def test_where_history_may_not_be_read_the_answer_refers_to_nothing(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.refuse("POST", MESSAGES, 403, 160002)
    answer = await ana.ask("hello")
    assert "message_reference" not in answer


async def reply_to_ana(ponte: DiscordPonte, ana: DiscordPerson) -> tuple[GrowingReply, KeptPosts]:
    """Return a reply to a message of Ana in her direct messages, and its journalled posts."""
    question = await ana.say("hello")
    await ana.wait_for_text("You said: hello")
    to = ReplyTo(
        Address("discord", str(ana.dm.id)),
        Person("discord", str(ana.id)),
        question["id"],
        turn_id(question["id"]),
    )
    posts = KeptPosts()
    return GrowingReply(ponte.adapter.surface(to), posts, to.turn), posts


async def store_files(ponte: DiscordPonte, *names: str) -> tuple[File, ...]:
    put, ana = ponte.engine.conversations.files.put, Person("discord", "1")
    return tuple([await put("t", name, "image/png", name.encode()[:5], ana, "c") for name in names])


async def test_a_file_that_does_not_fit_beside_the_others_is_named(
    live: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    reply, _ = await reply_to_ana(live, ana)
    files = await store_files(live, *(f"{number}.png" for number in range(12)))
    await reply.finish(Answer("all", parts=("all",), files=files))
    many = await ana.wait_for_text("all\n")
    assert [file["filename"] for file in many["attachments"]] == [f"{n}.png" for n in range(10)]
    assert many["content"].count("doesn't fit in this message") == 2
    assert "`10.png` (5 B) doesn't fit" in many["content"]
    limits(MAX_REQUEST_BYTES=9)
    reply, _ = await reply_to_ana(live, ana)
    await reply.finish(Answer("two", parts=("two",), files=files[:2]))
    large = await ana.wait_for_text("two\n")
    assert [file["filename"] for file in large["attachments"]] == ["0.png"]
    assert "`1.png` (5 B) doesn't fit" in large["content"]


async def test_an_answer_without_text_names_its_files_and_erased_ones_are_named(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    """Discord refuses an empty message."""
    reply, _ = await reply_to_ana(live, ana)
    (file,) = await store_files(live, "kept.png")
    missing_file = replace(file, id="gone", name="gone.png")
    await reply.finish(Answer("here", parts=("here",), files=(missing_file, file)))
    answer = await ana.wait_for_text("here\n")
    assert "`gone.png`" in answer["content"]
    assert [one["filename"] for one in answer["attachments"]] == ["kept.png"]
    reply, _ = await reply_to_ana(live, ana)
    await reply.finish(Answer("", parts=("",), files=await store_files(live, "a.png", "b.png")))
    answer = await ana.wait_for_text("`a.png`, `b.png`")
    assert len(answer["attachments"]) == 2
    reply, _ = await reply_to_ana(live, ana)
    await reply.finish(Answer("", parts=("",)))
    await ana.wait_for_text("(no text)")


async def test_posts_that_the_final_answer_does_not_need_are_deleted(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    reply, posts = await reply_to_ana(live, ana)
    await reply.finish(Answer("", parts=("one", "two")))
    again = GrowingReply(reply._surface, posts, reply._turn)
    await again.finish(Answer("", parts=("all of it",)))
    assert bot_messages(ana.discord) == ["You said: hello", "all of it"]


async def test_files_that_are_refused_leave_the_text_and_their_names(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    guild = discord.guild("Bolts", ana)
    guild.permissions &= ~ATTACH
    channel = discord.text_channel(guild, "general")
    ponte.give("plot.png", b"png")
    long = "\n\n".join(f"paragraph {n} " + "x" * 900 for n in range(20))
    ponte.model.script = {"tell me": [long]}
    await ponte.open(threads=False)
    await ana.mention("call draw {}", channel)
    answer = await ana.wait_for_text("couldn't post `plot.png` (Discord 403/50013", channel)
    assert answer["content"].startswith("You said: ")
    await ana.mention("tell me", channel)
    await ana.wait_for_text("couldn't post `answer.md` (Discord 403/50013", channel)
    discord.faults.largest = 2
    await ana.say("tell me")
    await ana.wait_for_text("couldn't post `answer.md` (Discord 413/40005")


async def test_files_that_discord_never_answered_for_are_not_called_too_large(
    ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(MAX_UPLOAD_TRIES=0)  # as after the last try
    ponte.give("plot.png", b"png")
    await ponte.open()
    await ana.say("call draw {}")
    answer = await ana.wait_for_text("`plot.png`")
    assert answer["content"].endswith("I couldn't post `plot.png` (no answer).")


@pytest.mark.parametrize("codes", [(50013,), (160002, 50013)], ids=["at once", "without reference"])
async def test_an_answer_that_was_refused_while_it_grew_is_not_sent_again(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, codes: tuple[int, ...]
) -> None:
    """Discord restricts bots that repeat requests which it refuses. 160002 refuses the reference to
    the question alone, so the answer is sent once more without it."""
    ponte.model.say_in_steps({"tell me": ["one", " two"]})
    await ponte.open()
    for code in codes:
        discord.refuse("POST", MESSAGES, 403, code)
    await ana.say("tell me")
    await discord.wait_until(lambda: not discord.faults.waiting)
    ponte.model.go_on()
    await ana.say("next")
    answer = await ana.wait_for_text("couldn't post my last answer here (Discord 403/50013")
    assert "You said: next" in answer["content"]
    assert bot_messages(discord) == [answer["content"]]


async def test_a_code_that_nobody_knows_is_worded_and_not_tried_again(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.refuse("POST", MESSAGES, 418, 987654, times=9)
    posts = ("POST", f"/channels/{ana.dm.id}/messages")
    for number in range(1, 4):
        await ana.say(f"number {number}")
        await discord.wait_until(lambda: discord.calls.count(posts) == number)  # noqa: B023
    discord.faults.clear()
    await ana.say("and now?")
    await ana.wait_for_text("couldn't post my last answer here (Discord 418/987654")
    assert discord.calls.count(posts) == 4, "one for each answer"


async def test_a_refusal_for_good_is_told_with_the_next_message(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits,
) -> None:
    limits(WHOLE_ANSWER_SECONDS=60.0)  # the answer is posted whole
    monkeypatch.setattr(ChannelSurface, "interval", 60.0)
    await ponte.open()
    texts: list[str] = []
    for status, code in (
        (403, 987654),
        (400, 0),
        (404, 0),
        (403, 50013),
        (400, 200000),
        (400, 240000),
        (403, 50278),
        (413, 40005),
        (413, 0),
    ):
        discord.refuse("POST", MESSAGES, status, code)
        await ana.say("hello")
        await discord.wait_until(lambda: not discord.faults.waiting)
        texts.append((await ana.ask(f"again {status}/{code}"))["content"])
        assert f"couldn't post my last answer here (Discord {status}/{code}" in texts[-1]
        assert bot_messages(discord) == texts


async def test_a_refusal_that_passes_is_waited_for(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(RETRY_LATER_SECONDS=0.01)
    await ponte.open()
    for code in client.PASSING:
        discord.refuse("POST", MESSAGES, 403, code)
        await ana.ask(f"hello {code}")
    discord.refuse("POST", MESSAGES, 401, times=2)  # the token was reset
    await ana.ask("hello 401")
    codes = [*client.PASSING, 401]
    assert bot_messages(discord) == [f"You said: hello {code}" for code in codes]


async def test_a_refused_edit_that_passes_is_waited_for(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(RETRY_LATER_SECONDS=0.01)
    ponte.model.say_in_steps({"tell me": ["one", " two"]})
    await ponte.open()
    await ana.say("tell me")
    await ana.wait_for_text("one")
    discord.refuse("PATCH", f"{MESSAGES}/*", 403, min(client.PASSING))
    ponte.model.go_on()
    await ana.wait_for_text("one two")
    assert bot_messages(discord) == ["one two"]


async def test_what_does_not_pass_within_the_hour_is_given_up(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(RETRY_LATER_SECONDS=0.01)
    limits(MAX_DELIVERY_SECONDS=0.2)

    async def begin_new_hour(question: RoundRequest) -> None:
        if question.input[-1].text == "again":  # the first answer was given up
            limits(MAX_DELIVERY_SECONDS=3600.0)
            discord.faults.clear()

    ponte.model.gate = begin_new_hour
    await ponte.open()
    discord.refuse("POST", MESSAGES, 401, times=1000)
    await ana.say("hello")
    await ana.say("again")
    await ana.wait_for_text("couldn't post my last answer here (Discord 401/0")


async def test_a_post_is_not_taken_for_missing_where_history_cannot_be_read(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    """It would be made again."""
    guild = discord.guild("Bolts", ana)
    channel = discord.text_channel(guild, "general")
    await ponte.open()
    find, ana_here = ponte.adapter.find_post, Person("discord", str(ana.id))
    to = ponte.adapter.destination_in(Address("discord", str(channel.id), str(guild.id)), ana_here)
    assert await find(to, "key", "hello") is None
    discord.refuse("GET", MESSAGES, 403, 50001)
    with pytest.raises(Undeliverable, match="Discord 403/50001"):
        await find(to, "key", "hello")
    await ponte.close()
    guild.permissions &= ~READ_HISTORY  # Discord then lists no messages
    await ponte.open()
    with pytest.raises(Undeliverable, match="Read Message History"):
        await ponte.adapter.find_post(to, "key", "hello")


async def test_a_post_of_another_turn_is_not_found_as_ones_own(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    """Two notices may reply to the same post."""
    source = await ana.say("hello")
    await ana.wait_for_text("You said: hello")
    where, ana_here = Address("discord", str(ana.dm.id)), Person("discord", str(ana.id))
    first, second = (
        live.adapter.surface(ReplyTo(where, ana_here, source["id"], turn))
        for turn in ("first", "second")
    )
    post = await first.post("first:1", AnswerPart(1, "Notice.", Answer("Notice."), is_final=True))
    assert await second.find(1, "second:1") is None
    assert await first.find(1, "first:1") == post
    await second.post("second:1", AnswerPart(1, "Notice.", Answer("Notice."), is_final=True))
    assert bot_messages(discord) == ["You said: hello", "Notice.", "Notice."]


async def test_own_posts_come_oldest_first(live: DiscordPonte, ana: DiscordPerson) -> None:
    for text in ("one", "two"):
        await ana.say(text)
        await ana.wait_for_text(f"You said: {text}")
    client = await live.adapter.connection.client()
    channel = client.get_partial_messageable(ana.dm.id)
    match = await own_posts_since(client, channel, 0)
    assert [message.content for message in match] == ["You said: one", "You said: two"]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_the_owner_of_an_alert_is_notified_once_and_nobody_whom_it_names(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    channel: Channel,
    is_lost: bool,
) -> None:
    assert channel.guild
    ponte.policy = allow_list(frozenset({f"discord:{ana.id}"}))
    await ponte.open()
    bob = discord.user("Bob")
    place = Address("discord", str(channel.id), str(channel.guild.id), is_shared=True)
    owner = Person("discord", str(ana.id), str(channel.guild.id), "Ana")
    if is_lost:
        discord.lose("POST", MESSAGES, times=3)
    await post_alert(ponte.engine, ReplyTo(place, owner, "", ""), f"**Orders** <@{bob.id}> @here")
    await discord.wait_until(lambda: bot_messages(discord))
    (message,) = discord.world.messages_by(discord.world.me.id)
    assert message["content"].startswith(f"<@{ana.id}>\n**Orders**")
    assert [user["id"] for user in message["mentions"]] == [str(ana.id)]
