"""Messages, answers, cards and files as the JSON of the HTTP API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace

from adapters.web.site import Json
from core.errors import PonteError
from core.messages import Answer, Attachment, Card, File, Message


def file_json(file: File) -> Json:
    return {"name": file.name, "url": f"/files/{file.id}", "type": file.type, "size": file.size}


def attachment_json(attachment: Attachment) -> Json:
    """A file that the person sent; without `url` while its bytes are not there."""
    shown: Json = {"name": attachment.name, "type": attachment.type, "size": attachment.size}
    return shown | {"url": f"/files/{attachment.file}"} if attachment.file else shown


def card_json(card: Card) -> Json:
    return asdict(card) | {"rows": list(card.rows), "actions": list(card.actions)}


def current(cards: Iterable[Card], changed: Mapping[str, Card]) -> list[Card]:
    """`cards` as they stand now: `changed` holds by id what came after."""
    return [changed.get(card.id, card) for card in cards]


def answer_json(answer: Answer, conversation: str, turn: str, html: str | None = None) -> Json:
    """The body of `POST /chat` and of the event `done`; `html` where the page asked for it."""
    body: Json = {
        "response": answer.text,
        "conversation": conversation,
        "turn": turn,
        "status": answer.status,
        "files": [file_json(file) for file in answer.files],
        "cards": [card_json(card) for card in answer.cards],
    }
    if answer.code:
        body["code"] = answer.code
    if answer.aloud:
        body["aloud"] = True
    return body if html is None else body | {"html": html}


def message_json(message: Message, seq: int, at: float, state: str = "new") -> Json:
    """What a person said: `at` in seconds since the epoch, `state` of its turn.

    `event_key` is the client's own: a tab knows by it what it has already shown.
    """
    return {
        "role": "user",
        "turn": message.turn,
        "event_key": message.event_key.partition(":")[2],
        "seq": seq,
        "text": message.text,
        "files": [attachment_json(one) for one in message.attachments],
        "clicked": message.clicked,
        "at": at,
        "state": state,
    }


def error_json(error: PonteError, turn: str, locale: str) -> Json:
    return {"code": error.code, "message": error.words(locale), "turn": turn}


def with_cards(answer: Answer, changed: Mapping[str, Card]) -> Answer:
    return replace(answer, cards=tuple(current(answer.cards, changed)))
