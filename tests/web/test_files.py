"""Files both ways: uploads with a message, downloads that a browser will not run."""

from __future__ import annotations

from adapters.web import http_io
from core.domain.messages import Answer, File, Person
from tests.time_limits import Limits
from tests.web.web_ponte import Client, WebPonte

OWNER = Person("web", "owner")
PNG = b"\x89PNG\r\n\x1a\n"


async def test_a_file_comes_with_its_message(ponte: WebPonte, client: Client) -> None:
    response = await client.post(
        "/chat",
        data={"message": "what is this?", "conversation": "work"},
        files=[("file", ("plot.png", PNG, "image/png")), ("file", ("a.csv", b"1,2", "text/csv"))],
    )
    assert response.status_code == 200
    message = ponte.rows[1].message
    assert message.text == "what is this?"
    assert [(a.name, a.type, a.size) for a in message.attachments] == [
        ("plot.png", "image/png", 8),
        ("a.csv", "text/csv", 3),
    ]
    assert await ponte.files.conversation_of(message.attachments[0].file) == "web:work"


async def test_a_file_may_come_without_words_and_its_name_is_made_safe(
    ponte: WebPonte, client: Client
) -> None:
    names = {"../../etc/passwd": "passwd", "a\u202egnp.exe": "agnp.exe", "<b>.txt": "_b_.txt"}
    for seq, (name, safe_name) in enumerate(names.items(), 1):
        response = await client.post("/chat", files={"file": (name, b"x")})
        assert response.status_code == 200
        assert [one.name for one in ponte.rows[seq].message.attachments] == [safe_name]


async def test_what_is_too_large_or_not_a_form(ponte: WebPonte, client: Client) -> None:
    large = await client.post("/chat", files={"file": ("a", b"x" * (http_io.MAX_FILE_BYTES + 1))})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    text = await client.post(
        "/chat", data={"message": "x" * http_io.MAX_TEXT_BYTES}, files={"file": ("a", b"")}
    )
    assert (text.status_code, text.json()["error"]["code"]) == (413, "too_large")
    for files in ({"other": ("a", b"x")}, {f"file{n}": ("a", b"x") for n in range(2)}):
        message = await client.post("/chat", files=files)
        assert (message.status_code, message.json()["error"]["code"]) == (400, "bad_request")
    many = await client.post("/chat", files=[("file", (str(n), b"x")) for n in range(11)])
    assert many.status_code == 400
    response = await client.post(
        "/chat", content=b"--x\r\n", headers={"Content-Type": "multipart/form-data"}
    )
    assert response.status_code == 400
    unknown = await client.post("/chat", data={"admin": "1"}, files={"file": ("a", b"x")})
    assert unknown.status_code == 400
    assert not ponte.rows


async def test_the_text_of_a_form_is_not_read_beyond_its_limit(
    ponte: WebPonte, client: Client, limits: Limits
) -> None:
    limits(MAX_TEXT_BYTES=1000)
    form = {"message": "x" * 2001}
    response = await client.post("/chat", data=form, files={"file": ("a", b"x")})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert not ponte.rows


async def test_a_full_disk_refuses_the_file(ponte: WebPonte, client: Client) -> None:
    with ponte.full_disk():
        response = await client.post("/chat", files={"file": ("a", b"x")})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_stored")
    assert not ponte.rows


async def store_file(
    ponte: WebPonte, name: str, kind: str, data: bytes, where: str = "web:main"
) -> File:
    return await ponte.files.put("e", name, kind, data, OWNER, where)


async def test_a_picture_is_shown(ponte: WebPonte, client: Client) -> None:
    file = await store_file(ponte, "plot.png", "image/png", PNG)

    ponte.answers(Answer("Here.", files=(file,)))
    value = (await client.post("/chat", json={"message": "draw"})).json()["files"][0]
    assert value == {"name": "plot.png", "url": f"/files/{file.id}", "type": "image/png", "size": 8}
    response = await client.get(value["url"])
    assert response.content == PNG
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-disposition"].startswith("inline;")
    again = await client.get(value["url"], headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


async def test_active_file_types_are_downloads(ponte: WebPonte, client: Client) -> None:
    for kind in ("image/svg+xml", "text/html", "application/pdf", "x/y"):
        file = await store_file(ponte, 'rés"umé\r\n.html', kind, b"<script>alert(1)</script>")
        response = await client.get(f"/files/{file.id}")
        assert response.headers["content-type"] == "application/octet-stream", kind
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"].startswith("sandbox;")
        assert response.headers["content-disposition"] == (
            "attachment; filename=\"r_s_um__.html\"; filename*=UTF-8''r%C3%A9s_um%C3%A9_.html"
        )


async def test_files_of_other_platforms_are_not_served(ponte: WebPonte, client: Client) -> None:
    file = await store_file(ponte, "x", "text/plain", b"slack's", "slack:T1:C1:1.2")
    for id in (file.id, "nothing", "a" * 65, "%2e%2e"):
        response = await client.get(f"/files/{id}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
