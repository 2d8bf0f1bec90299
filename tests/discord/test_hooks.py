"""Webhooks on Discord: a post in a channel and in a direct message, each once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.chat.destinations import Destinations
from core.webhooks.hook import Hook
from core.webhooks.intake import HookIntake
from tests.discord.discord_ponte import DiscordPonte
from tests.discord.test_posting import MESSAGES
from tests.fakes.choices import hook_rules
from tests.fakes.config import fixed_rules
from tests.fakes.discord import FakeDiscord
from tests.fakes.hook_senders import PLAIN_SECRET, encode_body, from_nocodb
from tests.time_limits import Limits


async def test_a_webhook_posts_once_in_a_channel_and_once_to_a_person(
    discord: FakeDiscord, ponte: DiscordPonte
) -> None:
    ana = discord.user("Ana")
    guild = discord.guild("Bolts", ana)
    channel = discord.text_channel(guild, "general")
    secret: dict[str, Any] = {"header": "X-Hook-Secret", "id_field": "id"}
    hooks = {
        "ask": Hook(
            "ask",
            "secret",
            PLAIN_SECRET,
            f"discord:{guild.id}:{channel.id}",
            instruction="Report.",
            **secret,
        ),
        "tell": Hook(
            "tell",
            "secret",
            PLAIN_SECRET,
            f"discord:{ana.id}",
            template="New: {text}",
            **secret,
        ),
    }
    ponte.policy.read_rules = fixed_rules(hook_rules(dict.fromkeys(hooks, "crew")))
    await ponte.open(threads=True)
    inbox, platforms = ponte.engine.conversations.inbox, {"discord": ponte.adapter}
    intake = HookIntake(hooks.get, Destinations(platforms), inbox)
    discord.lose("POST", MESSAGES)  # the posts of each are made, and their answers lost
    body = encode_body({"id": "1", "text": "@everyone **hi** https://evil.example"})
    for name in ("ask", "tell", "ask", "tell"):
        status, _, text = await intake.receive(name, from_nocodb(), body)
        assert status == 202, text
        turn = await ponte.engine.conversations.journal.history_entry(json.loads(text)["turn"])
        await inbox.wait_for_answer(turn.seq)
    world = discord.world
    await discord.wait_until(lambda: world.messages_by(world.me.id, ana.dm.id))
    (message,) = world.messages_by(world.me.id, channel.id)
    assert message["content"]
    (private,) = world.messages_by(world.me.id, ana.dm.id)
    assert private["content"].startswith("New: ")
    assert "**hi**" not in private["content"].replace("\\*", "")
    assert ponte.model.asks[-1].asker.key == "hook:ask"
    await ponte.close()


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_equal_posts_of_two_webhooks_are_both_made(
    discord: FakeDiscord, ponte: DiscordPonte, limits: Limits, is_restarted: bool
) -> None:
    """The second is refused for now, or its process is lost, and is then looked for by its text."""
    if not is_restarted:
        limits(RETRY_LATER_SECONDS=0.01)
    guild = discord.guild("Bolts", discord.user("Ana"))
    channel = discord.text_channel(guild, "general")
    hook = Hook(
        "tell",
        "secret",
        PLAIN_SECRET,
        f"discord:{guild.id}:{channel.id}",
        template="New: {text}",
        header="X-Hook-Secret",
        id_field="id",
    )
    ponte.policy.read_rules = fixed_rules(hook_rules({"tell": "crew"}))
    await ponte.open()

    async def receive(id: str) -> int:
        inbox, platforms = ponte.engine.conversations.inbox, {"discord": ponte.adapter}
        intake = HookIntake({"tell": hook}.get, Destinations(platforms), inbox)
        body = encode_body({"id": id, "text": "bolts"})
        _, _, reply = await intake.receive("tell", from_nocodb(), body)
        return (
            await ponte.engine.conversations.journal.history_entry(json.loads(reply)["turn"])
        ).seq

    await ponte.engine.conversations.inbox.wait_for_answer(await receive("1"))
    discord.refuse("POST", MESSAGES, 401)
    second = await receive("2")
    if is_restarted:
        await discord.wait_until(lambda: not discord.faults.waiting)
        await ponte.close(grace=0.0)
        await ponte.open()
    await ponte.engine.conversations.inbox.wait_for_answer(second)
    posts = discord.world.messages_by(discord.world.me.id, channel.id)
    assert [post["content"] for post in posts] == ["New: bolts"] * 2
    await ponte.close()
