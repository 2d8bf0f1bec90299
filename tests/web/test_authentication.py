"""The page is nobody else's: Host, Origin, token, cookie."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request

from adapters.web.errors import ForeignHost, ForeignOrigin, TooManyTries, Unauthorized
from adapters.web.http_io import VISITOR_KEY, visitor_of
from adapters.web.sign_in import (
    MAX_WRONG_TOKENS,
    MAX_WRONG_TOKENS_OF_ADDRESS,
    WRONG_TOKEN_WINDOW_SECONDS,
    TokenAuthentication,
)
from adapters.web.visitor import SESSION_SECONDS, Visit
from core.base.errors import Refusal
from tests.fakes.memory import MemoryOwnerName, MemoryPageAccounts, page_secrets
from tests.web.doors import Doors
from tests.web.web_ponte import TOKEN, Client, WebPonte

URL = "https://ponte.example"
BEARER = {"authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def public_ponte() -> AsyncIterator[WebPonte]:
    """It listens beyond this machine, under a public name."""
    ponte = WebPonte()
    ponte.host, ponte.url = "0.0.0.0", URL
    await ponte.open()
    yield ponte
    await ponte.close()


async def test_a_foreign_host_header_is_refused(client: Client) -> None:
    """DNS rebinding: a site lets a name of its own point to 127.0.0.1."""
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "evil@localhost",
        "",
        "10.0.0.9",
        "localhost, evil",
        "[::1",
        "localhost:x",
        "evil.localhost",
        "ponte.localhost:8080",
    ):
        response = await client.get("/", headers={"Host": host})
        if response.status_code != 400:  # h11 itself refuses what is no Host at all
            assert response.status_code == 403, host
            assert response.json()["error"]["code"] == "foreign_origin", host
        assert "html" not in response.text, host
    for host in (
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "localhost.",
        "127.1.2.3",
    ):
        assert (await client.get("/", headers={"Host": host})).status_code == 200, host
    for path in ("/healthz", "/readyz"):
        assert (await client.get(path, headers={"Host": "10.1.2.3:8080"})).status_code == 200


async def test_the_listen_host_and_the_public_url_are_ours() -> None:
    auth = TokenAuthentication(
        "192.168.1.5", page_secrets(TOKEN), URL, MemoryPageAccounts(), MemoryOwnerName()
    )
    for host in ("192.168.1.5:8080", "ponte.example", "Ponte.Example:443"):
        await auth.admit(Visit("/", {"host": host}))
    with pytest.raises(ForeignHost):
        await auth.admit(Visit("/", {"host": "192.168.1.6:8080"}))


def test_a_page_without_a_token_is_not_opened() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        TokenAuthentication(
            "127.0.0.1", page_secrets(""), "", MemoryPageAccounts(), MemoryOwnerName()
        )


async def test_another_site_cannot_ask_and_our_own_page_can(
    ponte: WebPonte, client: Client
) -> None:
    for origin in ("https://evil.example", "null", "http://localhost", "http://x"):
        response = await client.post("/chat", json={"message": "x"}, headers={"Origin": origin})
        assert (response.status_code, response.json()["error"]["code"]) == (
            403,
            "foreign_origin",
        ), origin
    assert not ponte.rows
    response = await client.post(
        "/chat", json={"message": "x"}, headers={"Origin": ponte.web.address}
    )
    assert response.status_code == 200


async def test_our_page_behind_a_proxy_may_ask() -> None:
    auth = TokenAuthentication(
        "127.0.0.1", page_secrets(TOKEN), URL, MemoryPageAccounts(), MemoryOwnerName()
    )
    await auth.admit(Visit("/chat", {"host": "127.0.0.1:8080", "origin": URL, **BEARER}))
    with pytest.raises(ForeignOrigin):
        await auth.admit(Visit("/chat", {"host": "ponte.example", "origin": f"{URL}.evil"}))


async def test_a_picture_in_another_site_is_not_served(ponte: WebPonte) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    async with ponte.stranger() as browser:
        await browser.post("/login", json={"token": ponte.token})
        assert (await browser.get("/conversations/main", headers=headers)).status_code == 403
        walking_in = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert (await browser.get("/", headers=walking_in)).status_code == 200


async def test_a_program_that_marks_its_requests_as_a_browser_comes_in_by_its_token_alone(
    ponte: WebPonte,
) -> None:
    marks = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    bearer = {"Authorization": f"Bearer {ponte.token}"}
    path = "/conversations/main"
    async with ponte.stranger() as program:
        assert (await program.get(path, headers=marks | bearer)).status_code == 200
        foreign = marks | bearer | {"Origin": "https://evil.example"}
        assert (await program.get(path, headers=foreign)).status_code == 403
        await program.post("/login", json={"token": ponte.token})
        assert (await program.get(path, headers=marks | bearer)).status_code == 403, "by a cookie"


async def test_a_form_of_another_site_is_refused(ponte: WebPonte) -> None:
    """It navigates too; a browser that sends no Origin with it is told by the fetch metadata."""
    async with ponte.stranger() as browser:
        await browser.post("/login", json={"token": ponte.token})
        for site in ("cross-site", "same-site"):
            walking_in = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
            for path in ("/chat", "/login"):
                body = {"message": "x"} if path == "/chat" else {"token": ponte.token}
                response = await browser.post(path, json=body, headers=walking_in)
                assert (response.status_code, response.json()["error"]["code"]) == (
                    403,
                    "foreign_origin",
                )
                assert "set-cookie" not in response.headers
    assert not ponte.rows


@pytest.mark.parametrize("where", ["loopback", "beyond"])
async def test_without_the_token_nothing_is_told(
    ponte: WebPonte, public_ponte: WebPonte, where: str
) -> None:
    choice = ponte if where == "loopback" else public_ponte
    async with choice.stranger() as client:
        for path in (
            "/metrics",
            "/status",
            "/conversations/main",
            "/conversations/main/events",
            "/files/x",
            "/quick-commands",
            "/nothing",
        ):
            response = await client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (
                401,
                "unauthorized",
            ), path
            for wrong in ("Bearer nope", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}"):
                response = await client.get(path, headers={"Authorization": wrong})
                assert response.status_code == 401, (path, wrong)
            choice.forget_failed_logins()


async def test_the_page_itself_and_health_need_no_token(public_ponte: WebPonte) -> None:
    async with public_ponte.stranger() as client:
        for path in ("/", "/healthz", "/readyz", "/page/words.json"):
            assert (await client.get(path)).status_code == 200
        assert "reasons" not in (await client.get("/readyz")).json()
        wrong = await client.get("/readyz", headers={"Authorization": "Bearer nope"})
        assert (wrong.status_code, wrong.json()) == (200, {"status": "ready"})
        trusted = await client.get("/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
        assert trusted.json()["reasons"] == []


def test_a_route_that_needs_a_visitor_refuses_a_stranger_on_an_open_path() -> None:
    request = Request({"type": "http", "state": {VISITOR_KEY: None}})
    with pytest.raises(Unauthorized):
        visitor_of(request)


async def test_a_person_signs_in_and_keeps_a_session(public_ponte: WebPonte) -> None:
    async with public_ponte.stranger() as client:
        wrong = await client.post("/login", json={"token": "nope"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "unauthorized")
        response = await client.post("/login", json={"token": TOKEN})
        cookie = response.headers["set-cookie"]
        for mark in ("HttpOnly", "SameSite=strict", "Secure", "Path=/"):
            assert mark in cookie
        assert TOKEN not in cookie
        headers = {"Cookie": cookie.split(";")[0]}
        assert (await client.get("/conversations/main", headers=headers)).status_code == 200
        forgery = {"Cookie": headers["Cookie"][:-1] + "x"}
        assert (await client.get("/conversations/main", headers=forgery)).status_code == 401


async def test_signing_in_from_another_site_is_refused(public_ponte: WebPonte) -> None:
    async with public_ponte.stranger(Origin="https://evil.example") as client:
        response = await client.post("/login", json={"token": TOKEN})
    assert response.status_code == 403
    assert "set-cookie" not in response.headers


async def test_who_signs_in_sends_four_kilobytes_at_most(ponte: WebPonte) -> None:
    async with ponte.stranger() as client:
        response = await client.post("/login", json={"token": "x" * 5000})
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
        padded = f'{{"token": "{TOKEN}"{" " * 4000}}}'
        response = await client.post("/login", content=padded, headers=JSON)
        assert response.status_code == 200


async def test_guessed_tokens_are_limited() -> None:
    """The right token too, once the guesses are used up: its answer would tell it from others."""
    auth = Doors()
    assert [await auth.offer("guess", "10.0.0.1") for _ in range(MAX_WRONG_TOKENS_OF_ADDRESS)] == [
        "WrongToken"
    ] * MAX_WRONG_TOKENS_OF_ADDRESS
    assert await auth.offer(TOKEN, "10.0.0.1") == "TooManyTries"
    with pytest.raises(TooManyTries):
        await auth.login.find_token_visitor(TOKEN, "10.0.0.1")
    assert await auth.offer(TOKEN, "10.0.0.2") == "web:owner"
    auth.time = WRONG_TOKEN_WINDOW_SECONDS - 1
    assert await auth.offer(TOKEN, "10.0.0.1") == "TooManyTries"
    auth.time = WRONG_TOKEN_WINDOW_SECONDS
    assert await auth.offer(TOKEN, "10.0.0.1") == "web:owner"


async def test_guesses_from_many_addresses_are_counted_together() -> None:
    auth = Doors()
    texts = [
        await auth.offer("guess", f"10.0.{n // 200}.{n % 200}") for n in range(3 * MAX_WRONG_TOKENS)
    ]
    assert (texts.count("WrongToken"), texts[-1]) == (MAX_WRONG_TOKENS, "TooManyTries")
    assert await auth.offer(TOKEN, "10.9.9.9") == "TooManyTries"


async def test_an_ipv6_network_is_one_guesser() -> None:
    auth = Doors()
    texts = [await auth.offer("guess", f"2001:db8:1:2::{n:x}") for n in range(1, 30)]
    assert texts.count("WrongToken") == MAX_WRONG_TOKENS_OF_ADDRESS
    assert await auth.offer("guess", "2001:db8:1:3::1") == "WrongToken"


async def test_the_right_token_costs_nobody_a_guess() -> None:
    auth = Doors()
    assert {await auth.offer(TOKEN, "10.0.0.1") for _ in range(10 * MAX_WRONG_TOKENS)} == {
        "web:owner"
    }


async def test_guesses_never_lock_out_who_is_signed_in() -> None:
    auth = Doors()
    headers = {"cookie": f"{auth.login.cookie}={auth.login.new_session()}"}
    for n in range(2 * MAX_WRONG_TOKENS):
        await auth.offer("guess", f"10.0.0.{n % 20}")
    await auth.login.find_visitor(headers, "10.0.0.1")
    await auth.login.find_visitor(headers | {"authorization": "Bearer wrong"}, "10.0.0.1")


async def test_two_pontes_of_one_machine_keep_a_session_each(ponte: WebPonte) -> None:
    other = WebPonte(token="another-token-that-is-long")
    await other.open()
    try:
        async with httpx.AsyncClient() as browser:
            for each in (ponte, other):
                entered = await browser.post(
                    f"{each.web.address}/login", json={"token": each.token}
                )
                assert entered.status_code == 200
            for each in (ponte, other):
                assert (await browser.get(f"{each.web.address}/status")).status_code == 200
    finally:
        await other.close()


async def test_a_session_ends_by_itself_and_with_a_new_token() -> None:
    auth = Doors()
    value = auth.login.new_session()
    headers = {"cookie": f"{auth.login.cookie}={value}"}
    other = TokenAuthentication(
        "127.0.0.1",
        page_secrets("another-token-that-is-long"),
        "",
        MemoryPageAccounts(),
        MemoryOwnerName(),
    )
    with pytest.raises(Unauthorized):
        await other.find_visitor(headers, "")
    longer = f"{int(value.split('-')[0], 16) * 2:x}-{value.partition('-')[2]}"
    change = value[:-1] + ("0" if value[-1] != "0" else "1")
    for forgeries in (longer, change, value.rpartition("-")[0], "", "-", "--", "é-x-y"):
        with pytest.raises(Unauthorized):
            await auth.login.find_visitor({"cookie": f"{auth.login.cookie}={forgeries}"}, "")
    auth.time = SESSION_SECONDS + 1
    with pytest.raises(Unauthorized):
        await auth.login.find_visitor(headers, "")


async def test_behind_a_proxy_here_its_visitors_are_counted_by_their_own_address() -> None:
    auth = TokenAuthentication(
        "127.0.0.1", page_secrets(TOKEN), URL, MemoryPageAccounts(), MemoryOwnerName()
    )

    async def offer(token: str, forwarded: str, peer: str = "127.0.0.1") -> str:
        headers = {
            "host": "ponte.example",
            "authorization": f"Bearer {token}",
            "x-forwarded-for": forwarded,
        }
        try:
            await auth.admit(Visit("/status", headers, peer))
        except Refusal as refused:
            return type(refused).__name__
        return "in"

    for n in range(MAX_WRONG_TOKENS_OF_ADDRESS):
        assert await offer("guess", f"1.1.1.{n}, 9.9.9.9") == "WrongToken"
    assert await offer(TOKEN, "9.9.9.9") == "TooManyTries"
    assert await offer(TOKEN, "9.9.9.9, 8.8.8.8") == "in"
    for n in range(MAX_WRONG_TOKENS_OF_ADDRESS):
        assert await offer("guess", f"7.7.7.{n}", peer="6.6.6.6") == "WrongToken"
    assert await offer(TOKEN, "8.8.8.8", peer="6.6.6.6") == "TooManyTries", "nobody writes for it"


async def test_the_socket_asks_for_nothing(ponte: WebPonte) -> None:
    async with ponte.terminal_client() as client:
        headers = {"Host": "evil.example", "Origin": "https://evil.example"}
        response = await client.post("/chat", json={"message": "x"}, headers=headers)
        assert (await client.get("/metrics")).status_code == 200
    assert response.status_code == 200
    assert ponte.rows[1].message.author.key == "terminal:owner"
