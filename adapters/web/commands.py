"""`GET /quick-commands`: those that may be run here, for the page's form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web.response import locale_of
from adapters.web.site import Json, Site
from core.errors import NotFound
from core.messages import Address
from core.records import QuickCommand

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Commands:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [Route("/quick-commands", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """Titles and descriptions in the reader's language; `?conversation=` says where."""
        conversation = request.query_params.get("conversation", "main")
        if not _ID.fullmatch(conversation):
            raise NotFound(what="conversation")
        door = self._site.door
        address = Address(door.platform, conversation)
        known = await self._site.board.commands(door.person, address)
        locale = locale_of(request, self._site)
        return JSONResponse({"commands": [_command_json(command, locale) for command in known]})


def _command_json(command: QuickCommand, locale: str) -> Json:
    title, description = command.told(locale)
    return {
        "slug": command.slug,
        "title": title or command.slug,
        "description": description,
        "inputs": [_input_json(name, about) for name, about in command.inputs.items()],
    }


def _input_json(name: str, about: Mapping[str, Any]) -> Json:
    """`type` is text, number, boolean or choice."""
    return {
        "name": name,
        "type": str(about.get("type", "text")),
        "required": bool(about.get("required")),
        "choices": [str(choice) for choice in about.get("choices") or ()],
    }
