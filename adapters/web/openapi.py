"""Builds `GET /openapi.json` (OpenAPI 3.1) from the routes that are served.

OPERATIONS describes each route; a test compares it with the routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute, Route

from adapters.web.adapter import HOOKS_PATH
from adapters.web.authentication import (
    ASSETS_PREFIX,
    COMPATIBLE_PREFIX,
    HEALTH_PATHS,
    OPEN_PATHS,
)
from adapters.web.chat import CardDecision
from adapters.web.http_io import JsonChatRequest
from adapters.web.openai_requests import CompletionRequest
from adapters.web.page_routes import (
    ConversationMarks,
    ForgetRequest,
    LoginRequest,
    OperatorRequest,
    OwnerNameRequest,
)
from adapters.web.token_routes import ApiTokenRequest
from core.domain.messages import CardAction

API_VERSION = "1"
"""The version of the description. Names in it change only with a line in CHANGELOG.md."""
Json = dict[str, Any]
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
EVENT_STREAM_TYPE = "text/event-stream"


class ResponseBody(BaseModel):
    """A JSON response. Unknown fields are forbidden, so that a test can validate responses against
    it."""

    model_config = ConfigDict(extra="forbid", title=None)


class ErrorDetail(ResponseBody):
    """The code of an error and its words for the reader."""

    code: str
    message: str


class Error(ResponseBody):
    """The body of an error."""

    error: ErrorDetail


class CompatibleErrorDetail(ResponseBody):
    """An error in the form of OpenAI's API."""

    message: str
    type: str
    param: str | None
    code: str | None


class CompatibleError(ResponseBody):
    """The body of an error in the form of OpenAI's API."""

    error: CompatibleErrorDetail


class StoredFile(ResponseBody):
    """A file of an answer. `size` is in bytes."""

    name: str
    url: str
    type: str
    size: int


class CardState(ResponseBody):
    """A card. `expires_at` is in seconds since the epoch. Each of `rows` has the raw values
    `before` and `after`, and its `name`, `name_field` and `changes` in words. `is_whole`: offer
    no approval where `text` is cut."""

    id: str
    kind: Literal["proposal", "change", "schedule"]
    title: str
    text: str
    rows: list[dict[str, Any]]
    actions: list[CardAction]
    state: str
    expires_at: float | None
    is_whole: bool


class WaitingCard(CardState):
    """A card that waits for the reader. `conversation` is set if the reader can open it."""

    conversation: str = ""


class RequestList(ResponseBody):
    """The requests that wait for the reader's decision, oldest first."""

    approvals: list[WaitingCard]


class ChatAnswer(ResponseBody):
    """An answer. `code` is set if the status is `failed`, `html` if it was asked for."""

    response: str
    conversation: str
    turn: str
    status: Literal["done", "stopped", "failed"]
    files: list[StoredFile]
    cards: list[CardState]
    code: str = ""
    aloud: bool = False
    html: str = ""
    error: ErrorDetail | None = None


class DecisionResult(ResponseBody):
    """The state of a card after a decision, and the card if it changed. `change` is the id of the
    change that it became."""

    id: str
    state: str
    text: str
    card: CardState | None = None
    change: str | None = None
    aloud: bool = False
    error: ErrorDetail | None = None


class TurnText(ResponseBody):
    """A message and its answer. `replaces` is the turn that this one asks again, "" for none."""

    turn: str
    message: str
    text: str
    state: str
    at: float
    replaces: str
    html: str = ""


class TurnUsage(ResponseBody):
    """Tokens of a turn, and their cost in US dollars (null: the price is unknown). `estimated`: the
    model's server reported no counts."""

    turn: str
    input: int
    cached: int
    output: int
    reasoning: int
    cost: float | None
    estimated: bool
    model: str


class StopResult(ResponseBody):
    """The state of a turn after it was stopped."""

    turn: str
    status: str
    text: str


class CommandInput(ResponseBody):
    """An input of a quick command."""

    name: str
    type: str
    required: bool
    choices: list[str]


class QuickCommandEntry(ResponseBody):
    """A quick command."""

    slug: str
    title: str
    description: str
    inputs: list[CommandInput]


class QuickCommandList(ResponseBody):
    """The quick commands that the reader may run."""

    commands: list[QuickCommandEntry]


class SearchExcerpt(ResponseBody):
    """A place that a search found, on one line."""

    before: str
    match: str
    after: str


class ListedConversation(ResponseBody):
    """A conversation. `at` is its last use in seconds since the epoch, `turn` the newest hit of a
    search."""

    id: str
    title: str
    pinned: bool
    at: float
    turn: str = ""
    excerpt: SearchExcerpt | None = None


class ConversationList(ResponseBody):
    """The reader's conversations."""

    conversations: list[ListedConversation]


