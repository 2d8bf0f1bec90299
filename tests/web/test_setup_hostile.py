"""Hostile services in *Check*, and a disk that is full at *Save*."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.home import Home, HomeUnusable
from tests.web.test_admin import Desk, open_desk
from tests.web.test_setup_page import draft_of, notices, send

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "typed-token-of-the-owner"
MARKUP = "<script>alert(1)</script>"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("hostile") / "home") as desk:
        yield desk


class Service:
    """A server that gives one answer to every request, and remembers the heads."""

    def __init__(self, body: str, status: str = "200 OK", head: str = "") -> None:
        self.heads: list[bytes] = []
        self._answer = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{head}"
            f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}"
        ).encode()

    async def __aenter__(self) -> Service:
        self._server = await asyncio.start_server(self._respond, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self._answer)
        await writer.drain()
        writer.close()


def fields_of(card: str, url: str) -> dict[str, str]:
    if card == "nocodb":
        return {"card": card, "value-nocodb_url": url, "value-nocodb_token": SECRET}
    return {"card": card, "value-openai_base_url": f"{url}/v1", "value-openai_api_key": SECRET}


BODIES = {
    "html": "<html><h1>Sign in</h1>",
    "empty": "",
    "null": "null",
    "number": "7",
    "list": json.dumps([None, 7, [], {"id": None}]),
    "wrong": json.dumps({"list": {"a": 1}, "data": "x"}),
    "shapes": json.dumps({"list": [7, None, {"id": {}, "title": []}], "data": [7, {"id": []}]}),
    "echo": json.dumps({"message": f"{MARKUP} {SECRET}", "list": [], "data": []}),
}


@pytest.mark.parametrize("card", ["nocodb", "model"])
@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "500 Oh"])
async def test_any_answer_of_a_service_is_a_finding(desk: Desk, card: str, status: str) -> None:
    for name, body in BODIES.items():
        async with Service(body, status) as service:
            page = await send(desk, "check", **fields_of(card, service.url))
        assert page.status_code == 200, name
        assert 'role="status"' in page.text, name
        assert SECRET not in page.text, name
        assert MARKUP not in page.text, name


@pytest.mark.parametrize("card", ["nocodb", "model"])
async def test_a_redirect_is_not_followed(desk: Desk, card: str) -> None:
    async with Service("{}") as other:
        head = f"Location: {other.url}/\r\n"
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
            async with Service("", status, head) as service:
                page = await send(desk, "check", **fields_of(card, service.url))
            assert service.heads
            assert "failing" in notices(page), status
        assert other.heads == []


async def test_a_base_with_any_title_can_be_chosen_and_saved(desk: Desk) -> None:
    titles = ['Say "x"', "it's \\ $HOME", MARKUP, "two\nlines", "p2", "@file", "", "x" * 5_000]
    bases = [{"id": f"p{n}", "title": title} for n, title in enumerate(titles)]
    async with Service(json.dumps({"list": bases})) as service:
        fields = fields_of("nocodb", service.url)
        page = await send(desk, "check", **fields)
        draft = draft_of(page, "nocodb")
        options = html.unescape(page.text)
        assert '"p3"' in options, "the id stands for a title that can't be stored"
        assert '"p4"' in options, "and for one that is the id of another"
        for title in titles[:2]:
            saved = await send(
                desk, "save", **fields, draft=draft, **{"value-nocodb_base_id": title}
            )
            assert saved.status_code == 200
        assert MARKUP not in page.text
    assert (await send(desk, "undo")).status_code == 200


async def test_very_many_bases_hold_up_nobody(desk: Desk) -> None:
    bases = [{"id": f"p{n}", "title": f"t{n}"} for n in range(50_000)]
    async with Service(json.dumps({"list": bases})) as service:
        page = await send(desk, "check", **fields_of("nocodb", service.url))
    assert page.status_code == 200
    assert page.text.count("<option") < 1_000


async def test_a_full_disk_is_said_above_what_was_typed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Home, name: str, secret: bytes) -> None:
        raise HomeUnusable(home=Path("/data"), cause="No space left on device")

    fields = fields_of("nocodb", desk.team.nocodb.origin)
    with monkeypatch.context() as patched:
        patched.setattr(Home, "write_secret", refuse)
        page = await send(desk, "save", **fields)
        assert page.status_code == 400
        assert "No space left on device" in notices(page)
        assert desk.team.nocodb.origin in page.text
        assert SECRET not in page.text
    fields |= {"value-nocodb_token": "", "draft": draft_of(page, "nocodb")}
    page = await send(desk, "save", **fields)
    assert page.status_code == 200, "the token was kept"
    await send(desk, "undo")
