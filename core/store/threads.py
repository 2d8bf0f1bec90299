"""The SQL of threads: which is current, what was said in it, what servers keep for it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from sqlite3 import Row

from core.errors import NotFound
from core.messages import CONTEXT, Answer, Item, Message, decode
from core.records import Entry, Provenance, Remote, Shown, Thread
from core.store.database import Connection


def current(connection: Connection, conversation: str) -> Thread:
    """The conversation's thread, made if there is none; counts as a use of it."""
    row = connection.execute(
        "UPDATE conversations SET used_at = ? WHERE conversation = ?"
        " RETURNING thread, generation, used_at",
        (time.time(), conversation),
    ).fetchone()
    if row is None:
        return fresh(connection, conversation)
    return Thread(conversation, row["thread"], row["generation"], used_at=row["used_at"])


def fresh(connection: Connection, conversation: str) -> Thread:
    """A new thread becomes the current one; the old one stays readable."""
    now, thread = time.time(), secrets.token_hex(8)
    row = connection.execute(
        "INSERT INTO conversations (conversation, thread, used_at) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET thread = excluded.thread, used_at = excluded.used_at"
        " RETURNING generation",
        (conversation, thread, now),
    ).fetchone()
    connection.execute(
        "INSERT INTO threads (id, conversation, generation, started) VALUES (?, ?, ?, ?)",
        (thread, conversation, row["generation"], now),
    )
    return Thread(conversation, thread, row["generation"], used_at=now)


def every(connection: Connection) -> Sequence[Thread]:
    rows = connection.execute("SELECT * FROM conversations ORDER BY used_at DESC")
    return [
        Thread(row["conversation"], row["thread"], row["generation"], used_at=row["used_at"])
        for row in rows
    ]


def keep(connection: Connection, thread: str, remote: Remote) -> None:
    """Remember a server's id; one that comes for a forgotten thread goes onto the erase list."""
    if not remote.id:
        return
    connection.execute(
        "INSERT INTO remotes (kind, id, thread, at, erase) VALUES (?, ?, ?, ?,"
        " NOT EXISTS (SELECT 1 FROM threads WHERE id = ?)) ON CONFLICT DO NOTHING",
        (remote.kind, remote.id, thread, time.time(), thread),
    )


def transcript(connection: Connection, thread: str, before: int | None) -> Sequence[Entry]:
    rows = connection.execute(
        "SELECT seq, item, person, at FROM items WHERE thread = ? AND seq < ? ORDER BY id",
        (thread, before if before is not None else 1 << 62),
    )
    return [Entry(row["seq"], decode(Item, row["item"]), row["person"], row["at"]) for row in rows]


def last_said(connection: Connection, thread: str, before: int) -> int:
    row = connection.execute(
        "SELECT max(seq) AS seq FROM items WHERE thread = ? AND seq < ?", (thread, before)
    ).fetchone()
    return int(row["seq"] or 0)


def shown(connection: Connection, conversation: str, thread: str) -> Sequence[Shown]:
    """Exchanges of one thread; a message that no turn took up yet belongs to the current one.

    Of decisions, those whose answer says more than the card does.
    """
    row = connection.execute(
        "SELECT thread FROM conversations WHERE conversation = ?", (conversation,)
    ).fetchone()
    current = row["thread"] if row else ""
    rows = connection.execute(
        "SELECT * FROM inbox WHERE conversation = :conversation"
        " AND (NOT decision OR iif(json_valid(answer), json_extract(answer, '$.aloud'), 0))"
        " AND state != 'withdrawn' AND coalesce(nullif(thread, ''), :current) IS :thread"
        " ORDER BY seq",
        {"conversation": conversation, "current": current, "thread": thread or current},
    )
    return [_shown(row) for row in rows]


def shown_turn(connection: Connection, turn: str) -> Shown:
    row = connection.execute("SELECT * FROM inbox WHERE turn = ?", (turn,)).fetchone()
    if row is None:
        raise NotFound(what="turn")
    return _shown(row)


def from_outside(connection: Connection, thread: str) -> None:
    """Something that its people did not write is in the thread now, and stays in it."""
    connection.execute("UPDATE threads SET outside = 1 WHERE id = ?", (thread,))


def provenance(connection: Connection, thread: str, person: str) -> Provenance:
    row = connection.execute(
        "SELECT outside OR EXISTS (SELECT 1 FROM items WHERE thread = :thread"
        " AND person NOT IN ('', :person)) AS outside FROM threads WHERE id = :thread",
        {"thread": thread, "person": person},
    ).fetchone()
    written = connection.execute(
        "SELECT json_extract(item, '$.text') AS text FROM items WHERE thread = ? AND person = ?"
        " AND coalesce(json_extract(item, '$.name'), '') != ? AND text LIKE '%.%'",
        (thread, person, CONTEXT),
    )
    return Provenance(row is None or bool(row["outside"]), tuple(one["text"] for one in written))


def author(connection: Connection, seq: int) -> str:
    row = connection.execute("SELECT person FROM inbox WHERE seq = ?", (seq,)).fetchone()
    return row["person"] if row else ""


def owner(connection: Connection, conversation: str) -> str:
    """Who began the current thread."""
    row = connection.execute(
        "SELECT items.person FROM items JOIN conversations USING (thread)"
        " WHERE conversation = ? AND items.person != '' ORDER BY items.id LIMIT 1",
        (conversation,),
    ).fetchone()
    return row["person"] if row else ""


def _shown(row: Row) -> Shown:
    answer = decode(Answer, row["answer"]) if row["answer"] else None
    message = decode(Message, row["message"])
    return Shown(row["seq"], row["turn"], row["state"], message, answer, row["created"])
