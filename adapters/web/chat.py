"""What a person does in a chat: `POST /chat` answers at once, as a stream of events, or later;
buttons decide cards and stop turns; `GET /quick-commands` lists what may be run here.

A click goes in as the words that it means, and is stored before it is answered, like anything that
a person says: a crash between the two loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.web import requests
from adapters.web.adapter import Json, Site
from adapters.web.errors import STATUS, BadRequest
from adapters.web.render import render
from adapters.web.requests import (
    Asked,
    Body,
    Conversation,
    EventKey,
    EventStream,
    Upload,
    locale_of,
    read_json,
    view_options,
    visitor_of,
)
from adapters.web.stream import PageWriter, TurnEvents, answer_json, stream_events
from core.domain.errors import Empty, Forgotten, NotFound
from core.domain.messages import Answer, Attachment, Message
from core.domain.records import FINAL_STATES, HistoryEntry, QuickCommand, Receipt
from core.text.i18n import say

REFUSED = ("forbidden", "too_many", "forgotten")
"""Codes of a failed answer that are the HTTP status too: the turn was refused, not tried."""
_CARD = re.compile(r"[a-z2-7]{6}")


class Decision(Body):
    """`conversation` is where the card was shown; `event_key` makes a repeated click one."""

    action: Literal["approve", "deny", "undo"]
    conversation: Conversation = "main"
    event_key: EventKey | None = None


class Chat:
    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/chat", self.chat, methods=["POST"]),
            Route("/cards/{id}", self.decide, methods=["POST"]),
            Route("/turns/{turn}/stop", self.stop, methods=["POST"]),
            Route("/quick-commands", self.commands, methods=["GET"]),
        ]

    async def chat(self, request: Request) -> Response:
        """Say something. The answer comes whole, as an event stream, or as its turn's id."""
        streams = "text/event-stream" in request.headers.get("accept", "")
        if streams:
            self._site.hub.check_room()
        async with requests.asked(request) as (asked, uploads):
            receipt, said = await self._take(request, asked, uploads)
        conversation = said.address.channel
        if streams:
            return self._stream(request, receipt, said)
        # What was one too many is in no list of the conversation: only this answer can say so.
        if "respond-async" in request.headers.get("prefer", "") and not receipt.refusal:
            accepted = {"conversation": conversation, "turn": receipt.turn, "status": "accepted"}
            return JSONResponse(accepted, 202, {"Preference-Applied": "respond-async"})
        answer = await self._site.inbox.wait_for_answer(receipt.seq)
        return await self._answered(request, answer, said)

    async def decide(self, request: Request) -> Response:
        """Approve, deny or undo."""
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
        """Stop it. A turn that has ended stays as it is; one that waits is withdrawn."""
        shown = await self._turn(request)
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

    async def commands(self, request: Request) -> Response:
        """The quick commands that may be run, with their inputs, in the reader's language;
        `?conversation=` says where."""
        conversation = request.query_params.get("conversation", "main")
        if not requests.ID.fullmatch(conversation):
            raise NotFound(what="conversation")
        person = visitor_of(request).person
        known = await self._site.board.commands(person, self._site.place(person, conversation))
        locale = locale_of(request, self._site)
        return JSONResponse({"commands": [_command_json(command, locale) for command in known]})

    async def _take(
        self, request: Request, asked: Asked, uploads: list[Upload]
    ) -> tuple[Receipt, Message]:
        """A repeat gets the first turn and its answer, whatever else it carries."""
        key = requests.event_key_of(visitor_of(request).person, asked.event_key or "")
        if asked.event_key and (first := await requests.known(self._site, key)):
            return Receipt(first.seq, first.turn, False, refusal=first.refusal), first.message
        text = await requests.message_text(asked.message)
        said = requests.message(
            self._site, request, text, asked.conversation, asked.event_key,
            time_zone=asked.time_zone, replaces=asked.replaces,
        )  # fmt: skip
        if asked.replaces:
            said = replace(said, attachments=await self._again(said))
        if not text.strip() and not uploads and not said.attachments:
            raise Empty
        if uploads:
            kept = await requests.keep(self._site, uploads, said)
            said = replace(said, attachments=(*said.attachments, *kept))
        return await requests.accept(self._site, said)

    async def _again(self, said: Message) -> tuple[Attachment, ...]:
        """The files of what is asked again. Raises NotFound, and BadRequest for what is not the
        last that was asked, or not answered yet."""
        shown = await self._site.journal.history(said.address.conversation)
        if not any(one.turn == said.replaces for one in shown):
            raise NotFound(what="turn")
        last = shown[-1]
        if last.turn != said.replaces:
            raise BadRequest(why="only the last message can be asked again")
        if last.state not in FINAL_STATES:
            raise BadRequest(why="it is not answered yet")
        return last.message.attachments

    def _stream(self, request: Request, receipt: Receipt, said: Message) -> Response:
        key, hub = said.address.conversation, self._site.hub
        with ExitStack() as stack:
            follower = stack.enter_context(hub.follow(key, visitor_of(request)))
            hub.watch(key, receipt.seq, said)
            options = view_options(request, self._site)
            writer = PageWriter(receipt.turn, said.address.channel, options, receipt.turns_ahead)
            events = TurnEvents(self._site, receipt.turn, writer)
            return EventStream(stream_events(follower, events), stack.pop_all())

    async def _answered(self, request: Request, answer: Answer, said: Message) -> Response:
        html = await render(answer.text) if view_options(request, self._site).html else None
        body = answer_json(answer, said.address.channel, said.turn, html)
        if answer.status == "failed" and answer.code in REFUSED:
            body["error"] = {"code": answer.code, "message": answer.text}
            return JSONResponse(body, STATUS[answer.code])
        return JSONResponse(body)

    async def _say(
        self, request: Request, words: str, conversation: str, event_key: str | None = None
    ) -> Answer:
        said = requests.message(self._site, request, words, conversation, event_key, clicked=True)
        receipt, _ = await requests.accept(self._site, said)
        return await self._site.inbox.wait_for_answer(receipt.seq)

    async def _turn(self, request: Request) -> HistoryEntry:
        """Raises NotFound also for a turn of another person or platform."""
        shown = await self._site.journal.history_entry(str(request.path_params["turn"]))
        conversation = shown.message.address.conversation
        if not self._site.owns(visitor_of(request).person, conversation):
            raise NotFound(what="turn")
        if shown.state == "withdrawn":
            raise Forgotten
        return shown


def _command_json(command: QuickCommand, locale: str) -> Json:
    title, description = command.title_and_description(locale)
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


def _decided(id: str, answer: Answer) -> Json:
    card = next((one for one in answer.cards if one.id == id), None)
    change = next((one.id for one in answer.cards if one.kind == "change"), None)
    body: Json = {"id": id, "state": card.state if card else answer.status, "text": answer.text}
    if answer.aloud:
        return body | {"change": id, "aloud": True}
    return body | {"change": change} if change else body
