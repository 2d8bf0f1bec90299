"""`GET /openapi.json`: what the HTTP API takes and gives, made from the routes that are served
(OpenAPI 3.1). `OPERATIONS` says of each what its code alone does not tell; a test compares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute, Route

from adapters.web.authentication import ASSETS, HEALTH, OPEN
from adapters.web.chat import Decision
from adapters.web.compatible import CompletionRequest, ResponseRequest
from adapters.web.conversations import Asking, Entry, Forgetting, Marks
from adapters.web.requests import COMPATIBLE, AskedAsJson

VERSION = "1"
"""Of the description: names in it do not change without a line in CHANGELOG.md."""
Json = dict[str, Any]
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
STREAM = "text/event-stream"


class Told(BaseModel):
    """What is answered; strict, so that a test can hold answers against it."""

    model_config = ConfigDict(extra="forbid", title=None)


class Fault(Told):
    code: str
    message: str


class Error(Told):
    error: Fault


class CompatibleFault(Told):
    message: str
    type: str
    param: str | None
    code: str | None


class CompatibleError(Told):
    error: CompatibleFault


class StoredFile(Told):
    name: str
    url: str
    type: str
    size: int


class CardState(Told):
    """`expires_at` in seconds since the epoch."""

    id: str
    kind: Literal["proposal", "change"]
    title: str
    text: str
    rows: list[dict[str, Any]]
    actions: list[Literal["approve", "deny", "undo"]]
    state: str
    expires_at: float | None


class ChatAnswer(Told):
    """`code` where the status is `failed`; `html` where it was asked for."""

    response: str
    conversation: str
    turn: str
    status: Literal["done", "stopped", "failed"]
    files: list[StoredFile]
    cards: list[CardState]
    code: str = ""
    aloud: bool = False
    html: str = ""
    error: Fault | None = None


class Decided(Told):
    id: str
    state: str
    text: str
    change: str | None = None
    aloud: bool = False
    error: Fault | None = None


class Stopped(Told):
    turn: str
    status: str
    text: str


class CommandInput(Told):
    name: str
    type: str
    required: bool
    choices: list[str]


class Command(Told):
    slug: str
    title: str
    description: str
    inputs: list[CommandInput]


class Commands(Told):
    commands: list[Command]


class ListedConversation(Told):
    id: str
    title: str
    pinned: bool
    at: float
    turn: str = ""


class ConversationList(Told):
    conversations: list[ListedConversation]


class Transcript(Told):
    """`messages` are the person's (`role` `user`) and the answers (`assistant`)."""

    conversation: str
    messages: list[dict[str, Any]]
    cards: list[CardState]
    cursor: str


class Status(Told):
    status: str
    text: str = ""


class Reason(Told):
    name: str
    words: str


class Readiness(Told):
    status: Literal["ready", "not ready"]
    reasons: list[Reason] | None = None


class Part(Told):
    name: str
    state: Literal["on", "off", "failing"]
    words: str


class Board(Told):
    parts: list[Part]


class Welcome(Told):
    tries: list[str]
    tables: list[str]
    commands: list[str]
    parts: list[Part]
    demo: bool


class Me(Told):
    person: str
    name: str
    owner: bool
    operates: bool


class Words(Told):
    locale: str
    words: dict[str, str]


class ModelEntry(Told):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Told):
    object: Literal["list"]
    data: list[ModelEntry]


class Link(Told):
    link: str


