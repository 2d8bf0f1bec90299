"""Conversations and their files to read, the page itself with its sign-in and words, and what only
the operator's Unix socket serves.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web.adapter import Json, Site
from adapters.web.authentication import SESSION
from adapters.web.errors import BadRequest, UnknownPath, wording
from adapters.web.render import to_html
from adapters.web.requests import ID, Body, EventStream, locale_of, manner_of, read_json, visit_of
from adapters.web.stream import (
    Cursor,
    Following,
    answer_json,
    card_json,
    cursor_of,
    message_json,
    with_cards,
)
from core.errors import NotFound
from core.i18n import LOCALES
from core.integration import Operator
from core.messages import Answer, File
from core.records import Shown
from core.text import file_name

SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Types that hold pictures alone; SVG and HTML can hold scripts, so they are downloads."""
FOLDER = Path(__file__).parent / "page"
"""The page's files, served by their names where `TYPES` has their suffix."""
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
"""What the page may load and talk to (Content-Security-Policy)."""
LOGIN_BODY = 4096
"""Bytes: whoever sends them is not known yet."""


class Entry(Body):
    token: str = Field(max_length=1000)


class Forgetting(Body):
    """One of the two, by key: `slack:T1:C1:1718.9`, `slack:T1:U1`."""

    conversation: str = ""
    person: str = ""


class Conversations:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/conversations/{id}", self.show, methods=["GET"]),
            Route("/conversations/{id}/events", self.events, methods=["GET"]),
            Route("/files/{id}", self.file, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        """Messages and cards so far, oldest first; `cursor` is where `events` goes on from."""
        conversation = _conversation(request)
        key = self._site.key(conversation)
        shown = await self._site.journal.shown(key)
        changed = {card.id: card for card in await self._site.board.changes(key)}
        html = manner_of(request, self._site).html
        rendered = await asyncio.to_thread(_rendered, shown) if html else {}
        messages: list[Json] = []
        for one in shown:
            messages.append(message_json(one.message, one.seq, one.at, one.state))
            if one.answer is not None:
                answer = with_cards(one.answer, changed)
                messages.append(_answer(one, answer, rendered.get(one.turn)))
        cards = {card["id"]: card for one in messages for card in one.get("cards", [])}
        cards |= {id: card_json(card) for id, card in changed.items()}
        return JSONResponse(
            {
                "conversation": conversation,
                "messages": messages,
                "cards": list(cards.values()),
                "cursor": str(cursor_of(shown)),
            }
        )

    async def events(self, request: Request) -> Response:
        """From `Last-Event-ID`, or from `?after=` where a browser cannot send that header."""
        conversation = _conversation(request)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        last = request.headers.get("last-event-id", "") or request.query_params.get("after", "")
        manner = manner_of(request, self._site)
        following = Following(self._site, conversation, Cursor.read(last), manner)
        with ExitStack() as stack:
            follower = stack.enter_context(self._site.hub.follow(self._site.key(conversation)))
            return EventStream(following.events(follower), stack.pop_all())

    async def file(self, request: Request) -> Response:
        id = str(request.path_params["id"])
        if not ID.fullmatch(id) or not await self._ours(id):
            raise NotFound(what="file")
        tag = f'"{id}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        file, data = await self._site.files.get(id)
        return Response(data, headers=headers | _file_headers(file))

    async def _ours(self, id: str) -> bool:
        """What came over Slack or Discord is for the people who are there."""
        conversation = await self._site.files.conversation_of(id)
        return conversation.startswith(self._site.key(""))


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
        cookie, session = self._site.auth.enter(entry.token, visit_of(request.scope))
        response = JSONResponse({"status": "signed in"})
        if session:
            response.set_cookie(
                cookie, session, max_age=SESSION, httponly=True, samesite="strict",
                secure=self._site.auth.secure,
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


class OperatorRoutes:
    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/operator/link", self.link, methods=["GET"]),
            Route("/operator/threads", self.threads, methods=["GET"]),
            Route("/operator/threads/{conversation:path}", self.thread, methods=["GET"]),
            Route("/operator/forget", self.forget, methods=["POST"]),
        ]

    async def link(self, request: Request) -> Response:
        return JSONResponse({"link": self._operator.link()})

    async def threads(self, request: Request) -> Response:
        return JSONResponse({"threads": [dict(one) for one in await self._operator.threads()]})

    async def thread(self, request: Request) -> Response:
        return JSONResponse(dict(await self._operator.thread(request.path_params["conversation"])))

    async def forget(self, request: Request) -> Response:
        asked = await read_json(request, Forgetting)
        if bool(asked.conversation) == bool(asked.person):
            raise BadRequest(why="give a conversation or a person")
        done = await self._operator.forget(conversation=asked.conversation, person=asked.person)
        return JSONResponse(dict(done))


def _file_headers(file: File) -> dict[str, str]:
    picture = file.type in SHOWN
    name = file_name(file.name)
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    how = "inline" if picture else "attachment"
    return {
        "Content-Type": file.type if picture else "application/octet-stream",
        "Content-Disposition": f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
        "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    }


def _conversation(request: Request) -> str:
    id = str(request.path_params["id"])
    if not ID.fullmatch(id):
        raise NotFound(what="conversation")
    return id


def _rendered(shown: Sequence[Shown]) -> dict[str, str]:
    """HTML by turn; a long conversation takes seconds, so this runs in a thread."""
    return {one.turn: to_html(one.answer.text) for one in shown if one.answer is not None}


def _answer(one: Shown, answer: Answer, html: str | None) -> Json:
    """The assistant's message: as `done` tells it, with the cards as they stand now."""
    body = answer_json(answer, one.message.address.channel, one.turn, html)
    del body["response"], body["conversation"]
    return {"role": "assistant", "text": answer.text, "seq": one.seq, "at": one.at} | body
