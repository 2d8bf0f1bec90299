"""The routes of a conversation: `POST /chat`, decisions on cards, stopping a turn, `GET
/quick-commands`.

A click is sent as the words that it stands for, and is stored before it is answered like any other
message. So a crash in between loses nothing.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapters.web import http_io
from adapters.web.api import answers
from adapters.web.api.stream import PageWriter, TurnEvents, answer_json, card_json, stream_events
from adapters.web.errors import STATUS_BY_CODE, BadRequest, NoSuchModel
from adapters.web.http_io import MessageRoutes, endpoint, visitor_of, wants_html
from adapters.web.page.render import find_tables, render
from core.base.errors import Empty, Forgotten, NotAllowed, NotFound
from core.base.i18n import say
from core.base.spreadsheets import EXPORT_FORMATS, MEDIA_TYPES, encode_table
from core.base.text import clean_text
from core.chat.buttons import BUTTONS, choose
from core.commands.grammar import is_decision, render_change
from core.domain.buttons import ButtonPress
from core.domain.changes import MAX_REASON_CHARACTERS
from core.domain.messages import CHOICE, PROGRAM, Address, Answer, Message, Person, make_press_id
from core.domain.ports import StatusBoard
from core.domain.records import FINAL_STATES, HistoryEntry, Receipt
from core.feedback.votes import MAX_FEEDBACK_CHARACTERS, Press, Vote
from core.saved.buttons import find_alert_fields, find_fields

REFUSAL_CODES = ("forbidden", "too_many", "forgotten")
"""Codes of a failed answer that set the HTTP status too: the turn was refused and did not run."""
_CARD = re.compile(r"[a-z2-7]{6}(-\d{1,4})?")
_TABLE_NUMBER = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_PRESS_ID = r"^[a-z2-7]{6}(\.[1-9]\d{0,3})?$"


class CardDecision(http_io.RequestBody):
    """The body of `POST /cards/{id}`. `revision` is that of the card, or of the form for `change`,
    whose `values` are the new ones by the field's `key`. `conversation` is the one where the card
    was shown. A repeated click with the same `event_key` counts once. `others`: further cards to
    approve, as `abc234` or with their revision, `abc234.2`. `reason` says why a change is
    denied."""

    action: Literal["approve", "change", "deny", "undo", "again"]
    revision: int = Field(1, ge=1, le=9999)
    others: list[Annotated[str, Field(pattern=_PRESS_ID)]] = Field([], max_length=9)
    reason: str = Field("", max_length=MAX_REASON_CHARACTERS)
    values: dict[str, str] = Field(default_factory=dict)
    conversation: http_io.ConversationId = "main"
    event_key: http_io.EventKey | None = None


class Feedback(http_io.RequestBody):
    """The body of `POST /turns/{turn}/feedback`. An empty `vote` takes the vote back. `share`: the
    people who run Ponte can read the question and the answer."""

    vote: Vote
    reason: str | None = Field(None, max_length=MAX_FEEDBACK_CHARACTERS)
    share: bool = False


@dataclass(frozen=True)
class ChatRoutes(MessageRoutes):
    """Routes for sending messages, deciding on cards and stopping turns."""

    board: StatusBoard

    @endpoint(
        "POST",
        "/chat",
        reads=http_io.JsonChatRequest,
        has_files=True,
        media=(http_io.EVENT_STREAM_TYPE,),
        query=http_io.HTML_QUERY,
        refuses=(404, 410, 413, 415, 422, 429, 503),
        headers={
            "Idempotency-Key": "as event_key, which counts if both are given",
            "Prefer": "respond-async: return 202 with the turn's id, or 429 over the rate limit",
        },
    )
    async def chat(self, request: Request) -> answers.ChatAnswer | Response:
        """Send a message. The response is the whole answer, an event stream, or the id of
        its turn."""
        streams = "text/event-stream" in request.headers.get("accept", "")
        # Before the message is stored: whoever cannot follow the answer should not cause one.
        if streams:
            self.hub.check_capacity()
        async with http_io.read_chat_request(request) as (chat_request, uploads):
            receipt, message = await self._accept(request, chat_request, uploads)
        # `channel` is the conversation's id in this API, `conversation` its key in all of Ponte.
        conversation = message.address.channel
        if streams:
            key, hub = message.address.conversation, self.hub
            # The follower gets the changes of turns; `watch` makes the hub wait for this one's end.
            # `pop_all` hands the follower over to the response, which closes it at its end.
            with ExitStack() as stack:
                follower = stack.enter_context(hub.follow(key, visitor_of(request)))
                hub.watch(key, receipt.seq, message)
                ahead = receipt.turns_ahead
                writer = PageWriter(receipt.turn, conversation, wants_html(request), ahead)
                events = TurnEvents(self.conversations.journal, receipt.turn, writer)
                return http_io.EventStream(stream_events(follower, events), stack.pop_all())
        # A message beyond a limit (`refusal`) is in no list of the conversation: only this answer
        # can say that it was refused.
        if "respond-async" in request.headers.get("prefer", "") and not receipt.refusal:
            accepted = {"conversation": conversation, "turn": receipt.turn, "status": "accepted"}
            return JSONResponse(accepted, 202, {"Preference-Applied": "respond-async"})
        answer = await self.conversations.inbox.wait_for_answer(receipt.seq)
        # `placed` has the data of tables and charts, which the text has as Markdown.
        html = await render(answer.text, answer.placed) if wants_html(request) else None
        body = answer_json(answer, conversation, message.turn, html)
        if answer.status == "failed" and answer.code in REFUSAL_CODES:
            body["error"] = {"code": answer.code, "message": answer.text}
            return JSONResponse(body, STATUS_BY_CODE[answer.code])
        return body

    @endpoint(
        "GET",
        "/cards/{id}/form",
        query={"conversation": "the conversation where the card was shown"},
        refuses=(403, 404, 410),
    )
    async def form(self, request: Request) -> answers.CardForm:
        """The inputs that change an open proposal. `POST /cards/{id}` with the action `change`
        sends them back."""
        person, place = self._find_place(request)
        form = await self.board.find_form(_read_card_id(request), person, place)
        # `row` is the number and name of the field's row, "" where the proposal has one row.
        fields: list[answers.CardFormField] = [
            {
                "key": field.key,
                "label": field.label,
                "type": field.type,
                "value": field.value,
                "options": list(field.options),
                "row": field.row,
            }
            for field in form.fields
        ]
        return {"id": form.id, "revision": form.revision, "title": form.title, "fields": fields}

    @endpoint(
        "GET",
        "/cards/{id}/plan",
        query={"conversation": "the conversation where the card was shown"},
        media=(MEDIA_TYPES["xlsx"],),
        refuses=(403, 404, 409),
    )
    async def plan(self, request: Request) -> Response:
        """All that an import writes, as an Excel file, and what is left out with the reasons."""
        id, (person, place) = _read_card_id(request), self._find_place(request)
        headers = {"Content-Disposition": http_io.format_disposition("attachment", f"{id}.xlsx")}
        data = await self.board.open_plan(id, person, place)
        return Response(data, media_type=MEDIA_TYPES["xlsx"], headers=headers)

    @endpoint("GET", "/cards/{id}", refuses=(404, 410))
    async def card(self, request: Request) -> answers.ShownCard:
        """The card as it is now. `conversation` is set if the reader can open that of its
        request."""
        (person, place), id = self._find_place(request), _read_card_id(request)
        found = await self.hub.requests.board.requests(person, place, id)
        shown: answers.ShownCard = {**card_json(found.cards[0]), "refusal": found.refusal}
        address = found.changes[0].proposal.address
        if self.visitors.owns(person, address.conversation):
            shown["conversation"] = address.channel
        return shown

    @endpoint("POST", "/cards/{id}", refuses=(404, 409, 410, 413, 503))
    async def decide(
        self, request: Request, body: CardDecision
    ) -> answers.DecisionResult | Response:
        """Approve, change or deny a card, undo a change, or propose it again."""
        id = _read_card_id(request)
        press_id = make_press_id(id, body.revision)
        command_text = f"{body.action} {press_id}"
        match body.action:
            case "approve":
                # cards that are approved with it
                command_text = " ".join([command_text, *body.others])
            case "change":  # raises TooLarge: only these values have no limit of their own
                command_text = await http_io.clean_message_text(
                    render_change(press_id, body.values)
                )
            case "deny" if body.reason.strip():
                command_text += f" {body.reason}"
        answer = await self.send_click(request, command_text, body.conversation, body.event_key)
        # The answer of "again" has the card of the new proposal, under another id.
        is_new = body.action == "again"
        card = next(
            (answer_card for answer_card in answer.cards if is_new or answer_card.id == id), None
        )
        # The card of a proposal gets the kind "change" when it is approved.
        change = next(
            (answer_card.id for answer_card in answer.cards if answer_card.kind == "change"), None
        )
        result: answers.DecisionResult = {
            "id": id,
            "state": card.state if card else answer.status,
            "status": answer.status,
            "text": answer.text_without_cards,
        }
        if card:
            result["card"] = card_json(card)
        # A decision that everybody in the conversation should read is a message there (`aloud`).
        if answer.has_own_post:
            result["change"], result["aloud"] = id, True
        elif change:
            result["change"] = change
        # Without the card, the decision failed and the card stays as it was. With it, a failure of
        # the change is shown on the card and is no error of the request.
        if answer.status == "failed" and (answer.code in STATUS_BY_CODE or card is None):
            error = {"code": answer.code, "message": answer.text}
            return JSONResponse({**result, "error": error}, STATUS_BY_CODE.get(answer.code, 409))
        return result

    @endpoint("POST", "/turns/{turn}/stop", refuses=(404, 410, 503))
    async def stop(self, request: Request) -> answers.StopResult:
        """Stop a turn. One that has ended stays as it is; one that waits is withdrawn."""
        entry = await self._find_own_turn(request)
        if entry.state in FINAL_STATES:
            return {"turn": entry.turn, "status": entry.state, "text": ""}
        # A turn that waits is withdrawn without an answer, so its streams are told here. One that
        # runs is stopped as by the typed command; `cancel` returns False if it has just begun.
        if entry.state == "new" and await self.conversations.inbox.cancel(entry.seq):
            answer = Answer(say("Stopped."), "stopped")
            self.hub.finish_turn(entry.message.address.conversation, entry.turn, answer)
        else:
            # On the page, the channel of an address is the name of the conversation.
            answer = await self.send_click(request, "stop", entry.message.address.channel)
        return {"turn": entry.turn, "status": "stopped", "text": answer.text}

    @endpoint("GET", "/turns/{turn}", query=http_io.HTML_QUERY, refuses=(404, 410))
    async def turn(self, request: Request) -> answers.TurnText:
        """A message and its answer, also of a turn that was asked again. `replaces` is the turn
        that this one asks again."""
        entry = await self._find_own_turn(request)
        text = entry.answer.text_without_cards if entry.answer else ""
        body: answers.TurnText = {
            "turn": entry.turn,
            "message": entry.message.text,
            "text": text,
            "state": entry.state,
            "at": entry.created_at,
            "replaces": entry.message.replaced_turn,
        }
        if wants_html(request):
            # `placed` has the data of tables and charts, which the text has as Markdown.
            body["html"] = await render(text, entry.answer.placed if entry.answer else ())
        return body

    @endpoint("GET", "/turns/{turn}/usage", refuses=(404, 410))
    async def usage(self, request: Request) -> answers.TurnUsage:
        """Tokens and cost of a turn's calls of the model. `cost` is in US dollars, null if the
        price is unknown; `estimated` says that the model's server reported no counts."""
        entry = await self._find_own_turn(request)
        usage = await self.conversations.journal.usage_of(entry.seq)
        return {
            "turn": entry.turn,
            "input": usage.input,
            "cached": usage.cached,
            "output": usage.output,
            "reasoning": usage.reasoning,
            "cost": usage.cost,
            "estimated": usage.is_estimated,
            "model": entry.message.model,
        }

    @endpoint(
        "GET",
        "/turns/{turn}/saving",
        query={"alert": "`true` for the form of an alert"},
        refuses=(403, 404, 410),
    )
    async def saving(self, request: Request) -> answers.SavingForm:
        """The inputs that save the question of an answer with `rerun`, or make an alert of it."""
        entry = await self._find_own_turn(request)
        find = find_alert_fields if "alert" in request.query_params else find_fields
        fields: list[answers.SavingField] = [
            {
                "key": field.key,
                "type": field.type,
                "label": say(field.label),
                "hint": field.hint and say(field.hint),
                "value": field.value,
                "required": field.is_required,
                "options": dict(zip(field.options, map(say, field.labels), strict=True)),
            }
            for field in await find(self.conversations, entry.turn, entry.message.address)
        ]
        return {"fields": fields}

    @endpoint("POST", "/turns/{turn}/feedback", refuses=(403, 404, 410, 503))
    async def rate(self, request: Request, body: Feedback) -> answers.StoredVote:
        """Vote on an answer. A vote `down` may have a reason (`reason`, `share`)."""
        entry, person = await self._find_own_turn(request), visitor_of(request).person
        if not await self.visitors.may(person, "chat"):
            raise NotAllowed
        press = Press(entry.turn, person, body.vote, time.time())
        await self.conversations.votes.vote(press)
        if body.reason is not None and body.vote == "down":
            # `share`: operators may read the question and the answer.
            await self.conversations.votes.explain(press, body.reason, body.share)
        return {"turn": entry.turn, "vote": body.vote}

    @endpoint(
        "GET", "/quick-commands", query={"conversation": "the id of a conversation"}, refuses=(404,)
    )
    async def quick_commands(self, request: Request) -> answers.QuickCommandList:
        """The quick commands that the reader may run, with their inputs, in the reader's language.
        `?conversation=` says where."""
        person, place = self._find_place(request)
        commands: list[answers.QuickCommandEntry] = []
        for command in await self.board.commands(person, place):
            title, description = command.title_and_description()
            inputs: list[answers.CommandInput] = [
                {
                    "name": name,
                    "type": str(about.get("type", "text")),
                    "required": bool(about.get("required")),
                    "choices": [str(choice) for choice in about.get("choices") or ()],
                }
                for name, about in command.inputs.items()
            ]
            commands.append(
                {
                    "slug": command.slug,
                    "title": title or command.slug,
                    "description": description,
                    "inputs": inputs,
                }
            )
        return {"commands": commands, "saved": list(await self.board.saved_names(person, place))}

    @endpoint(
        "GET",
        "/turns/{turn}/tables/{number}",
        media=tuple(MEDIA_TYPES.values()),
        query={"format": "csv, xlsx or json"},
        refuses=(400, 404, 410),
    )
    async def table(self, request: Request) -> Response:
        """A table of an answer as a file; the first one has the number 1. Numbers and dates have
        types if a tool read the rows."""
        entry = await self._find_own_turn(request)
        answer, number = entry.answer, str(request.path_params["number"])
        form = request.query_params.get("format")
        if form not in EXPORT_FORMATS:
            raise BadRequest(why="`format` must be csv, xlsx or json")
        if answer is None or not _TABLE_NUMBER.fullmatch(number):
            raise NotFound(what="table")
        # `placed` has the rows that a tool read, with their types; other tables are Markdown.
        tables = await asyncio.to_thread(find_tables, answer.text, answer.placed)
        for columns, rows, caption in tables[int(number) - 1 : int(number)]:
            # A caption is such as "Invoices: 5 of 12 rows"; a table in Markdown has none.
            title = caption.rpartition(":")[0].strip() or caption
            file = await asyncio.to_thread(encode_table, columns, rows, form, title or say("Table"))
            named = http_io.format_disposition("attachment", f"{title}.{form}")
            disposition = named if title else "attachment"
            headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
            return Response(file.data, headers=headers, media_type=file.type)
        raise NotFound(what="table")

    def _find_place(self, request: Request) -> tuple[Person, Address]:
        conversation = request.query_params.get("conversation", "main")
        if not http_io.ID_PATTERN.fullmatch(conversation):
            raise NotFound(what="conversation")
        person = visitor_of(request).person
        return person, self.visitors.address_of(person, conversation)

    async def _accept(
        self, request: Request, body: http_io.ChatRequest, uploads: list[http_io.UploadedFile]
    ) -> tuple[Receipt, Message]:
        """Store the message of the request. Return the receipt with its turn, and the message. A
        repeat of its `event_key`, or of its Idempotency-Key, returns those of the first one,
        whatever else it carries. Raise NoSuchModel, Empty, NotStored, and what
        `_take_over_replaced` raises.

        `body.replaces` is the turn whose message the person sends again, changed or not;
        `body.keep_files` are the files of that message that the new one keeps."""
        own_key = body.event_key or http_io.read_idempotency_key(request)
        if body.choice:
            own_key = f"{CHOICE.name}-{body.choice[2:]}"
        key = self.visitors.make_event_key(visitor_of(request).person, own_key)
        # Before anything is checked: what was accepted once is not refused at its repetition. The
        # receipt then says that the message is not new (False).
        if own_key and (first := await self.find_accepted_turn(key)):
            return Receipt(first.seq, first.turn, False, refusal=first.refusal), first.message
        text = await http_io.clean_message_text(body.message)
        message = self.make_message(
            request,
            text,
            body.conversation,
            own_key,
            time_zone=body.time_zone,
            replaces=body.replaces,
        )
        # Only the page lists conversations by their titles; the terminal shows none.
        message = replace(message, has_conversation_title=self.visitors.auth.platform == "web")
        if body.choice:
            press = ButtonPress(BUTTONS[CHOICE.name], body.choice, message.sent_at, "")
            asked = await self.conversations.journal.history_entry(press.parts[-1])
            if asked.message.address.conversation != message.address.conversation:
                raise NotFound(what="turn")
            text = (await choose(self.conversations, press, message.author, message.address)).words
            message = replace(message, text=text, origin=CHOICE)
        if body.replaces:
            message = await self._take_over_replaced(message, body.keep_files)
        if body.model:
            if body.model not in await self.visitors.list_models(message.author):
                raise NoSuchModel(model=clean_text(body.model)[:60])
            message = replace(message, model=body.model)
        if not text.strip() and not uploads and not message.attachments:
            raise Empty
        if uploads:
            attachments = await self.store_uploads(uploads, message)
            message = replace(message, attachments=(*message.attachments, *attachments))
        return await self.accept(message)

    async def _take_over_replaced(self, message: Message, keep_files: str | None) -> Message:
        """Return `message` with files of the message that it replaces: those of `keep_files` (ids
        with spaces between them), or all if that is None. If its text has not changed, nobody has
        typed it now, so it is trusted as much as the first one was.

        Raise NotFound, and BadRequest if it is not the last message or is not answered yet.
        """
        entries = list(await self.conversations.journal.list_entries(message.address.conversation))
        if not any(record.turn == message.replaced_turn for record in entries):
            # The list leaves out a typed command that runs at once (`is_decision`), such as `help`,
            # and a refused message. Clicks and withdrawn messages cannot be sent again.
            entry = await self.conversations.journal.history_entry(message.replaced_turn)
            is_unlisted = entry.refusal or is_decision(entry.message)
            is_here = entry.message.address.conversation == message.address.conversation
            is_gone = entry.message.is_click or entry.state == "withdrawn"
            if not (is_here and is_unlisted) or is_gone:
                raise NotFound(what="turn")
            entries = sorted([*entries, entry], key=lambda record: record.seq)
        # A decision on a card is part of the turn that it decides on, and asks nothing itself.
        last = next(
            (record for record in reversed(entries) if not record.message.is_click), entries[-1]
        )
        if last.turn != message.replaced_turn:
            raise BadRequest(why="only the last message can be sent again")
        if last.state not in FINAL_STATES:
            raise BadRequest(why="the message has no answer yet")
        old = last.message
        files = old.attachments
        if keep_files is not None:
            files = tuple(file for file in files if file.file in keep_files.split())
        message = replace(message, attachments=files)
        # A person typed it: then, or now in its place. Other white space makes no other text.
        if old.origin.is_authored or message.text.split() != old.text.split():
            return message
        # Otherwise a program sent it, and its text stays that of a program. It can be a typed
        # command (`may_be_command`) only if both messages can.
        may_be_command = message.may_be_command and old.may_be_command
        origin = CHOICE if old.origin.name == CHOICE.name else PROGRAM
        return replace(message, origin=replace(origin, may_be_command=may_be_command))

    async def _find_own_turn(self, request: Request) -> HistoryEntry:
        """Raise NotFound, also for a turn of another person or platform, and Forgotten."""
        entry = await self.conversations.journal.history_entry(str(request.path_params["turn"]))
        conversation = entry.message.address.conversation
        if not self.visitors.owns(visitor_of(request).person, conversation):
            raise NotFound(what="turn")
        if entry.state == "withdrawn":
            raise Forgotten
        return entry


def _read_card_id(request: Request) -> str:
    id = str(request.path_params["id"])
    if not _CARD.fullmatch(id):
        raise NotFound(what="card")
    return id
