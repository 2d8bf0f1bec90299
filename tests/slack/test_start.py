"""Start-up, health and shutdown of the adapter."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from adapters.slack.adapter import Credentials, SlackOptions
from adapters.slack.errors import InDoubt
from adapters.slack.setup import SCOPE_PURPOSES, check, socket_url
from adapters.slack.surface import SlackSurface
from core.base.errors import SettingsError
from core.base.proxies import Proxies
from tests.fakes.choices import make_choices, open_engine
from tests.fakes.places import FixedAddressingSettings, FixedPlaces
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack
from tests.slack.bot import Setting, make_adapter, running, workplace
from tests.slack.doubles import Speaker
from tests.time_limits import Limits


async def start_adapter(slack: FakeSlack, home: Path, credentials: Credentials) -> None:
    choices = make_choices()
    engine = await open_engine(home, choices)
    slack_ = make_adapter(engine, choices, credentials, SlackOptions(slack.base_url))
    try:
        await slack_.start()
    finally:
        await slack_.stop_intake()
        await slack_.close()
        await engine.close()


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials("xoxb-wrong", APP_TOKEN), "Slack rejected SLACK_BOT_TOKEN (invalid_auth)"),
        (Credentials(BOT_TOKEN, "xapp-wrong"), "Slack rejected SLACK_APP_TOKEN (invalid_auth)"),
    ],
)
async def test_a_refused_token_stops_the_start_in_words(
    tmp_path: Path, credentials: Credentials, words: str
) -> None:
    async with FakeSlack() as slack:
        with pytest.raises(SettingsError, match=words.replace("(", r"\(").replace(")", r"\)")) as e:
            await start_adapter(slack, tmp_path, credentials)
    assert "xoxb-wrong" not in str(e.value) + repr(credentials)


async def test_without_either_way_in_it_is_not_made(tmp_path: Path) -> None:
    async with FakeSlack() as slack:
        with pytest.raises(SettingsError, match="SLACK_APP_TOKEN"):
            await start_adapter(slack, tmp_path, Credentials(BOT_TOKEN))


async def test_a_slack_that_does_not_answer_holds_up_nobody(tmp_path: Path, limits: Limits) -> None:
    limits(SLACK_START_SECONDS=0.05)
    async with FakeSlack() as slack:
        slack.api.faults.add("auth.test", "503", 1)
        async with running(slack, tmp_path, Setting(http=True)) as bot:
            assert (await bot.slack.health()).state == "failing"
            await slack.wait_until(lambda: bot.slack.is_open)
            assert (await bot.slack.health()).state == "on"


async def test_a_connection_without_frames_is_failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workplace(tmp_path) as w:
        assert (await w.bot.slack.health()).state == "on"
        now = time.time()
        monkeypatch.setattr("adapters.slack.adapter.time.time", lambda: now + 100)
        health = await w.bot.slack.health()
        assert health.state == "failing"
        assert "connected, but nothing received for" in health.words


async def test_what_comes_while_it_stops_is_left_for_the_next(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        await w.bot.slack.stop_intake()
        message = w.slack.say(w.alice, w.dm, "anybody?")
        await w.restart()
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: anybody?"


async def test_a_drain_in_mid_answer_is_taken_up_by_the_next_process(tmp_path: Path) -> None:
    model = Speaker("One ", "two ", "three.")
    async with workplace(tmp_path, Setting(model, grace=0.05)) as w:
        message = w.slack.say(w.alice, w.dm, "count")
        model.go(2)
        await w.until(lambda: w.posts(w.dm))
        other, count = Speaker("One ", "two ", "three."), len(w.calls("chat.stopStream"))
        await w.restart(Setting(other))
        other.go(2)
        await w.until(lambda: w.calls("chat.update"))
        other.finish()
        await w.until(
            lambda: (
                [a.visible_text for a in w.slack.finished_answers(message)] == ["One two three."]
            )
        )
        assert len(w.calls("chat.stopStream")) == count + 1, "before the first edit"


async def test_a_post_that_waits_for_a_rate_limit_is_left_to_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(SETTLE_SECONDS=0.0)
    monkeypatch.setattr(SlackSurface, "arrival_seconds", 0.0)
    async with workplace(tmp_path, Setting(grace=0.0)) as w:
        w.slack.api.faults.add("chat.postMessage", "429", 1, retry_after=1)
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.until(lambda: w.slack.api.refusals["chat.postMessage"])
        await w.restart()
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        old_posts = {task for task in asyncio.all_tasks() if "Surface.post" in repr(task)}
        if old_posts:
            await asyncio.wait(old_posts)
        assert len(w.posts()) == 1


async def test_the_doctor_names_each_missing_scope_with_its_fix() -> None:
    async with FakeSlack() as slack:
        slack.api.scopes = [scope for scope in SCOPE_PURPOSES if scope != "files:read"]
        findings = await check(BOT_TOKEN, APP_TOKEN, "", slack.base_url, Proxies())
        assert [(h.name, h.state) for h in findings] == [
            ("slack token", "on"),
            ("slack scope", "failing"),
            ("slack socket", "on"),
        ]
        assert "files:read" in findings[1].words
        slack.api.scopes = ["chat:write"]
        _, lacking, _ = await check(BOT_TOKEN, APP_TOKEN, "", slack.base_url, Proxies())
        assert lacking.words.count("Paste the manifest") == 1, "one advice for all of them"
        assert all(scope in lacking.words for scope in SCOPE_PURPOSES if scope != "chat:write")
        wrong = await check("xoxb-wrong", APP_TOKEN, "", slack.base_url, Proxies())
        assert "SLACK_BOT_TOKEN" in wrong[0].words
        neither = await check(BOT_TOKEN, "", "", slack.base_url, Proxies())
        assert (neither[-1].name, neither[-1].state) == ("slack socket", "failing")
        assert "SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET" in neither[-1].words
    finding = await check(BOT_TOKEN, APP_TOKEN, "", "http://127.0.0.1:9/api/", Proxies())
    assert "Slack didn't respond at" in finding[0].words
    for dead in ("http://u:hunter2@127.0.0.1:9", "http://127.0.0.1:9"):
        finding = await check(BOT_TOKEN, APP_TOKEN, "", "http://10.0.0.1/api/", Proxies(http=dead))
        assert "(auth.test: ClientProxyConnectionError, proxy 127.0.0.1:9)" in finding[0].words


async def test_tokens_of_two_apps_are_named() -> None:
    words = "the Slack app A0APP, and SLACK_APP_TOKEN to the app A0OTHER"
    async with FakeSlack() as slack:
        findings = await check(BOT_TOKEN, "xapp-1-A0OTHER-1-a", "", slack.base_url, Proxies())
        assert (findings[-1].state, words in findings[-1].words) == ("failing", True)
        for token, lacking in (("xapp-1-A0APP-1-a", ""), ("xapp-1-A0OTHER-1-a", "users:read")):
            slack.api.without = {lacking}
            findings = await check(BOT_TOKEN, token, "", slack.base_url, Proxies())
            assert words not in findings[-1].words, "the same app, or not known"
        slack.api.without = set()
        for slack.workspace.odd_bot in ({}, {"bot": None}, {"bot": ["B1"]}):
            findings = await check(BOT_TOKEN, slack.app_token, "", slack.base_url, Proxies())
            assert findings[-1].state == "on", findings[-1].words


async def test_an_answer_without_the_sockets_address_is_asked_for_again() -> None:
    for answer in ({"ok": True}, {"ok": True, "url": None}):
        with pytest.raises(InDoubt, match="no address"):
            await socket_url(cast("Any", SimpleNamespace(call=AsyncMock(return_value=answer))))


async def test_oauth_settings_and_proxies_in_the_environment_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_CLIENT_ID", "1.2")
    monkeypatch.setenv("SLACK_CLIENT_SECRET", "secret")
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-from-the-environment")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with workplace(tmp_path) as w:
        message = w.slack.say(w.alice, w.dm, "hello")
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"


async def test_where_it_cannot_hear_everything_doctor_and_status_say_so(tmp_path: Path) -> None:
    everything = ["slack:T1:C1"]
    async with FakeSlack() as slack:
        for scopes, state, words in (
            (
                SCOPE_PURPOSES,
                "on",
                "subscribe the app to the message.channels event",
            ),
            (
                [s for s in SCOPE_PURPOSES if s != "groups:history"],
                "failing",
                "groups:history is missing",
            ),
        ):
            slack.api.scopes = list(scopes)
            findings = await check(BOT_TOKEN, APP_TOKEN, "", slack.base_url, Proxies(), everything)
            (text,) = [h for h in findings if h.name == "slack channels"]
            assert (text.state, words in text.words) == (state, True)
    async with workplace(tmp_path) as w:
        for scopes, finding in ((SCOPE_PURPOSES, True), (["chat:write"], False)):
            w.slack.api.scopes = list(scopes)
            places = FixedPlaces(by_id={"C1": FixedAddressingSettings(answer_everything=True)})
            await w.restart(Setting(places=places))
            text = await w.bot.slack.health()
            assert (text.state, "only sees messages that mention it" in text.words) == (
                "on",
                not finding,
            )


async def test_the_doctor_says_whether_an_older_app_lacks_the_events_of_people(
    tmp_path: Path,
) -> None:
    async def words(slack: FakeSlack) -> str:
        findings = await check(slack.bot_token, "", "s", slack.base_url, Proxies(), home=tmp_path)
        (message,) = [health for health in findings if health.name == "slack events"]
        assert message.state == ("off" if "paste" in message.words else "on")
        return message.words

    async with workplace(tmp_path) as w:
        w.slack.workspace.hears_of_people = False
        w.slack.join("Zoe")
        assert "paste the manifest" in await words(w.slack)
        w.slack.workspace.hears_of_people = True
        w.slack.change_person(w.alice, status="away")
        await w.slack.deliveries.wait_for_deliveries()
        assert await words(w.slack) == "team_join and user_change events are arriving"
        assert (tmp_path / "slack-events").stat().st_mode & 0o077 == 0
