"""Signing out ends the session on the server: whoever has a copy of the cookie comes in no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from core.base.errors import NotStored
from tests.bot.test_process import Machine
from tests.time_limits import Limits
from tests.web.test_page_accounts import signed_in
from tests.web.web_ponte import Client, WebPonte, following, until


def copy_of(ponte: WebPonte, browser: Client) -> httpx.AsyncClient:
    """Return another browser with the same cookies."""
    (cookie,) = [f"{each.name}={each.value}" for each in browser.cookies.jar]
    return ponte.stranger(Cookie=cookie)


@pytest.fixture(params=["owner", "ana"])
async def token(ponte: WebPonte, request: pytest.FixtureRequest) -> str:
    return ponte.token if request.param == "owner" else ponte.people.add("ana")


@pytest.fixture
async def browser(ponte: WebPonte, token: str) -> AsyncIterator[Client]:
    async with signed_in(ponte, token) as browser:
        yield browser


async def test_a_copied_cookie_ends_with_its_session(
    ponte: WebPonte, browser: Client, token: str
) -> None:
    async with copy_of(ponte, browser) as thief:
        assert (await thief.get("/me")).status_code == 200
        assert token not in str(browser.cookies.jar)
        out = await browser.post("/logout")
        assert (out.status_code, out.json()) == (200, {"status": "signed out"})
        assert not list(browser.cookies.jar)
        assert (await thief.get("/me")).status_code == 401
        await ponte.restart()
        assert (await thief.get("/me")).status_code == 401, "also for the next process"


async def test_other_sessions_of_the_same_person_stay(
    ponte: WebPonte, browser: Client, token: str
) -> None:
    async with signed_in(ponte, token) as other:
        await browser.post("/logout")
        assert (await other.get("/me")).status_code == 200
        assert (await browser.post("/login", json={"token": token})).status_code == 200
        assert (await browser.get("/me")).status_code == 200


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_its_event_streams_end(
    ponte: WebPonte,
    browser: Client,
    token: str,
    limits: Limits,
    told: bool,
) -> None:
    """Where no notice comes, as from another process, it is found out."""
    limits(VISITOR_CHECK_INTERVAL_SECONDS=60.0 if told else 0.05)
    ponte.people.quiet = not told
    async with (
        signed_in(ponte, token) as other,
        following(other) as stays,
        copy_of(ponte, browser) as thief,
        following(thief) as stream,
    ):
        for each in (stays, stream):
            await until(each, "ready")
        await browser.post("/logout")
        async with asyncio.timeout(120):
            assert [event.name async for event in stream] == []
        await other.post("/chat", json={"message": "hello"})
        await until(stays, "done")


async def test_a_forged_or_ended_session_ends_nothing(ponte: WebPonte, browser: Client) -> None:
    (cookie,) = browser.cookies.jar
    assert cookie.value
    for value in (cookie.value[:-1] + "x", "", "-", "a-b-c"):
        async with ponte.stranger(Cookie=f"{cookie.name}={value}") as other:
            assert (await other.post("/logout")).status_code == 200
    async with ponte.stranger() as nobody:
        assert (await nobody.post("/logout")).status_code == 200
    assert ponte.people.ended == {}, "nothing is kept of a session that is none"
    assert (await browser.get("/me")).status_code == 200
    await browser.post("/logout")
    values = dict(ponte.people.ended)
    async with ponte.stranger(Cookie=f"{cookie.name}={cookie.value}") as again:
        assert (await again.post("/logout")).status_code == 200
    assert ponte.people.ended == values
    assert len(values) == 1
    assert cookie.value not in str(values), "who reads the table can use nothing of it"


async def test_who_cannot_be_signed_out_is_told(ponte: WebPonte, browser: Client) -> None:
    ponte.people.away = True
    out = await browser.post("/logout")
    assert out.status_code == 503
    ponte.people.away = False
    assert (await browser.get("/me")).status_code == 200, "and is signed in still"
    assert (await browser.post("/logout")).status_code == 200


async def test_while_ended_sessions_cannot_be_read_only_the_owner_comes_in(
    ponte: WebPonte, browser: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner must see what is wrong."""

    async def fail(session: str) -> bool:
        raise NotStored

    monkeypatch.setattr(ponte.people, "is_session_ended", fail)
    expected = 200 if token == ponte.token else 503
    assert (await browser.get("/me")).status_code == expected


async def test_another_site_and_a_script_s_token_sign_nobody_out(
    ponte: WebPonte, browser: Client
) -> None:
    response = await browser.post("/logout", headers={"Origin": "https://evil.example"})
    assert response.status_code == 403
    assert (await browser.get("/me")).status_code == 200
    async with ponte.client() as script:
        assert (await script.post("/logout")).status_code == 200
        assert (await script.get("/me")).status_code == 200


def test_a_session_ended_at_a_running_ponte_stays_ended(tmp_path: Path, commands: str) -> None:
    machine = Machine(tmp_path, tmp_path / "home", commands)
    with machine.running() as (_, lines), httpx.Client() as browser:
        browser.base_url = page = lines[-1].split()[-1].partition("/#")[0]
        token = (machine.home / "web-token").read_text().strip()
        browser.post("/login", json={"token": token})
        (cookie,) = [f"{each.name}={each.value}" for each in browser.cookies.jar]
        assert httpx.get(f"{page}/me", headers={"Cookie": cookie}).status_code == 200
        assert browser.post("/logout").status_code == 200
        assert httpx.get(f"{page}/me", headers={"Cookie": cookie}).status_code == 401
    with machine.running() as (_, lines):
        page = lines[-1].split()[-1].partition("/#")[0]
        assert httpx.get(f"{page}/me", headers={"Cookie": cookie}).status_code == 401
