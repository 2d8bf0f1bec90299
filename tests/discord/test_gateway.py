"""The connection: resumed, begun anew, refused for good; and what was said meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import discord
import pytest

from adapters.discord import DISCORD_STATE_NAME
from adapters.discord.presence import DiscordSigns
from adapters.discord.state import DiscordState, SeenChannel
from core.base.errors import SettingsError
from core.base.i18n import use_locale
from core.base.tasks import BackgroundTasks, Backoff, cancel_all
from core.journal.jobs import Alone
from tests.discord.discord_ponte import DiscordPonte, bot_messages
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.world import Channel
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS
from tests.time_limits import Limits

HOUR = 3600.0


async def test_what_was_said_while_the_socket_was_down_is_replayed_or_read_back(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    await ana.ask("before")
    discord.gateway.abort()
    await ana.ask("aborted")
    await discord.gateway.close(4000)
    await ana.ask("closed")
    await discord.gateway.reconnect()
    await ana.ask("reconnected")
    assert (discord.gateway.identified, discord.gateway.resumed) == (1, 3)
    discord.gateway.forget()
    await ana.ask("never told")
    assert discord.gateway.identified == 2
    words = ("before", "aborted", "closed", "reconnected", "never told")
    assert bot_messages(discord) == [f"You said: {word}" for word in words]


async def test_after_a_restart_missed_messages_are_answered_in_order_before_new_ones(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    await ana.ask("before")
    await live.close()
    discord.gateway.forget()
    await ana.say("missed one")
    await ana.say("missed two")
    gate = discord.hold("GET", "/channels/*/messages")
    opening = asyncio.create_task(live.open())
    await gate.wait_until_reached()
    await ana.say("live")
    gate.release()
    await opening
    await ana.wait_for_text("You said: live")
    assert bot_messages(discord) == [
        f"You said: {text}" for text in ("before", "missed one", "missed two", "live")
    ]


async def test_a_mention_that_was_missed_is_answered_and_other_talk_is_not(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ponte.open(threads=False)
    await ana.ask("before", channel)
    await ponte.close()
    discord.gateway.forget()
    await ana.say("among us", channel)
    await ana.mention("missed", channel)
    await ponte.open()
    await ana.wait_for_text("You said: missed", channel)
    assert len(ponte.model.asks) == 2


async def test_edits_and_deletions_that_a_new_session_does_not_replay_count(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.model.say_in_steps({"first": ["one", " done"]})
    await ponte.open()
    await ana.say("first")
    await ana.wait_for_text("one")
    edit, deletion = [await ana.say(text) for text in ("helo", "swordfish")]
    await ponte.wait_until_stored("swordfish")
    discord.gateway.forget()
    await ana.edit(edit, "hello")
    await ana.delete(deletion)
    await discord.wait_until(lambda: discord.gateway.identified == 2)
    await ana.say("last")
    await ponte.wait_until_stored("last")
    ponte.model.go_on()
    await ana.wait_for_text("You said: last")
    assert [ask.input[-1].text for ask in ponte.model.asks] == ["first", "hello", "last"]


async def test_what_is_too_old_is_told_of_and_not_answered(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    await ponte.open(answer_age=3600.0)
    await ana.ask("before", ago=3 * HOUR)
    await ponte.close()
    discord.gateway.forget()
    await ana.say("old one", ago=2 * HOUR)
    await ana.say("old two", ago=1.5 * HOUR)
    await ana.say("young")
    await ponte.open()
    await ana.wait_for_text("You said: young")
    seen = await ana.wait_for_messages(
        lambda seen: any("2 older messages" in m["content"] for m in seen)
    )
    assert [m["content"] for m in seen if "old" in m["content"]] == [
        "I was offline and didn't answer 2 older messages here. Send them again if you still "
        "need an answer."
    ]


async def test_in_a_server_only_mentions_count_as_left_and_are_told_of_once(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ponte.open(threads=False, answer_age=3600.0)
    await ana.ask("before", channel, ago=4 * HOUR)
    await ponte.close()
    discord.gateway.forget()
    await ana.say("among us", channel, ago=3 * HOUR)
    await ana.mention("old one", channel, ago=2.5 * HOUR)
    await ana.mention("old two", channel, ago=2 * HOUR)
    await ana.say("among us again", channel, ago=1.5 * HOUR)
    for text in ("young", "younger"):
        await ana.mention(text, channel)
        await ponte.open(threads=False, answer_age=3600.0)
        await ana.wait_for_text(f"You said: {text}", channel)
        seen = await ana.wait_for_messages(
            lambda seen: any("older messages" in m["content"] for m in seen), channel
        )
        await ponte.close()
        discord.gateway.forget()
    texts = [m["content"] for m in seen if "older messages" in m["content"]]
    assert [words.split(" here")[0] for words in texts] == [
        "I was offline and didn't answer 2 older messages"
    ]


async def test_what_the_notes_lost_but_the_inbox_knows_is_not_told_of(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    """A kill can take the last second of notes with it."""
    await ponte.open(answer_age=3600.0)
    await ana.ask("one", ago=3 * HOUR)
    await ponte.adapter.state.flush()
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        ((before,),) = connection.execute("SELECT data FROM remembered").fetchall()
    await ana.ask("two", ago=2 * HOUR)
    await ponte.close()
    with closing(sqlite3.connect(ponte.home / "ponte.db")) as connection:
        connection.execute("UPDATE remembered SET data = ?", (before,))
        connection.commit()
    discord.gateway.forget()
    await ponte.open()
    await ana.ask("three")
    assert bot_messages(discord) == ["You said: one", "You said: two", "You said: three"]


async def test_a_wrong_token_is_refused_in_words(discord: FakeDiscord, ponte: DiscordPonte) -> None:
    discord.refuse("GET", "/users/@me", 401)
    with pytest.raises(SettingsError, match="DISCORD_TOKEN"):
        await ponte.open()
    assert (await ponte.adapter.health()).state == "failing"


async def test_a_privileged_intent_that_was_not_granted_is_refused_in_words(
    ponte: DiscordPonte,
) -> None:
    with pytest.raises(SettingsError, match="DISCORD_MESSAGE_CONTENT"):
        await ponte.open(message_content=True)
    health = await ponte.adapter.health()
    assert health.state == "failing"
    assert "Developer Portal" in health.words


async def test_a_fatal_close_stops_the_adapter_and_not_ponte(
    discord: FakeDiscord, live: DiscordPonte, ana: DiscordPerson
) -> None:
    assert (await live.adapter.health()).state == "on"
    await discord.gateway.close(4004)
    await live.adapter.connection.wait_until_ended()
    assert "DISCORD_TOKEN" in (await live.adapter.health()).words


async def test_a_connection_without_frames_is_failing(live: DiscordPonte, limits: Limits) -> None:
    limits(DISCORD_SILENCE_SECONDS=-1.0)
    health = await live.adapter.health()
    assert health.state == "failing"
    assert "connected, but nothing received for" in health.words


async def test_until_discord_answers_the_connection_is_failing(
    discord: FakeDiscord, ponte: DiscordPonte, limits: Limits
) -> None:
    limits(DISCORD_START_SECONDS=0.0)
    gate = discord.hold("GET", "/users/@me")
    await ponte.open()
    await gate.wait_until_reached()
    health = await ponte.adapter.health()
    assert (health.state, health.words) == ("failing", "not connected yet")
    gate.release()
    await discord.wait_until(lambda: discord.gateway.is_connected)


async def test_while_discord_cannot_be_reached_the_reason_is_reported(
    discord: FakeDiscord, ponte: DiscordPonte, limits: Limits
) -> None:
    limits(DISCORD_START_SECONDS=0.0)
    limits(DISCORD_CONNECT_BACKOFF=Backoff(0.01))
    discord.lose("GET", "/users/@me", times=2)
    gate = discord.hold("GET", "/users/@me")
    await ponte.open()
    await gate.wait_until_reached()  # at the third attempt
    health = await ponte.adapter.health()
    assert (health.state, health.words) == (
        "failing",
        "Can't reach Discord (ServerDisconnectedError). Retrying.",
    )
    with use_locale("fr"):
        assert (await ponte.adapter.health()).words.startswith("Impossible de joindre Discord")
    gate.release()
    await discord.wait_until(lambda: discord.gateway.is_connected)


async def test_until_its_new_session_has_begun_a_process_that_begins_to_lead_is_not_connected(
    discord: FakeDiscord, live: DiscordPonte
) -> None:
    connection = live.adapter.connection
    before = await connection.client()
    discord.gateway.muted = True
    holding = asyncio.create_task(connection.hold())
    await asyncio.sleep(0)  # it begins
    assert await connection.client() is not before
    assert (await live.adapter.health()).words == "not connected yet"
    discord.gateway.muted = False
    await cancel_all([holding])


async def test_a_token_that_discord_refuses_when_this_process_begins_to_lead_is_reported(
    discord: FakeDiscord, live: DiscordPonte
) -> None:
    discord.refuse("GET", "/users/@me", 401, times=9)
    await live.adapter.connection.hold()
    health = await live.adapter.health()
    assert health.state == "failing"
    assert "DISCORD_TOKEN" in health.words


async def test_a_channel_that_ponte_may_not_read_any_more_is_read_back_once(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson, channel: Channel
) -> None:
    await ponte.open(threads=False)
    await ana.ask("before", channel)
    discord.refuse("GET", f"/channels/{channel.id}/messages", 403, 50001)
    discord.gateway.forget()
    await discord.wait_until(lambda: not discord.faults.waiting)
    discord.gateway.forget()
    await discord.wait_until(lambda: discord.gateway.identified == 3)
    await ana.ask("after", channel)
    assert discord.calls.count(("GET", f"/channels/{channel.id}/messages")) == 1


async def test_http_requests_are_refused_because_events_come_by_the_gateway(
    live: DiscordPonte,
) -> None:
    assert await live.adapter.http({}, b"{}") == (404, {}, b"")


async def test_close_drains_what_was_taken_in(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    ponte.model.say_in_steps({"tell me": ["one", " two"]})
    await ponte.open()
    await ana.say("tell me")
    await ana.wait_for_text("one")
    closing = asyncio.create_task(ponte.close())
    await asyncio.sleep(0)
    ponte.model.go_on()
    await closing
    assert bot_messages(discord) == ["one two"]


async def test_close_waits_for_events_that_are_being_handled(live: DiscordPonte) -> None:
    start_event, handled = asyncio.Event(), list[str]()

    async def handle() -> None:
        start_event.set()
        for _ in range(50):
            await asyncio.sleep(0)
        handled.append("stored")

    live.adapter._queues.put(1, handle)
    await start_event.wait()
    await live.adapter.close()
    assert handled == ["stored"]


class Notified(Alone):
    """Records the events that are sent to other processes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def notify(self, word: str, id: str) -> None:
        self.sent.put_nowait((word, id))