class Transcript(ResponseBody):
    """A conversation. `messages` are the person's (`role` `user`) and the answers (`assistant`)."""

    conversation: str
    messages: list[dict[str, Any]]
    cards: list[CardState]
    cursor: str
    instructions: str


class StatusAnswer(ResponseBody):
    """The result of an action. `status` is a fixed English word, `text` a sentence to show."""

    status: str
    text: str = ""


class Reason(ResponseBody):
    """A part that is not ready, and why."""

    name: str
    words: str


class Readiness(ResponseBody):
    """The readiness of the process. Only the owner and admins get `reasons`."""

    status: Literal["ready", "not ready"]
    reasons: list[Reason] | None = None


class PartState(ResponseBody):
    """The state of one part."""

    name: str
    state: Literal["on", "off", "failing"]
    words: str


class PartList(ResponseBody):
    """The state of each part."""

    parts: list[PartState]


class Welcome(ResponseBody):
    """Suggestions for the first message, the tables and quick commands that the visitor may use,
    and the state of the parts, which only admins get. `sample`: the tables are sample tables."""

    tries: list[str]
    sample: bool
    tables: list[str]
    commands: list[str]
    parts: list[PartState]
    demo: bool


class WaitingNotice(ResponseBody):
    """A sentence that waits until the visitor closes it. `at` is in seconds since the epoch."""

    id: str
    text: str
    at: float


class Me(ResponseBody):
    """The visitor. `person` is their key, `operates` is true for the owner and admins."""

    person: str
    name: str
    owner: bool
    operates: bool
    models: list[str]
    efforts: list[str]
    notices: list[WaitingNotice]


class ApiTokenEntry(ResponseBody):
    """An API token. Times are in seconds since the epoch; `expires` is 0 for never. `seen` is the
    day of the last use. Only the answer to its creation contains `token`."""

    id: str
    name: str
    added: float
    expires: float
    seen: str
    expired: bool
    token: str = ""


class ApiTokenList(ResponseBody):
    """The visitor's API tokens."""

    tokens: list[ApiTokenEntry]


class PageWords(ResponseBody):
    """The page's sentences by key."""

    locale: str
    words: dict[str, str]


class ModelEntry(ResponseBody):
    """A model in the form of OpenAI's API."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(ResponseBody):
    """The models that the reader may name."""

    object: Literal["list"]
    data: list[ModelEntry]


class Link(ResponseBody):
    """The page's address with its token."""

    link: str


