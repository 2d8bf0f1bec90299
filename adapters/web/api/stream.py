"""Event streams (server-sent events of the HTML standard), and the JSON in them.

`stream_events` is the loop of every stream. `ConversationEvents` sends a conversation to a tab,
`TurnEvents` one turn to a script. A writer gives the events their format: `PageWriter` here, and
`CompletionWriter` in `openai_api.py` for OpenAI's API.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from adapters.web.api.answers import CardState, ChatAnswer, Json, StoredFile
from adapters.web.hub import Follower, Hub, LiveTurn
from adapters.web.page.render import GrowingHtml, render
from core.base.errors import BadInput, NotFound, PonteError
from core.base.i18n import say
from core.base.tasks import cancel_all
from core.changes.card_rows import read_rows
from core.commands import grammar
from core.domain.messages import Address, Answer, Attachment, Card, File, Message, Person, Progress
from core.domain.records import FINAL_STATES, HistoryEntry
from core.journal.journal import Journal

KEEP_ALIVE_SECONDS = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy closes the stream."""
FRAME_INTERVAL_SECONDS = 0.03
"""Shortest time between two events of growing text: a person reads no faster."""
HTML_FRAME_INTERVAL_SECONDS = 0.1
RECONNECT_FRAME = b"retry: 500\n\n"
"""Tells a browser to reconnect after 500 ms. Chromium waits 3 s otherwise."""
KEEP_ALIVE_FRAME = b": still here\n\n"
TRANSCRIPT_RESETTING_COMMANDS = ("new", "forget")
_CODE_BLOCK = re.compile(r"^(`{3,})\n(.*?)\n\1$", re.MULTILINE | re.DOTALL)
_CURSOR = re.compile(r"(\d{1,18}(?:\+\d{1,18}){0,200})(?:@(\w{1,64}))?", re.ASCII)


async def stream_events(
    follower: Follower, source: ConversationEvents | TurnEvents
) -> AsyncIterator[bytes]:
    """Every stream of the server runs in this loop: the page's, that of `POST /chat`, and OpenAI's.
    The follower ends when its visitor loses access or the server stops."""
    async for event in source.begin():
        yield event
    while not source.has_ended:
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                turns = await follower.next_changes()
        except TimeoutError:
            yield KEEP_ALIVE_FRAME
            # No turn has changed, so `on_changes` only writes news of other kinds. Its last call
            # has already read the missed turns from the journal.
            turns, follower.has_missed_turns = [], False
        if follower.closed:
            return
        # `has_missed_turns`: turns that ended unseen are no longer in memory, but in the journal.
        async for event in source.on_changes(turns, follower.has_missed_turns):
            yield event
        # Changes that come during the pause become one event.
        if not source.has_ended:
            await follower.pause(source.interval_seconds)


