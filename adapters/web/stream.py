"""Server-sent events: one turn for a script (`POST /chat`), one conversation for every tab.

Frames are as in the HTML standard, section "Server-sent events": `event`, `id`, `data`, one empty
line. A comment every 15 seconds keeps proxies from closing a silent stream.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from adapters.web import view
from adapters.web.cursor import Cursor
from adapters.web.hub import Follower, Live
from adapters.web.render import GrowingHtml, render
from adapters.web.site import Json, Site
from core import commands
from core.errors import BadInput, NotFound, PonteError
from core.messages import Answer
from core.records import FINAL_STATES, Receipt, Shown
from core.words import say

BEAT = 15.0
"""Seconds of silence before a comment is sent."""
PACE = 0.03
"""Seconds between two frames of growing text: a person reads no faster."""
HTML_PACE = 0.1
RETRY = b"retry: 500\n\n"
"""Milliseconds that a browser waits before it comes back; Chromium's own 3 s are long."""
RESETTING = ("new", "forget")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client wants to be told: `html` next to each text, words in its locale."""

    html: bool = False
    locale: str = "en"


def frame(event: str, data: Json, id: str = "") -> bytes:
    """One event. JSON text holds no line break, so one `data:` line is enough."""
    head = f"id: {id}\n" if id else ""
    return f"event: {event}\n{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode(
        errors="replace"
    )


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
            yield frame("error", view.error_json(outcome, self._turn, self._manner.locale), id)
            return
        for card in outcome.cards:
            yield frame("card", view.card_json(card) | {"turn": self._turn})
        for file in outcome.files:
            yield frame("file", view.file_json(file) | {"turn": self._turn})
        html = await render(outcome.text) if self._manner.html else None
        yield frame("done", view.answer_json(outcome, self._conversation, self._turn, html), id)

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


async def turn_events(
    site: Site, follower: Follower, receipt: Receipt, conversation: str, manner: Manner
) -> AsyncIterator[bytes]:
    """One turn until its end; the stream ends with `done` or `error`."""
    telling = Telling(receipt.turn, conversation, manner)
    waiting = say("Before this: {count}.", manner.locale, count=receipt.waiting)
    text = waiting if receipt.waiting else ""
    yield frame("progress", {"turn": receipt.turn, "text": text})
    async for news in _news(follower):
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


class Following:
    """One tab's stream of a conversation: what it missed since its cursor, then what comes."""

    def __init__(self, site: Site, conversation: str, cursor: Cursor | None, manner: Manner):
        self._site = site
        self._conversation = conversation
        self._key = site.key(conversation)
        self._fresh = cursor is None
        self._cursor = cursor or Cursor()
        self._manner = manner
        self._tellings: dict[str, Telling] = {}

    async def events(self, follower: Follower) -> AsyncIterator[bytes]:
        yield RETRY
        async for piece in self._catch_up():
            yield piece
        yield frame("ready", {"conversation": self._conversation}, str(self._cursor))
        async for news in _news(follower):
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
            yield frame("message", view.message_json(one.message, one.seq, one.at, one.state))
        self._cursor.end(one.seq)
        telling = self._tellings.pop(one.turn, None) or self._telling(one.turn)
        if one.answer is not None:
            async for piece in telling.end(one.answer, str(self._cursor)):
                yield piece

    async def _tell(self, live: Live) -> AsyncIterator[bytes]:
        for card in live.cards:
            yield frame("card", view.card_json(card) | {"turn": live.turn})
        if live.cards:
            return
        await self._identify(live)
        if live.message is None or self._cursor.ended(live.seq):
            return
        self._cursor.open(live.seq)
        if live.turn not in self._tellings:
            self._tellings[live.turn] = self._telling(live.turn)
            yield frame("message", view.message_json(live.message, live.seq, live.message.sent_at))
        telling = self._tellings[live.turn]
        if outcome := live.answer or live.error:
            del self._tellings[live.turn]
            self._cursor.end(live.seq)
            async for piece in telling.end(outcome, str(self._cursor)):
                yield piece
            if resets(live.message.text):
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


def resets(text: str) -> bool:
    """Whether that message, once done, leaves another transcript than before."""
    try:
        command = commands.parse(text)
    except BadInput:
        return False
    return command is not None and command.name in RESETTING


def cursor_of(shown: Sequence[Shown]) -> Cursor:
    """The cursor of who has read all this."""
    cursor = Cursor()
    for one in shown:
        if one.answer is not None or one.state in FINAL_STATES:
            cursor.end(one.seq)
        else:
            cursor.open(one.seq)
    return cursor


async def _news(follower: Follower) -> AsyncIterator[list[Live] | None]:
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
