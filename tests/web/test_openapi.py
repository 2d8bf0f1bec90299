"""`GET /openapi.json` says what is served, all of it and nothing else; and what is answered has the
forms that it promises."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from adapters.web.api import openapi
from adapters.web.api.answers import Error, OpenAiError
from adapters.web.hub import HOOKS_PATH
from core.domain.messages import Answer, Card
from tests.fakes.web_surfaces import all_routes, served_routes
from tests.web.web_ponte import Client, WebPonte

CARD = Card("abc234", "proposal", "Create 1 row", "In Customers.", (), ("approve", "deny"))


@pytest.fixture
async def ponte(tmp_path: Path) -> Any:
    ponte = WebPonte(home=tmp_path)

    ponte.answers(Answer("One change waits.", cards=(CARD,)))
    await ponte.open()
    yield ponte
    await ponte.close()


async def openapi_document(ponte: WebPonte) -> Any:
    async with ponte.client() as client:
        return (await client.get("/openapi.json")).json()


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


@pytest.mark.parametrize("surface", ["page", "socket"])
async def test_the_document_has_every_route_and_nothing_else(ponte: WebPonte, surface: str) -> None:
    services = [
        (one.declaration.method.lower(), one.path.replace(":path", ""))
        for one in served_routes(page=surface == "page")
    ]
    assert len(services) == len(set(services))
    async with ponte.client() if surface == "page" else ponte.terminal_client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    described = {(method, path) for path, each in paths.items() for method in each}
    assert described == {*services, ("post", "/mcp")}, "also what is off"


async def test_the_page_s_server_tells_what_it_serves(ponte: WebPonte) -> None:
    async def answer_empty(
        headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, b""

    ponte.extra["/slack/events"] = answer_empty
    await ponte.restart()
    document = await openapi_document(ponte)
    assert "/operator/{operation}" not in document["paths"]
    assert document["paths"]["/slack/events"]["post"]["security"] == []
    assert document["paths"]["/conversations/{id}"].keys() == {"get", "patch", "delete"}
    async with ponte.terminal_client() as client:
        by_socket = (await client.get("/openapi.json")).json()["paths"]
    assert "/operator/{operation}" in by_socket


async def test_what_a_route_refuses_is_described(ponte: WebPonte) -> None:
    paths = (await openapi_document(ponte))["paths"]
    async with ponte.client() as client:
        for path in ("/me", "/conversations/c1", "/chat"):
            allowed = (await client.options(path)).headers["allow"].split(", ")
            template = path.replace("c1", "{id}")
            assert {*paths[template]} == {name.lower() for name in allowed} - {"head"}, path
        for method, path in (("PATCH", "/conversations/{id}"), ("POST", "/mcp"), ("POST", "/me")):
            kind = {"content-type": "text/xml"}
            answer = await client.request(method, path, content="<x/>", headers=kind)
            described = paths[path].get(method.lower(), {"responses": ["405"]})["responses"]
            assert str(answer.status_code) in described, (method, path, answer.text)


def test_a_webhook_is_described_with_what_its_sender_gets() -> None:
    document = openapi.build_document([], [HOOKS_PATH])["paths"]["/hooks/{name}"]["post"]
    assert document["security"] == [], "its senders have no token of the page"
    assert [one["name"] for one in document["parameters"]] == ["name"]
    statuses = ["200", "202", "400", "401", "404", "413", "415", "429", "503"]
    assert sorted(document["responses"]) == statuses


async def test_it_holds_together_as_openapi_has_it(ponte: WebPonte) -> None:
    """https://spec.openapis.org/oas/v3.1.0: what must be there, ids that are one's own, references
    that lead somewhere, a parameter for each piece of a path."""
    document = await openapi_document(ponte)
    assert document["openapi"] == "3.1.0"
    assert {"title", "version"} <= document["info"].keys()
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    ids = []
    for path, methods in document["paths"].items():
        for each in methods.values():
            ids.append(each["operationId"])
            assert each["summary"]
            names = {one["name"] for one in each.get("parameters", []) if one["in"] == "path"}
            assert names == {piece[1:-1] for piece in path.split("/") if piece.startswith("{")}
            for status, answer in each["responses"].items():
                assert (status.isdecimal(), bool(answer["description"])) == (True, True)
            for scheme in each.get("security", document["security"]):
                assert scheme.keys() <= document["components"]["securitySchemes"].keys()
    assert len(ids) == len(set(ids))


async def test_it_is_for_who_may_come_in(ponte: WebPonte) -> None:
    async with ponte.stranger() as client:
        assert (await client.get("/openapi.json")).status_code == 401
        for path, methods in (await openapi_document(ponte))["paths"].items():
            for method, each in methods.items():
                if "{" in path or path in ("/logout", "/login", "/mcp"):
                    continue
                is_open = each.get("security") == []
                response = await client.request(method, path)
                assert (response.status_code == 401) is not is_open, path


def check_form(form: Any, answer: httpx.Response) -> None:
    """Check that the JSON of an answer has this type, and no other fields."""
    assert TypeAdapter(form).validate_json(answer.content) == answer.json()


async def test_answers_have_the_forms_that_are_promised(ponte: WebPonte) -> None:
    forms = {(one.declaration.method, one.path): openapi.answer_type(one) for one in all_routes()}

    async def check(client: Client, method: str, path: str, **body: Any) -> None:
        template = path.partition("?")[0].replace("/work", "/{id}").replace("abc234", "{id}")
        template = template.replace("/models/ponte", "/models/{model:path}")
        template = re.sub(r"/turns/[a-z0-9]{16}", "/turns/{turn}", template)
        answer = await client.request(method, path, **body)
        assert answer.status_code in (200, 201), answer.text
        check_form(forms[method, template], answer)

    request = {"message": "Hello", "conversation": "work"}
    async with ponte.client() as client:
        await check(client, "POST", "/chat?html=1", json=request)
        turn = (await client.post("/chat", json=request)).json()["turn"]
        await check(client, "POST", "/cards/abc234", json={"action": "deny"})
        await check(client, "PATCH", "/conversations/work", json={"title": "Work"})
        await check(client, "POST", "/me/tokens", json={"name": "notebook"})
        await check(client, "PATCH", "/me", json={"name": "Maya"})
        for path in (
            "/conversations",
            "/conversations?search=hello",
            "/conversations/work?html=1",
            "/quick-commands",
            "/me",
            "/me/tokens",
            "/welcome",
            "/healthz",
            "/readyz",
            "/status",
            "/page/words.json",
            "/approvals",
            f"/turns/{turn}?html=1",
            f"/turns/{turn}/usage",
        ):
            await check(client, "GET", path)
        await check(client, "POST", f"/turns/{turn}/stop")
        await check(client, "POST", f"/turns/{turn}/feedback", json={"vote": "up"})
        await check(client, "DELETE", "/conversations/work")
        check_form(Error, await client.get("/conversations/a.b"))
    async with ponte.program() as client:
        for path in ("/v1/models", "/v1/models/ponte"):
            await check(client, "GET", path)
        completion = {"messages": [{"role": "user", "content": "Hello"}]}
        await check(client, "POST", "/v1/chat/completions", json=completion)
        check_form(OpenAiError, await client.get("/v1/models/other"))


async def test_a_route_s_words_are_those_of_its_handler(ponte: WebPonte) -> None:
    document = await openapi_document(ponte)
    description = document["paths"]["/readyz"]["get"]
    assert description["summary"] == (
        "Return 200 if Ponte can answer, 503 while a platform, the model or the database fails"
    )
    assert description["description"] == "Only the owner and admins get the reasons."
    login = document["paths"]["/login"]["post"]
    assert "Raise" not in str(login["summary"]) + login.get("description", "")
    body = document["components"]["schemas"]["LoginRequest"]
    assert body["properties"]["token"]["maxLength"] == 1000
