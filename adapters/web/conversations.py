"""What was said so far, and an event stream that every tab of a conversation follows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web import view
from adapters.web.cursor import Cursor
from adapters.web.render import to_html
from adapters.web.response import EventStream, manner_of
from adapters.web.site import Json, Site
from adapters.web.stream import Following, cursor_of
from core.errors import NotFound
from core.messages import Answer
from core.records import Shown

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Conversations:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/conversations/{id}", self.show, methods=["GET"]),
            Route("/conversations/{id}/events", self.events, methods=["GET"]),
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
            messages.append(view.message_json(one.message, one.seq, one.at, one.state))
            if one.answer is not None:
                answer = view.with_cards(one.answer, changed)
                messages.append(_answer(one, answer, rendered.get(one.turn)))
        cards = {card["id"]: card for one in messages for card in one.get("cards", [])}
        cards |= {id: view.card_json(card) for id, card in changed.items()}
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


def _answer(one: Shown, answer: Answer, html: str | None) -> Json:
    """The assistant's message: as `done` tells it, with the cards as they stand now."""
    body = view.answer_json(answer, one.message.address.channel, one.turn, html)
    del body["response"], body["conversation"]
    return {"role": "assistant", "text": answer.text, "seq": one.seq, "at": one.at} | body


def _rendered(shown: Sequence[Shown]) -> dict[str, str]:
    """HTML by turn; a long conversation takes seconds, so this runs in a thread."""
    return {one.turn: to_html(one.answer.text) for one in shown if one.answer is not None}


def _conversation(request: Request) -> str:
    id = str(request.path_params["id"])
    if not _ID.fullmatch(id):
        raise NotFound(what="conversation")
    return id
