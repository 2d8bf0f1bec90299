"""What the installed Slack app lacks is named, and added on request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.slack.app_config import TOKENS_FILE, SlackAppConfig, complete
from adapters.slack.setup import SCOPE_PURPOSES, manifest
from bot.home import Home
from core.base.errors import BadInput, SettingsError
from core.base.proxies import Proxies
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.models import EchoModel
from tests.fakes.slack import BOT_TOKEN, FakeSlack
from tests.slack.bot import Setting, workplace

SOCKET_TOKEN = "xapp-1-A0APP-1-a"


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    """The app of an earlier version, with a command and a name that the team gave it."""
    async with FakeSlack() as slack:
        app = deepcopy(manifest(name="Ponte da Ana"))
        app["oauth_config"]["scopes"]["bot"] = ["chat:write", "calls:read"]
        app["settings"]["event_subscriptions"]["bot_events"].remove("member_left_channel")
        app["features"]["slash_commands"] = [{"command": "/team", "description": "theirs"}]
        app["features"]["app_home"]["home_tab_enabled"] = False
        app["features"]["agent_view"]["suggested_prompts"] = [{"title": "Hi", "message": "Hi"}]
        slack.api.app_settings.manifest = app
        yield slack


def config(slack: FakeSlack, tmp_path: Path, token: str = "xoxe-1-first") -> SlackAppConfig:
    home = Home(tmp_path)
    return SlackAppConfig(
        BOT_TOKEN, SOCKET_TOKEN, token, slack.base_url, Proxies(), home, manifest()
    )


async def test_what_it_lacks_is_added_and_what_the_team_has_stays(
    slack: FakeSlack, tmp_path: Path
) -> None:
    finding = await config(slack, tmp_path).check()
    assert finding.state == "failing"
    for name in ("files:read", "member_left_channel", "/quick-command", "home_tab_enabled"):
        assert name in finding.words
    assert "calls:read" not in finding.words
    slack.api.calls.clear()
    after = await config(slack, tmp_path).update([finding.words])
    assert after.words.endswith("https://app.slack.com/app-settings/T0PONTE/A0APP/app-manifest")
    assert slack.api.calls["tooling.tokens.rotate"] == 0, "the token of the check is used again"
    app = slack.api.app_settings.manifest
    assert app["display_information"]["name"] == "Ponte da Ana"
    assert set(app["oauth_config"]["scopes"]["bot"]) == {*SCOPE_PURPOSES, "calls:read"}
    assert [one["command"] for one in app["features"]["slash_commands"]] == [
        "/team",
        "/ponte",
        "/quick-command",
    ]
    assert app["features"]["agent_view"]["suggested_prompts"] == [{"title": "Hi", "message": "Hi"}]
    assert (await config(slack, tmp_path).check()).state == "on"
    assert (await config(slack, tmp_path).update([])).words == "The Slack app is updated."


async def test_nothing_is_added_that_nobody_was_shown(slack: FakeSlack, tmp_path: Path) -> None:
    finding = await config(slack, tmp_path).check()
    app = slack.api.app_settings.manifest
    app["settings"]["event_subscriptions"]["bot_events"].remove("app_mention")
    with pytest.raises(BadInput, match="changed in the meantime"):
        await config(slack, tmp_path).update([finding.words])
    assert slack.api.calls["apps.manifest.update"] == 0


async def test_each_refresh_token_is_used_once(slack: FakeSlack, tmp_path: Path) -> None:
    """The newest is kept, for twelve hours later and for a damaged file."""
    await config(slack, tmp_path).check()
    tokens_file = tmp_path / TOKENS_FILE
    assert (tokens_file.stat().st_mode & 0o777, "xoxe-1-first" in tokens_file.read_text()) == (
        0o600,
        False,
    )
    values: dict[str, Any] = json.loads(tokens_file.read_text())
    tokens_file.write_text(json.dumps({**values, "exp": 0}))
    assert (await config(slack, tmp_path).check()).state == "failing"
    assert slack.api.calls["tooling.tokens.rotate"] == 2
    for text in ("", "{}", "[]", "null"):
        tokens_file.write_text(text)
        with pytest.raises(SettingsError, match=r"invalid_refresh_token.*Generate a new"):
            await config(slack, tmp_path).check()
    pair = {"pasted": values["pasted"], "refresh_token": slack.api.app_settings.refresh_token}
    for odd in ({}, {"exp": "soon", "token": "t"}, {"exp": None, "token": "t"}):
        tokens_file.write_text(json.dumps({**pair, **odd}))
        assert (await config(slack, tmp_path).check()).state == "failing"
        pair["refresh_token"] = slack.api.app_settings.refresh_token
    slack.api.app_settings.refresh_token = "xoxe-1-pasted"
    assert (await config(slack, tmp_path, "xoxe-1-pasted").check()).state == "failing"


async def test_a_rotation_that_slack_answers_without_a_token_is_told(
    slack: FakeSlack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack.api.app_settings, "run", lambda *_: {"ok": True})
    with pytest.raises(SettingsError, match="unknown format"):
        await config(slack, tmp_path).check()


async def test_slack_that_is_away_is_told(slack: FakeSlack, tmp_path: Path) -> None:
    slack.api.faults.add("tooling.tokens.rotate", "cut", 1)
    with pytest.raises(SettingsError, match="didn't respond"):
        await config(slack, tmp_path).check()
    assert slack.api.calls["tooling.tokens.rotate"] == 1, "the token may be used up"


@pytest.mark.parametrize(
    "features",
    ["none", ["bot_user"], {"slash_commands": "/ponte"}, {"slash_commands": [None]}],
    ids=str,
)
async def test_a_manifest_of_an_unknown_form_is_not_replaced(
    slack: FakeSlack, tmp_path: Path, features: object
) -> None:
    slack.api.app_settings.manifest["features"] = features
    with pytest.raises(SettingsError, match="didn't return the app's configuration"):
        await config(slack, tmp_path).update([])
    assert slack.api.calls["apps.manifest.update"] == 0


def test_an_app_without_anything_gets_all_of_it() -> None:
    wanted = manifest(request_url="https://a.example/slack/events", page_url="https://a.example")
    completed, additions = complete(None, wanted)
    assert completed == json.loads(json.dumps(wanted))
    assert "settings.event_subscriptions.request_url" in additions
    assert complete(completed, wanted) == (completed, [])


async def test_status_and_an_admins_home_tab_name_missing_scopes(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        w.slack.api.scopes = [scope for scope in SCOPE_PURPOSES if scope != "files:read"]
        policy = allow_list(frozenset({"*"}), frozenset({f"slack:{w.bob.id}"}))
        await w.restart(Setting(chosen=make_choices(EchoModel(), [], policy)))
        assert "Missing scopes: files:read" in (await w.bot.slack.health()).words
        homes = w.slack.workspace.homes
        for person, is_admin in ((w.alice, False), (w.bob, True)):
            await w.slack.open_home(person).acked.wait()
            await w.until(partial(homes.__contains__, person.id))
            assert ("files:read" in str(homes[person.id])) == is_admin
