"""Buttons: a decision on a card, and the end of a turn. Each goes in as the words that it means.

So a click is stored before it is answered, like anything that a person says, and a crash between
the two loses nothing.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web import intake
from adapters.web.chat import taken
from adapters.web.errors import STATUS
from adapters.web.intake import Body, read_json
from adapters.web.response import locale_of
from adapters.web.site import Json, Site
from core.errors import Forgotten, NotFound
from core.messages import Answer
from core.records import FINAL_STATES, Shown
from core.words import say

_CARD = re.compile(r"[a-z2-7]{6}")


class Decision(Body):
    """`conversation` is where the card was shown; `event_key` makes a repeated click one."""

    action: Literal["approve", "deny", "undo"]
    conversation: str = Field("main", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    event_key: str | None = Field(None, pattern=r"^[!-~]{1,200}$")


class Clicks:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/cards/{id}", self.decide, methods=["POST"]),
            Route("/turns/{turn}/stop", self.stop, methods=["POST"]),
        ]

    async def decide(self, request: Request) -> Response:
        id = str(request.path_params["id"])
        decision = await read_json(request, Decision)
        if not _CARD.fullmatch(id):
            raise NotFound(what="card")
        words = f"{decision.action} {id}"
        answer = await self._say(request, words, decision.conversation, decision.event_key)
        body = _decided(id, answer)
        if answer.status == "failed" and answer.code in STATUS:
            error = {"code": answer.code, "message": answer.text}
            return JSONResponse(body | {"error": error}, STATUS[answer.code])
        return JSONResponse(body)

    async def stop(self, request: Request) -> Response:
        """A turn that has ended stays as it is; one that waits is withdrawn."""
        shown = await self._turn(str(request.path_params["turn"]))
        body: Json = {"turn": shown.turn, "status": shown.state, "text": ""}
        if shown.state in FINAL_STATES:
            return JSONResponse(body)
        if shown.state == "new" and await self._site.inbox.cancel(shown.seq):
            words = say("Stopped.", locale_of(request, self._site))
            stopped = Answer(words, "stopped")
            self._site.hub.finish(shown.message.address.conversation, shown.turn, stopped)
            return JSONResponse(body | {"status": "stopped", "text": words})
        answer = await self._say(request, "stop", shown.message.address.channel)
        return JSONResponse(body | {"status": "stopped", "text": answer.text})

    async def _say(
        self, request: Request, words: str, conversation: str, event_key: str | None = None
    ) -> Answer:
        said = intake.message(
            self._site, words, conversation, event_key, headers=request.headers, clicked=True
        )
        receipt = await taken(self._site, said)
        return await self._site.inbox.answer_of(receipt.seq)

    async def _turn(self, turn: str) -> Shown:
        """Raises NotFound also for a turn of another platform: it is not this door's to stop."""
        shown = await self._site.journal.turn_of(turn)
        if shown.message.address.platform != self._site.door.platform:
            raise NotFound(what="turn")
        if shown.state == "withdrawn":
            raise Forgotten
        return shown


def _decided(id: str, answer: Answer) -> Json:
    card = next((one for one in answer.cards if one.id == id), None)
    change = next((one.id for one in answer.cards if one.kind == "change"), None)
    body: Json = {"id": id, "state": card.state if card else answer.status, "text": answer.text}
    if answer.aloud:
        return body | {"change": id, "aloud": True}
    return body | {"change": change} if change else body
