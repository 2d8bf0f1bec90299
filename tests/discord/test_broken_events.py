"""One event that cannot be read or handled costs itself; the connection lives."""

from __future__ import annotations

from typing import Any

import pytest

from core.base.tasks import Backoff
from core.chat.incoming import EVENT_FAILED
from core.observability.metrics import registry
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord, messages
from tests.fakes.discord.gateway import DM_MESSAGES, GUILDS
from tests.fakes.discord.world import Channel, Payload
from tests.fakes.wrong_json import wrong_versions
from tests.time_limits import Limits

POLL = {
    "question": {"text": "Tea?"},
    "answers": [{"answer_id": 1, "poll_media": {"text": "Yes"}}],
    "expiry": None,
    "allow_multiselect": False,
    "layout_type": 1,
}


def count_failed() -> float:
    return registry.get_sample_value("ponte_failed_events_total", {"platform": "discord"}) or 0.0


def failures(discord: FakeDiscord) -> list[Payload]:
    posts = discord.world.messages_by(discord.world.me.id)
    return [post for post in posts if post["content"] == EVENT_FAILED]


async def send(discord: FakeDiscord, name: str, data: Any) -> None:
    await discord.gateway.send(name, lambda _: data, DM_MESSAGES)


async def test_a_poll_without_an_expiry_is_read(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    await ana.ask("with a poll", poll=POLL)
    (await ana.slash("ask", prompt="a command")) if discord.rest.commands else None
    first = await ana.say("quoted", poll=POLL)
    await ana.ask("as a reply", reply_to=first)
    assert discord.gateway.identified == 1


async def test_a_poll_that_lacks_parts_is_read(live: DiscordPonte, ana: DiscordPerson) -> None:
    thumb = [{"answer_id": 1, "poll_media": {"emoji": {"name": "👍"}}}]
    for odd, message in (({"results": None}, "Yes"), ({"answers": thumb}, "👍")):
        await ana.say("", poll={**POLL, **odd})
        await ana.wait_for_text(f"You said: [Poll] Tea?: {message}")
    await ana.ask("no poll", poll=None)


async def test_missed_messages_are_read_back_though_one_of_them_is_odd(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    await ana.ask("before")
    await live.close()
    discord.gateway.forget()
    await ana.say("with a poll", poll=POLL)
    await ana.say("with odd parts", sticker_items=[{}])
    await ana.say("after")
    await live.open()
    for text in ("with a poll", "with odd parts", "after"):
        await ana.wait_for_text(f"You said: {text}")


FILE = {"filename": "a.txt", "size": 1, "url": "https://x.example/a", "proxy_url": "", "id": "7"}


@pytest.mark.parametrize(
    "odd",
    [
        {"poll": {"question": None}},
        {"embeds": [None]},
        {"embeds": None, "mentions": None, "attachments": None, "mention_roles": None},
        {"attachments": [{**FILE, "waveform": "AAA"}]},
        {"attachments": [{**FILE, "waveform": "é", "duration_secs": 3.0}]},
        {"sticker_items": 7},
        {"mentions": [None]},
        {"components": [{"type": 1, "components": None}]},
    ],
    ids=str,
)
async def test_a_message_is_read_without_its_odd_part(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson, odd: Payload
) -> None:
    before = count_failed()
    message = await ana.say("hello")
    await ana.wait_for_text("You said: hello")
    id = str(discord.clock.snowflake())
    again = {**message, "id": id, "content": "and this?", **odd}
    ana.dm.messages[int(id)] = again
    await send(discord, "MESSAGE_CREATE", again)
    await ana.wait_for_text("You said: and this?")
    assert failures(discord) == []
    assert count_failed() == before + 1


ODD: tuple[Payload, ...] = (
    {"attachments": [{"id": "x"}]},
    {"edited_timestamp": "never"},
)


async def test_a_message_that_the_sdk_cannot_read_is_told_counted_and_costs_no_other(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson, capsys: pytest.CaptureFixture[str]
) -> None:
    before = count_failed()
    message = await ana.say("hello")
    await ana.wait_for_text("You said: hello")
    texts: list[str] = []
    for number, odd in enumerate(ODD, 1):
        texts.append(str(discord.clock.snowflake()))
        ana.dm.messages[int(texts[-1])] = {**message, "id": texts[-1]}
        await send(discord, "MESSAGE_CREATE", {**message, "id": texts[-1], **odd})
        await discord.wait_until(lambda: len(failures(discord)) == number)  # noqa: B023
        assert [m["message_reference"]["message_id"] for m in failures(discord)] == texts, odd
        await ana.ask(f"and now? {number}")
        assert count_failed() == before + number, odd
        assert "event failed" in capsys.readouterr().out, odd
    health = await live.adapter.health()
    assert health.state == "on"
    assert f"{len(ODD)} events failed" in health.words
    assert discord.gateway.identified == 1


async def test_of_talk_among_others_nobody_is_told(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ponte.open(threads=False)
    before = count_failed()
    message = await ana.say("among us", channel)
    odd = messages.event(discord.world, message, 1 << 15)
    await discord.gateway.send("MESSAGE_CREATE", lambda _: {**odd, "edited_timestamp": "x"}, 1 << 9)
    mine = await ana.mention("hello", channel)
    odd = messages.event(discord.world, mine, 1 << 15)
    await discord.gateway.send("MESSAGE_CREATE", lambda _: {**odd, "edited_timestamp": "x"}, 1 << 9)
    await ana.wait_for_text(EVENT_FAILED, channel)
    assert count_failed() == before + 2
    assert [m["message_reference"]["message_id"] for m in failures(discord)] == [mine["id"]]


async def test_a_fault_of_our_own_code_is_told_and_counted(
    live: DiscordPonte, ana: DiscordPerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = count_failed()

    def fail(*_: object) -> None:
        raise AttributeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("adapters.discord.intake.events.to_message", fail)
        await ana.say("hello")
        await ana.wait_for_text(EVENT_FAILED)
    await ana.ask("and now?")
    assert count_failed() == before + 1


async def test_a_command_that_the_sdk_cannot_read_is_told(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    await live.ready()
    discord.gateway.change = lambda name, data: {**data, "entitlements": 7}
    exchange = await ana.slash("status")
    await exchange.wait_for_ack()
    assert exchange.data["content"] == EVENT_FAILED
    discord.gateway.change = None
    await ana.ask("and now?")


@pytest.mark.parametrize(
    "frame",
    [
        "not JSON",
        "[]",
        '{"op": 0, "t": "READY", "s": 1, "d": {}}',
        '{"op": 10, "d": null}',
        '{"op": 9}',
    ],
)
async def test_after_a_frame_that_ends_the_connection_there_is_another_one(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    limits: Limits,
    frame: str,
) -> None:
    limits(DISCORD_CONNECT_BACKOFF=Backoff(0.01))
    await ponte.open()
    await ana.ask("before")
    for session in discord.gateway.sessions:
        assert session.socket is not None
        await session.socket.send_str(frame)
    await discord.wait_until(lambda: discord.gateway.identified == 2)
    await ana.ask("after")
    assert (await ponte.adapter.health()).state == "on"


async def test_no_wrong_field_of_a_real_event_ends_the_connection(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    guild = discord.guild("Bolts", ana)
    channel = discord.text_channel(guild, "general")
    await ponte.open(threads=False)
    first = await ana.say("hello")
    await ana.wait_for_text("You said: hello")
    real = messages.event(
        discord.world,
        await ana.mention("hello", channel, reply_to=first, poll=POLL, embeds=[{"type": "rich"}]),
        1 << 15,
    )
    await ana.wait_for_text("You said: hello", channel)
    events = [
        ("MESSAGE_CREATE", real, 150),
        ("MESSAGE_UPDATE", real, 60),
        ("MESSAGE_DELETE", {"id": "5", "channel_id": first["channel_id"]}, 20),
        ("MESSAGE_DELETE_BULK", {"ids": ["5"], "channel_id": first["channel_id"]}, 20),
        ("GUILD_CREATE", discord.gateway.guild(guild), 150),
        ("CHANNEL_UPDATE", channel.payload, 20),
        ("THREAD_CREATE", channel.payload, 20),
        (
            "INTERACTION_CREATE",
            {
                "id": "7",
                "application_id": str(discord.world.me.id),
                "type": 2,
                "token": "t",
                "version": 1,
                "locale": "en-US",
                "channel_id": first["channel_id"],
                "channel": ana.dm.payload,
                "user": ana.user.payload,
                "data": {"id": "9", "name": "status", "type": 1, "options": []},
            },
            60,
        ),
    ]
    for name, data, most in events:
        for wrong in wrong_versions(data, most):
            await discord.gateway.send(name, lambda _: wrong, GUILDS)  # noqa: B023
    await discord.gateway.send_guild_create(guild)
    await ana.ask("still here?")
    assert discord.gateway.identified == 1
    assert (await ponte.adapter.health()).state == "on"
