"""The page is nobody else's: Host, Origin, token, cookie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from adapters.web.door import Visit, WebDoor
from adapters.web.errors import ForeignHost, ForeignOrigin, TooManyTries, WrongToken
from adapters.web.login import TRIES, WINDOW, Login
from tests.web.house import House

URL = "https://ponte.example"


@pytest.fixture
async def guarded() -> AsyncIterator[House]:
    house = House(token="s3cret")
    house.host, house.url = "0.0.0.0", URL
    await house.open()
    yield house
    await house.close()


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "evil@localhost", "", "10.0.0.9",
     "localhost, evil", "[::1", "localhost:x"],
)  # fmt: skip
async def test_another_name_is_refused(client: httpx.AsyncClient, host: str) -> None:
    """DNS rebinding: a site lets a name of its own point to 127.0.0.1."""
    said = await client.get("/", headers={"Host": host})
    if said.status_code != 400:  # h11 itself refuses what is no Host at all
        assert said.status_code == 403
        assert said.json()["error"]["code"] == "foreign_origin"
    assert "html" not in said.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "localhost.", "127.1.2.3"]
)
async def test_names_of_this_machine_are_ours(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/", headers={"Host": host})).status_code == 200


def test_the_listen_host_and_the_public_url_are_ours() -> None:
    door = WebDoor("192.168.1.5", URL)
    for host in ("192.168.1.5:8080", "ponte.example", "Ponte.Example:443"):
        door.admit(Visit("/", {"host": host}))
    with pytest.raises(ForeignHost):
        door.admit(Visit("/", {"host": "192.168.1.6:8080"}))


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_answers_under_any_name(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers={"Host": "10.1.2.3:8080"})).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", "http://x"])
async def test_another_site_cannot_ask(
    house: House, client: httpx.AsyncClient, origin: str
) -> None:
    said = await client.post("/chat", json={"message": "x"}, headers={"Origin": origin})
    assert (said.status_code, said.json()["error"]["code"]) == (403, "foreign_origin")
    assert not house.rows


async def test_our_own_page_may_ask(house: House, client: httpx.AsyncClient) -> None:
    said = await client.post("/chat", json={"message": "x"}, headers={"Origin": house.web.address})
    assert said.status_code == 200


def test_our_page_behind_a_proxy_may_ask() -> None:
    door = WebDoor("127.0.0.1", URL)
    door.admit(Visit("/chat", {"host": "127.0.0.1:8080", "origin": URL}))
    with pytest.raises(ForeignOrigin):
        door.admit(Visit("/chat", {"host": "ponte.example", "origin": f"{URL}.evil"}))


async def test_a_picture_in_another_site_is_not_served(client: httpx.AsyncClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert (await client.get("/conversations/main", headers=headers)).status_code == 403
    walking_in = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await client.get("/", headers=walking_in)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/metrics", "/status", "/conversations/main", "/conversations/main/events", "/files/x"]
)
async def test_without_the_token_nothing_is_told(guarded: House, path: str) -> None:
    async with guarded.client() as client:
        said = await client.get(path)
        assert (said.status_code, said.json()["error"]["code"]) == (401, "unauthorized")
        for wrong in ("Bearer nope", "Basic s3cret", "s3cret", "Bearer s3cre"):
            said = await client.get(path, headers={"Authorization": wrong})
            assert said.status_code == 401


async def test_the_page_itself_and_health_need_no_token(guarded: House) -> None:
    async with guarded.client() as client:
        for path in ("/", "/healthz", "/readyz", "/page/words.json"):
            assert (await client.get(path)).status_code == 200
        assert "reasons" not in (await client.get("/readyz")).json()
        trusted = await client.get("/readyz", headers={"Authorization": "Bearer s3cret"})
        assert trusted.json()["reasons"] == []


async def test_a_script_comes_in_with_the_bearer(guarded: House) -> None:
    async with guarded.client(Authorization="Bearer s3cret") as client:
        assert (await client.post("/chat", json={"message": "x"})).status_code == 200


async def test_a_person_signs_in_and_keeps_a_cookie(guarded: House) -> None:
    async with guarded.client() as client:
        wrong = await client.post("/login", json={"token": "nope"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "unauthorized")
        said = await client.post("/login", json={"token": "s3cret"})
        cookie = said.headers["set-cookie"]
        for mark in ("HttpOnly", "SameSite=strict", "Secure", "Path=/"):
            assert mark in cookie
        assert "s3cret" not in cookie
        kept = {"Cookie": cookie.split(";")[0]}
        assert (await client.get("/conversations/main", headers=kept)).status_code == 200
        forged = {"Cookie": kept["Cookie"][:-1] + "x"}
        assert (await client.get("/conversations/main", headers=forged)).status_code == 401


async def test_signing_in_from_another_site_is_refused(guarded: House) -> None:
    async with guarded.client(Origin="https://evil.example") as client:
        said = await client.post("/login", json={"token": "s3cret"})
    assert said.status_code == 403
    assert "set-cookie" not in said.headers


def test_who_guesses_must_wait() -> None:
    now = 0.0
    login = Login("s3cret", clock=lambda: now)
    for _ in range(TRIES):
        with pytest.raises(WrongToken):
            login.enter("guess", "peer")
    with pytest.raises(TooManyTries):
        login.enter("s3cret", "peer")
    login.enter("s3cret", "another peer")
    now = WINDOW + 1
    login.enter("s3cret", "peer")


async def test_the_socket_asks_for_nothing(tmp_path: Path) -> None:
    house = House(home=tmp_path, token="s3cret")
    await house.open()
    try:
        async with house.terminal_client() as client:
            headers = {"Host": "evil.example", "Origin": "https://evil.example"}
            said = await client.post("/chat", json={"message": "x"}, headers=headers)
        assert said.status_code == 200
        assert house.rows[1].message.author.key == "terminal:owner"
    finally:
        await house.close()