class AnyJson(BaseModel):
    """JSON without a schema. The documentation of the command or of OpenAI's API describes it."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class Operation:
    """The description of a route.

    `answer` is the class of its JSON, or a media type; `also` are other media types of the answer.
    `query` and `headers` are parameters with their meanings.
    """

    summary: str
    answer: type[BaseModel] | str = AnyJson
    body: type[BaseModel] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    also: Sequence[str] = ()
    files: bool = False
    """True if the body may be a form with files."""
    status: int = 200
    """The HTTP status of a success."""
    refuses: Sequence[int] = ()
    """HTTP statuses besides those that any request may get."""


_HTML = {"html": "1: add sanitized HTML to each text"}
_CONVERSATION = {
    "X-Ponte-Conversation": "the id of one of your conversations. Without it, the request starts a "
    "conversation that is deleted after a day",
    "Idempotency-Key": "a repeated request with this key returns the answer of the first one",
}
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/"): Operation("Get the page", "text/html"),
    ("GET", "/page/words.json"): Operation(
        "Get the page's sentences", PageWords, query={"locale": "en, pt-BR or fr"}
    ),
    ("GET", "/page/{name}"): Operation(
        "Get a file of the page", "application/octet-stream", refuses=(404,)
    ),
    ("GET", "/welcome"): Operation("Get suggestions for the first message", Welcome),
    ("POST", "/login"): Operation(
        "Sign a browser in", StatusAnswer, LoginRequest, refuses=(413, 429)
    ),
    ("POST", "/logout"): Operation("Sign a browser out", StatusAnswer),
    ("GET", "/me"): Operation("Get the visitor's name and permissions", Me),
    ("PATCH", "/me"): Operation(
        "Change the owner's name", StatusAnswer, OwnerNameRequest, refuses=(503,)
    ),
    ("DELETE", "/me/notices/{id}"): Operation("Close a notice", StatusAnswer, refuses=(404, 503)),
    ("GET", "/me/tokens"): Operation("List your API tokens", ApiTokenList, refuses=(404,)),
    ("POST", "/me/tokens"): Operation(
        "Create an API token", ApiTokenEntry, ApiTokenRequest, status=201, refuses=(404, 503)
    ),
    ("DELETE", "/me/tokens/{id}"): Operation(
        "Revoke an API token", StatusAnswer, refuses=(404, 503)
    ),
    ("GET", "/healthz"): Operation("Check that the process is running", StatusAnswer),
    ("GET", "/readyz"): Operation(
        "Check that every configured part works", Readiness, refuses=(503,)
    ),
    ("GET", "/metrics"): Operation(
        "Get Prometheus metrics (admins only)", "text/plain", refuses=(404,)
    ),
    ("GET", "/status"): Operation("Get the state of each part (admins only)", PartList),
    ("GET", "/usage"): Operation(
        "Get the usage of the last 30 days (admins only)", "text/html", refuses=(404,)
    ),
    ("GET", "/admin"): Operation(
        "Get the operator's page (admins only)", "text/html", refuses=(404,)
    ),
    ("GET", "/admin/{tab}"): Operation(
        "Get a tab of the operator's page (admins only)", "text/html", refuses=(404,)
    ),
    ("POST", "/admin/{tab}"): Operation(
        "Send a form of the operator's page (admins; accounts: the owner only)",
        "text/html",
        refuses=(404,),
    ),
    ("GET", "/openapi.json"): Operation("Get this document"),
    ("POST", "/chat"): Operation(
        "Send a message and get the answer",
        ChatAnswer,
        JsonChatRequest,
        files=True,
        also=(EVENT_STREAM_TYPE,),
        query=_HTML,
        headers={
            "Idempotency-Key": "as event_key, which counts if both are given",
            "Prefer": "respond-async: return 202 with the turn's id, or 429 over the rate limit",
        },
        refuses=(404, 410, 413, 415, 422, 429, 503),
    ),
    ("POST", "/cards/{id}"): Operation(
        "Approve or deny a card, or undo a change",
        DecisionResult,
        CardDecision,
        refuses=(404, 410, 503),
    ),
    ("GET", "/turns/{turn}"): Operation(
        "Get a message and its answer", TurnText, query={**_HTML}, refuses=(404, 410)
    ),
    ("GET", "/turns/{turn}/usage"): Operation(
        "Tokens and cost of a turn", TurnUsage, refuses=(404, 410)
    ),
    ("POST", "/turns/{turn}/stop"): Operation("Stop a turn", StopResult, refuses=(404, 410, 503)),
    ("GET", "/quick-commands"): Operation(
        "List the quick commands that you can run",
        QuickCommandList,
        query={"conversation": "the id of a conversation"},
        refuses=(404,),
    ),
    ("GET", "/conversations"): Operation(
        "List your conversations: pinned ones first, then the last used ones",
        ConversationList,
        query={"search": "only conversations that contain these words"},
    ),
    ("GET", "/conversations/{id}"): Operation(
        "Get the messages of a conversation", Transcript, query=_HTML, refuses=(404,)
    ),
    ("PATCH", "/conversations/{id}"): Operation(
        "Rename or pin a conversation", StatusAnswer, ConversationMarks, refuses=(404,)
    ),
    ("DELETE", "/conversations/{id}"): Operation(
        "Delete a conversation", StatusAnswer, refuses=(404, 503)
    ),
    ("GET", "/conversations/{id}/export"): Operation(
        "Export a conversation as Markdown", "text/markdown", refuses=(404,)
    ),
    ("GET", "/approvals"): Operation(
        "List the requests that wait for the reader's decision", RequestList, refuses=(503,)
    ),
    ("GET", "/conversations/{id}/events"): Operation(
        "Stream the events of a conversation",
        EVENT_STREAM_TYPE,
        query={"after": "a cursor; default: now", **_HTML},
        headers={"Last-Event-ID": "a cursor; default: now"},
        refuses=(404, 429, 503),
    ),
    ("GET", "/files/{id}"): Operation(
        "Download a file", "application/octet-stream", refuses=(404,)
    ),
    ("GET", "/v1/models"): Operation("List the models (OpenAI's API)", ModelList),
    ("GET", "/v1/models/{model:path}"): Operation(
        "Get a model (OpenAI's API)", ModelEntry, refuses=(404,)
    ),
    ("POST", "/v1/chat/completions"): Operation(
        "Send a message (OpenAI's Chat Completions API)",
        AnyJson,
        CompletionRequest,
        headers=_CONVERSATION,
        also=(EVENT_STREAM_TYPE,),
        refuses=(404, 413, 415, 422, 429, 500, 503),
    ),
    ("GET", "/operator/link"): Operation("Get the page's link with its token", Link),
    ("GET", "/operator/threads"): Operation("List all conversations"),
    ("GET", "/operator/threads/{conversation:path}"): Operation(
        "Get the messages of a conversation", refuses=(404,)
    ),
    ("POST", "/operator/forget"): Operation(
        "Delete a conversation, or all messages of a person", body=ForgetRequest, refuses=(404,)
    ),
    ("POST", "/operator/{act:path}"): Operation(
        "Run an operator's command", body=OperatorRequest, refuses=(404,)
    ),
}
"""The routes by method and path. Those under /operator/ are served on the home's Unix socket only.
"""
STATUS_MEANINGS = {
    400: "invalid request", 401: "missing or invalid token",
    403: "request from another site, unknown host name, or missing permission",
    404: "not found, or not yours", 410: "deleted or expired",
    413: "too large", 415: "unsupported content type", 422: "empty message",
    429: "too many messages, invalid tokens or open streams", 500: "the turn failed",
    503: "not saved: Ponte is stopping, or the disk or the model fails",
}  # fmt: skip


def build_document(routes: Iterable[BaseRoute], extra: Iterable[str] = ()) -> Json:
    """Return the description of `routes`, and of other platforms' paths (`extra`), which
    authenticate their callers themselves."""
    paths: dict[str, Json] = {}
    for method, path in operations(routes):
        described = _describe_operation(method, path, OPERATIONS[method, path])
        paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = described
    for path in sorted(extra):
        is_hook = path == HOOKS_PATH
        paths[path] = {"post": _describe_hooks() if is_hook else _describe_signed_path(path)}
    whose = "the token of the owner or of a person with an account; for /v1 an API token"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ponte", "version": API_VERSION},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": whose},
            },
        },
    }


def operations(routes: Iterable[BaseRoute]) -> list[tuple[str, str]]:
    """Return method and path of each route, without HEAD, which Starlette adds to every GET."""
    return [
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def _describe_operation(method: str, path: str, own: Operation) -> Json:
    named: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]
    for place, parameters in (("query", own.query), ("header", own.headers)):
        named += [
            {"name": name, "in": place, "description": words, "schema": {"type": "string"}}
            for name, words in parameters.items()
        ]
    described: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").rstrip("_"),
        "summary": own.summary,
        "responses": {str(own.status): {"description": "done", "content": _content(own)}},
    }
    if named:
        described["parameters"] = named
    if own.body is not None:
        content: Json = {"application/json": {"schema": _ref(own.body)}}
        if own.files:
            content["multipart/form-data"] = {"schema": _form(own.body)}
        described["requestBody"] = {"required": True, "content": content}
    error = CompatibleError if path.startswith(COMPATIBLE_PREFIX) else Error
    open_ = path in OPEN_PATHS | HEALTH_PATHS or path.startswith(ASSETS_PREFIX)
    if open_:
        described["security"] = []
    refuses = {400, 403, *own.refuses} if open_ else {400, 401, 403, 429, *own.refuses}
    for status in sorted(refuses):
        schema = (
            _ref(own.answer) if path in HEALTH_PATHS and not isinstance(own.answer, str) else None
        )
        described["responses"][str(status)] = {
            "description": STATUS_MEANINGS[status],
            "content": {"application/json": {"schema": schema or _ref(error)}},
        }
    return described


def _content(own: Operation) -> Json:
    kinds: Json = {media: {"schema": {"type": "string"}} for media in own.also}
    if isinstance(own.answer, str):
        return {own.answer: {"schema": {"type": "string"}}} | kinds
    return {"application/json": {"schema": _ref(own.answer)}} | kinds


def _form(body: type[BaseModel]) -> Json:
    """Return the schema of a form with the fields of `body`, and with files."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    fields = {"file": {"type": "array", "items": file}}
    return {"allOf": [_ref(body), {"type": "object", "properties": fields}]}


