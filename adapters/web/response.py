"""Responses of our own: event streams that let go of what they hold, errors as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from adapters.web.errors import TooManyTries, body_of, status_of
from adapters.web.intake import asked_locale
from adapters.web.login import WINDOW
from adapters.web.site import Site
from adapters.web.stream import Manner
from core.errors import PonteError
from core.words import nearest


class EventStream(StreamingResponse):
    """Server-sent events; `held` is closed when the stream ends or the client has gone."""

    def __init__(self, events: AsyncIterator[bytes], held: ExitStack) -> None:
        # nginx passes events on at once where it sees X-Accel-Buffering: no.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def refusal(error: PonteError, locale: str) -> JSONResponse:
    status = status_of(error)
    headers = {"Retry-After": "2"} if status == 503 else {}
    if isinstance(error, TooManyTries):
        headers["Retry-After"] = str(round(WINDOW))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body_of(error, locale), status, headers)


def manner_of(request: Request, site: Site) -> Manner:
    """`?html=1` asks for the rendered text next to the plain one."""
    return Manner(request.query_params.get("html") == "1", locale_of(request, site))


def locale_of(request: Request, site: Site) -> str:
    return nearest(asked_locale(request.headers) or site.locale)
