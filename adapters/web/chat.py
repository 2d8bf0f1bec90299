"""`POST /chat`: a message in, its answer out: at once, as a stream of events, or later."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web import intake, view
from adapters.web.errors import STATUS, Stopping
from adapters.web.intake import Asked, Upload
from adapters.web.render import render
from adapters.web.response import EventStream, manner_of
from adapters.web.site import Site
from adapters.web.stream import turn_events
from core.errors import Empty, NotFound
from core.messages import Answer, Message, turn_id
from core.records import Receipt, Shown

REFUSED = ("forbidden", "too_many", "forgotten")
"""Codes of a failed answer that are the HTTP status too: the turn was refused, not tried."""


class Chat:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [Route("/chat", self.chat, methods=["POST"])]

    async def chat(self, request: Request) -> Response:
        streams = "text/event-stream" in request.headers.get("accept", "")
        if streams:
            self._site.hub.check_room()
        async with intake.asked(request) as (asked, uploads):
            receipt, said = await self._take(request, asked, uploads)
        conversation = said.address.channel
        if streams:
            return self._stream(request, receipt, said)
        if "respond-async" in request.headers.get("prefer", ""):
            accepted = {"conversation": conversation, "turn": receipt.turn, "status": "accepted"}
            return JSONResponse(accepted, 202, {"Preference-Applied": "respond-async"})
        answer = await self._site.inbox.answer_of(receipt.seq)
        return await self._answered(request, answer, said)

    async def _take(
        self, request: Request, asked: Asked, uploads: list[Upload]
    ) -> tuple[Receipt, Message]:
        """A repeat gets the first turn and its answer, whatever else it carries."""
        key = f"{self._site.door.platform}:{asked.event_key}"
        if asked.event_key and (first := await self._known(key)):
            return Receipt(first.seq, first.turn, fresh=False), first.message
        text = await intake.message_text(asked.message)
        if not text.strip() and not uploads:
            raise Empty
        said = intake.message(
            self._site, text, asked.conversation, asked.event_key,
            headers=request.headers, time_zone=asked.time_zone,
        )  # fmt: skip
        if uploads:
            said = replace(said, attachments=await intake.keep(self._site, uploads, said))
        receipt = await taken(self._site, said)
        first = None if receipt.fresh else await self._known(said.event_key)
        return receipt, first.message if first else said

    async def _known(self, event_key: str) -> Shown | None:
        try:
            return await self._site.journal.turn_of(turn_id(event_key))
        except NotFound:
            return None

    def _stream(self, request: Request, receipt: Receipt, said: Message) -> Response:
        key, hub = said.address.conversation, self._site.hub
        with ExitStack() as stack:
            follower = stack.enter_context(hub.follow(key))
            hub.watch(key, receipt.seq, said)
            manner = manner_of(request, self._site)
            events = turn_events(self._site, follower, receipt, said.address.channel, manner)
            return EventStream(events, stack.pop_all())

    async def _answered(self, request: Request, answer: Answer, said: Message) -> Response:
        html = await render(answer.text) if manner_of(request, self._site).html else None
        body = view.answer_json(answer, said.address.channel, said.turn, html)
        if answer.status == "failed" and answer.code in REFUSED:
            body["error"] = {"code": answer.code, "message": answer.text}
            return JSONResponse(body, STATUS[answer.code])
        return JSONResponse(body)


async def taken(site: Site, said: Message) -> Receipt:
    """Stored, and shown to every tab of its conversation. Raises NotStored."""
    if not site.taking:
        raise Stopping
    receipt = await site.inbox.accept(said)
    site.hub.watch(said.address.conversation, receipt.seq, said)
    return receipt
