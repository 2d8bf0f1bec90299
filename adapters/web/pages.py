"""The page itself, its sign-in, and its words."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web.errors import UnknownPath
from adapters.web.guard import visit_of
from adapters.web.intake import Body, read_json
from adapters.web.login import SESSION
from adapters.web.response import locale_of
from adapters.web.site import Site
from adapters.web.wording import wording
from core.words import LOCALES

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


LOGIN_BODY = 4096
"""Bytes: whoever sends them is not known yet."""


class Entry(Body):
    token: str = Field(max_length=1000)


class Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/page/words.json", self.words, methods=["GET"]),
            Route("/page/{name}", self.asset, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        return self._file(request, "index.html")

    async def asset(self, request: Request) -> Response:
        return self._file(request, str(request.path_params["name"]))

    async def words(self, request: Request) -> Response:
        """The page's sentences by key, in the locale that the browser asks for."""
        asked = request.query_params.get("locale", "")
        locale = asked if asked in LOCALES else locale_of(request, self._site)
        return JSONResponse({"locale": locale, "words": wording(locale)})

    async def login(self, request: Request) -> Response:
        """Raises WrongToken, TooManyTries, TooLarge."""
        entry = await read_json(request, Entry, limit=LOGIN_BODY)
        cookie, session = self._site.door.enter(entry.token, visit_of(request.scope))
        response = JSONResponse({"status": "signed in"})
        if session:
            response.set_cookie(
                cookie, session, max_age=SESSION, httponly=True, samesite="strict",
                secure=self._site.door.secure,
            )  # fmt: skip
        return response

    def _file(self, request: Request, name: str) -> Response:
        try:
            data, tag = self._files[name]
        except KeyError:
            raise UnknownPath from None
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers | {"Content-Type": TYPES[Path(name).suffix]})

    @cached_property
    def _files(self) -> dict[str, tuple[bytes, str]]:
        """Read once: name → (bytes, ETag). Some 50 kB in all."""
        files = {}
        for path in sorted(FOLDER.iterdir()):
            if path.suffix in TYPES:
                data = path.read_bytes()
                files[path.name] = data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        return files
