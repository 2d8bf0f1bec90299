"""The embedded inbox: rows in `ponte.db`, run by this process."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from sqlite3 import Row

from core import commands, metrics
from core.errors import Forgotten
from core.inbox.runner import Runner
from core.messages import Answer, Message, decode, encode
from core.ports import Handler
from core.records import FINAL_STATES, Amended, Receipt
from core.store.database import Connection, Database


class SqliteInbox:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._runner = Runner()

    async def accept(self, message: Message) -> Receipt:
        """Store it; durable on return. Raises NotStored, and then nothing was taken."""
        decision = commands.is_decision(message.text)
        waiting = 0

        def store(connection: Connection) -> tuple[int, bool]:
            return _insert(connection, message, decision)

        def take(stored: tuple[int, bool]) -> None:
            nonlocal waiting
            seq, fresh = stored
            if fresh:
                waiting = self._runner.enqueue(seq, message.address.conversation, decision)

        with metrics.accept_seconds.labels(message.address.platform).time():
            seq, fresh = await self._database.write(store, then=take)
        return Receipt(seq=seq, turn=message.turn, fresh=fresh, waiting=waiting)

    async def amend(self, event_key: str, message: Message | None) -> Amended:
        def wake(amended: tuple[int, Amended]) -> None:
            if message is None:
                self._runner.wake(amended[0])

        return (await self._database.write(lambda c: _amend(c, event_key, message), wake))[1]

    async def answer_of(self, seq: int) -> Answer:
        ended = self._runner.ended(seq)
        while True:
            state, answer = await self._database.read(lambda c: _answer(c, seq))
            if state == "withdrawn":
                raise Forgotten
            if state in FINAL_STATES:
                return answer or Answer("", status="stopped")  # removed before there was one
            await ended.wait()
            ended = self._runner.ended(seq)

    async def run(self, handler: Handler, platforms: Collection[str] = ()) -> None:
        for row in await self._database.read(_unfinished):
            if not platforms or row["conversation"].split(":")[0] in platforms:
                self._runner.enqueue(row["seq"], row["conversation"], bool(row["decision"]))
        self._runner.start(handler)
        await self._runner.until_drained()

    async def cancel(self, seq: int) -> bool:
        if self._runner.cancel(seq):
            return True
        if await self._database.write(lambda c: _withdraw_queued(c, seq)):
            self._runner.wake(seq)
            return True
        return self._runner.cancel(seq)  # it began meanwhile

    def stopped(self, seq: int) -> bool:
        return self._runner.stopped(seq)

    def running(self, conversation: str) -> int | None:
        return self._runner.running(conversation)

    async def drain(self, grace: float) -> None:
        await self._runner.drain(grace)

    async def purge(self, before: float) -> int:
        def delete(connection: Connection) -> int:
            for statement in PURGE[:-1]:
                connection.execute(statement, (before,))
            return connection.execute(PURGE[-1], (before,)).rowcount

        return await self._database.write(delete)


DELETED = "[deleted by its author]"
"""What the model reads where a message was."""
PURGE = (
    "DELETE FROM posts WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
    "DELETE FROM rounds WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
    "DELETE FROM calls WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
    "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox_finished WHERE updated < ?)",
)


def _insert(connection: Connection, message: Message, decision: bool) -> tuple[int, bool]:
    now = time.time()
    row = connection.execute(
        "INSERT INTO inbox (event_key, turn, conversation, person, decision, message, created,"
        " updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING seq",
        (message.event_key, message.turn, message.address.conversation, message.author.key,
         decision, encode(message), now, now),
    ).fetchone()  # fmt: skip
    if row is not None:
        return row["seq"], True
    row = connection.execute(
        "SELECT seq FROM inbox WHERE event_key = ?", (message.event_key,)
    ).fetchone()
    return row["seq"], False


def _amend(connection: Connection, event_key: str, message: Message | None) -> tuple[int, Amended]:
    row = connection.execute(
        "SELECT seq, state, message FROM inbox WHERE event_key = ?", (event_key,)
    ).fetchone()
    if row is None:
        return 0, "unknown"
    seq, state, known = row["seq"], row["state"], decode(Message, row["message"])
    if message is None:
        _withdraw(connection, seq, known, state)
        return seq, "unstarted" if state in ("new", "withdrawn") else "started"
    blank = state == "withdrawn" or not (known.text or known.attachments)
    if blank or message.sent_at < known.sent_at:
        return seq, "unknown"
    text, files, at = message.text, message.attachments, message.sent_at
    _rewrite(connection, seq, replace(known, text=text, attachments=files, sent_at=at))
    return seq, "unstarted" if state == "new" else "started"


def _withdraw(connection: Connection, seq: int, message: Message, state: str) -> None:
    to = message.reply_to if state != "new" else replace(message.reply_to, token="")
    _rewrite(connection, seq, replace(message, text="", attachments=(), context=(), reply_to=to))
    connection.execute("UPDATE inbox SET state = 'withdrawn' WHERE seq = ? AND state = 'new'",
                       (seq,))  # fmt: skip
    if state != "new":
        connection.execute(
            "UPDATE items SET item = json_remove(json_set(item, '$.text', ?), '$.files')"
            " WHERE seq = ? AND json_extract(item, '$.role') = 'user'",
            (DELETED, seq),
        )


def _withdraw_queued(connection: Connection, seq: int) -> bool:
    row = connection.execute(
        "SELECT message FROM inbox WHERE seq = ? AND state = 'new'", (seq,)
    ).fetchone()
    if row is not None:
        _withdraw(connection, seq, decode(Message, row["message"]), "new")
    return row is not None


def _rewrite(connection: Connection, seq: int, message: Message) -> None:
    connection.execute(
        "UPDATE inbox SET message = ?, updated = ?,"
        " decision = CASE state WHEN 'new' THEN ? ELSE decision END WHERE seq = ?",
        (encode(message), time.time(), commands.is_decision(message.text), seq),
    )


def _answer(connection: Connection, seq: int) -> tuple[str, Answer | None]:
    row = connection.execute("SELECT state, answer FROM inbox WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        raise Forgotten
    return row["state"], decode(Answer, row["answer"]) if row["answer"] else None


def _unfinished(connection: Connection) -> list[Row]:
    return connection.execute(
        "SELECT seq, conversation, decision FROM inbox"
        " WHERE state IN ('new', 'running', 'answered', 'posting') ORDER BY decision DESC, seq"
    ).fetchall()
