"""Stands before every route: asks the door, and puts the safe headers on what goes out."""

from __future__ import annotations

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.web.door import Visit
from adapters.web.intake import asked_locale
from adapters.web.response import refusal
from adapters.web.site import Site
from core.errors import PonteError
from core.words import nearest

log = structlog.get_logger("web")
KNOWN = "known"
"""In a request's state: whether who asks has shown that they are the owner."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def safely(event: Message) -> None:
            if event["type"] == "http.response.start":
                headers = MutableHeaders(scope=event)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(event)

        visit = visit_of(scope)
        try:
            scope.setdefault("state", {})[KNOWN] = self._site.door.admit(visit)
        except PonteError as error:
            locale = nearest(asked_locale(visit.headers) or self._site.locale)
            await refusal(error, locale)(scope, receive, safely)
            return
        try:
            await self._app(scope, receive, safely)
        except Exception as error:  # already answered as a 500, or cut off in mid-stream
            log.error("request failed", path=scope["path"], why=repr(error), exc_info=error)


def visit_of(scope: Scope) -> Visit:
    """Header names in lower case. Two Host or Origin headers are as good as a foreign one."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    client = scope.get("client")
    return Visit(scope["path"], headers, client[0] if client else "", scope["method"])
