"""Every route with every kind of token: of the owner, of a person, of a program, and none."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.web.admin import OperatorRoutes
from adapters.web.api import chat
from adapters.web.visitor import COMPATIBLE_PREFIX
from core.domain.messages import Person
from core.domain.records import ApiToken
from core.people.page_accounts import API_TOKEN_PREFIX
from core.people.sign_ins import Identity
from tests.web.test_page_accounts import ROUTES, Inhabited, ponte_with_people
from tests.web.test_signed_in_people import sign_in_as
from tests.web.web_ponte import Client, WebPonte

__all__ = ["ponte_with_people"]

PROVIDED = {
    "slack": Identity("slack", Person("slack", "U1", "T1", "Ana")),
    "guest": Identity("slack", Person("slack", "U2", "T1", "Bia")),
    "oidc": Identity("corp", Person("oidc", "corp:ana", name="Ana")),
    "barred": Identity("corp", Person("oidc", "corp:bia", name="Bia")),
}
"""The people of providers, by their kind. The one who is barred was removed by an operator."""
KINDS = (
    *("none", "removed", "revoked", "expired", "barred"),
    *("program", "owner's program", "metrics", "mcp"),
    *("slack", "guest", "oidc", "person", "owner"),
)
STRANGERS = (401, 401, 401, 401, 401)
OTHERS = {
    "slack": ("ana", "bia", "owner", "gone", "guest", "oidc"),
    "guest": ("ana", "bia", "owner", "gone", "slack", "oidc"),
    "oidc": ("ana", "bia", "owner", "gone", "slack", "guest"),
    "person": ("bia", "owner", "gone", "slack", "guest", "oidc"),
    "owner": ("ana", "bia", "gone", "slack", "guest", "oidc"),
}
"""Whose words an answer must not have, by the kind of who asks."""
ADMINS_OF_PROVIDERS = {
    "slack": Identity("slack", Person("slack", "UADMIN", "T1")),
    "oidc": Identity("corp", Person("oidc", "corp:boss"), ("board",)),
}
"""One is an admin by name, the other by a group."""
ANSWERS: Mapping[str, tuple[int, ...]] = {
    "open": (200,) * len(KINDS),
    "sign in": (401,) * len(KINDS),  # `ROUTES` sends a wrong token, which no header makes right
    "not set up": (404,) * len(KINDS),
    "health": (503,) * len(KINDS),
    "page": (*STRANGERS, 403, 403, 403, 403, 200, 200, 200, 200, 200),
    "operator": (*STRANGERS, 403, 403, 403, 403, 403, 403, 403, 403, 200),
    "metrics": (*STRANGERS, 403, 403, 200, 403, 403, 403, 403, 403, 200),
    "form": (*STRANGERS, 403, 403, 403, 403, 403, 403, 403, 403, 403),
    "every session": (*STRANGERS, 403, 403, 403, 403, 200, 200, 200, 403, 403),
    "own session": (*STRANGERS, 403, 403, 403, 403, 403, 403, 403, 403, 403),
    "program": (*STRANGERS, 200, 200, 403, 403, 403, 403, 403, 403, 403),
}
"""The status for each of KINDS, by the decision about a route. 200 stands for 201, too."""


@pytest.fixture
async def kinds(ponte_with_people: Inhabited) -> AsyncIterator[Mapping[str, Client]]:
    ponte = ponte_with_people.ponte
    revoked = ponte.people.add_api_token("ana")
    await ponte.people.revoke_api_token("t1")
    tokens = {
        "revoked": revoked,
        "expired": ponte.people.add_api_token("ana", days=-1),
        "program": ponte.people.add_api_token("ana"),
        "owner's program": ponte.people.add_api_token("owner"),
        "metrics": ponte.people.add_api_token("owner", kind="metrics"),
        "mcp": ponte.people.add_api_token("owner", kind="mcp"),
    }
    clients = {kind: ponte.person(token) for kind, token in tokens.items()}
    clients |= {"none": ponte.stranger()}
    for kind, identity in PROVIDED.items():
        clients[kind] = ponte.stranger(Cookie=await sign_in_as(ponte, identity))
        await clients[kind].post(
            "/chat",
            data={"message": f"of {kind}", "conversation": "work"},
            files={"file": ("note.txt", kind.encode())},
        )
        await ponte.notices.send(identity.person, "link-renewed")
    ponte.people.remove_sign_in(PROVIDED["barred"].person.key)
    theirs = {"removed": "gone", "person": "ana", "owner": "owner"}
    yield clients | {kind: ponte_with_people.clients[name] for kind, name in theirs.items()}
    for client in clients.values():
        await client.aclose()


async def test_every_route_with_every_kind_of_token(
    ponte_with_people: Inhabited, kinds: Mapping[str, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_none(*_: object) -> tuple[()]:
        return ()

    monkeypatch.setattr(chat, "find_fields", find_none)  # the answers here are of no table
    ponte = ponte_with_people.ponte
    for route, (decision, ask) in ROUTES.items():
        for kind, expected in zip(KINDS, ANSWERS[decision], strict=True):
            ids = dict(ponte_with_people.theirs)
            if kind in PROVIDED and kind != "barred":  # a route before this one may end sessions
                kinds[kind].headers["Cookie"] = await sign_in_as(ponte, PROVIDED[kind])
            if kind == "owner" or kind in PROVIDED:  # else the ids are the person's
                rows = [row.message for row in ponte.rows.values()]
                (own,) = [message for message in rows if message.text == f"of {kind}"]
                await kinds[kind].post("/me/tokens", json={})
                tokens = ponte.people.tokens.values()
                own_tokens = [one.id for one in tokens if one.person == own.author.key]
                ids |= {"notice": f"{own.author.id}-0"}
                ids |= {"turn": own.turn, "file": own.attachments[0].file}
                ids |= {"token": own_tokens[-1] if own_tokens else ids["token"]}
            count = len(ponte.rows)
            answer = await ask(kinds[kind], ids)
            ponte.forget_failed_logins()
            status = 200 if answer.status_code == 201 else answer.status_code
            assert status == expected, (route, kind, answer.text)
            others = OTHERS.get(kind, ())
            assert not any(f"of {other}" in answer.text for other in others), (route, kind)
            if expected in (401, 403):
                codes = {401: ("unauthorized", "session_ended"), 403: ("forbidden",)}[expected]
                assert answer.json()["error"]["code"] in codes, (route, kind)
                assert len(ponte.rows) == count, (route, kind)
            if route == ("GET", "/readyz"):
                reasons = [{"name": "model", "words": "no answer"}]
                assert answer.json().get("reasons", []) == reasons * (kind == "owner"), kind


@pytest.mark.parametrize("how", ["link", "slack", "oidc"])
async def test_an_admin_reads_what_the_owner_reads(ponte_with_people: Inhabited, how: str) -> None:
    ponte = ponte_with_people.ponte
    headers = {"Authorization": f"Bearer {ponte.people.add('admin')}"}
    if how != "link":
        headers = {"Cookie": await sign_in_as(ponte, ADMINS_OF_PROVIDERS[how])}
    async with ponte.stranger(**headers) as admin:
        assert (await admin.get("/readyz")).json()["reasons"]
        for route, (decision, ask) in ROUTES.items():
            if decision in ("operator", "metrics", "form"):
                answer = await ask(admin, ponte_with_people.theirs)
                ponte.forget_failed_logins()
                status = 200 if route[0] == "GET" else 403
                assert answer.status_code == status, route


async def test_the_command_line_s_routes_are_on_the_socket_alone(
    ponte_with_people: Inhabited, kinds: Mapping[str, Client]
) -> None:
    operator: Any = None
    for route in OperatorRoutes(operator).routes:
        (method,) = (route.methods or set()) - {"HEAD"}
        path = re.sub(r"\{\w+(:path)?\}", "usage", route.path)
        for kind, status in zip(KINDS, (*STRANGERS, *(403,) * 4, *(404,) * 5), strict=True):
            response = await kinds[kind].request(method, path, json={})
            assert response.status_code == status, (route.path, kind)
            ponte_with_people.ponte.forget_failed_logins()


async def test_an_api_token_does_not_sign_in(ponte: WebPonte) -> None:
    async with ponte.stranger() as browser:
        response = await browser.post("/login", json={"token": ponte.people.add_api_token("owner")})
        assert response.status_code == 401
        assert "only works in programs" in response.json()["error"]["message"]
        assert not browser.cookies


def completion_request(text: str) -> Mapping[str, Any]:
    return {"model": "ponte", "messages": [{"role": "user", "content": text}]}


async def test_what_a_program_may_not_say(ponte: WebPonte) -> None:
    """Commands that decide or delete are refused in every language, and are not stored."""
    ponte.people.add("ana")
    program = ponte.people.add_api_token("ana")
    refusals = (
        "approve abc234",
        "/undo abc234",
        "deny abc234",
        "forget",
        "forget yes",
        "approvals",
    )
    async with ponte.person(program) as client:
        for words in (*refusals, "oublier oui", "APROVAR abc234"):
            response = await client.post("/v1/chat/completions", json=completion_request(words))
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (400, "decided_elsewhere"), words
            assert "abc234" not in words or "/#" in error["message"], "where it is decided"
        assert ponte.rows == {}
        for words in ("help", "status", "reload", "approve my plan"):
            response = await client.post("/v1/chat/completions", json=completion_request(words))
            assert response.status_code == 200, words
    authors = {(one.message.author.key, one.message.author.is_bot) for one in ponte.rows.values()}
    assert authors == {("web:ana", True)}, "no right to decide or administer: they are programs"


def test_a_token_ends_at_its_time_and_one_without_a_time_never() -> None:
    token = ApiToken("t1", "web:ana", "hash", "notebook", added_at=0.0, expires_at=5.0)
    assert (token.is_expired(4.9), token.is_expired(5.0)) == (False, True)
    assert not replace(token, expires_at=0.0).is_expired(1e12)


async def test_tokens_are_shown_once_and_end(ponte: WebPonte) -> None:
    ana = ponte.people.add("ana")
    async with ponte.person(ana) as page:
        body = (await page.post("/me/tokens", json={"name": "notebook", "days": 30})).json()
        assert re.fullmatch(re.escape(API_TOKEN_PREFIX) + r"[\w-]{43}", body["token"])
        async with ponte.person(body["token"]) as program:
            assert (await program.get("/v1/models")).status_code == 200
            value = (await page.get("/me/tokens")).json()["tokens"]
            assert [(one["name"], bool(one["seen"])) for one in value] == [("notebook", True)]
            assert body["token"] not in str(value)
            assert (await page.delete(f"/me/tokens/{body['id']}")).status_code == 200
            assert (await program.get("/v1/models")).status_code == 401
        assert (await page.post("/me/tokens", json={"days": 4000})).status_code == 400


async def test_nobody_finds_a_server_with_oauth(kinds: Mapping[str, Client]) -> None:
    """Clients take any other answer for one ."""
    for name in ("oauth-protected-resource", "oauth-authorization-server", "openid-configuration"):
        for path in (f"/.well-known/{name}", f"/.well-known/{name}/v1/models"):
            for kind in KINDS:
                response = await kinds[kind].get(path)
                error = response.json()["error"]
                assert (response.status_code, error["code"]) == (404, "not_found"), (path, kind)
                assert "www-authenticate" not in response.headers


async def test_only_paths_of_the_api_are_open(ponte: WebPonte) -> None:
    """However they are written."""
    program = ponte.people.add_api_token("owner")
    async with ponte.person(program) as client:
        for path in ("/v1", "//v1/models", "/v1/../status", "/V1/models", "/%76%31/../status"):
            request = client.build_request("GET", ponte.web.address)
            request.url = request.url.copy_with(raw_path=path.encode())
            message = await client.send(request)
            assert message.status_code in (403, 404), path
    assert COMPATIBLE_PREFIX == "/v1/"
