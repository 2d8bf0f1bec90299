"""The fake Discord is as strict as the facts say that Discord is."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from adapters.discord import client
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.interactions import (
    AUTOCOMPLETE,
    CHOICES,
    COMMAND,
    DEFER,
    DEFER_UPDATE,
    MODAL,
    MODAL_SUBMIT,
)
from tests.fakes.discord.limits import ACK_SECONDS, CODES, NONCE_SECONDS
from tests.fakes.discord.world import (
    ADD_REACTIONS,
    PUBLIC_THREADS,
    READ_HISTORY,
    SEND,
    VIEW,
    Channel,
)

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

    async def error_code(self, method: str, path: str, body: Any = None) -> Told:
        status, answer = await self.call(method, path, body)
        return status, answer.get("code", 0)


@pytest.fixture
async def bot(discord: FakeDiscord) -> AsyncIterator[Bot]:
    async with aiohttp.ClientSession() as session:
        yield Bot(discord, session)


def test_every_code_that_the_adapter_knows_stands_on_the_page() -> None:
    _, _, text = inspect.getsource(client).partition("# All codes: ")
    names = re.findall(r"\b[A-Z_]{4,}\b", text.partition("OVER = ")[0])
    new_names = {value for name in names if type(value := getattr(client, name, None)) is int}
    assert {client.UNKNOWN_MESSAGE, client.THREAD_EXISTS} <= new_names
    assert new_names | client.PASSING | {*client.OVER, *client.TOO_LARGE_CODES} <= CODES.keys()


async def test_it_refuses_what_discord_refuses(bot: Bot, ana: DiscordPerson) -> None:
    to = f"/channels/{ana.dm.id}/messages"
    long = {"content": "x" * 2001}
    nowhere = {"content": "x", "message_reference": {"message_id": "1"}}
    assert await bot.error_code("POST", to, long) == (400, 50035)
    assert await bot.error_code("POST", to, {"content": ""}) == (400, 50006)
    assert await bot.error_code("POST", to, nowhere) == (400, 50035)
    assert await bot.error_code("POST", to, {"content": "x", "nonce": "n" * 26}) == (400, 50035)
    assert await bot.error_code("POST", "/channels/1/messages", {"content": "x"}) == (404, 10003)
    assert await bot.error_code("PATCH", f"{to}/1", {"content": "x"}) == (404, 10008)
    ana.user.refuses_dms = True
    assert await bot.error_code("POST", to, {"content": "x"}) == (403, 50007)


async def test_it_counts_code_points_and_forgets_white_space(bot: Bot, ana: DiscordPerson) -> None:
    to = f"/channels/{ana.dm.id}/messages"
    assert await bot.error_code("POST", to, {"content": " \n "}) == (400, 50006)
    assert (await bot.error_code("POST", to, {"content": "😀" * 2000}))[0] == 200
    _, message = await bot.call("POST", to, {"content": "\n hello \n"})
    assert message["content"] == "hello"


async def test_it_refuses_what_does_not_fit(bot: Bot, ana: DiscordPerson) -> None:
    to = f"/channels/{ana.dm.id}/messages"
    for more in (
        {"embeds": [{"title": "x" * 257}]},
        {"embeds": [{"description": "x" * 4097}]},
        {"embeds": [{"description": "x" * 3001}] * 2},
        {"embeds": [{"footer": {"text": "x" * 2049}}]},
        {"embeds": [{"fields": [{"name": "a", "value": "x" * 1025}]}]},
        {"embeds": [{"title": "x"}] * 11},
        {"components": [{"type": 1, "components": []}]},
        {"components": [{"type": 1, "components": [{"label": "x", "custom_id": "a"}] * 2}]},
        {"components": [{"type": 1, "components": [{"label": "x", "custom_id": "a" * 101}]}]},
        {"components": [{"type": 1, "components": [{"label": "x" * 81, "custom_id": "a"}]}]},
    ):
        assert await bot.error_code("POST", to, {"content": "x", **more}) == (400, 50035), more


async def test_it_asks_for_permissions(bot: Bot, ana: DiscordPerson) -> None:
    for missing, method, path, text in (
        (SEND, "POST", "/messages", (403, 50013)),
        (VIEW, "POST", "/messages", (403, 50001)),
        (SEND, "POST", "/typing", (403, 50013)),
        (READ_HISTORY, "GET", "/messages/{id}", (403, 50013)),
        (ADD_REACTIONS, "PUT", "/messages/{id}/reactions/x/@me", (403, 50013)),
        (PUBLIC_THREADS, "POST", "/messages/{id}/threads", (403, 50013)),
    ):
        guild = bot.discord.guild("Bolts", ana)
        channel = bot.discord.text_channel(guild, "general")
        message = await ana.say("hello", channel)
        guild.permissions &= ~missing
        whole = f"/channels/{channel.id}{path.format(id=message['id'])}"
        body = {"content": "x", "name": "x"} if method == "POST" else None
        assert await bot.error_code(method, whole, body) == text, (path, missing)


async def test_without_history_nothing_is_read_and_nothing_replied_to(
    bot: Bot, ana: DiscordPerson
) -> None:
    guild = bot.discord.guild("Bolts", ana)
    guild.permissions &= ~READ_HISTORY
    channel = bot.discord.text_channel(guild, "general")
    message = await ana.mention("hello", channel)
    to = f"/channels/{channel.id}/messages"
    reply = {"content": "x", "message_reference": {"message_id": message["id"]}}
    assert await bot.error_code("POST", to, reply) == (400, 160002)
    assert await bot.call("GET", to) == (200, [])


async def test_mentions_are_made_anew_by_each_edit(bot: Bot, ana: DiscordPerson) -> None:
    to = f"/channels/{ana.dm.id}/messages"
    text = {"content": f"<@{ana.id}>"}
    none: Any = {"allowed_mentions": {"parse": []}}
    _, message = await bot.call("POST", to, text | none)
    assert message["mentions"] == []
    path = f"{to}/{message['id']}"
    assert (await bot.call("PATCH", path, text | none))[1]["mentions"] == []
    assert not bot.discord.world.unguarded
    assert (await bot.call("PATCH", path, text))[1]["mentions"][0]["id"] == str(ana.id)
    assert len(bot.discord.world.unguarded) == 1


async def test_an_archived_thread_takes_posts_and_no_edits(bot: Bot, ana: DiscordPerson) -> None:
    guild = bot.discord.guild("Bolts", ana)
    channel = bot.discord.text_channel(guild, "general")
    me = bot.discord.world.me.id
    thread = bot.discord.world.channel(
        type=11, name="old", guild=guild, parent=channel.id, owner=me
    )
    to = f"/channels/{thread.id}/messages"
    _, message = await bot.call("POST", to, {"content": "x"})
    thread.archived = True
    assert await bot.error_code("PATCH", f"{to}/{message['id']}", {"content": "y"}) == (400, 50083)
    assert (await bot.error_code("POST", to, {"content": "y"}))[0] == 200
    assert not thread.archived
    thread.locked = True
    assert await bot.error_code("POST", to, {"content": "z"}) == (400, 160005)


async def test_a_nonce_makes_one_message_in_all_channels_for_minutes(
    bot: Bot, ana: DiscordPerson
) -> None:
    """It is looked for by its author: resources/message.mdx#create-message."""
    to = f"/channels/{ana.dm.id}/messages"
    body = {"content": "x", "nonce": "n", "enforce_nonce": True}
    _, first = await bot.call("POST", to, body)
    for place in (ana.dm, bot.discord.user("Bob").dm):
        _, again = await bot.call("POST", f"/channels/{place.id}/messages", body)
        assert first["id"] == again["id"]
    bot.discord.clock.advance(NONCE_SECONDS + 1)
    _, later = await bot.call("POST", to, body)
    assert later["id"] != first["id"]
    _, history = await bot.call("GET", to)
    assert [message["id"] for message in history] == [later["id"], first["id"]]
    assert "nonce" not in history[0]


