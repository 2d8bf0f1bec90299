"""The rules that a request must follow. A request that breaks one is refused and recorded."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from tests.fakes.stackspot.ids import is_ulid
from tests.fakes.stackspot.script import Json
from tests.fakes.stackspot.state import CLIENT, SECRET, State

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_QUESTION: dict[str, type] = {
    "user_prompt": str,
    "streaming": bool,
    "use_conversation": bool,
    "stackspot_knowledge": str,
    "return_ks_in_response": bool,
}


class StackSpotErrorResponse(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body

    def answer(self) -> web.Response:
        return web.json_response(self.body, status=self.status)


def wrong(details: str) -> StackSpotErrorResponse:
    return StackSpotErrorResponse(
        400, {"type": "BadRequest", "code": "FAKE_400_RULE", "details": details}
    )


def check_client(state: State, realm: str, request: web.Request, form: Json) -> None:
    if realm not in state.realms:
        raise StackSpotErrorResponse(404, {"error": "Realm does not exist"})
    if request.query or request.headers.get("Authorization"):
        raise wrong("the credentials belong into the form alone")
    if request.content_type != "application/x-www-form-urlencoded":
        raise wrong("a form is wanted")
    if sorted(form) != ["client_id", "client_secret", "grant_type"]:
        raise wrong(f"the form has {sorted(form)}")
    if form["grant_type"] != "client_credentials":
        raise StackSpotErrorResponse(400, {"error": "unsupported_grant_type"})
    if (form["client_id"], form["client_secret"]) != (CLIENT, SECRET):
        raise StackSpotErrorResponse(
            401, {"error": "unauthorized_client", "error_description": "Invalid client"}
        )


def check_bearer(state: State, request: web.Request) -> None:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if state.tokens.get(token, float("-inf")) <= state.clock():
        raise StackSpotErrorResponse(
            401, {"type": "Unauthorized", "code": "FAKE_401", "details": "No."}
        )


def check_create(state: State, slug: str, query: Json, body: Json) -> None:
    if not _SLUG.fullmatch(slug):
        raise wrong(f"no slug: {slug!r}")
    if state.commands is not None and slug not in state.commands:
        raise StackSpotErrorResponse(
            404, {"type": "NotFound", "code": "FAKE_404", "details": "No such command"}
        )
    if body and (body.keys() != {"input_data"} or not isinstance(body["input_data"], str | dict)):
        raise wrong("input_data must be a text or an object, and stand alone")
    if body and not body["input_data"]:
        raise wrong("an empty input_data is left out")
    _check_conversation(query.keys() - {"conversation_id"}, query.get("conversation_id"))


def check_question(state: State, agent: str, query: Json, body: Json) -> None:
    if agent not in state.agents:
        raise StackSpotErrorResponse(
            404, {"type": "NotFound", "code": "FAKE_404", "details": "No such agent"}
        )
    for name, kind in _QUESTION.items():
        if type(body.get(name)) is not kind:
            raise wrong(f"{name} must be {kind.__name__}")
    if body["stackspot_knowledge"] not in ("true", "false") or body["streaming"]:
        raise wrong("stackspot_knowledge is a text, and streaming is off")
    more = {*query, *(body.keys() - _QUESTION.keys() - {"conversation_id"})}
    _check_conversation(more, body.get("conversation_id"))


def is_fresh(request: web.Request) -> bool:
    """Whether a cached answer will not do."""
    no_cache = request.headers.get("Cache-Control") == "no-cache"
    return no_cache and bool(request.query.get("nocache"))


def _check_conversation(more: set[str], conversation: Any) -> None:
    if more:
        raise wrong(f"not known: {sorted(more)}")
    if conversation is not None and not is_ulid(conversation):
        raise wrong("conversation_id is no ULID")