async def test_a_process_that_does_not_lead_shares_its_changes_in_one_event() -> None:
    peers = Notified()
    state = DiscordState(peers)
    state.leads = False
    state.note_language(7, "fr")
    state.note_language(8, "en")
    async with asyncio.timeout(HANG_TIMEOUT_SECONDS):
        assert await peers.sent.get() == ("remembered", DISCORD_STATE_NAME)
    assert peers.sent.empty()
    await state.close()


async def test_of_many_channels_those_used_last_are_remembered(
    limits: Limits,
) -> None:
    limits(MAX_REMEMBERED=2)
    state = DiscordState()
    state.channels = {
        1: SeenChannel(10, updated_at=3.0),
        2: SeenChannel(20, updated_at=1.0),
        3: SeenChannel(5, updated_at=2.0),
    }
    await state.flush()
    assert set(state.channels) == {1, 3}
    await state.close()


async def test_notes_that_cannot_be_read_are_begun_anew(
    live: DiscordPonte, ana: DiscordPerson
) -> None:
    await live.close()
    with closing(sqlite3.connect(live.home / "ponte.db")) as connection:
        connection.execute(
            "INSERT INTO remembered VALUES ('discord.json', '{broken')"
            " ON CONFLICT (name) DO UPDATE SET data = excluded.data"
        )
        connection.commit()
    await live.open()
    await ana.ask("hello")


async def test_hourglasses_after_the_start_belong_to_the_stored_state() -> None:
    async def client() -> discord.Client:
        raise AssertionError("no call is made")

    state = DiscordState()
    marks = DiscordSigns(client, state, BackgroundTasks("discord")).marks
    await state.open()
    marks.worn["turn"] = "1:2"
    assert state.hourglasses == {"turn": "1:2"}
    await state.close()
