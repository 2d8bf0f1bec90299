"""The sample tables in a team: PONTE_SAMPLE=on offers them to the people whom the owner invited."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.compose import compose
from bot.config.ponte_toml import Config
from bot.home import Home
from bot.settings import Settings
from core.tools.sample import SAMPLE_FILE, SAMPLE_INTEGRATION
from tests.dialogues.test_sample import ALONE
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.discord.world import Channel, Payload
from tests.fakes.slack import FakeSlack

OVERDUE = "Show me the overdue invoices"
PAY = (
    '/nocodb nocodb_update {"table": "Invoices", "changes":'
    ' [{"id": 3, "fields": {"Status": "Paid"}}, {"id": 10, "fields": {"Status": "Paid"}}]}'
)
NOT_HERE = "No tables are available here."


@asynccontextmanager
async def ponte(home: Path, **settings: Any) -> AsyncIterator[None]:
    """A Ponte with the demo model and these settings."""
    options = {**ALONE, "ponte_home": home, "ponte_web": "off", **settings}
    home_of_ponte = Home(home)
    with home_of_ponte.take():
        app = await compose(Settings.model_validate(options), Config(), home_of_ponte)
        await app.start()
        try:
            yield
        finally:
            await app.stop()


def is_paid(home: Path) -> list[str]:
    """The status of the two invoices."""
    with closing(sqlite3.connect(home / SAMPLE_FILE)) as connection:
        rows = connection.execute(
            "SELECT cells FROM table_rows WHERE table_id = 'minvoices' AND id IN (3, 10)"
        )
        return [json.loads(cells)["Status"] for (cells,) in rows.fetchall()]


@pytest.mark.parametrize("sample", ["on", None])
async def test_on_slack_ana_asks_and_bruno_approves(tmp_path: Path, sample: str | None) -> None:
    async with FakeSlack() as slack:
        ana, bruno, cara = (slack.person(name) for name in ("Ana", "Bruno", "Cara"))
        place = slack.channel("general", ana, bruno, cara)

        async def ask(who: Any, text: str) -> Any:
            message = slack.say(who, place, f"{slack.bot} {text}")
            return await slack.wait_for_answer(message)

        async with ponte(
            tmp_path,
            ponte_sample=sample,
            slack_bot_token=SecretStr(slack.bot_token),
            slack_api_url=slack.base_url,
            slack_app_token=SecretStr(slack.app_token),
            ponte_allow=f"slack:{ana.id}",
            ponte_admins=f"slack:{bruno.id}",
        ):
            await slack.deliveries.wait_until_connected()
            assert NOT_HERE in (await ask(cara, "list tables")).visible_text, "nobody invited Cara"
            answer = (await ask(ana, OVERDUE)).visible_text
            if sample != "on":
                assert "Sample data." not in answer
                assert NOT_HERE in (await ask(bruno, "list tables")).visible_text
                return
            assert "10 of 10 rows" in answer
            assert "Sample data." in answer
            card = await ask(ana, PAY)
            assert "Change 2 rows in Invoices (sample)" in card.visible_text
            slack.click(cara, card, "Approve")
            slack.click(bruno, card, "Approve")
            await slack.wait_until(lambda: "Approved by Bruno" in card.visible_text)
            await slack.wait_until(lambda: "Undo" in card.buttons)
            assert is_paid(tmp_path) == ["Paid", "Paid"]
            slack.click(ana, card, "Undo")
            await slack.wait_until(lambda: is_paid(tmp_path) == ["Overdue", "Overdue"])


async def test_on_discord_ana_asks_and_bruno_approves(tmp_path: Path) -> None:
    async with FakeDiscord() as discord:
        ana, bruno, cara = (discord.user(name) for name in ("Ana", "Bruno", "Cara"))
        guild = discord.guild("Bolts", ana, bruno, cara)
        general = discord.text_channel(guild, "general")

        async def ask(who: Any, text: str, has: str) -> Payload:
            message = await who.mention(text, general)
            threads: dict[int, Channel] = discord.world.channels
            await discord.wait_until(lambda: int(message["id"]) in threads)
            seen = await who.wait_for_messages(
                lambda seen: any(has in words(one) for one in seen), threads[int(message["id"])]
            )
            return next(one for one in seen if has in words(one))

        def words(post: Payload) -> str:
            cards = (f"{each['title']}\n{each['description']}" for each in post["embeds"])
            return "\n".join([post["content"], *cards])

        with sdk_addresses():
            async with ponte(
                tmp_path,
                ponte_sample="on",
                discord_token=SecretStr(discord.token),
                discord_api_url=discord.api_url,
                discord_gateway_url=discord.gateway_url,
                ponte_allow=f"discord:{ana.id}",
                ponte_admins=f"discord:{bruno.id}",
            ):
                await discord.wait_until(lambda: discord.rest.commands)
                await ask(cara, "list tables", NOT_HERE)
                await ask(ana, OVERDUE, "Sample data.")
                card = await ask(ana, PAY, "Change 2 rows in Invoices (sample)")
                await (await cara.click(card, "Approve")).wait_for_ack()
                await (await bruno.click(card, "Approve")).wait_for_ack()
                await discord.wait_until(lambda: "Approved by Bruno" in words(card))
                await discord.wait_until(lambda: "Undo" in json.dumps(card["components"]))
                assert is_paid(tmp_path) == ["Paid", "Paid"]
                await (await ana.click(card, "Undo")).wait_for_ack()
                await discord.wait_until(lambda: is_paid(tmp_path) == ["Overdue", "Overdue"])


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, True),
        ({"ponte_sample": "off"}, False),
        ({"nocodb_url": "https://nocodb.example.com"}, False),
        ({"nocodb_token": "t"}, False),
        ({"nocodb_url": "https://bridge.example.com/execute"}, False),
        ({"slack_app_token": "xapp-1"}, False),
        ({"discord_token": "t"}, False),
        ({"database_url": "postgresql://localhost/ponte"}, False),
        ({"slack_bot_token": "xoxb-1"}, False),
        ({"slack_bot_token": "xoxb-1", "ponte_sample": "on"}, True),
        ({"discord_token": "t", "ponte_sample": "on"}, True),
        ({"ponte_sample": "on", "nocodb_url": "https://nocodb.example.com"}, False),
        ({"ponte_sample": "on", "database_url": "postgresql://localhost/ponte"}, False),
    ],
)
def test_anything_real_ends_the_offer(given: dict[str, str], used: bool) -> None:
    settings = Settings.model_validate({**ALONE, **given})
    assert SAMPLE_INTEGRATION.is_used(settings, settings) is used
    line = SAMPLE_INTEGRATION.summary(settings, settings)
    assert (line is not None and line.state == "on") is used
