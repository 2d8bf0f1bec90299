"""kill -9 and SIGTERM on a real process: one answer each, whatever was under way."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.discord.discord_ponte import bot_messages
from tests.discord.process import Process
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.limits import NONCE_SECONDS

MESSAGES = "/channels/*/messages"


@pytest.fixture
async def bot(discord: FakeDiscord, tmp_path: Path) -> AsyncIterator[Process]:
    (tmp_path / "home").mkdir()
    process = Process(discord, tmp_path / "home")
    yield process
    await process.kill()


async def test_a_turn_that_was_killed_is_answered_after_the_restart(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson
) -> None:
    await bot.start("--hold")
    await ana.say("hello")
    await ana.wait_for_text("begun")
    await bot.kill()
    await bot.start()
    await ana.wait_for_text("You said: hello")
    assert bot_messages(discord) == ["You said: hello"]


@pytest.mark.parametrize("later", [0.0, NONCE_SECONDS + 60])
async def test_between_a_posts_effect_and_its_record(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson, later: float
) -> None:
    """Also when Discord has forgotten the nonce meanwhile."""
    await bot.start()
    gate = discord.hold("POST", MESSAGES)
    await ana.say("hello")
    await gate.wait_until_reached()
    await bot.kill()
    gate.release()
    discord.clock.advance(later)
    await bot.start()
    await ana.ask("next")
    assert bot_messages(discord) == ["You said: hello", "You said: next"]


async def test_between_the_parts_of_a_long_answer(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson
) -> None:
    await bot.start()
    first = discord.hold("POST", MESSAGES)
    await ana.say("long")
    await first.wait_until_reached()
    first.release()
    second = discord.hold("POST", MESSAGES)
    await second.wait_until_reached()
    await bot.kill()
    second.release()
    discord.clock.advance(NONCE_SECONDS + 60)
    await bot.start()
    await ana.ask("next")
    *parts, last = bot_messages(discord)
    assert last == "You said: next"
    assert len(parts) == 3
    assert "".join(parts).count("paragraph") == 6


async def test_the_source_is_gone_and_the_post_is_in_doubt(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson
) -> None:
    """Such a post answers nothing; it is found by its text."""
    await bot.start()
    question = await ana.say("not yet")
    await ana.wait_for_text("You said: not yet")
    ana.dm.messages.pop(int(question["id"]))
    gate = discord.hold("POST", MESSAGES)
    again = {**question, "id": str(discord.clock.snowflake()), "content": "hello"}
    await discord.rest.send_event("MESSAGE_CREATE", again)
    await gate.wait_until_reached()
    await bot.kill()
    gate.release()
    discord.clock.advance(NONCE_SECONDS + 60)
    await bot.start()
    await ana.ask("next")
    assert bot_messages(discord) == ["You said: not yet", "You said: hello", "You said: next"]


async def test_a_dm_while_nobody_was_there(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson
) -> None:
    await bot.start()
    await ana.ask("hello")
    assert await bot.end(signal.SIGTERM) == 0
    discord.gateway.forget()
    await ana.say("anybody?")
    await bot.start()
    await ana.wait_for_text("You said: anybody?")
    assert bot_messages(discord) == ["You said: hello", "You said: anybody?"]


@pytest.mark.parametrize("later", [0.0, 3600.0])
async def test_a_command_that_was_acked_and_not_answered(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson, later: float
) -> None:
    """While its token lives, and when it has ended: then as an edit of what stands there."""
    await bot.start("--hold")
    await discord.wait_until(lambda: discord.rest.commands)
    exchange = await ana.slash("ask", prompt="hello")
    await exchange.wait_until(lambda e: e.text == "begun")
    await bot.kill()
    discord.clock.advance(later)
    await bot.start()
    await ana.wait_for_text("You said: hello")
    assert bot_messages(discord) == ["You said: hello"]


async def test_sigterm_lets_a_turn_finish(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson
) -> None:
    await bot.start("--hold", "--grace", "0")
    await ana.say("hello")
    await ana.wait_for_text("begun")
    assert await bot.end(signal.SIGTERM) == 0
    await bot.start()
    await ana.wait_for_text("You said: hello")
    assert bot_messages(discord) == ["You said: hello"]


@pytest.mark.parametrize("call", [1, 2, 4, 6])
async def test_a_kill_after_any_call_loses_and_repeats_no_answer(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson, call: int
) -> None:
    """Six people write at once, and the process dies as its nth call had its effect."""
    people = [discord.user(f"Person {n}") for n in range(6)]
    await bot.start()
    gate = discord.hold_call(call)
    for person in people:
        await person.say(f"I am {person.user.name}")
    await gate.wait_until_reached()
    await bot.kill()
    gate.release()
    await bot.start()
    for person in people:
        await person.say("next")
    for person in people:
        await person.wait_for_text("You said: next")
    answers = [m["content"] for m in discord.world.messages_by(discord.world.me.id)]
    assert len(answers) == 12
    assert len(set(answers)) == 7


@pytest.mark.slow
async def test_messages_that_were_edited_or_deleted_while_nobody_was_there(
    discord: FakeDiscord, bot: Process, ana: DiscordPerson
) -> None:
    """A new session replays no edits and no deletions of messages that wait."""
    await bot.start("--hold")
    await ana.say("first")
    await ana.wait_for_text("begun")
    message = await ana.say("my secret is swordfish")
    edit = await ana.say("helo")
    command = await ana.say("quick-command explain")
    await discord.wait_until(
        lambda: len([one for one in discord.rest.reactions if one[0] == "PUT"]) == 3
    )
    await bot.kill()
    discord.gateway.forget()
    await ana.delete(message)
    await ana.edit(edit, "hello")
    await ana.edit(command, "last")
    await bot.start()
    await ana.wait_for_text("You said: last")
    assert bot_messages(discord) == ["You said: first", "You said: hello", "You said: last"]