async def test_an_interaction_wants_one_ack_in_time(bot: Bot, ana: DiscordPerson) -> None:
    bot.discord.interactions.deadline = ACK_SECONDS
    begin = bot.discord.interactions.begin
    ack = {"type": DEFER, "data": {}}
    one = await begin(COMMAND, ana.user, ana.dm, {}, "en-US")
    path = f"/interactions/{one.id}/{one.token}/callback"
    hook = f"/webhooks/{bot.discord.world.me.id}/{one.token}"
    assert (await bot.error_code("POST", hook, {"content": "x"}))[0] == 404
    assert (await bot.error_code("POST", path, ack))[0] == 200
    assert await bot.error_code("POST", path, ack) == (400, 40060)
    assert (await bot.error_code("PATCH", f"{hook}/messages/@original", {"content": "x"}))[0] == 200
    bot.discord.clock.advance(901)
    assert await bot.error_code("PATCH", f"{hook}/messages/@original", {"content": "y"}) == (
        401,
        50027,
    )
    late = await begin(COMMAND, ana.user, ana.dm, {}, "en-US")
    bot.discord.clock.advance(4)
    late_path = f"/interactions/{late.id}/{late.token}/callback"
    assert await bot.error_code("POST", late_path, ack) == (404, 10062)


async def test_an_interaction_takes_only_answers_of_its_kind(bot: Bot, ana: DiscordPerson) -> None:
    begin = bot.discord.interactions.begin
    long = {"title": "x" * 46, "custom_id": "a", "components": []}
    for kind, body in (
        (COMMAND, {"type": DEFER_UPDATE}),
        (COMMAND, {"type": MODAL, "data": long}),
        (MODAL_SUBMIT, {"type": MODAL, "data": {}}),
        (AUTOCOMPLETE, {"type": CHOICES, "data": {"choices": [{"name": "", "value": "x"}]}}),
    ):
        one = await begin(kind, ana.user, ana.dm, {}, "en-US")
        path = f"/interactions/{one.id}/{one.token}/callback"
        assert await bot.error_code("POST", path, body) == (400, 50035)


