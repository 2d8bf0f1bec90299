"""People reach a real Ponte through a real nginx that has `deploy/nginx.conf`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.web.http_io import MAX_FILE_BYTES
from adapters.web.sign_in import MAX_WRONG_TOKENS_OF_ADDRESS
from bot.settings import Settings
from core.base.http import HttpClient, HttpDown
from tests.real import nginx
from tests.real.nginx import HOST, Nginx

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-proxys-tests"
ORIGIN = f"https://{HOST}"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """With Ponte behind it, told of as the example says."""
    if why := nginx.missing():
        pytest.skip(why)
    folder, port = tmp_path_factory.mktemp("proxy"), nginx.free_port()
    ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    options = {
        "PYTHONPATH": str(ROOT),
        "PONTE_HOME": str(folder / "home"),
        "PONTE_CODE": "off",
        "PONTE_WEB_PORT": str(port),
        "PONTE_WEB_URL": ORIGIN,
        "PONTE_WEB_TOKEN": TOKEN,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "bot", "run"],
        cwd=folder,
        env=ours | options,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as ponte:
        try:
            assert ponte.stdout is not None
            lines = iter(ponte.stdout.readline, "")
            assert any(line.startswith("Ponte is ready") for line in lines)
            with nginx.before(port, folder) as running:
                yield running
        finally:
            ponte.kill()


@contextmanager
def browser_at(proxy: Nginx, address: str) -> Iterator[httpx.Client]:
    """A client that connects from that address of this machine."""
    transport = httpx.HTTPTransport(verify=proxy.trust(), local_address=address)
    base = f"https://127.0.0.1:{proxy.port}"
    with httpx.Client(
        transport=transport, base_url=base, headers={"Host": HOST}, timeout=30
    ) as client:
        send = client.send

        def send_with_host(request: httpx.Request, **more: Any) -> httpx.Response:
            request.extensions["sni_hostname"] = HOST
            return send(request, **more)

        client.send = send_with_host  # type: ignore[method-assign]
        yield client


@pytest.fixture
def browser(proxy: Nginx) -> Iterator[httpx.Client]:
    with browser_at(proxy, "127.0.0.1") as client:
        yield client


@pytest.fixture
def owner(browser: httpx.Client) -> httpx.Client:
    assert browser.post("/login", json={"token": TOKEN}).status_code == 200
    return browser


def test_the_page_is_there_over_tls_alone(proxy: Nginx, browser: httpx.Client) -> None:
    plain = httpx.get(f"http://127.0.0.1:{proxy.plain_port}/a?b=c", headers={"Host": HOST})
    assert (plain.status_code, plain.headers["location"]) == (308, f"{ORIGIN}/a?b=c")
    page = browser.get("/")
    assert (page.status_code, page.headers["content-security-policy"][:18]) == (
        200,
        "default-src 'none'",
    )
    assert page.headers["strict-transport-security"] == "max-age=31536000"
    session = browser.post("/login", json={"token": TOKEN}).headers["set-cookie"]
    assert "Secure" in session
    upgraded = browser.get("/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert upgraded.status_code == 200  # there are no web sockets


def test_a_stream_comes_in_pieces(owner: httpx.Client) -> None:
    headers = {"Origin": ORIGIN}
    with owner.stream("GET", "/conversations/main/events") as stream:
        lines = stream.iter_lines()
        assert "event: ready" in next(line for line in lines if line.startswith("event:"))
        # It goes on, and what is said meanwhile by another way stands in it.
        body = owner.post("/chat", json={"message": "help"}, headers=headers).json()
        kinds = []
        for line in lines:
            kinds += [line.removeprefix("event: ")] if line.startswith("event: ") else []
            if kinds[-1:] == ["done"] and line.startswith("data: "):
                break
        assert json.loads(line.removeprefix("data: "))["response"] == body["response"]
        assert kinds[0] == "message"


def test_what_is_too_large_is_refused_in_words(proxy: Nginx, owner: httpx.Client) -> None:
    file = {"file": ("large.bin", b"0" * (MAX_FILE_BYTES + 1))}
    response = owner.post("/chat", files=file, data={"message": "look"}, headers={"Origin": ORIGIN})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert "20 MiB" in response.json()["error"]["message"]  # Ponte's own words
    with proxy.connect() as connection:
        head = f"POST /chat HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {103 * 1024 * 1024}\r\n\r\n"
        connection.sendall(head.encode())
        answer = HTTPResponse(connection)
        answer.begin()
        data = json.loads(answer.read())
    assert (answer.status, answer.getheader("Content-Type")) == (413, "application/json")
    assert data["error"] == {
        "code": "too_large",
        "message": "That is larger than the 102 MiB that I take.",
    }


def test_slacks_events_reach_ponte(browser: httpx.Client) -> None:
    """Slack is off here, so Ponte itself refuses."""
    response = browser.post("/slack/events", content=b"{}")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
    assert browser.post("/slack/events", content=b"0" * 1_100_000).status_code == 413


def test_guesses_are_counted_by_who_makes_them(proxy: Nginx, browser: httpx.Client) -> None:
    """Whatever address a client claims for itself: the last one is nginx's word."""
    codes = []
    with browser_at(proxy, "127.0.0.2") as guesser:
        for number in range(MAX_WRONG_TOKENS_OF_ADDRESS + 1):
            claim = {"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": f"192.0.2.{number}"}
            guess = {"token": f"not-the-token-{number}"}
            codes.append(guesser.post("/login", json=guess, headers=claim).status_code)
    assert codes == [401] * MAX_WRONG_TOKENS_OF_ADDRESS + [429]
    assert browser.post("/login", json={"token": TOKEN}).status_code == 200  # another address


async def test_a_certificate_that_nobody_knows_is_named_as_the_reason(proxy: Nginx) -> None:
    async with HttpClient() as http:
        with pytest.raises(HttpDown) as error:
            await http.get_json(f"https://127.0.0.1:{proxy.port}/healthz")
    assert (error.value.reason, error.value.sent) == ("CERTIFICATE_VERIFY_FAILED", False)