async def merge_streams(streams: Sequence[AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    """The name of an event gets the number of its stream, as in `0.delta`."""
    # By read of the next event that is under way: the number of its stream. A stream that has ended
    # returns b"", and is not read again.
    reads = {asyncio.ensure_future(anext(stream, b"")): n for n, stream in enumerate(streams)}
    try:
        while reads:
            done, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            for read in done:
                number = reads.pop(read)
                if event := await read:
                    yield event.replace(b"event: ", b"event: %d." % number, 1)
                    reads[asyncio.ensure_future(anext(streams[number], b""))] = number
    finally:
        await cancel_all(reads)


class TurnWriter(Protocol):
    """Writes one turn as server-sent events in the format that its client expects: that of the
    page, or that of OpenAI's API."""

    @property
    def interval_seconds(self) -> float: ...

    def begin(self) -> AsyncIterator[bytes]: ...

    def write_progress(self, progress: Progress) -> AsyncIterator[bytes]: ...

    def write_outcome(self, outcome: Answer | PonteError) -> AsyncIterator[bytes]: ...


@dataclass
class TurnEvents:
    """The stream of one turn until its end, for a script that sent one message. The writer gives
    the events their format."""

    _journal: Journal
    _turn: str
    _writer: TurnWriter
    outcome: Answer | PonteError | None = None
    """Set before the last events are written."""

    @property
    def interval_seconds(self) -> float:
        return self._writer.interval_seconds

    @property
    def has_ended(self) -> bool:
        return self.outcome is not None

    def begin(self) -> AsyncIterator[bytes]:
        return self._writer.begin()

    async def on_changes(self, turns: Sequence[LiveTurn], missed: bool) -> AsyncIterator[bytes]:
        """`missed` says that some turns ended between two calls; the journal has them."""
        # `live` has the answer's text so far (`progress`), or at the end its `outcome`.
        # An entry with cards is about cards that were redrawn after the end.
        changed = (live for live in turns if live.turn == self._turn and not live.cards)
        live = next(changed, None)
        self.outcome = live.outcome if live else None
        if missed and self.outcome is None:
            self.outcome = (await self._journal.history_entry(self._turn)).answer
        if self.outcome is not None:
            async for event in self._writer.write_outcome(self.outcome):
                yield event
        elif live is not None:
            async for event in self._writer.write_progress(live.progress):
                yield event


class PageWriter:
    """Writes one turn as the page's events: `progress`, `delta`, `card`, `file`, `done`, `error`.
    Remembers what was written, so that each call yields only what is new."""

    def __init__(self, turn: str, conversation: str, has_html: bool, turns_before: int = 0) -> None:
        self._turn = turn
        self._conversation = conversation
        self._has_html = has_html
        self._turns_before = turns_before  # turns that run first
        self._text = ""
        self._activity = ""
        self._html = GrowingHtml()
        self.interval_seconds = FRAME_INTERVAL_SECONDS
        """The pause grows with the time that rendering takes."""

    async def begin(self) -> AsyncIterator[bytes]:
        """Name the turn, so that it can be stopped. The text says how many messages are queued
        before this one; "" for none."""
        count, text = self._turns_before, ""
        if count:
            text = say("Messages queued ahead of this one: {count}.", count=count)
        yield format_event("progress", {"turn": self._turn, "text": text})

    async def write_progress(self, progress: Progress) -> AsyncIterator[bytes]:
        """Yield the events for the difference to the progress that was written last."""
        if progress.current_step != self._activity:
            self._activity = progress.current_step
            text = say("Ponte {what}", what=progress.current_step) if progress.current_step else ""
            yield format_event("progress", {"turn": self._turn, "text": text})
        if progress.text != self._text:
            yield format_event("delta", await self._text_change(progress))

    async def write_outcome(self, outcome: Answer | PonteError) -> AsyncIterator[bytes]:
        # A script puts the pieces together, so the last one completes the text of the answer.
        if isinstance(outcome, Answer) and outcome.text_without_cards != self._text:
            whole = Progress(outcome.text_without_cards, placed=outcome.placed)
            yield format_event("delta", await self._text_change(whole))
        async for event in self.write_end(outcome):
            yield event

    async def write_end(self, outcome: Answer | PonteError, id: str = "") -> AsyncIterator[bytes]:
        """Yield the cards, the files and `done`, or `error`. The last event carries `id`:
        on the page the cursor, from which the tab goes on after a lost connection. `_has_html`: the
        client wants HTML too. `outcome.placed` are the tables and charts that Ponte has put into
        the text."""
        if isinstance(outcome, PonteError):
            error = {"code": outcome.code, "message": outcome.words(), "turn": self._turn}
            yield format_event("error", error, id)
            return
        for card in outcome.cards:
            yield format_event("card", {**card_json(card), "turn": self._turn})
        for file in outcome.files:
            yield format_event("file", {**file_json(file), "turn": self._turn})
        html = await render(outcome.text, outcome.placed) if self._has_html else None
        body = answer_json(outcome, self._conversation, self._turn, html)
        yield format_event("done", body, id)

    async def _text_change(self, shown: Progress) -> Json:
        """Return what was added to the text. `reset` is set if the new text replaces the old.
        `shown.placed` are the rows and charts in the text; HTML shows them as tables and charts."""
        text = shown.text
        is_continued = text.startswith(self._text)
        data: Json = {"turn": self._turn, "text": text[len(self._text) :] if is_continued else text}
        if not is_continued:
            data["reset"] = True
        self._text = text
        if self._has_html:
            # The time of rendering grows with the text. The pause between two frames grows with it,
            # so that rendering takes at most an eighth of the time.
            began = time.perf_counter()
            data["html"] = await self._html.render(text, shown.placed)
            seconds = time.perf_counter() - began
            self.interval_seconds = max(HTML_FRAME_INTERVAL_SECONDS, 8 * seconds)
        return data


class ReadCursor:
    """The position up to which a tab has read: the `id:` of events and `Last-Event-ID`.

    `12+14@ab` means that the tab has seen the end of every turn up to seq 12, and of 14, in the
    thread "ab". Turn 13 still runs: a decision overtakes the turn before it. A cursor holds no
    secret, and any process can read it, also after a restart.
    """

    def __init__(
        self, base: int = 0, beyond: frozenset[int] = frozenset(), thread: str = ""
    ) -> None:
        self.thread = thread
        self._base = base
        """Up to this turn, the tab has seen the end of all but those of `_open`."""
        self._ended = set(beyond)
        """Turns after `_base` whose end the tab has seen, although an earlier one still runs."""
        self._open: set[int] = set()
        """Turns whose beginning the tab has seen, and not yet their end."""

    @classmethod
    def parse(cls, text: str) -> ReadCursor | None:
        if (found := _CURSOR.fullmatch(text)) is None:
            return None
        base, *beyond = (int(number) for number in found[1].split("+"))
        return cls(base, frozenset(beyond), found[2] or "")

    @classmethod
    def after(cls, entries: Sequence[HistoryEntry], thread: str) -> ReadCursor:
        """Return the cursor of a tab that has read all of `entries` of `thread`."""
        cursor = cls(thread=thread)
        for entry in entries:
            if _is_over(entry):
                cursor.mark_ended(entry.seq)
            else:
                cursor.mark_running(entry.seq)
        return cursor

    def has_seen(self, seq: int) -> bool:
        return seq in self._ended or (seq <= self._base and seq not in self._open)

    def mark_running(self, seq: int) -> None:
        if not self.has_seen(seq):
            self._open.add(seq)

    def mark_ended(self, seq: int) -> None:
        self._open.discard(seq)
        self._ended.add(seq)

    def __str__(self) -> str:
        # The turn before the first one that still runs, then the later ones that have ended.
        highest = max(self._ended, default=0)
        base = min(self._open) - 1 if self._open else max(self._base, highest)
        beyond = sorted(seq for seq in self._ended if seq > base)
        # `parse` accepts no more. The end of an older one may then be sent twice.
        seen = "+".join(map(str, [base, *beyond[-200:]]))
        return f"{seen}@{self.thread}" if self.thread else seen


class ConversationEvents:
    """The stream of one tab: what it missed since its cursor, then every turn as it happens.

    A tab without a cursor starts now: turns that have already ended are not sent.
    """

    interval_seconds = FRAME_INTERVAL_SECONDS
    has_ended = False

    def __init__(
        self, hub: Hub, address: Address, cursor: ReadCursor | None, has_html: bool, person: Person
    ) -> None:
        self._hub = hub
        self._journal = hub.conversations.journal
        self._conversation = address.channel  # the page's name for it
        self._key = address.conversation  # the journal's name for it
        self._skips_ended = cursor is None
        """A tab without a cursor has just read the conversation, so it gets only turns that still
        run."""
        self._cursor = cursor or ReadCursor()
        self._has_html = has_html
        self._person = person  # the reader, who is told how many requests wait
        self._requests: tuple[str, ...] = ()
        self._writers: dict[str, PageWriter] = {}

    async def begin(self) -> AsyncIterator[bytes]:
        """The missed turns come first, then a `ready` event with the last count of requests."""
        yield RECONNECT_FRAME
        async for event in self._catch_up():
            yield event
        self._requests = self._hub.requests.waiting_for(self._person)
        ready = {"conversation": self._conversation, "requests": len(self._requests)}
        yield format_event("ready", ready, str(self._cursor))
        # The count may be old. A new one, which the stream does not wait for, wakes it.
        self._hub.requests.refresh(self._person)

    async def on_changes(self, turns: Sequence[LiveTurn], missed: bool) -> AsyncIterator[bytes]:
        """`missed`: changes may have been lost, so the journal is read again."""
        if missed:
            async for event in self._catch_up():
                yield event
        for live in turns:
            async for event in self._write_turn(live):
                yield event
        async for event in self._write_requests():
            yield event
        # The slowest of the turns that run decides, because rendering its text takes longest.
        intervals = (writer.interval_seconds for writer in self._writers.values())
        self.interval_seconds = max(intervals, default=FRAME_INTERVAL_SECONDS)

    async def _write_requests(self) -> AsyncIterator[bytes]:
        waiting = self._hub.requests.waiting_for(self._person)
        if waiting != self._requests:
            self._requests = waiting
            yield format_event("requests", {"count": len(waiting)})

    async def _catch_up(self) -> AsyncIterator[bytes]:
        """Yield from the journal the turns that ended unseen, and watch those that run. Yield a
        `reset` if one of them replaced what the tab shows, or if the thread is another one: the tab
        then loads the conversation again.

        `_cursor` is the position up to which the tab has read, `_writers` has for each turn what
        the tab has seen of it. `_skips_ended`: the tab came without a cursor and has just read the
        conversation, so its ended turns are marked as read, and not sent. Of the others it gets the
        cards, which may have been decided while the tab was hidden or had no connection."""
        # The commands `new` and `forget` begin another thread. "": the cursor names none.
        thread = await self._journal.find_thread_id(self._key)
        resets = bool(self._cursor.thread) and self._cursor.thread != thread
        self._cursor.thread = thread
        # The cards as they are now. A stored answer has them as they were when it was given.
        cards = {card.id: card for card in await self._hub.requests.board.changes(self._key)}
        for entry in await self._journal.list_entries(self._key):
            if _is_over(entry):
                is_unseen = not (self._skips_ended or self._cursor.has_seen(entry.seq))
                # A turn with a writer has begun in this tab, which has its message.
                if is_unseen and entry.turn not in self._writers:
                    message = message_json(entry.message, entry.seq, entry.created_at, entry.state)
                    yield format_event("message", message)
                elif entry.answer and not self._skips_ended:
                    for card in replace_cards(entry.answer, cards).cards:
                        yield format_event("card", {**card_json(card), "turn": entry.turn})
                if is_unseen or self._skips_ended:
                    self._cursor.mark_ended(entry.seq)
                if is_unseen:
                    resets = resets or resets_transcript(entry.message)
                    writer = self._writers.pop(entry.turn, None) or self._new_writer(entry.turn)
                # A turn can end without an answer: then only the state of its message tells it.
                if is_unseen and entry.answer is not None:
                    async for event in writer.write_end(
                        replace_cards(entry.answer, cards), str(self._cursor)
                    ):
                        yield event
            # It runs: its events come from the hub.
            elif entry.turn not in self._writers:
                self._cursor.mark_running(entry.seq)
                self._hub.watch(self._key, entry.seq, entry.message)
        if resets:
            yield format_event("reset", {"conversation": self._conversation})
        self._skips_ended = False

    async def _write_turn(self, live: LiveTurn) -> AsyncIterator[bytes]:
        """Yield the events of what changed in one turn: cards that were redrawn, its message for a
        tab that does not have it, its progress or its end."""
        for card in live.cards:
            yield format_event("card", {**card_json(card), "turn": live.turn})
        # An entry with cards says only that these cards of an ended turn have changed.
        if live.cards:
            return
        if live.message is None:  # another process accepted it; the journal has its message
            try:
                entry = await self._journal.history_entry(live.turn)
            except NotFound:  # its row was deleted meanwhile
                return
            live.seq, live.message = entry.seq, entry.message
        # The tab had this turn when it loaded the conversation.
        if self._cursor.has_seen(live.seq):
            return
        self._cursor.mark_running(live.seq)
        if live.turn not in self._writers:
            self._writers[live.turn] = self._new_writer(live.turn)
            message = message_json(live.message, live.seq, live.message.sent_at)
            yield format_event("message", message)
        writer = self._writers[live.turn]
        if outcome := live.outcome:
            # The last event of the turn has the cursor, so that it is not sent again after a
            # reconnection.
            del self._writers[live.turn]
            self._cursor.mark_ended(live.seq)
            if not self._cursor.thread:  # the first turn of a conversation begins its thread
                self._cursor.thread = await self._journal.find_thread_id(self._key)
            async for event in writer.write_end(outcome, str(self._cursor)):
                yield event
            # After `new`, `forget` or a message that was sent again, the tab must read it anew.
            if resets_transcript(live.message):
                yield format_event("reset", {"conversation": self._conversation})
            return
        async for event in writer.write_progress(live.progress):
            yield event

    def _new_writer(self, turn: str) -> PageWriter:
        return PageWriter(turn, self._conversation, self._has_html)


def _is_over(entry: HistoryEntry) -> bool:
    return entry.answer is not None or entry.state in FINAL_STATES


def resets_transcript(message: Message) -> bool:
    """True if the turn of this message replaces or empties the transcript."""
    try:
        command = grammar.parse_message(message)
    except BadInput:
        return False
    resets = command is not None and command.name in TRANSCRIPT_RESETTING_COMMANDS
    return resets or bool(message.replaced_turn)


def format_event(event: str, data: Mapping[str, object], id: str = "") -> bytes:
    # JSON contains no line break, so one `data:` line is enough.
    head = f"id: {id}\n" if id else ""
    text = f"event: {event}\n{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"
    return text.encode(errors="replace")


def file_json(file: File) -> StoredFile:
    return {"name": file.name, "url": f"/files/{file.id}", "type": file.type, "size": file.size}


def attachment_json(attachment: Attachment) -> Json:
    """`url` is missing while its bytes are not stored."""
    body: Json = {"name": attachment.name, "type": attachment.type, "size": attachment.size}
    return body | {"url": f"/files/{attachment.file}"} if attachment.file else body


def _quote_block(block: re.Match[str]) -> str:
    return "\n".join(f"> {line}" for line in block[2].split("\n"))


def card_json(card: Card) -> CardState:
    """The code blocks in a card's text are texts that Ponte did not write, such as the reason of a
    denial. The page and the terminal show these as quotes."""
    # `revision` is that of the proposal on the card, `seq` that of the turn that proposed it.
    return {
        "id": card.id,
        "kind": card.kind,
        "title": card.title,
        "text": _CODE_BLOCK.sub(_quote_block, card.text_with_result),
        "result": card.result,
        "rows": [
            dict(row) | asdict(row_fields)
            for row, row_fields in zip(card.rows, read_rows(card.rows), strict=True)
        ],
        "actions": list(card.actions),
        "label": card.label or say("Approve"),
        "plan": f"/cards/{card.id}/plan" if card.has_plan else "",
        "state": card.state,
        "expires_at": card.expires_at,
        "decided_at": card.decided_at,
        "is_whole": card.is_whole,  # people must see the whole card before they approve it
        "revision": card.revision,
        "seq": card.seq,
    }


def answer_json(
    answer: Answer, conversation: str, turn: str, html: str | None = None
) -> ChatAnswer:
    """Return the body of `POST /chat` and of the event `done`. `html` is the rendered text, None to
    leave it out. A field that has no value is left out, too; an empty `vote` says that the answer
    can be rated."""
    body: ChatAnswer = {
        "response": answer.text_without_cards,
        "conversation": conversation,
        "turn": turn,
        "status": answer.status,
        "files": [file_json(file) for file in answer.files],
        "cards": [card_json(card) for card in answer.cards],
    }
    if answer.code:  # the code of the error with which the turn failed
        body["code"] = answer.code
    if answer.has_own_post:  # the page shows the text of a decision as a message, not on the card
        body["aloud"] = True
    if answer.is_told_elsewhere:
        body["quiet"] = True
    if html is not None:
        body["html"] = html
    if answer.is_rateable:
        body["vote"] = ""
    if answer.can_run_again:
        body["rerun"] = True
    if answer.choices:
        body["choices"] = list(answer.choices)
    return body


def message_json(message: Message, seq: int, at: float, state: str = "new") -> Json:
    """`event_key` is the one that the client sent: by it, a tab recognizes a message that it
    already shows. `make_event_key` has put the person and a colon before it."""
    return {
        "role": "user",
        "turn": message.turn,
        "event_key": message.event_key.partition(":")[2],
        "seq": seq,
        "text": message.text,
        "files": [attachment_json(attachment) for attachment in message.attachments],
        "clicked": message.is_click,
        # A reminder, or the post of an alert: the answer says all of it.
        "unasked": message.origin.data.get("kind") == "post",
        "origin": message.origin.name,
        "replaces": message.replaced_turn,
        "at": at,  # seconds since the epoch
        "state": state,
    }


def replace_cards(answer: Answer, changed: Mapping[str, Card]) -> Answer:
    return replace(answer, cards=tuple(changed.get(card.id, card) for card in answer.cards))