def _describe_signed_path(path: str) -> Json:
    return {
        "operationId": re.sub(r"\W+", "_", f"post{path}"),
        "summary": "Receive the signed events of a chat platform",
        "security": [],
        "requestBody": {"content": {"*/*": {"schema": {}}}},
        "responses": {
            "200": {"description": "accepted"},
            "401": {"description": "invalid signature"},
        },
    }


def _describe_hooks() -> Json:
    meanings = {
        202: "stored, or recognised as a repeated delivery", 200: "answer to GitHub's ping",
        400: "no delivery ID", 401: "not signed with the webhook's secret",
        404: "no such webhook", 413: "body too large", 429: "too many requests",
        503: "not stored; send it again",
    }  # fmt: skip
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "operationId": "post_hooks_name",
        "summary": "Receive a webhook that ponte.toml configures",
        "security": [],
        "parameters": [name],
        "requestBody": {"content": {"application/json": {"schema": {}}}},
        "responses": {str(code): {"description": words} for code, words in meanings.items()},
    }


def _ref(form: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{form.__name__}"}


def _schemas() -> Json:
    forms: dict[type[BaseModel], None] = {Error: None, CompatibleError: None}
    for own in OPERATIONS.values():
        answers = () if isinstance(own.answer, str) else (own.answer,)
        forms |= dict.fromkeys([*answers, *([own.body] if own.body else [])])
    asked = [(form, "validation") for form in forms]
    _, found = models_json_schema(asked, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: Json = found["$defs"]
    return schemas
