"""Builds `GET /openapi.json` (OpenAPI 3.1) from the routes, their declarations and their handlers.

A handler's docstring describes its route, and its annotations name the JSON that it reads and
returns.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from starlette.responses import Response

from adapters.web import sign_in, visitor
from adapters.web.api.answers import Error, OpenAiError
from adapters.web.http_io import DeclaredRoute
from adapters.web.hub import HOOKS_PATH

API_VERSION = "1"
"""The version of the description. Names in it change only with a line in CHANGELOG.md."""
Json = dict[str, Any]
STATUS_MEANINGS = {
    200: "done", 201: "created", 202: "stored, or stored before", 303: "opens another address",
    400: "invalid request",
    401: "missing or invalid token or signature",
    403: "request from another site, unknown host name, or missing permission",
    404: "not found, or not yours", 406: "no accepted content type",
    409: "the other system refused it, or cannot be reached",
    410: "deleted or expired",
    413: "too large", 415: "unsupported content type", 422: "empty message",
    429: "too many messages, invalid tokens or open streams", 500: "the turn failed",
    502: "the model's server refused the request",
    503: "not saved: Ponte is stopping, or the disk or the model fails",
}  # fmt: skip
PLATFORM_ANSWERS = "Receive the signed events of a chat platform", (200, 401, 413)
MOUNTED_ANSWERS = {
    HOOKS_PATH: (
        "Receive a webhook that `ponte.toml` configures",
        (200, 202, 400, 401, 404, 413, 415, 429, 503),
    ),
    visitor.PROGRAMS_PATH: (
        "Answer a program over MCP",
        (200, 202, 400, 401, 403, 404, 406, 413, 429, 500, 503),
    ),
}
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_NOT_WORD = re.compile(r"\W+")
_RAISES = re.compile(r"(?:^| )Raises? [A-Z].*")


def build_document(routes: Sequence[DeclaredRoute], signed: Iterable[str] = ()) -> Json:
    """Return the description of `routes`, and of the paths `signed`, which authenticate their
    callers themselves."""
    # The schemas of all JSON that routes return ("serialization") or read ("validation"). They are
    # made together, so that types of the same name get different names in the document.
    forms: list[tuple[object, JsonSchemaMode, TypeAdapter[Any]]] = [
        (kind, "serialization", TypeAdapter(kind)) for kind in (Error, OpenAiError)
    ]
    for route in routes:
        if (answer := answer_type(route)) is not None:
            forms.append((_operation_id(route), "serialization", TypeAdapter(answer)))
        if route.body_model is not None:
            forms.append((_operation_id(route), "validation", TypeAdapter(route.body_model)))
    template = "#/components/schemas/{model}"
    schemas, definitions = TypeAdapter.json_schemas(forms, ref_template=template)
    paths: dict[str, Json] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)  # without a type, as in {id:path}
        described = _describe_route(route, path, schemas)
        paths.setdefault(path, {})[route.declaration.method.lower()] = described
    # also while MCP is off: it then answers 401 or 404
    for path in sorted({*signed, visitor.PROGRAMS_PATH}):
        summary, statuses = MOUNTED_ANSWERS.get(path, PLATFORM_ANSWERS)
        operation: Json = {
            "operationId": f"post{_NOT_WORD.sub('_', path)}".rstrip("_"),
            "summary": summary,
            "security": [],
            "parameters": _parameters(path),
            "requestBody": {"content": {"*/*": {"schema": {}}}},
            "responses": {str(status): _describe_answer(status) for status in statuses},
        }
        paths[path] = {"post": operation}
    whose = "the token of the owner or of a person with an account; for /v1 an API token"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ponte", "version": API_VERSION},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": whose}
            },
        },
    }


def answer_type(route: DeclaredRoute) -> Any:
    """Return None for a route without JSON. A handler's annotation may be a union with Response,
    for answers in another form."""
    returned = get_type_hints(route.handler)["return"]
    kinds = get_args(returned) if get_origin(returned) in (Union, UnionType) else (returned,)
    is_response = [inspect.isclass(kind) and issubclass(kind, Response) for kind in kinds]
    return next((kind for kind, other in zip(kinds, is_response, strict=True) if not other), None)


def is_open(path: str) -> bool:
    is_below_open = path.startswith(sign_in.OPEN_PREFIXES)
    return is_below_open or path in sign_in.OPEN_PATHS | sign_in.HEALTH_PATHS


def _describe_route(route: DeclaredRoute, path: str, schemas: Any) -> Json:
    """Return the description of one route in OpenAPI's form. Summary and description come from the
    handler's docstring, schemas from its annotations, errors from its declaration.

    `path` is the route's path without the types of its parameters, as in `{id:path}`. `schemas` has
    the schemas of JSON that a route returns ("serialization") or reads ("validation") by operation
    id, and those of errors by their type."""
    declaration = route.declaration
    # The first sentence is the summary. Sentences on what a handler raises are for its readers.
    docstring = " ".join((route.handler.__doc__ or "").split())
    summary, _, rest = _RAISES.sub("", docstring).partition(". ")
    answers: Json = {kind: {"schema": {"type": "string"}} for kind in declaration.media}
    if (schema := schemas.get((_operation_id(route), "serialization"))) is not None:
        answers = {"application/json": {"schema": schema}} | answers
    described: Json = {
        "operationId": _operation_id(route),
        "summary": summary.removesuffix("."),
        "parameters": _parameters(path),
        "responses": {str(declaration.status): _describe_answer(declaration.status, answers)},
    }
    if rest:
        described["description"] = rest
    for place, parameters in (("query", declaration.query), ("header", declaration.headers)):
        described["parameters"] += [
            {"name": name, "in": place, "description": description, "schema": {"type": "string"}}
            for name, description in parameters.items()
        ]
    if (body := schemas.get((_operation_id(route), "validation"))) is not None:
        content: Json = {"application/json": {"schema": body}}
        if declaration.has_files:
            file = {"type": "string", "contentMediaType": "application/octet-stream"}
            # A form has the fields of the JSON body, and any number of files in `file`.
            files = {"type": "object", "properties": {"file": {"type": "array", "items": file}}}
            content["multipart/form-data"] = {"schema": {"allOf": [body, files]}}
        described["requestBody"] = {"required": True, "content": content}
    # Refusals that any request may get. An open path needs no token, so it refuses none.
    common = {400, 403} if is_open(route.path) else {400, 401, 403, 429}
    common |= {415} if route.body_model else set()
    if is_open(route.path):
        described["security"] = []
    error = OpenAiError if path.startswith(visitor.COMPATIBLE_PREFIX) else Error
    for status in sorted(common | {*declaration.refuses}):
        schema = schemas[error, "serialization"]
        # An unready Ponte answers with the same body, which names the parts that fail.
        if path in sign_in.HEALTH_PATHS and status == 503:
            schema = schemas[_operation_id(route), "serialization"]
        content = {"application/json": {"schema": schema}}
        described["responses"][str(status)] = _describe_answer(status, content)
    return described


def _operation_id(route: DeclaredRoute) -> str:
    path = _PARAMETER.sub(r"\1", route.path)
    return route.declaration.method.lower() + _NOT_WORD.sub("_", path).rstrip("_")


def _parameters(path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _describe_answer(status: int, content: Json | None = None) -> Json:
    described: Json = {"description": STATUS_MEANINGS[status]}
    return described | {"content": content} if content else described
