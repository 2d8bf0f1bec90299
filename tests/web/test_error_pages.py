"""A person who opens a wrong address reads a page. A program that asks for JSON gets JSON."""

from __future__ import annotations

import html
import re

import pytest

from tests.fakes.choices import allow_list
from tests.web.web_ponte import Client, WebPonte

BROWSER = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
}
"""What a browser sends when a person opens an address."""
PROGRAMS = ("*/*", "application/json", "application/json, text/html;q=0.5", "text/event-stream", "")


WRONG = [
    ("owner", "/nothing", 404), ("owner", "/page/none.js", 404), ("owner", "/page/1/none.js", 404),
    ("owner", "/conversations/a.b", 404), ("owner", "/conversations/none/export", 404),
    ("owner", "/files/none", 404), ("owner", "/turns/none", 404), ("owner", "/admin/none", 404),
    ("owner", "/chat", 405), ("owner", "/login", 405), ("owner", "/cards/abc234", 404),
    ("ana", "/admin", 403), ("ana", "/admin/people", 403), ("ana", "/status", 403),
    ("ana", "/metrics", 403), ("", "/admin", 401), ("", "/me", 401), ("", "/conversations", 401),
    ("", "/nothing", 401), ("foreign", "/", 403), ("", "/openapi.json", 401),
]  # fmt: skip


async def test_a_browser_gets_a_readable_page(ponte: WebPonte) -> None:
    ponte.policy = allow_list(frozenset({"web:owner"}))
    await ponte.restart()
    clients = {"owner": ponte.client(), "ana": ponte.person(ponte.people.add("ana"))}
    clients |= {"": ponte.stranger(), "foreign": ponte.stranger(Host="evil.test")}
    for who, path, status in WRONG:
        client = clients[who]
        answer = await client.get(path, headers=BROWSER)
        assert answer.status_code == status, (who, path)
        assert answer.headers["content-type"] == "text/html; charset=utf-8", (who, path)
        assert "default-src 'none'" in answer.headers["content-security-policy"], (who, path)
        assert answer.headers["cache-control"] == "no-store", (who, path)
        assert "Accept" in answer.headers["vary"], (who, path)
        words = html.unescape(re.sub(r"<[^>]*>", "", answer.text))
        assert "{" not in words, (who, path)
        response = await client.get(path, headers={"Accept": "application/json"})
        message = response.json()["error"]["message"]
        assert " ".join(message.replace("`", "").split())[:30] in " ".join(words.split())
        assert 'href="/"' in answer.text, (who, path)
        assert "<script" not in answer.text, (who, path)
        ponte.forget_failed_logins()
    for client in clients.values():
        await client.aclose()


async def test_a_program_gets_json(client: Client) -> None:
    for accept in PROGRAMS:
        for method, path, status in (("GET", "/nothing", 404), ("PUT", "/me", 405)):
            answer = await client.request(method, path, headers={"Accept": accept})
            assert answer.status_code == status, accept
            assert answer.headers["content-type"] == "application/json", accept
            assert answer.json()["error"]["message"], accept


async def test_the_api_for_programs_has_no_pages(ponte: WebPonte) -> None:
    async with ponte.program(**BROWSER) as client:
        answer = await client.get("/v1/nothing")
    assert answer.json()["error"]["code"] == "not_found"


async def test_a_form_of_another_session_and_a_broken_part_are_pages_too(
    ponte: WebPonte, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_error(*_: object) -> None:
        raise RuntimeError("secret detail")

    async with ponte.client(**BROWSER) as client:
        stale = await client.post("/admin/people", data={"do": "people add"})
        assert (stale.status_code, stale.text[:15]) == (403, "<!doctype html>")
        monkeypatch.setattr(ponte.operator, "run", raise_error)
        response = await client.get("/admin")
    assert (response.status_code, response.text[:15]) == (500, "<!doctype html>")
    assert "secret" not in response.text


async def test_nothing_of_an_address_becomes_markup(ponte: WebPonte) -> None:
    headers = BROWSER | {"Host": "<b>evil</b>.test"}
    async with ponte.stranger(**headers) as client:
        answer = await client.get("/")
    assert answer.status_code == 403
    assert "<b>" not in answer.text


async def test_the_page_is_in_the_reader_s_language(ponte: WebPonte) -> None:
    async with ponte.client(**BROWSER, **{"Accept-Language": "fr"}) as client:
        answer = await client.get("/nothing")
    assert '<html lang="fr">' in answer.text