class Anything(BaseModel):
    """As the command that asks it prints it, or OpenAI's own documentation describes it."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class Operation:
    """`answer` is a form of JSON, or a media type; `also` are other media types of the answer;
    `query` and `headers` are what it may be told, with what they mean."""

    summary: str
    answer: type[BaseModel] | str = Anything
    body: type[BaseModel] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    also: Sequence[str] = ()
    files: bool = False
    """Whether the body may come as a form with files."""
    refuses: Sequence[int] = ()
    """Its own statuses beside those that any request may get."""


_HTML = {"html": "1: the rendered, cleaned HTML next to each text"}
_CONVERSATION = {
    "X-Ponte-Conversation": "a conversation of yours to say it in, by its name; without it and "
    "without previous_response_id the request is one of its own, gone after a day",
    "Idempotency-Key": "a repeat with the same key gets the first turn and its answer",
}
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/"): Operation("The page", "text/html"),
    ("GET", "/page/words.json"): Operation(
        "The page's sentences", Words, query={"locale": "en, pt-BR or fr"}
    ),
    ("GET", "/page/{name}"): Operation("A file of the page", "application/octet-stream",
                                       refuses=(404,)),
    ("GET", "/welcome"): Operation("What can be asked here", Welcome),
    ("POST", "/login"): Operation("Sign a browser in", Status, Entry, refuses=(413, 429)),
    ("POST", "/logout"): Operation("Sign a browser out", Status),
    ("GET", "/me"): Operation("Who asks", Me),
    ("GET", "/healthz"): Operation("Whether the process lives", Status),
    ("GET", "/readyz"): Operation("Whether all that is configured is well", Readiness,
                                  refuses=(503,)),
    ("GET", "/metrics"): Operation("Metrics, for who operates Ponte", "text/plain",
                                   refuses=(404,)),
    ("GET", "/status"): Operation("What is connected, for who operates Ponte", Board),
    ("GET", "/usage"): Operation("What was used in the last 30 days, for who operates Ponte",
                                 "text/html", refuses=(404,)),
    ("GET", "/openapi.json"): Operation("This description"),
    ("POST", "/chat"): Operation(
        "Say something, and read the answer", ChatAnswer, AskedAsJson, files=True, also=(STREAM,),
        query=_HTML, headers={
            "Prefer": "respond-async: 202 with the turn's id at once, 429 for one message too many"
        },
        refuses=(404, 410, 413, 415, 422, 429, 503),
    ),
    ("POST", "/cards/{id}"): Operation("Decide on a card, or undo a change", Decided, Decision,
                                       refuses=(404, 410, 503)),
    ("POST", "/turns/{turn}/stop"): Operation("Stop a turn", Stopped, refuses=(404, 410, 503)),
    ("GET", "/quick-commands"): Operation(
        "The quick commands that may be run there", Commands,
        query={"conversation": "its name"}, refuses=(404,),
    ),
    ("GET", "/conversations"): Operation(
        "Your conversations, the pinned ones and then the last used first", ConversationList,
        query={"search": "words that are said in them"},
    ),
    ("GET", "/conversations/{id}"): Operation("What was said in it", Transcript, query=_HTML,
                                              refuses=(404,)),
    ("PATCH", "/conversations/{id}"): Operation("Name it, pin it", Status, Marks, refuses=(404,)),
    ("DELETE", "/conversations/{id}"): Operation("Forget it", Status, refuses=(404, 503)),
    ("GET", "/conversations/{id}/export"): Operation("All of it as Markdown", "text/markdown",
                                                     refuses=(404,)),
    ("GET", "/conversations/{id}/events"): Operation(
        "What happens in it, from now on or from a cursor", STREAM,
        query={"after": "a cursor", **_HTML}, headers={"Last-Event-ID": "a cursor"},
        refuses=(404, 429, 503),
    ),
    ("GET", "/files/{id}"): Operation("A file", "application/octet-stream", refuses=(404,)),
    ("GET", "/v1/models"): Operation("The names that `model` takes (OpenAI's API)", ModelList),
    ("GET", "/v1/models/{model:path}"): Operation("One of them (OpenAI's API)", ModelEntry,
                                                  refuses=(404,)),
    ("POST", "/v1/chat/completions"): Operation(
        "Ask, as OpenAI's Chat Completions", Anything, CompletionRequest, headers=_CONVERSATION,
        also=(STREAM,), refuses=(404, 413, 415, 422, 429, 500, 503),
    ),
    ("POST", "/v1/responses"): Operation(
        "Ask, as OpenAI's Responses", Anything, ResponseRequest, headers=_CONVERSATION,
        also=(STREAM,), refuses=(404, 413, 415, 422, 429, 500, 503),
    ),
    ("GET", "/operator/link"): Operation("The page's address with its token", Link),
    ("GET", "/operator/threads"): Operation("Every conversation"),
    ("GET", "/operator/threads/{conversation:path}"): Operation("One of them", refuses=(404,)),
    ("POST", "/operator/forget"): Operation("Forget a conversation or a person",
                                            body=Forgetting, refuses=(404,)),
    ("POST", "/operator/{act:path}"): Operation("What an operator's command asks", body=Asking,
                                                refuses=(404,)),
}  # fmt: skip
"""By method and path. Those under /operator/ are on the home's Unix socket alone."""
MEANINGS = {
    400: "the request is not understood", 401: "no token, a wrong one",
    403: "another site's page, a name that is not ours; not yours to do",
    404: "no such thing, or none of yours", 410: "erased, or decided too late",
    413: "too large", 415: "a content type that is not taken", 422: "nothing was said",
    429: "too many: turns, wrong tokens, open streams", 500: "the turn failed",
    503: "nothing was taken: stopping, the disk or the model refuses",
}  # fmt: skip


