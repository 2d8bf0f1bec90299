"""Server-sent events (HTML standard): one turn for a script (`POST /chat`), one conversation for
every tab; messages, answers, cards and files as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from adapters.web.adapter import Follower, Json, Live, Site
from adapters.web.render import GrowingHtml, render
from core.commands import grammar
from core.domain.errors import BadInput, NotFound, PonteError
from core.domain.messages import Address, Answer, Attachment, Card, File, Message
from core.domain.records import FINAL_STATES, Receipt, Shown
from core.text.i18n import say

BEAT = 15.0
"""Seconds of silence before a comment is sent, so that no proxy closes the stream."""
PACE = 0.03
"""Seconds between two frames of growing text: a person reads no faster."""
HTML_PACE = 0.1
"""The same at least, where each is rendered too."""
RETRY = b"retry: 500\n\n"
"""Milliseconds that a browser waits before it comes back; Chromium's own 3 s are long."""
RESETTING = ("new", "forget")
"""Commands that leave another transcript than before."""
_CURSOR = re.compile(r"\d{1,18}(\+\d{1,18}){0,200}")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client wants to be told: `html` next to each text, words in its locale."""

    html: bool = False
    locale: str = "en"


class Cursor:
    """How far a tab has read: what `id:` of an event says and `Last-Event-ID` gives back.

    `12+14` means: every turn up to seq 12 that had an answer, and 14 too (13 still runs; a decision
    overtakes the turn before it). It holds no secret and works in any process, also after a
    restart.
    """

    def __init__(self, base: int = 0, beyond: frozenset[int] = frozenset()) -> None:
        self._base = base
        self._ended = set(beyond)
        self._open: set[int] = set()

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """None for what is no cursor of ours."""
        if not _CURSOR.fullmatch(text):
            return None
        base, *beyond = (int(number) for number in text.split("+"))
        return cls(base, frozenset(beyond))

    def ended(self, seq: int) -> bool:
        """Whether this turn's end was shown."""
        return seq in self._ended or (seq <= self._base and seq not in self._open)

    def open(self, seq: int) -> None:
        if not self.ended(seq):
            self._open.add(seq)

    def end(self, seq: int) -> None:
        self._open.discard(seq)
        self._ended.add(seq)

    def __str__(self) -> str:
        highest = max(self._ended, default=0)
        base = min(self._open) - 1 if self._open else max(self._base, highest)
        beyond = sorted(seq for seq in self._ended if seq > base)
        return "+".join(map(str, [base, *beyond[-200:]]))


class Telling:
    """What one client has been told of one turn, and what there is to tell now."""

    def __init__(self, turn: str, conversation: str, manner: Manner) -> None:
        self._turn = turn
        self._conversation = conversation
        self._manner = manner
        self._text = ""
        self._doing = ""
        self._html = GrowingHtml()
        self.pace = PACE

    async def growth(self, live: Live) -> AsyncIterator[bytes]:
        progress = live.progress
        if progress.doing != self._doing:
            self._doing = progress.doing
            yield frame("progress", {"turn": self._turn, "text": progress.doing})
        if progress.text != self._text:
            yield frame("delta", await self._delta(progress.text))

    async def end(self, outcome: Answer | PonteError, id: str = "") -> AsyncIterator[bytes]:
        if isinstance(outcome, PonteError):
            yield frame("error", error_json(outcome, self._turn, self._manner.locale), id)
            return
        for card in outcome.cards:
            yield frame("card", card_json(card) | {"turn": self._turn})
        for file in outcome.files:
            yield frame("file", file_json(file) | {"turn": self._turn})
        html = await render(outcome.text) if self._manner.html else None
        yield frame("done", answer_json(outcome, self._conversation, self._turn, html), id)

    async def rest(self, answer: Answer) -> AsyncIterator[bytes]:
        """What was not told of its text yet, so that the pieces are the whole answer."""
        if answer.text != self._text:
            yield frame("delta", await self._delta(answer.text))

    async def _delta(self, text: str) -> Json:
        """What was added; `reset` where the text does not continue what was told before."""
        goes_on = text.startswith(self._text)
        data: Json = {"turn": self._turn, "text": text[len(self._text) :] if goes_on else text}
        if not goes_on:
            data["reset"] = True
        self._text = text
        if self._manner.html:
            began = time.perf_counter()
            data["html"] = await self._html.of(text)
            self.pace = max(HTML_PACE, 8 * (time.perf_counter() - began))
        return data


