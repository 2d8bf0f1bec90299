"""`GET /openapi.json` says what is served, all of it and nothing else; and what is answered has the
forms that it promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette

from adapters.web import openapi
from adapters.web.adapter import HOOKS_PATH, MountedHandler
from adapters.web.http_io import Guard
from adapters.web.openapi import OPERATIONS
from adapters.web.server import make_application
from core.domain.messages import Answer, Card
from tests.web.web_ponte import Turn, WebPonte

CARD = Card("abc234", "proposal", "Create 1 row", "In Customers.", (), ("approve", "deny"))


class Silent:
    """An operator, for the routes alone."""

    acts: Mapping[str, Any] = {}

    def link(self) -> str:
        return "http://127.0.0.1/#token=x"

    async def threads(self) -> list[Any]:
        return []

    async def thread(self, conversation: str) -> dict[str, Any]:
        return {"conversation": conversation}

    async def forget(self, *, conversation: str = "", person: str = "") -> dict[str, Any]:
        return {"messages": 0}


@pytest.fixture
async def ponte(tmp_path: Path) -> Any:
    ponte = WebPonte(home=tmp_path)
    ponte.operator = Silent()

    async def proposes(turn: Turn) -> Answer:
        return Answer("One change waits.", cards=(CARD,))

    ponte.script = proposes
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


async def test_every_route_is_in_the_table_and_nothing_else(ponte: WebPonte) -> None:
    assert ponte.terminal is not None
    guarded = make_application(ponte.terminal._site)
    assert isinstance(guarded, Guard)
    assert isinstance(guarded._app, Starlette)
    served = openapi.operations(guarded._app.routes)
    assert len(served) == len(set(served))
    assert set(served) == set(OPERATIONS)


async def test_the_page_s_server_tells_what_it_serves(ponte: WebPonte) -> None:
    async def answer_empty(
        headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, b""

    ponte.extra["/slack/events"] = MountedHandler(answer_empty)
    await ponte.restart()
    told = await openapi_document(ponte)
    assert "/operator/link" not in told["paths"]
    assert told["paths"]["/slack/events"]["post"]["security"] == []
    assert told["paths"]["/conversations/{id}"].keys() == {"get", "patch", "delete"}
    async with ponte.terminal_client() as client:
        by_socket = (await client.get("/openapi.json")).json()["paths"]
    assert "/operator/threads/{conversation}" in by_socket


def test_a_webhook_is_described_with_what_its_sender_gets() -> None:
    described = openapi.build_document([], [HOOKS_PATH])["paths"]["/hooks/{name}"]["post"]
    assert described["security"] == [], "its senders have no token of the page"
    assert [one["name"] for one in described["parameters"]] == ["name"]
    statuses = ["200", "202", "400", "401", "404", "413", "429", "503"]
    assert sorted(described["responses"]) == statuses


async def test_it_holds_together_as_openapi_has_it(ponte: WebPonte) -> None:
    """https://spec.openapis.org/oas/v3.1.0: what must be there, ids that are one's own, references
    that lead somewhere, a parameter for each piece of a path."""
    told = await openapi_document(ponte)
    assert told["openapi"] == "3.1.0"
    assert {"title", "version"} <= told["info"].keys()
    for reference in references(told):
        assert reference.removeprefix("#/components/schemas/") in told["components"]["schemas"]
    ids = []
    for path, methods in told["paths"].items():
        for each in methods.values():
            ids.append(each["operationId"])
            assert each["summary"]
            named = {one["name"] for one in each.get("parameters", []) if one["in"] == "path"}
            assert named == {piece[1:-1] for piece in path.split("/") if piece.startswith("{")}
            for status, answer in each["responses"].items():
                assert (status.isdecimal(), bool(answer["description"])) == (True, True)
            for scheme in each.get("security", told["security"]):
                assert scheme.keys() <= told["components"]["securitySchemes"].keys()
    assert len(ids) == len(set(ids))


async def test_it_is_for_who_may_come_in(ponte: WebPonte) -> None:
    async with ponte.stranger() as client:
        assert (await client.get("/openapi.json")).status_code == 401
        for path, methods in (await openapi_document(ponte))["paths"].items():
            for method, each in methods.items():
                if "{" in path or path in ("/logout", "/login"):
                    continue
                is_open = each.get("security") == []
                told = await client.request(method, path)
                assert (told.status_code == 401) is not is_open, path


async def test_answers_have_the_forms_that_are_promised(ponte: WebPonte) -> None:
    async def holds(client: httpx.AsyncClient, method: str, path: str, **body: Any) -> None:
        template = path.partition("?")[0].replace("/work", "/{id}").replace("abc234", "{id}")
        template = template.replace("/models/ponte", "/models/{model:path}")
        form = OPERATIONS[method, template].answer
        answer = await client.request(method, path, **body)
        assert isinstance(form, type)
        assert issubclass(form, BaseModel)
        assert answer.status_code == 200, answer.text
        form.model_validate_json(answer.content)

    asked = {"message": "Hello", "conversation": "work"}
    async with ponte.client() as client:
        await holds(client, "POST", "/chat?html=1", json=asked)
        await holds(client, "POST", "/cards/abc234", json={"action": "deny"})
        await holds(client, "PATCH", "/conversations/work", json={"title": "Work"})
        for path in (
            "/conversations", "/conversations/work?html=1", "/quick-commands", "/me", "/welcome",
            "/healthz", "/readyz", "/status", "/page/words.json",
        ):  # fmt: skip
            await holds(client, "GET", path)
        refused = await client.get("/conversations/a.b")
        openapi.Error.model_validate_json(refused.content)
    async with ponte.program() as client:
        for path in ("/v1/models", "/v1/models/ponte"):
            await holds(client, "GET", path)
        refused = await client.get("/v1/models/other")
        openapi.CompatibleError.model_validate_json(refused.content)
