"""The routes of a conversation: `POST /chat`, decisions on cards, stopping a turn, `GET
/quick-commands`.

A click is sent as the words that it stands for, and is stored before it is answered like any other
message. So a crash in between loses nothing.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapters.web import http_io
from adapters.web.api.answers import (
    ChatAnswer,
    CommandInput,
    DecisionResult,
    QuickCommandEntry,
    QuickCommandList,
    StopResult,
    TurnText,
    TurnUsage,
)
from adapters.web.api.stream import PageWriter, TurnEvents, answer_json, card_json, stream_events
from adapters.web.errors import STATUS_BY_CODE, BadRequest, NoSuchModel
from adapters.web.http_io import (
    EVENT_STREAM_TYPE,
    HTML_QUERY,
    ChatRequest,
    ConversationId,
    EventKey,
    EventStream,
    JsonChatRequest,
    RequestBody,
    UploadedFile,
    visitor_of,
    wants_html,
)
from adapters.web.page.render import render
from adapters.web.routing import MessageRoutes, endpoint
from core.base.errors import Empty, Forgotten, NotFound
from core.base.i18n import say
from core.base.text import clean_text
from core.commands.grammar import is_decision
from core.domain.messages import PROGRAM, Answer, ChangeAction, Message
from core.domain.ports import StatusBoard
from core.domain.records import FINAL_STATES, HistoryEntry, Receipt

REFUSAL_CODES = ("forbidden", "too_many", "forgotten")
"""Codes of a failed answer that set the HTTP status too: the turn was refused and did not run."""
_CARD = re.compile(r"[a-z2-7]{6}(-\d{1,4})?")


class CardDecision(RequestBody):
    """The body of `POST /cards/{id}`. `revision` is that of the card, `conversation` the one where
    it was shown. A repeated click with the same `event_key` counts once."""

    action: ChangeAction
    revision: int = Field(1, ge=1, le=9999)
    conversation: ConversationId = "main"
    event_key: EventKey | None = None


@dataclass(frozen=True)
class ChatRoutes(MessageRoutes):
    """Routes for sending messages, deciding on cards and stopping turns."""

    board: StatusBoard

    @endpoint(
        "POST",
        "/chat",
        reads=JsonChatRequest,
        has_files=True,
        media=(EVENT_STREAM_TYPE,),
        query=HTML_QUERY,
        refuses=(404, 410, 413, 415, 422, 429, 503),
        headers={
            "Idempotency-Key": "as event_key, which counts if both are given",
            "Prefer": "respond-async: return 202 with the turn's id, or 429 over the rate limit",
        },
    )
    async def chat(self, request: Request) -> ChatAnswer | Response:
        """Send a message. The response is the whole answer, an event stream, or the id of
        its turn."""
        streams = "text/event-stream" in request.headers.get("accept", "")
        if streams:
            self.hub.check_capacity()
        async with http_io.read_chat_request(request) as (asked, uploads):
            receipt, said = await self._accept(request, asked, uploads)
        conversation = said.address.channel
        if streams:
            return self._stream(request, receipt, said)
        # What was one too many is in no list of the conversation: only this answer can say so.
        if "respond-async" in request.headers.get("prefer", "") and not receipt.refusal:
            accepted = {"conversation": conversation, "turn": receipt.turn, "status": "accepted"}
            return JSONResponse(accepted, 202, {"Preference-Applied": "respond-async"})
        answer = await self.conversations.inbox.wait_for_answer(receipt.seq)
        html = await render(answer.text) if wants_html(request) else None
        body = answer_json(answer, conversation, said.turn, html)
        if answer.status == "failed" and answer.code in REFUSAL_CODES:
            body["error"] = {"code": answer.code, "message": answer.text}
            return JSONResponse(body, STATUS_BY_CODE[answer.code])
        return body

    @endpoint("POST", "/cards/{id}", refuses=(404, 410, 503))
    async def decide(self, request: Request, body: CardDecision) -> DecisionResult | Response:
        """Approve or deny a card, or undo a change."""
        id = str(request.path_params["id"])
        if not _CARD.fullmatch(id):
            raise NotFound(what="card")
        press_id = id if body.revision == 1 else f"{id}.{body.revision}"
        answer = await self.send_click(
            request, f"{body.action} {press_id}", body.conversation, body.event_key
        )
        result = _decision_json(id, answer)
        if answer.status == "failed" and answer.code in STATUS_BY_CODE:
            error = {"code": answer.code, "message": answer.text}
            return JSONResponse({**result, "error": error}, STATUS_BY_CODE[answer.code])
        return result

    @endpoint("POST", "/turns/{turn}/stop", refuses=(404, 410, 503))
    async def stop(self, request: Request) -> StopResult:
        """Stop a turn. One that has ended stays as it is; one that waits is withdrawn."""
        entry = await self._find_own_turn(request)
        if entry.state in FINAL_STATES:
            return {"turn": entry.turn, "status": entry.state, "text": ""}
        if entry.state == "new" and await self.conversations.inbox.cancel(entry.seq):
            words = say("Stopped.")
            stopped = Answer(words, "stopped")
            self.hub.finish_turn(entry.message.address.conversation, entry.turn, stopped)
            return {"turn": entry.turn, "status": "stopped", "text": words}
        answer = await self.send_click(request, "stop", entry.message.address.channel)
        return {"turn": entry.turn, "status": "stopped", "text": answer.text}

    @endpoint("GET", "/turns/{turn}", query=HTML_QUERY, refuses=(404, 410))
    async def turn(self, request: Request) -> TurnText:
        """A message and its answer, also of a turn that was asked again. `replaces` is the turn
        that this one asks again."""
        shown = await self._find_own_turn(request)
        text = shown.answer.text if shown.answer else ""
        body: TurnText = {
            "turn": shown.turn, "message": shown.message.text, "text": text,
            "state": shown.state, "at": shown.created_at, "replaces": shown.message.replaced_turn,
        }  # fmt: skip
        if wants_html(request):
            body["html"] = await render(text)
        return body

    @endpoint("GET", "/turns/{turn}/usage", refuses=(404, 410))
    async def usage(self, request: Request) -> TurnUsage:
        """Tokens and cost of a turn's calls of the model. `cost` is in US dollars, null if the
        price is unknown; `estimated` says that the model's server reported no counts."""
        shown = await self._find_own_turn(request)
        used = await self.conversations.journal.usage_of(shown.seq)
        return {
            "turn": shown.turn, "input": used.input, "cached": used.cached,
            "output": used.output, "reasoning": used.reasoning, "cost": used.cost,
            "estimated": used.is_estimated, "model": shown.message.model,
        }  # fmt: skip

    @endpoint(
        "GET", "/quick-commands", query={"conversation": "the id of a conversation"}, refuses=(404,)
    )
    async def quick_commands(self, request: Request) -> QuickCommandList:
        """The quick commands that the reader may run, with their inputs, in the reader's language.
        `?conversation=` says where."""
        conversation = request.query_params.get("conversation", "main")
        if not http_io.ID_PATTERN.fullmatch(conversation):
            raise NotFound(what="conversation")
        person = visitor_of(request).person
        commands: list[QuickCommandEntry] = []
        place = self.visitors.address_of(person, conversation)
        for command in await self.board.commands(person, place):
            title, description = command.title_and_description()
            inputs: list[CommandInput] = [
                {
                    "name": name,
                    "type": str(about.get("type", "text")),
                    "required": bool(about.get("required")),
                    "choices": [str(choice) for choice in about.get("choices") or ()],
                }
                for name, about in command.inputs.items()
            ]
            commands.append({
                "slug": command.slug, "title": title or command.slug,
                "description": description, "inputs": inputs,
            })  # fmt: skip
        return {"commands": commands}

    async def _accept(
        self, request: Request, asked: ChatRequest, uploads: list[UploadedFile]
    ) -> tuple[Receipt, Message]:
        """Store the message of the request. A repeat returns the first turn, whatever else it
        carries."""
        own_key = asked.event_key or http_io.read_idempotency_key(request)
        key = http_io.make_event_key(visitor_of(request).person, own_key)
        if own_key and (first := await self.find_accepted_turn(key)):
            return Receipt(first.seq, first.turn, False, refusal=first.refusal), first.message
        text = await http_io.clean_message_text(asked.message)
        said = self.make_message(
            request, text, asked.conversation, own_key,
            time_zone=asked.time_zone, replaces=asked.replaces,
        )  # fmt: skip
        said = replace(said, has_conversation_title=self.visitors.auth.platform == "web")
        if asked.replaces:
            said = await self._take_over_replaced(said)
        if asked.model:
            if asked.model not in await self.visitors.list_models(said.author):
                raise NoSuchModel(model=clean_text(asked.model)[:60])
            said = replace(said, model=asked.model)
        if not text.strip() and not uploads and not said.attachments:
            raise Empty
        if uploads:
            kept = await self.store_uploads(uploads, said)
            said = replace(said, attachments=(*said.attachments, *kept))
        return await self.accept(said)

    async def _take_over_replaced(self, said: Message) -> Message:
        """Return `said` with the files of the message that is sent again, and with the same trust
        if its text is the same: nobody typed it now.

        Raise NotFound, and BadRequest if it is not the last message or is not answered yet.
        """
        shown = list(await self.conversations.journal.list_entries(said.address.conversation))
        if not any(one.turn == said.replaced_turn for one in shown):
            asked = await self._find_unlisted(said)
            shown = sorted([*shown, asked], key=lambda one: one.seq)
        # A decision on a card is part of the turn that it decides on, and asks nothing itself.
        last = next((one for one in reversed(shown) if not one.message.is_click), shown[-1])
        if last.turn != said.replaced_turn:
            raise BadRequest(why="only the last message can be sent again")
        if last.state not in FINAL_STATES:
            raise BadRequest(why="it has no answer yet")
        old = last.message
        said = replace(said, attachments=old.attachments)
        if old.origin.is_authored or said.text.split() != old.text.split():
            return said
        may_be_command = said.may_be_command and old.may_be_command
        return replace(said, origin=replace(PROGRAM, may_be_command=may_be_command))

    async def _find_unlisted(self, said: Message) -> HistoryEntry:
        """Return the message that `said` repeats, if the list of the conversation leaves it out: a
        typed command that runs at once, such as `help`, or a refused message. Raise NotFound."""
        asked = await self.conversations.journal.history_entry(said.replaced_turn)
        old = asked.message
        is_unlisted = asked.refusal or is_decision(old)
        is_here = old.address.conversation == said.address.conversation
        if not (is_here and is_unlisted) or old.is_click or asked.state == "withdrawn":
            raise NotFound(what="turn")
        return asked

    def _stream(self, request: Request, receipt: Receipt, said: Message) -> Response:
        key, hub = said.address.conversation, self.hub
        with ExitStack() as stack:
            follower = stack.enter_context(hub.follow(key, visitor_of(request)))
            hub.watch(key, receipt.seq, said)
            html, queued = wants_html(request), receipt.turns_ahead
            writer = PageWriter(receipt.turn, said.address.channel, html, queued)
            events = TurnEvents(self.conversations.journal, receipt.turn, writer)
            return EventStream(stream_events(follower, events), stack.pop_all())

    async def _find_own_turn(self, request: Request) -> HistoryEntry:
        """Return the turn of the path. Raise NotFound, also for a turn of another person or
        platform, and Forgotten."""
        shown = await self.conversations.journal.history_entry(str(request.path_params["turn"]))
        conversation = shown.message.address.conversation
        if not self.visitors.owns(visitor_of(request).person, conversation):
            raise NotFound(what="turn")
        if shown.state == "withdrawn":
            raise Forgotten
        return shown


def _decision_json(id: str, answer: Answer) -> DecisionResult:
    """Return the result of a click."""
    card = next((one for one in answer.cards if one.id == id), None)
    change = next((one.id for one in answer.cards if one.kind == "change"), None)
    state = card.state if card else answer.status
    body: DecisionResult = {"id": id, "state": state, "text": answer.text}
    if card:
        body["card"] = card_json(card)
    if answer.has_own_post:
        return {**body, "change": id, "aloud": True}
    if change:
        body["change"] = change
    return body