class Following:
    """One tab's stream of a conversation: what it missed since its cursor, then what comes."""

    def __init__(self, site: Site, address: Address, cursor: Cursor | None, manner: Manner):
        self._site = site
        self._conversation = address.channel
        self._key = address.conversation
        self._fresh = cursor is None
        self._cursor = cursor or Cursor()
        self._manner = manner
        self._tellings: dict[str, Telling] = {}

    async def events(self, follower: Follower) -> AsyncIterator[bytes]:
        yield RETRY
        async for piece in self._catch_up():
            yield piece
        yield frame("ready", {"conversation": self._conversation}, str(self._cursor))
        async for news in news_of(follower):
            if news is None:
                yield b": still here\n\n"
            if follower.behind:
                async for piece in self._catch_up():
                    yield piece
            for live in news or ():
                async for piece in self._tell(live):
                    yield piece
            paces = [telling.pace for telling in self._tellings.values()]
            await follower.pause(max(paces, default=PACE))

    async def _catch_up(self) -> AsyncIterator[bytes]:
        """From the journal. A tab without a cursor starts now: what ended before is not told."""
        shown = await self._site.journal.shown(self._key)
        for one in shown:
            if one.answer is not None or one.state in FINAL_STATES:
                if self._fresh:
                    self._cursor.end(one.seq)
                elif not self._cursor.ended(one.seq):
                    async for piece in self._whole(one):
                        yield piece
            elif one.turn not in self._tellings:
                self._cursor.open(one.seq)
                self._site.hub.watch(self._key, one.seq, one.message)
        self._fresh = False

    async def _whole(self, one: Shown) -> AsyncIterator[bytes]:
        if one.turn not in self._tellings:
            yield frame("message", message_json(one.message, one.seq, one.at, one.state))
        self._cursor.end(one.seq)
        telling = self._tellings.pop(one.turn, None) or self._telling(one.turn)
        if one.answer is not None:
            async for piece in telling.end(one.answer, str(self._cursor)):
                yield piece

    async def _tell(self, live: Live) -> AsyncIterator[bytes]:
        for card in live.cards:
            yield frame("card", card_json(card) | {"turn": live.turn})
        if live.cards:
            return
        await self._identify(live)
        if live.message is None or self._cursor.ended(live.seq):
            return
        self._cursor.open(live.seq)
        if live.turn not in self._tellings:
            self._tellings[live.turn] = self._telling(live.turn)
            yield frame("message", message_json(live.message, live.seq, live.message.sent_at))
        telling = self._tellings[live.turn]
        if outcome := live.answer or live.error:
            del self._tellings[live.turn]
            self._cursor.end(live.seq)
            async for piece in telling.end(outcome, str(self._cursor)):
                yield piece
            if resets(live.message):
                yield frame("reset", {"conversation": self._conversation})
            return
        async for piece in telling.growth(live):
            yield piece

    async def _identify(self, live: Live) -> None:
        """Another process took that message in; the journal knows it."""
        if live.message is None:
            try:
                shown = await self._site.journal.turn_of(live.turn)
            except NotFound:
                return
            live.seq, live.message = shown.seq, shown.message

    def _telling(self, turn: str) -> Telling:
        return Telling(turn, self._conversation, self._manner)


async def turn_events(
    site: Site, follower: Follower, receipt: Receipt, conversation: str, manner: Manner
) -> AsyncIterator[bytes]:
    """One turn until its end; the stream ends with `done` or `error`."""
    telling = Telling(receipt.turn, conversation, manner)
    waiting = say("Before this: {count}.", manner.locale, count=receipt.waiting)
    text = waiting if receipt.waiting else ""
    yield frame("progress", {"turn": receipt.turn, "text": text})
    async for news in news_of(follower):
        if news is None:
            yield b": still here\n\n"
        mine = (one for one in news or () if one.turn == receipt.turn and not one.cards)
        live = next(mine, None)
        outcome = (live.answer or live.error) if live else None
        if follower.behind and outcome is None:
            outcome = (await site.journal.turn_of(receipt.turn)).answer
        if isinstance(outcome, Answer):
            async for piece in telling.rest(outcome):
                yield piece
        if outcome is not None:
            async for piece in telling.end(outcome):
                yield piece
            return
        if live is not None:
            async for piece in telling.growth(live):
                yield piece
        await follower.pause(telling.pace)


def cursor_of(shown: Sequence[Shown]) -> Cursor:
    """The cursor of who has read all this."""
    cursor = Cursor()
    for one in shown:
        if one.answer is not None or one.state in FINAL_STATES:
            cursor.end(one.seq)
        else:
            cursor.open(one.seq)
    return cursor


def resets(message: Message) -> bool:
    """Whether that message, once done, leaves another transcript than before."""
    try:
        command = grammar.parse(message.text, message.locale)
    except BadInput:
        return False
    return bool(message.replaces) or (command is not None and command.name in RESETTING)


def frame(event: str, data: Json, id: str = "") -> bytes:
    """One event: `event`, `id`, `data`, one empty line. JSON text holds no line break, so one
    `data:` line is enough.
    """
    head = f"id: {id}\n" if id else ""
    return f"event: {event}\n{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode(
        errors="replace"
    )


def file_json(file: File) -> Json:
    return {"name": file.name, "url": f"/files/{file.id}", "type": file.type, "size": file.size}


def attachment_json(attachment: Attachment) -> Json:
    """A file that the person sent; without `url` while its bytes are not there."""
    shown: Json = {"name": attachment.name, "type": attachment.type, "size": attachment.size}
    return shown | {"url": f"/files/{attachment.file}"} if attachment.file else shown


def card_json(card: Card) -> Json:
    return asdict(card) | {"rows": list(card.rows), "actions": list(card.actions)}


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
        "replaces": message.replaces,
        "at": at,
        "state": state,
    }


def error_json(error: PonteError, turn: str, locale: str) -> Json:
    return {"code": error.code, "message": error.words(locale), "turn": turn}


def with_cards(answer: Answer, changed: Mapping[str, Card]) -> Answer:
    """Its cards as they stand now: `changed` holds by id what came after."""
    return replace(answer, cards=tuple(changed.get(card.id, card) for card in answer.cards))


async def news_of(follower: Follower) -> AsyncIterator[list[Live] | None]:
    """Batches of turns that moved; None where nothing did for `BEAT` seconds."""
    while True:
        try:
            async with asyncio.timeout(BEAT):
                news = await follower.changed()
        except TimeoutError:
            yield None
            continue
        if follower.closed:
            return
        yield news
