"""The button "Ask Ponte about this row" of a real NocoDB, pressed, and answered in Slack."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bot.compose import compose
from bot.config.ponte_toml import read_config
from bot.home import Home
from bot.settings import Settings
from tests.fakes.hook_senders import PLAIN_SECRET
from tests.fakes.openai import FakeOpenAI
from tests.fakes.slack import TEAM, FakeSlack
from tests.real.nocodb.seed import Seeded, base_with_rows, call

LABEL = "Ask Ponte about this row"
FILE = """
[groups]
crew = ["slack:U1"]

[hooks.row]
kind = "secret"
secret = "ROW_HOOK_SECRET"
post_to = "slack:{team}:{channel}"
as = "crew"
instruction = "Say what the row needs."
"""


def add_button(nocodb: Seeded, table: str, address: str) -> str:
    """Add a webhook with its button to the table, as the guide says. Return the webhook's id."""
    api, token = f"{nocodb.url}/api/v2/meta/tables/{table}", nocodb.token
    secret = {"name": "X-Hook-Secret", "value": PLAIN_SECRET, "enabled": True}
    body = {"method": "POST", "path": address, "headers": [secret], "body": "{{ json event }}"}
    hook = {
        "title": "Ponte",
        "event": "manual",
        "operation": ["trigger"],
        "version": "v3",
        "active": True,
        "notification": {"type": "URL", "payload": body},
    }
    id = str(call(f"{api}/hooks", hook, xc_token=token)["id"])
    button = {
        "title": "Ask",
        "column_name": "Ask",
        "uidt": "Button",
        "type": "webhook",
        "label": LABEL,
        "theme": "solid",
        "color": "brand",
        "fk_webhook_id": id,
    }
    call(f"{api}/columns", button, xc_token=token)
    return id


async def test_a_pressed_button_is_answered_in_the_channel(
    tmp_path: Path, real_nocodb: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    nocodb = real_nocodb
    monkeypatch.setenv("ROW_HOOK_SECRET", PLAIN_SECRET)
    home, path = Home(tmp_path / "home"), tmp_path / "ponte.toml"
    async with FakeSlack() as slack, FakeOpenAI() as openai:
        general = slack.channel("general", slack.person("Alice"))
        path.write_text(FILE.format(team=TEAM, channel=general.id))
        settings = Settings.model_validate(
            {
                "slack_bot_token": slack.bot_token,
                "slack_app_token": slack.app_token,
                "slack_api_url": slack.base_url,
                "openai_api_key": "sk-test",
                "openai_base_url": openai.base_url,
                "ponte_home": home.path,
                "ponte_web_port": 0,
                "ponte_grace": 0.5,
                "ponte_code": "off",
            }
        )
        openai.say("It waits for its payment.", "It waits for its payment again.")
        with home.take():
            app = await compose(settings, read_config(path), home)
            await app.start()
            try:
                base = await asyncio.to_thread(base_with_rows, nocodb.url, nocodb.token, "Button")
                table = base.tables["Orders"]
                address = f"{app.links()[1].partition('/#')[0]}/hooks/row"
                hook = await asyncio.to_thread(add_button, nocodb, table, address)
                press = f"{nocodb.url}/api/v2/meta/hooks/{hook}/trigger/2"
                for _ in range(2):
                    await asyncio.to_thread(call, press, {}, xc_token=nocodb.token)
                await slack.wait_until(lambda: len(slack.workspace.by_bot(general.id)) == 2)
            finally:
                await app.stop()
        texts = [post.visible_text for post in slack.workspace.by_bot(general.id)]
        assert [text.startswith("It waits for its payment") for text in texts] == [True, True]
        row = f"{nocodb.url}/api/v3/data/{base.id}/{table}/records/2"
        result = await asyncio.to_thread(call, row, xc_token=nocodb.token)
        assert result["fields"]["Ask"]["label"] == LABEL
        assert "Order 02" in json.dumps(openai.request_bodies("/responses")), (
            "the model read the row"
        )