async def test_what_is_no_command_is_not_registered(bot: Bot, discord: FakeDiscord) -> None:
    path = f"/applications/{discord.world.me.id}/commands"
    good = {"name": "ask", "description": "Ask"}
    assert (await bot.call("PUT", path, [good]))[0] == 200
    for bad in ({"name": "Ask"}, {"description": ""}, {"name": "x" * 33}):
        assert (await bot.call("PUT", path, [good | bad]))[0] == 400


async def test_limits_come_with_what_discord_py_reads(bot: Bot, ana: DiscordPerson) -> None:
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
    bot: Bot, discord: FakeDiscord, ana: DiscordPerson, channel: Channel
) -> None:
    message = await ana.say("among us", channel, files=[("a.png", b"a")])
    await ana.mention("hello", channel, reply_to=message)
    await ana.mention_role("hello", channel)
    _, history = await bot.call("GET", f"/channels/{channel.id}/messages")
    by_role, mention, among_us = history
    assert (among_us["content"], among_us["attachments"]) == ("", [])
    assert "hello" in mention["content"]
    assert mention["referenced_message"]["content"] == "", "a quoted one is judged for itself"
    assert mention["referenced_message"]["attachments"] == []
    guild = channel.guild
    assert guild is not None
    assert (by_role["content"], by_role["mention_roles"]) == ("", [str(guild.own_role)])
    discord.grant_message_content()
    _, history = await bot.call("GET", f"/channels/{channel.id}/messages")
    assert history[2]["content"] == "among us"


async def test_what_is_forwarded_is_withheld_with_the_forward(
    bot: Bot, ana: DiscordPerson, channel: Channel
) -> None:
    message = await ana.say("among us", channel, files=[("a.png", b"a")])
    await ana.forward(message, channel)
    await ana.forward(message)
    _, history = await bot.call("GET", f"/channels/{channel.id}/messages")
    assert history[0]["message_snapshots"][0]["message"]["content"] == ""
    _, history = await bot.call("GET", f"/channels/{ana.dm.id}/messages")
    snapshot = history[0]["message_snapshots"][0]["message"]
    assert (snapshot["content"], len(snapshot["attachments"])) == ("among us", 1)
