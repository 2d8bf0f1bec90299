"""Declares each route once, on its handler. The application's routes, `GET /openapi.json` and the
table in docs/reference/http.md are made from the declaration, the handler's docstring and its
annotations."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web.adapter import Site
from adapters.web.http_io import read_json

Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The declaration of a route.

    The handler's annotations say the rest: its parameter `body` is the JSON that it reads, and what
    it returns is the JSON of the answer, unless it is a Response.
    """

    method: str
    path: str
    status: int = 200
    """The HTTP status of a success."""
    refuses: Sequence[int] = ()
    """HTTP statuses of refusals besides those that any request may get."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The meanings of the parameters in the query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The meanings of the request's headers."""
    media: Sequence[str] = ()
    """Media types of the answer besides JSON."""
    reads: type[BaseModel] | None = None
    """The body, if the handler reads it from the request itself."""
    has_files: bool = False
    """True if the body may be a form with files."""
    is_static: bool = False
    """True if the answer has nothing of a person or a conversation. Only such answers are
    compressed: the size of another one could reveal a secret next to a guess of it (BREACH)."""


def endpoint(method: str, path: str, **more: Any) -> Callable[[H], H]:
    """Return a decorator that declares a handler's route. `more` are fields of `Endpoint`."""

    def declare(handler: H) -> H:
        own = Endpoint(method, path, **more)
        vars(handler)["endpoints"] = (own, *vars(handler).get("endpoints", ()))
        return handler

    return declare


class DeclaredRoute(Route):
    """A route of Starlette with its declaration and its handler."""

    def __init__(self, declaration: Endpoint, handler: Handler) -> None:
        self.declaration = declaration
        self.handler = handler
        self.body_model: type[BaseModel] | None = declaration.reads
        reads_body = "body" in inspect.signature(handler).parameters
        if reads_body:
            self.body_model = get_type_hints(handler)["body"]

        async def serve(request: Request) -> Response:
            if reads_body and self.body_model:
                answer = await handler(request, await read_json(request, self.body_model))
            else:
                answer = await handler(request)
            if isinstance(answer, Response):
                return answer
            return JSONResponse(answer, declaration.status)

        super().__init__(declaration.path, serve, methods=[declaration.method])
        self.app = GZipMiddleware(self.app, compresslevel=6) if declaration.is_static else self.app


class RouteGroup:
    """Handlers of one subject, whose routes are declared with `endpoint`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[DeclaredRoute]:
        """Return the routes in the order of their handlers."""
        return [
            DeclaredRoute(declaration, getattr(self, name))
            for name, handler in vars(type(self)).items()
            for declaration in getattr(handler, "endpoints", ())
        ]
