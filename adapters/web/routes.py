"""The Starlette application of one door. Importing this takes long: do it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.web.chat import Chat
from adapters.web.clicks import Clicks
from adapters.web.commands import Commands
from adapters.web.conversations import Conversations
from adapters.web.downloads import Downloads
from adapters.web.errors import BadRequest, Unexpected, UnknownPath, WrongMethod
from adapters.web.guard import Guard
from adapters.web.health import HealthRoutes
from adapters.web.operator import OperatorRoutes
from adapters.web.pages import Pages
from adapters.web.response import locale_of, refusal
from adapters.web.site import Site
from core.errors import PonteError

DROPPED = 256 * 1024 * 1024
"""Bytes of a refused body that are still read."""


def application(site: Site, extra: Mapping[str, ASGIApp] | None = None) -> ASGIApp:
    """All routes of `site`; `extra` are other adapters' applications by their exact path.

    Those check by themselves who calls (a signature), so they stand before the guard.
    """
    groups = (Pages(site), HealthRoutes(site), Chat(site), Clicks(site), Conversations(site),
              Commands(site), Downloads(site))  # fmt: skip
    routes: list[BaseRoute] = [route for group in groups for route in group.routes]
    if site.operator is not None:
        routes += OperatorRoutes(site.operator).routes
    refuse = _refusing(site)
    app = Starlette(
        routes=routes,
        exception_handlers={
            PonteError: refuse,
            HTTPException: refuse,
            ClientDisconnect: _gone,
            Exception: refuse,
        },
    )
    app.router.redirect_slashes = False
    guarded = Guard(app, site)
    return Forked(extra, guarded) if extra else guarded


class Forked:
    """Other adapters' paths to them, all else to our own routes."""

    def __init__(self, extra: Mapping[str, ASGIApp], own: ASGIApp) -> None:
        self._extra = dict(extra)
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._extra.get(scope.get("path", ""), self._own)(scope, receive, send)


def _refusing(site: Site) -> Callable[[Request, Exception], Response]:
    def refuse(request: Request, error: Exception) -> Response:
        response = refusal(_worded(error), locale_of(request, site))
        if response.status_code == 413 and not _soon_over(request):
            response.headers["Connection"] = "close"
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    return refuse


def _soon_over(request: Request) -> bool:
    """Whether the rest of a refused body may be read and dropped, so that the client gets to our
    answer; uvicorn would read an endless one for ever.
    """
    length = request.headers.get("content-length", "")
    return length.isdecimal() and int(length[:18]) <= DROPPED


def _worded(error: Exception) -> PonteError:
    """Starlette's own errors, and what nobody expected, in our words."""
    match error:
        case PonteError():
            return error
        case HTTPException(status_code=404):
            return UnknownPath()
        case HTTPException(status_code=405):
            return WrongMethod()
        case HTTPException():
            return BadRequest(why="it cannot be read")
    return Unexpected()


def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this: the client left in the middle of its request."""
    return Response(status_code=400)
