"""`GET /files/{id}`: what people sent and tools made, as bytes that a browser will not run."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.web.site import Site
from core.errors import NotFound
from core.messages import File
from core.text import file_name

SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Types that hold pictures alone; SVG and HTML can hold scripts, so they are downloads."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Downloads:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [Route("/files/{id}", self.file, methods=["GET"])]

    async def file(self, request: Request) -> Response:
        id = str(request.path_params["id"])
        if not _ID.fullmatch(id) or not await self._ours(id):
            raise NotFound(what="file")
        tag = f'"{id}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        file, data = await self._site.files.get(id)
        return Response(data, headers=headers | _headers(file))

    async def _ours(self, id: str) -> bool:
        """What came over Slack or Discord is for the people who are there."""
        conversation = await self._site.files.conversation_of(id)
        return conversation.startswith(self._site.key(""))


def _headers(file: File) -> dict[str, str]:
    picture = file.type in SHOWN
    name = file_name(file.name)
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    how = "inline" if picture else "attachment"
    return {
        "Content-Type": file.type if picture else "application/octet-stream",
        "Content-Disposition": f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
        "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    }
