"""The embedded journal: what happened to each turn, one transaction a method, in `ponte.db`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from core.errors import Superseded
from core.messages import Answer, Card, Item, Usage
from core.records import (
    Call,
    Entry,
    Forgot,
    Outcome,
    Provenance,
    Remote,
    Shown,
    State,
    Thread,
    Turn,
)
from core.store import changes, forgetting, threads, turns
from core.store.database import Connection, Database

T = TypeVar("T")


class SqliteJournal:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._begun: set[int] = set()
        """Turns that this process took up: only a crash makes a second attempt."""

    async def begin(self, seq: int) -> Turn | None:
        def write(connection: Connection) -> Turn | None:
            turn = turns.begin(connection, seq, again=seq in self._begun)
            if turn is not None:
                self._begun.add(seq)
            return turn

        return await self._database.write(write)

    async def heard(self, turn: Turn, items: Sequence[Item]) -> Sequence[Item]:
        def write(connection: Connection) -> Sequence[Item]:
            if not turns.items_of(connection, turn.seq):
                notes = changes.take_notes(connection, turn.thread)
                turns.add_items(connection, turn, notes, "")
                turns.add_items(connection, turn, items, turn.message.author.key)
                quoted = any(not quote.ours for quote in turn.message.context)
                if turn.message.attachments or quoted:
                    threads.from_outside(connection, turn.thread)
            return turns.items_of(connection, turn.seq)

        return await self._guarded(turn, write)

    async def round_began(self, turn: Turn, number: int, response: str) -> None:
        def write(connection: Connection) -> bool:
            threads.keep(connection, turn.thread, Remote("response", response))
            if not turns.is_current(connection, turn):
                return False  # its id is kept all the same
            connection.execute(
                "INSERT INTO rounds (seq, number, response) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET response = excluded.response",
                (turn.seq, number, response),
            )
            return True

        if not await self._database.write(write):
            raise Superseded

    async def items(
        self, turn: Turn, number: int, items: Sequence[Item], usage: Usage, model: str
    ) -> None:
        def write(connection: Connection) -> None:
            changed = connection.execute(
                "INSERT INTO rounds (seq, number, complete, model) VALUES (?, ?, 1, ?)"
                " ON CONFLICT DO UPDATE SET complete = 1, model = excluded.model"
                " WHERE complete = 0",
                (turn.seq, number, model),
            )
            if changed.rowcount:
                turns.add_items(connection, turn, items, "")
                turns.add_usage(connection, turn.seq, usage)

        await self._guarded(turn, write)

    async def call_started(self, turn: Turn, call: Call) -> None:
        await self._guarded(turn, lambda c: turns.call_started(c, turn, call))

    async def call_known(self, turn: Turn, call_id: str, handle: str) -> None:
        await self._guarded(turn, lambda c: turns.call_known(c, turn, call_id, handle))

    async def call_ended(self, turn: Turn, call_id: str, outcome: Outcome) -> None:
        await self._guarded(turn, lambda c: turns.call_ended(c, turn, call_id, outcome))

    async def answered(self, turn: Turn, answer: Answer) -> None:
        await self._guarded(turn, lambda c: turns.answered(c, turn, answer))

    async def posting(self, turn: Turn, number: int, key: str) -> None:
        def write(connection: Connection) -> None:
            turns.set_post(connection, turn, number, key, "posting")
            connection.execute(
                "UPDATE inbox SET state = 'posting' WHERE seq = ? AND state = 'answered'",
                (turn.seq,),
            )

        await self._guarded(turn, write)

    async def posted(self, turn: Turn, number: int, post: str) -> None:
        await self._database.write(lambda c: turns.post_known(c, turn.seq, number, post))

    async def removed(self, turn: Turn, number: int) -> None:
        await self._database.write(lambda c: turns.post_removed(c, turn.seq, number))

    async def ended(self, turn: Turn, state: State, reason: str = "") -> None:
        message = replace(turn.message, reply_to=replace(turn.message.reply_to, token=""))
        await self._guarded(turn, lambda c: turns.ended(c, turn.seq, message, state, reason))
        self._begun.discard(turn.seq)

    async def put_back(self, turn: Turn) -> None:
        def write(connection: Connection) -> None:
            connection.execute(
                "UPDATE inbox SET attempt = attempt - 1,"
                " state = CASE state WHEN 'running' THEN 'new' ELSE state END WHERE seq = ?",
                (turn.seq,),
            )

        await self._guarded(turn, write)
        self._begun.discard(turn.seq)

    async def remote(self, thread: str, remote: Remote) -> None:
        await self._database.write(lambda c: threads.keep(c, thread, remote))

    async def thread(self, conversation: str) -> Thread:
        return await self._database.write(lambda c: threads.current(c, conversation))

    async def threads(self) -> Sequence[Thread]:
        """Every current thread, newest use first."""
        return await self._database.read(threads.every)

    async def new_thread(self, conversation: str) -> Thread:
        return await self._database.write(lambda c: threads.fresh(c, conversation))

    async def transcript(self, thread: str, before: int | None = None) -> Sequence[Entry]:
        return await self._database.read(lambda c: threads.transcript(c, thread, before))

    async def provenance(self, thread: str, person: str) -> Provenance:
        return await self._database.read(lambda c: threads.provenance(c, thread, person))

    async def last_said(self, thread: str, before: int) -> int:
        """The seq of the last turn before that one with anything in the transcript, else 0."""
        return await self._database.read(lambda c: threads.last_said(c, thread, before))

    async def shown(self, conversation: str, thread: str = "") -> Sequence[Shown]:
        return await self._database.read(lambda c: threads.shown(c, conversation, thread))

    async def turn_of(self, turn: str) -> Shown:
        """Raises NotFound."""
        return await self._database.read(lambda c: threads.shown_turn(c, turn))

    async def stands(self, seq: int, cards: Sequence[Card] = ()) -> Turn | None:
        return await self._database.write(lambda c: turns.stands(c, seq, cards))

    async def seq_of_post(self, post: str) -> int | None:
        """Which turn a post of ours belongs to, by the platform's id of it."""
        return await self._database.read(lambda c: turns.seq_of_post(c, post))

    async def post_removed(self, post: str) -> None:
        await self._database.write(lambda c: turns.own_post_removed(c, post))

    async def author(self, seq: int) -> str:
        return await self._database.read(lambda c: threads.author(c, seq))

    async def owner(self, conversation: str) -> str:
        return await self._database.read(lambda c: threads.owner(c, conversation))

    async def forget(self, conversation: str) -> Forgot:
        return await self._database.write(lambda c: forgetting.forget(c, conversation))

    async def forgettable(self, idle_since: float) -> Sequence[str]:
        """Conversations that nobody used since then."""
        return await self._database.read(lambda c: forgetting.idle(c, idle_since))

    async def of_person(self, person: str) -> Sequence[str]:
        """The conversations in which a person (by key) said something."""
        return await self._database.read(lambda c: forgetting.of_person(c, person))

    async def to_erase(self) -> Sequence[Remote]:
        return await self._database.read(forgetting.to_erase)

    async def unerasable(self) -> Sequence[Remote]:
        return await self._database.read(forgetting.unerasable)

    async def erased(self, remote: Remote, done: bool) -> None:
        await self._database.write(lambda c: forgetting.erased(c, remote, done))

    async def _guarded(self, turn: Turn, work: Callable[[Connection], T]) -> T:
        def checked(connection: Connection) -> T:
            if not turns.is_current(connection, turn):
                raise Superseded
            return work(connection)

        return await self._database.write(checked)
