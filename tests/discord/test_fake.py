"""The fake Discord is as strict as the facts say that Discord is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.fakes.discord import FakeDiscord, Somebody
from tests.fakes.discord.interactions import COMMAND, DEFER
from tests.fakes.discord.messages import NONCE_WINDOW

Told = tuple[int, int]
"""HTTP status and Discord's code."""


class Bot:
    """Raw calls, without an SDK between."""

    def __init__(self, discord: FakeDiscord, session: aiohttp.ClientSession) -> None:
        self.discord = discord
        self.session = session

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bot {self.discord.token}"}
        url = self.discord.api_url + path
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else {}

    async def told(self, method: str, path: str, body: Any = None) -> Told:
        status, answer = await self.call(method, path, body)
        return status, answer.get("code", 0)


@pytest.fixture
async def bot(discord: FakeDiscord) -> AsyncIterator[Bot]:
    async with aiohttp.ClientSession() as session:
        yield Bot(discord, session)


async def test_it_refuses_what_discord_refuses(bot: Bot, ana: Somebody) -> None:
    to = f"/channels/{ana.dm.id}/messages"
    long = {"content": "x" * 2001}
    nowhere = {"content": "x", "message_reference": {"message_id": "1"}}
    assert await bot.told("POST", to, long) == (400, 50035)
    assert await bot.told("POST", to, {"content": ""}) == (400, 50006)
    assert await bot.told("POST", to, nowhere) == (400, 50035)
    assert await bot.told("POST", to, {"content": "x", "nonce": "n" * 26}) == (400, 50035)
    assert await bot.told("POST", "/channels/1/messages", {"content": "x"}) == (404, 10003)
    assert await bot.told("PATCH", f"{to}/1", {"content": "x"}) == (404, 10008)
    ana.user.refuses_dms = True
    assert await bot.told("POST", to, {"content": "x"}) == (403, 50007)


async def test_it_takes_only_its_own_token(bot: Bot, discord: FakeDiscord) -> None:
    async with bot.session.get(f"{discord.api_url}/users/@me") as answer:
        assert answer.status == 401


async def test_a_nonce_makes_one_message_for_minutes(bot: Bot, ana: Somebody) -> None:
    to = f"/channels/{ana.dm.id}/messages"
    body = {"content": "x", "nonce": "n", "enforce_nonce": True}
    _, first = await bot.call("POST", to, body)
    _, again = await bot.call("POST", to, body)
    assert first["id"] == again["id"]
    bot.discord.clock.advance(NONCE_WINDOW + 1)
    _, later = await bot.call("POST", to, body)
    assert later["id"] != first["id"]
    _, history = await bot.call("GET", to)
    assert [message["id"] for message in history] == [later["id"], first["id"]]
    assert "nonce" not in history[0]


async def test_an_interaction_wants_one_ack_in_time(bot: Bot, ana: Somebody) -> None:
    begin = bot.discord.interactions.begin
    ack = {"type": DEFER, "data": {}}
    one = await begin(COMMAND, ana.user, ana.dm, {}, "en-US")
    path = f"/interactions/{one.id}/{one.token}/callback"
    hook = f"/webhooks/{bot.discord.world.me.id}/{one.token}"
    assert (await bot.told("POST", hook, {"content": "x"}))[0] == 404
    assert (await bot.told("POST", path, ack))[0] == 200
    assert await bot.told("POST", path, ack) == (400, 40060)
    assert (await bot.told("PATCH", f"{hook}/messages/@original", {"content": "x"}))[0] == 200
    bot.discord.clock.advance(901)
    assert await bot.told("PATCH", f"{hook}/messages/@original", {"content": "y"}) == (401, 50027)
    late = await begin(COMMAND, ana.user, ana.dm, {}, "en-US")
    bot.discord.clock.advance(4)
    late_path = f"/interactions/{late.id}/{late.token}/callback"
    assert await bot.told("POST", late_path, ack) == (404, 10062)


async def test_limits_come_with_what_discord_py_reads(bot: Bot, ana: Somebody) -> None:
    bot.discord.faults.rate = (1, 60.0)
    to = f"{bot.discord.api_url}/channels/{ana.dm.id}/messages"
    headers = {"Authorization": f"Bot {bot.discord.token}"}
    async with bot.session.post(to, json={"content": "x"}, headers=headers) as first:
        assert first.headers["X-RateLimit-Remaining"] == "0"
        assert first.headers["Content-Type"] == "application/json"
    async with bot.session.post(to, json={"content": "x"}, headers=headers) as second:
        assert second.status == 429
        assert second.headers["Via"]
        assert 0 < (await second.json())["retry_after"] <= 60


async def test_the_content_of_what_is_not_addressed_is_withheld(
    bot: Bot, discord: FakeDiscord, ana: Somebody
) -> None:
    channel = discord.text_channel(discord.guild("Bolts", ana), "general")
    await ana.say("among us", channel)
    await ana.mention("hello", channel)
    _, history = await bot.call("GET", f"/channels/{channel.id}/messages")
    assert [message["content"] for message in history][1] == ""
    assert "hello" in history[0]["content"]
