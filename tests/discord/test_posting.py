"""One visible answer, whatever the wire does."""

from __future__ import annotations

import pytest

from tests.discord.house import House
from tests.fakes.discord import FakeDiscord, Somebody
from tests.fakes.discord.world import Payload

MESSAGES = "/channels/*/messages"


def texts(messages: list[Payload]) -> list[str]:
    return [message["content"] for message in messages]


def said(discord: FakeDiscord) -> list[str]:
    return texts(discord.world.said_by(discord.world.me.id))


async def test_an_answer_whose_http_answer_was_lost_stands_once(
    discord: FakeDiscord, house: House, ana: Somebody
) -> None:
    await house.open()
    discord.lose("POST", MESSAGES, times=2)
    await ana.say("hello")
    await ana.say("next")
    await ana.reads("You said: next")
    assert said(discord) == ["You said: hello", "You said: next"]


async def test_an_answer_after_a_502_stands_once(
    discord: FakeDiscord, house: House, ana: Somebody
) -> None:
    await house.open()
    discord.break_after("POST", MESSAGES)
    await ana.say("hello")
    await ana.say("next")
    await ana.reads("You said: next")
    assert said(discord) == ["You said: hello", "You said: next"]


async def test_a_lost_edit_is_made_again(discord: FakeDiscord, house: House, ana: Somebody) -> None:
    await house.open()
    discord.lose("PATCH", f"{MESSAGES}/*")
    await ana.say("hello")
    await ana.say("next")
    await ana.reads("You said: next")
    assert said(discord) == ["You said: hello", "You said: next"]


async def test_limits_are_met_without_one_refused_call(
    discord: FakeDiscord, house: House, ana: Somebody
) -> None:
    discord.faults.rate = (5, 1.0)
    await house.open()
    for number in range(12):
        await ana.say(f"number {number}")
    await ana.reads("number 11")
    assert len(said(discord)) == 12
    assert discord.faults.refused == []


async def test_a_rate_limit_that_was_not_announced_is_waited_out(
    discord: FakeDiscord, house: House, ana: Somebody
) -> None:
    """Other programs with the same token used the bucket up."""
    discord.faults.rate = (1, 0.3)
    discord.faults.announced = False
    await house.open()
    await ana.say("one")
    await ana.say("two")
    await ana.reads("You said: two")
    assert said(discord) == ["You said: one", "You said: two"]
    assert discord.faults.refused


async def test_a_file_that_is_too_large_does_not_take_the_text_with_it(
    discord: FakeDiscord, house: House, ana: Somebody
) -> None:
    house.give("plot.png", b"p" * 12 * 1024 * 1024)
    await house.open()
    await ana.say("call draw {}")
    answer = await ana.reads("`plot.png` (12.0 MiB) does not fit here")
    assert answer["content"].startswith("You said: ")
    assert not answer["attachments"]
    assert len(said(discord)) == 1


async def test_files_come_with_the_answer_and_a_surprising_limit_leaves_the_text(
    discord: FakeDiscord, house: House, ana: Somebody
) -> None:
    house.give("plot.png", b"png")
    await house.open()
    # The progress was posted; the final edit comes before the one that brings the files.
    await ana.say("call draw {}")
    answer = await ana.reads("You said: ")
    await discord.until(lambda: answer["attachments"])
    assert [file["filename"] for file in answer["attachments"]] == ["plot.png"]
    discord.faults.largest = 2
    await ana.say("call draw {}")
    answer = await ana.reads("does not fit here")
    assert not answer["attachments"]


async def test_where_history_may_not_be_read_the_answer_refers_to_nothing(
    discord: FakeDiscord, house: House, ana: Somebody
) -> None:
    await house.open()
    discord.refuse("POST", MESSAGES, 403, 160002)
    await ana.say("hello")
    answer = await ana.reads("You said: hello")
    assert "message_reference" not in answer


async def test_a_token_that_was_reset_loses_no_answer(
    discord: FakeDiscord, house: House, ana: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.discord.calls.NETWORK_WAIT", 0.01)
    await house.open()
    discord.refuse("POST", MESSAGES, 401, times=2)
    await ana.say("hello")
    await ana.reads("You said: hello")
    assert said(discord) == ["You said: hello"]
