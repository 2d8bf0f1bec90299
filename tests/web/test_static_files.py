"""The page's own files: compressed, and kept by the browser until they change."""

from __future__ import annotations

import gzip
import re
from graphlib import TopologicalSorter

from adapters.web.page.routes import PAGE_FOLDER, PAGE_MEDIA_TYPES
from tests.web.web_ponte import Client, WebPonte

GZIP = {"Accept-Encoding": "gzip"}
FILES = sorted(one.name for one in PAGE_FOLDER.iterdir() if one.suffix in PAGE_MEDIA_TYPES)


async def prefix_of(client: Client) -> str:
    """Return the folder from which the page loads its script."""
    match = re.search(r'src="(/page/[^"]*)ponte\.js"', (await client.get("/")).text)
    assert match
    return match[1]


def test_the_scripts_import_each_other_without_circles() -> None:
    imports = {
        one.name: re.findall(r'(?:from|import\() ?"\./([\w.-]+\.js)"', one.read_text("utf-8"))
        for one in PAGE_FOLDER.glob("*.js")
    }
    assert len(imports) > 20
    assert list(TopologicalSorter(imports).static_order())


async def test_every_file_is_compressed_and_kept(ponte: WebPonte) -> None:
    async with ponte.stranger(**GZIP) as client:
        folder = await prefix_of(client)
        assert folder != "/page/"
        for name in FILES:
            answer = await client.get(f"{folder}{name}")
            assert answer.content == (PAGE_FOLDER / name).read_bytes() or name == "index.html"
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", name
            if len(answer.content) >= 500:
                assert answer.headers["content-encoding"] == "gzip", name
            assert "Accept-Encoding" in answer.headers.get("vary", "") or len(answer.content) < 500


async def test_the_page_and_its_words_are_compressed(ponte: WebPonte) -> None:
    async with ponte.stranger(**GZIP) as client:
        for path in ("/", "/page/words.json", "/page/ponte.css"):
            answer = await client.get(path)
            assert answer.headers["content-encoding"] == "gzip", path
        assert (await client.get("/")).headers["cache-control"] == "no-cache"
        async with client.stream("GET", "/page/ponte.css") as raw:
            body = b"".join([piece async for piece in raw.aiter_raw()])
    assert gzip.decompress(body) == (PAGE_FOLDER / "ponte.css").read_bytes()


async def test_other_clients_and_other_versions_get_the_bytes_as_they_are(
    ponte: WebPonte,
) -> None:
    """A tab that is open during an update asks for files of the former version, to be asked for
    again."""
    async with ponte.stranger(**{"Accept-Encoding": "identity"}) as client:
        answer = await client.get("/page/ponte.css")
        assert "content-encoding" not in answer.headers
        answer = await client.get("/page/0123456789abcdef/options.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


async def test_nothing_that_may_hold_a_secret_is_compressed(client: Client) -> None:
    """An attacker could guess it from the size (BREACH)."""
    await client.post("/chat", json={"message": "x" * 5000})
    paths = (
        "/conversations/main",
        "/conversations/main?html=1",
        "/conversations",
        "/me",
        "/admin",
        "/conversations/main/export",
        "/welcome",
        "/status",
        "/metrics",
        "/admin/people",
    )
    for path in paths:
        answer = await client.get(path, headers=GZIP)
        assert answer.status_code == 200, path
        assert "content-encoding" not in answer.headers, path


def test_scripts_refer_to_files_of_their_own_version() -> None:
    for name in (one for one in FILES if one.endswith(".js")):
        text = (PAGE_FOLDER / name).read_text("utf-8")
        absolute = set(re.findall(r'"(/page/[^"]+\.\w+)"', text))
        assert absolute <= {"/page/words.json", "/page/worker.js", "/page/ponte.svg"}, name
