"""Signed addresses of files in answers of `/v1`: one file, download only, for an hour."""

from __future__ import annotations

import base64
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from adapters.web.compatible import MAX_INLINE_FILE_BYTES
from adapters.web.file_links import LINK_SECONDS, FileLinks
from core.domain.messages import Answer, File, Person
from tests.web.web_ponte import Turn, WebPonte


async def answer_with_file(ponte: WebPonte, name: str, type: str, data: bytes) -> tuple[str, File]:
    """The text of an answer of `/v1` that has this file."""
    owner = Person("web", "owner")
    file = await ponte.files.put("web:made", name, type, data, owner, "web:work")

    async def plots(turn: Turn) -> Answer:
        return Answer("Here.", files=(file,))

    ponte.script = plots
    async with ponte.person(ponte.people.add_api_token("owner")) as program:
        said = await program.post("/v1/responses", json={"model": "ponte", "input": "plot"})
        again = await program.get(f"/v1/responses/{said.json()['id']}")
    assert again.json()["output"][0]["content"][0]["text"].startswith("Here.")
    return said.json()["output"][0]["content"][0]["text"], file


async def test_an_address_downloads_one_file_and_nothing_else(ponte: WebPonte) -> None:
    with capture_logs() as logs:
        text, file = await answer_with_file(ponte, "a.html", "text/html", b"<script>1</script>")
        url = text.rpartition(" ")[2]
        async with httpx.AsyncClient() as anybody:
            got = await anybody.get(url)
            assert (got.status_code, got.content) == (200, b"<script>1</script>")
            assert got.headers["content-disposition"].startswith('attachment; filename="a.html"')
            assert got.headers["content-type"] == "application/octet-stream"
            assert got.headers["x-content-type-options"] == "nosniff"
            parts = urlsplit(url)
            query = dict(parse_qsl(parts.query))
            other = await ponte.files.put(
                "web:b", "b", "text/plain", b"b", Person("web", "owner"), "web:work"
            )
            base, later = f"{parts.scheme}://{parts.netloc}", int(query["until"]) + 1
            wrong = (
                f"/download/{other.id}?{parts.query}",
                f"/download/{file.id}?until={later}&signature={query['signature']}",
                f"/download/{file.id}?until={query['until']}&signature={'0' * 64}",
                f"/download/{file.id}?until={query['until']}&signature=%F0%9F",
                f"/download/{file.id}", "/download/x?until=a&signature=b",
            )  # fmt: skip
            for path in wrong:
                assert (await anybody.get(base + path)).status_code == 404, path
            assert (await anybody.get(f"{base}/files/{file.id}?{parts.query}")).status_code == 401
            await ponte.files.delete(file.id)
            assert (await anybody.get(url)).status_code == 404, "forgotten"
    assert query["signature"] not in str(logs)


def test_an_address_ends_after_an_hour() -> None:
    now = 1000.0
    links = FileLinks(b"secret", lambda: now)
    query = dict(parse_qsl(urlsplit(links.path("f")).query))
    now += LINK_SECONDS - 1
    assert links.is_valid("f", **query)
    assert not FileLinks(b"another", lambda: now).is_valid("f", **query)
    now += 1
    assert not links.is_valid("f", **query)


@pytest.mark.parametrize("size", [10, MAX_INLINE_FILE_BYTES + 1])
async def test_a_small_picture_is_inline(ponte: WebPonte, size: int) -> None:
    """A client that sends it back does not pay for its bytes."""
    data = b"p" * size
    text, _ = await answer_with_file(ponte, "plot].png", "image/png", data)
    encoded = base64.b64encode(data).decode()
    if size > MAX_INLINE_FILE_BYTES:
        assert "/download/" in text
        return
    assert text == f"Here.\n\n![plot_.png](data:image/png;base64,{encoded})"
    history = [
        {"role": "user", "content": "plot"}, {"role": "assistant", "content": text},
        {"role": "user", "content": "And?"},
    ]  # fmt: skip
    async with ponte.client() as client:
        asked = {"model": "ponte", "messages": history}
        assert (await client.post("/v1/chat/completions", json=asked)).status_code == 200
    *_, last = ponte.rows.values()
    assert [quote.text for quote in last.message.brought] == [
        "plot", "Here.\n\n![plot_.png](data:,)",
    ]  # fmt: skip
