"""A webhook, from the request of a program to the post in Slack, in the whole of Ponte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.compose import compose
from bot.config.ponte_toml import read_config
from bot.home import Home
from bot.settings import Settings
from core.chat.destinations import Destinations
from core.webhooks.hook import Hook
from core.webhooks.intake import HookIntake
from tests.fakes.choices import allow_list, hook_rules, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.hook_senders import PLAIN_SECRET, encode_body, from_github, from_nocodb
from tests.fakes.models import EchoModel
from tests.fakes.slack import TEAM, FakeSlack
from tests.slack.bot import Setting, workplace

FILE = """
[groups]
crew = ["slack:U1"]

[hooks.push]
kind = "github"
secret = "PUSH_SECRET"
post_to = "slack:{team}:{channel}"
as = "crew"
template = "{{pusher}} pushed {{text}}"

[hooks.mail]
kind = "secret"
secret = "PUSH_SECRET"
post_to = "slack:{person}"
as = "crew"
template = "New: {{text}}"
"""


async def test_a_signed_request_becomes_one_post_and_everything_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSH_SECRET", PLAIN_SECRET)
    path, home = tmp_path / "ponte.toml", Home(tmp_path / "home")
    path.touch()
    async with FakeSlack() as slack:
        alice = slack.person("Alice")
        general, dm = slack.channel("general", alice), slack.dm(alice)
        settings = Settings.model_validate(
            {
                "slack_bot_token": slack.bot_token,
                "slack_app_token": slack.app_token,
                "slack_api_url": slack.base_url,
                "ponte_home": home.path,
                "ponte_web_port": 0,
                "ponte_config": path,
                "ponte_grace": 0.5,
                "ponte_code": "off",
            }
        )
        with home.take():
            app = await compose(settings, read_config(path), home)
            await app.start()
            try:
                await slack.deliveries.wait_until_connected()
                await _use(app, slack, path, general, dm, alice)
            finally:
                await app.stop()
        assert slack.workspace.pings == []
        assert slack.workspace.complaints == []


def _configure(path: Path, **ids: str) -> None:
    path.write_text(FILE.format(team=TEAM, **ids))


async def _use(app: Any, slack: FakeSlack, path: Path, general: Any, dm: Any, alice: Any) -> None:
    page, _, _ = app.links()[1].partition("/#")
    body = encode_body({"pusher": "@everyone <!channel>", "text": "*x* https://evil.example"})
    signature = from_github(body, "d-1")
    foreign = {"host": "hooks.example.com"}
    async with httpx.AsyncClient(base_url=page, timeout=20) as program:
        # Without a webhook, the path is one of the page's, with its guard.
        nothing = await program.post("/hooks/push", content=body, headers={**signature, **foreign})
        assert nothing.status_code == 403
        _configure(path, channel=general.id, person=alice.id)
        app.reloader.reload()
        answers = [
            await program.post("/hooks/push", content=body, headers={**signature, **foreign})
            for _ in range(2)
        ]
        assert [one.status_code for one in answers] == [202, 202]
        assert [one.json()["status"] for one in answers] == ["stored", "repeated"]
        assert answers[0].json()["turn"] == answers[1].json()["turn"]
        await slack.wait_until(lambda: len(slack.workspace.by_bot(general.id)) == 1)
        (post,) = slack.workspace.by_bot(general.id)
        assert not post.thread_ts
        assert "pushed" in post.visible_text
        mail = encode_body({"id": "1", "text": "stop"})
        assert (await program.post("/hooks/mail", content=mail, headers=from_nocodb())).is_success
        await slack.wait_until(lambda: len(slack.workspace.by_bot(dm.id)) == 1)
        assert slack.workspace.by_bot(dm.id)[0].visible_text == "New: stop"
        refusal = {
            401: await program.post("/hooks/push", content=body + b" ", headers=signature),
            405: await program.get("/hooks/push"),
            413: await program.post("/hooks/push", content=b"x" * 1_000_001, headers=signature),
        }
        other = await program.post("/hooks/other", content=body, headers=signature)
        assert (other.status_code, other.text) == (401, refusal[401].text)
        for status, answer in refusal.items():
            assert answer.status_code == status, (status, answer.text)
        assert len(slack.workspace.by_bot(general.id)) == 1
        await app.surfaces.stop_intake()
        late = await program.post("/hooks/push", content=body, headers=from_github(body, "d-2"))
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")


async def test_whoever_asks_under_a_webhooks_post_is_answered_with_their_own_rights(
    tmp_path: Path,
) -> None:
    model, access = EchoModel(), allow_list(frozenset({"*"}))
    access.read_rules = fixed_rules(hook_rules({"tell": "crew"}))
    setting = Setting(chosen=make_choices(model, policy=access))
    async with workplace(tmp_path, setting) as there:
        inbox, platforms = there.bot.engine.conversations.inbox, {"slack": there.bot.slack}
        hook = Hook(
            "tell",
            "secret",
            PLAIN_SECRET,
            f"slack:{TEAM}:{there.general.id}",
            template="New order: {text}",
            header="X-Hook-Secret",
            id_field="id",
        )
        intake = HookIntake({"tell": hook}.get, Destinations(platforms), inbox)
        order = encode_body({"id": "1", "text": "42 chairs"})
        assert (await intake.receive("tell", from_nocodb(), order))[0] == 202
        posts = there.slack.workspace
        await there.slack.wait_until(lambda: posts.by_bot(there.general.id))
        (post,) = posts.by_bot(there.general.id)
        message = there.slack.say(
            there.alice, there.general, f"{there.slack.bot} what?", thread=post
        )
        await there.slack.wait_for_answer(message)
        (ask,) = model.asks
        assert ask.asker.id == there.alice.id
        assert "> 'Ponte': New order: 42 chairs" in ask.input[0].text, "as a quote"