def document(routes: Iterable[BaseRoute], extra: Iterable[str] = ()) -> Json:
    """Of these `routes`, and of other platforms' own paths (`extra`), which check by themselves who
    calls."""
    paths: dict[str, Json] = {}
    for method, path in operations(routes):
        described = _operation(method, path, OPERATIONS[method, path])
        paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = described
    for path in sorted(extra):
        paths[path] = {"post": _signed(path)}
    whose = "the owner's token, or that of a person who has a name here"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ponte", "version": VERSION},
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
    """Method and path of each, without HEAD, which Starlette adds to every GET."""
    return [
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def _operation(method: str, path: str, own: Operation) -> Json:
    named: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]
    for place, told in (("query", own.query), ("header", own.headers)):
        named += [
            {"name": name, "in": place, "description": words, "schema": {"type": "string"}}
            for name, words in told.items()
        ]
    described: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").rstrip("_"),
        "summary": own.summary,
        "responses": {"200": {"description": "done", "content": _content(own)}},
    }
    if named:
        described["parameters"] = named
    if own.body is not None:
        content: Json = {"application/json": {"schema": _ref(own.body)}}
        if own.files:
            content["multipart/form-data"] = {"schema": _form(own.body)}
        described["requestBody"] = {"required": True, "content": content}
    error = CompatibleError if path.startswith(COMPATIBLE) else Error
    open_ = path in OPEN or path in HEALTH or path.startswith(ASSETS)
    if open_:
        described["security"] = []
    refuses = {400, 403, *own.refuses} if open_ else {400, 401, 403, 429, *own.refuses}
    for status in sorted(refuses):
        schema = _ref(own.answer) if path in HEALTH and not isinstance(own.answer, str) else None
        described["responses"][str(status)] = {
            "description": MEANINGS[status],
            "content": {"application/json": {"schema": schema or _ref(error)}},
        }
    return described


def _content(own: Operation) -> Json:
    kinds: Json = {media: {"schema": {"type": "string"}} for media in own.also}
    if isinstance(own.answer, str):
        return {own.answer: {"schema": {"type": "string"}}} | kinds
    return {"application/json": {"schema": _ref(own.answer)}} | kinds


def _form(body: type[BaseModel]) -> Json:
    """The same fields, and files."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    fields = {"file": {"type": "array", "items": file}}
    return {"allOf": [_ref(body), {"type": "object", "properties": fields}]}


def _signed(path: str) -> Json:
    return {
        "operationId": re.sub(r"\W+", "_", f"post{path}"),
        "summary": "Events of another platform, which signs them",
        "security": [],
        "requestBody": {"content": {"*/*": {"schema": {}}}},
        "responses": {"200": {"description": "taken"}, "401": {"description": "not signed"}},
    }


def _ref(form: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{form.__name__}"}


def _schemas() -> Json:
    forms: dict[type[BaseModel], None] = {Error: None, CompatibleError: None}
    for own in OPERATIONS.values():
        told = () if isinstance(own.answer, str) else (own.answer,)
        forms |= dict.fromkeys([*told, *([own.body] if own.body else [])])
    asked = [(form, "validation") for form in forms]
    _, found = models_json_schema(asked, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: Json = found["$defs"]
    return schemas
