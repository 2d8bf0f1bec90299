"""Slack over signed HTTP, behind a server of ours."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from adapters.slack.adapter import SlackAdapter
from tests.fakes.slack.delivery import sign
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import WatchedInbox

SECRET = "fake-signing-secret"
CHALLENGE = json.dumps({"type": "url_verification", "challenge": "abc", "token": "x"}).encode()


@asynccontextmanager
async def serve_route(w: Workplace) -> AsyncIterator[None]:
    """The route as the web adapter mounts it; Slack sends its events there."""

    async def events(request: web.Request) -> web.Response:
        status, headers, body = await w.bot.slack.http(request.headers, await request.read())
        return web.Response(status=status, headers=dict(headers), body=body)

    app = web.Application()
    app.router.add_post("/slack/events", events)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    w.slack.deliveries.request_url = f"http://127.0.0.1:{port}/slack/events"
    try:
        yield
    finally:
        w.slack.deliveries.request_url = ""
        await runner.cleanup()


async def test_events_commands_and_clicks_work_over_http(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(http=True)) as w, serve_route(w):
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        command = w.slack.command(w.alice, w.general, "/quick-command", "joke")
        await command.acked.wait()
        assert command.response == {}
        await w.slack.deliveries.wait_for_deliveries()
        assert w.slack.socket_opened == 0


async def test_what_cannot_be_stored_is_answered_503_and_comes_again(tmp_path: Path) -> None:
    inbox = WatchedInbox(times=1)
    async with workplace(tmp_path, Setting(http=True, inbox=inbox.over)) as w, serve_route(w):
        message = w.slack.say(w.alice, w.dm, "hello")
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        assert inbox.refused == 1


async def post(slack: SlackAdapter, body: bytes, **headers: str) -> tuple[int, bytes]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, answer = await slack.http({"content-type": "application/json", **names}, body)
    return status, answer


async def test_slacks_first_handshake_is_answered(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(http=True)) as w:
        status, answer = await post(w.bot.slack, CHALLENGE, **sign(SECRET, CHALLENGE))
        assert (status, json.loads(answer)) == (200, {"challenge": "abc"})


async def test_a_request_that_is_not_slacks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, now = sign(SECRET, CHALLENGE), time.time()
    times = ("now", "", "²", "٣", "-1", "1e9", "9" * 5000, "0" * 5000, "17 18", "1_0", "NaN")
    signatures = ("", "v0=", "é", "v0=" + "é" * 64, "v1=" + "0" * 64, "x" * 100_000)
    async with workplace(tmp_path, Setting(http=True)) as w:
        monkeypatch.setattr("adapters.slack.adapter.time", SimpleNamespace(time=lambda: now))
        with capture_logs() as logs:
            await post(w.bot.slack, CHALLENGE)
            assert not logs, "it is not Slack's"
            for _ in "twice":
                forgery = sign("another secret", CHALLENGE)
                lower = {name.lower(): value for name, value in forgery.items()}  # as uvicorn does
                assert (await post(w.bot.slack, CHALLENGE, **lower))[0] == 401
        assert [one["event"] for one in logs] == ["request has no valid signature"]
        for headers in (
            {},
            sign("another secret", CHALLENGE),
            sign(SECRET, CHALLENGE + b" "),
            sign(SECRET, CHALLENGE, at=now - 3600),
            sign(SECRET, CHALLENGE, at=now + 3600),
            *({**right, "X-Slack-Request-Timestamp": odd} for odd in times),
            *({**right, "X-Slack-Signature": odd} for odd in signatures),
        ):
            status, answer = await post(w.bot.slack, CHALLENGE, **headers)
            assert (status, b"abc" in answer) == (401, False), headers


async def test_nothing_is_made_of_a_body_before_its_signature_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workplace(tmp_path, Setting(http=True)) as w:
        body = b'{"a":[' + b"{}," * 300_000 + b"0]}"
        monkeypatch.setattr(
            "adapters.slack.connection.AsyncBoltRequest", lambda **_: pytest.fail("it was read")
        )
        for headers in (sign("another secret", body), sign(SECRET, body, at=time.time() - 3600)):
            assert (await post(w.bot.slack, body, **headers))[0] == 401


async def test_nonsense_is_refused_without_a_trace(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(http=True)) as w:
        for body in (b"", b"\xff\xfe", b"{", b"payload=%7B", b"[" * 100_000):
            status, _ = await post(w.bot.slack, body, **sign(SECRET, body))
            assert status in (400, 404), body[:9]
            assert (await post(w.bot.slack, body))[0] in (400, 401), body[:9]


async def test_over_a_socket_there_is_no_such_route(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        body = urlencode({"ssl_check": "1"}).encode()
        assert (await w.bot.slack.http(sign("", body), body))[0] == 404


async def test_after_the_intake_was_stopped_it_says_come_again(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(http=True)) as w:
        await w.bot.slack.stop_intake()
        assert (await post(w.bot.slack, CHALLENGE, **sign(SECRET, CHALLENGE)))[0] == 503
