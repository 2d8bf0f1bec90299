"""The button *Show code* under answers of Slack and Discord: who sees the code of a run, and when
it is gone. The code runs at the double of OpenAI."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.discord.posts import MAX_FILES_IN_POST
from bot.config.ponte_toml import Config, read_config
from tests.dialogues.test_code_slack import slack_settings
from tests.dialogues.whole import whole
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.world import Payload
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import Run
from tests.fakes.slack import FakeSlack

pytestmark = pytest.mark.slow

CODE = "# ``` <!channel> @everyone <@U1> *bold* [x](https://example.com)\nprint(6 * 7)"
PLAIN = "print('@everyone', 6 * 7)"
WORDS = ("Short.", "Marks.", "Long.", "Many.")
GONE = "This code is no longer stored."


def deny_chat(folder: Path, person: str) -> Config:
    path = folder / "ponte.toml"
    path.write_text(f'[[rules]]\nwho = ["{person}"]\ndeny = ["chat"]\n')
    return read_config(path)


def calls(*codes: str) -> Script:
    return Script(calls=tuple(("run_python", json.dumps({"code": code})) for code in codes))


def discord_settings(discord: FakeDiscord) -> dict[str, Any]:
    return {
        "discord_token": discord.token,
        "discord_api_url": discord.api_url,
        "discord_gateway_url": discord.gateway_url,
    }


def has_button(words: str, messages: list[Payload]) -> bool:
    """Whether the answer with these words is complete, with its button."""
    return any(words in m["content"] and "Show code" in str(m["components"]) for m in messages)


async def test_slack_shows_the_code_to_whoever_presses(tmp_path: Path, fake: FakeOpenAI) -> None:
    """Also after a restart. No file is posted for it. A turn, a post or a place that do not belong
    together show nothing."""
    async with FakeSlack() as slack:
        alice, bob, eve = (slack.person(name) for name in ("Alice", "Bob", "Eve"))
        general, random = slack.channel("general", alice, bob, eve), slack.channel("random", alice)
        settings = slack_settings(slack)

        async def press(someone: Any, post: Any, **lies: Any) -> str:
            slack.click(someone, post, "Show code", lies or None)
            hook = list(slack.workspace.hooks.values())[-1]
            await slack.wait_until(lambda: hook.heard)
            (shown,) = [p for p in slack.workspace.posts.values() if p.seen_by == someone.id][-1:]
            assert shown.thread_ts == (post.thread_ts or "")
            return str(shown.visible_text)

        async with whole(tmp_path, fake, **settings):
            await slack.deliveries.wait_until_connected()
            fake.say(calls(CODE, "x = 1"), "42, I think.")
            fake.runs(Script(text="done", runs=(Run(logs="42\n"),)))
            message = slack.say(alice, general, f"{slack.bot} what is it?")
            post = await slack.wait_for_answer(message)
            assert post.buttons["Show code"]
            fake.say("Nothing ran.")
            plain = await slack.wait_for_answer(slack.say(alice, random, f"{slack.bot} hello"))
            assert "Show code" not in plain.buttons
        config = deny_chat(tmp_path, f"slack:{eve.id}")
        async with whole(tmp_path, fake, config=config, **settings):
            await slack.deliveries.wait_until_connected()
            assert await press(bob, post) == f"{CODE}\nx = 1"
            assert not any(
                each.files for each in slack.workspace.posts.values() if each.user != alice.id
            )
            assert (slack.workspace.pings, slack.workspace.complaints) == ([], [])
            assert "I can't chat with you here." in await press(eve, post)
            # These are forged: another turn, another post, another channel.
            value = post.buttons["Show code"]["value"]
            (row,) = [block for block in post.blocks if block["type"] == "actions"]
            plain.blocks.append({**row, "elements": [{**post.buttons["Show code"]}]})
            assert GONE in await press(alice, plain)
            for other in (value[::-1], "", "x' OR 1=1"):
                row["elements"][0]["value"] = other
                assert GONE in await press(bob, post)
            row["elements"][0]["value"] = value
            slack.say(alice, general, f"{slack.bot} forget yes", thread=message)
            await slack.wait_until(
                lambda: "Deleted" in slack.workspace.by_bot(general.id, message.ts)[-1].visible_text
            )
            assert GONE in await press(bob, post)


async def test_slack_cuts_code_that_is_too_long(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with FakeSlack() as slack:
        alice = slack.person("Alice")
        async with whole(tmp_path, fake, **slack_settings(slack)):
            await slack.deliveries.wait_until_connected()
            fake.say(calls("x = '<" + "é&" * 5000 + "'", "print(2)"), "Done.")
            post = await slack.wait_for_answer(slack.say(alice, slack.dm(alice), "run that"))
        async with whole(tmp_path, fake, **slack_settings(slack)):
            await slack.deliveries.wait_until_connected()
            slack.click(alice, post, "Show code")
            hook = list(slack.workspace.hooks.values())[-1]
            await slack.wait_until(lambda: hook.heard)
            blocks = str(hook.heard[-1]["blocks"])
            assert "Ask me for the rest of the code." in blocks
            assert "…" in blocks
            assert "print(2)" not in blocks


async def test_discord_shows_the_code_to_whoever_presses(
    tmp_path: Path, discord: FakeDiscord, fake: FakeOpenAI
) -> None:
    """Short code is in the message; code that is long, or could end its block, is a file."""
    bo, eve = (DiscordPerson(discord, discord.world.user(name)) for name in ("Bo", "Eve"))
    settings = discord_settings(discord) | {"ponte_allow": f"discord:{bo.id}"}
    async with whole(tmp_path, fake, **settings):
        await discord.wait_until(lambda: discord.rest.commands)
        fake.say(calls(PLAIN), "Short.", calls(CODE), "Marks.", calls("x = 1\n" * 500), "Long.")
        fake.say(calls(*(f"x = {number}\n" * 50 for number in range(12))), "Many.")
        for words in WORDS:
            await bo.say("what is it?")
            await bo.wait_for_messages(partial(has_button, words))
    config = deny_chat(tmp_path, f"discord:{eve.id}")
    async with whole(tmp_path, fake, config=config, **settings):
        await discord.wait_until(lambda: discord.gateway.identified == 2)
        posts = {words: await bo.wait_for_text(words) for words in WORDS}
        assert not any(post["attachments"] for post in posts.values())
        exchange = await bo.click(posts["Short."], "Show code")
        await exchange.wait_for_ack()
        assert (exchange.ephemeral, exchange.text) == (True, f"```py\n{PLAIN}\n```")
        for words in ("Marks.", "Long."):
            exchange = await bo.click(posts[words], "Show code")
            await exchange.wait_for_ack()
            assert exchange.ephemeral
            assert exchange.original is not None
            (file,) = exchange.original["attachments"]
            assert (exchange.text, file["filename"][-3:]) == ("", ".py")
        exchange = await eve.click(posts["Short."], "Show code")
        await exchange.wait_for_ack()
        assert "I can't chat with you here." in exchange.text
        exchange = await bo.click(posts["Many."], "Show code")
        await exchange.wait_for_ack()
        assert exchange.original is not None
        assert len(exchange.original["attachments"]) == MAX_FILES_IN_POST
        assert "Ask me for the rest of the code." in exchange.text
        # The button of another answer is forged into this one.
        posts["Long."]["components"] = posts["Short."]["components"]
        exchange = await bo.click(posts["Long."], "Show code")
        await exchange.wait_for_ack()
        assert GONE in exchange.text
        await bo.say("forget yes")
        await bo.wait_for_messages(lambda seen: "Deleted" in seen[-1]["content"])
        exchange = await bo.click(posts["Short."], "Show code")
        await exchange.wait_for_ack()
        assert GONE in exchange.text
