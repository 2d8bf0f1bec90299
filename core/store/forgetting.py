"""The SQL of forgetting: what a person said is blanked; what only servers hold is listed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from core.messages import Answer, Message, decode, encode
from core.records import Forgot, Remote
from core.store import changes
from core.store.database import Connection

MAX_TRIES = 20
"""Tries to erase one thing on a server before it is listed as not erasable."""


def forget(connection: Connection, conversation: str) -> Forgot:
    """Raise the generation (older turns can commit nothing more) and blank every body."""
    rows = connection.execute(
        "SELECT seq, state, message FROM inbox WHERE conversation = ?"
        " AND (NOT decision OR state NOT IN ('new', 'running', 'answered', 'posting'))",
        (conversation,),
    ).fetchall()
    for row in rows:
        _blank(connection, row["seq"], decode(Message, row["message"]))
    connection.execute(
        "DELETE FROM items WHERE thread IN (SELECT id FROM threads WHERE conversation = ?)",
        (conversation,),
    )  # also of turns whose row was purged
    changes.forget(connection, conversation)
    threads = connection.execute(
        "SELECT id FROM threads WHERE conversation = ?", (conversation,)
    ).fetchall()
    generation = _raise_generation(connection, conversation)
    files = connection.execute(
        "DELETE FROM files WHERE conversation = ? RETURNING id", (conversation,)
    ).fetchall()
    return Forgot(
        generation=generation,
        messages=len(rows),
        running=tuple(r["seq"] for r in rows if r["state"] in ("running", "answered", "posting")),
        files=tuple(row["id"] for row in files),
        threads=tuple(row["id"] for row in threads),
    )


def idle(connection: Connection, since: float) -> Sequence[str]:
    """Not used since then, with something to forget and nothing that waits for an answer."""
    rows = connection.execute(
        "SELECT conversation FROM conversations AS c WHERE used_at < ? AND NOT EXISTS ("
        " SELECT 1 FROM inbox WHERE inbox.conversation = c.conversation"
        " AND state IN ('new', 'running', 'answered', 'posting')"
        ") AND (EXISTS (SELECT 1 FROM inbox WHERE inbox.conversation = c.conversation"
        " AND state != 'withdrawn') OR EXISTS (SELECT 1 FROM threads JOIN items"
        " ON items.thread = threads.id WHERE threads.conversation = c.conversation))",
        (since,),
    )
    return [row["conversation"] for row in rows]


def of_person(connection: Connection, person: str) -> Sequence[str]:
    rows = connection.execute(
        "SELECT conversation FROM inbox WHERE person = :person AND state != 'withdrawn'"
        " UNION SELECT conversation FROM items JOIN threads ON threads.id = items.thread"
        " WHERE person = :person UNION SELECT conversation FROM files WHERE person = :person"
        " ORDER BY conversation",
        {"person": person},
    )
    return [row["conversation"] for row in rows]


def to_erase(connection: Connection) -> Sequence[Remote]:
    rows = connection.execute("SELECT kind, id FROM remotes WHERE erase = 1 ORDER BY tries, at")
    return [Remote(row["kind"], row["id"]) for row in rows]


def unerasable(connection: Connection) -> Sequence[Remote]:
    rows = connection.execute("SELECT kind, id FROM remotes WHERE erase = 2 ORDER BY at")
    return [Remote(row["kind"], row["id"]) for row in rows]


def erased(connection: Connection, remote: Remote, done: bool) -> None:
    """Done rows go; others are tried again, and after MAX_TRIES only listed (erase = 2)."""
    key = (remote.kind, remote.id)
    if done:
        connection.execute("DELETE FROM remotes WHERE kind = ? AND id = ?", key)
        return
    connection.execute(
        "UPDATE remotes SET tries = tries + 1, erase = CASE WHEN tries + 1 >= ? THEN 2 ELSE 1 END"
        " WHERE kind = ? AND id = ?",
        (MAX_TRIES, *key),
    )


def _blank(connection: Connection, seq: int, message: Message) -> None:
    """The row stays, so that its event is still known; nothing that was said does."""
    bare = replace(message, text="", attachments=(), context=(),
                   author=replace(message.author, name=""),
                   reply_to=replace(message.reply_to, token=""))  # fmt: skip
    answer = encode(Answer(text="", code="forgotten"))
    connection.execute(
        "UPDATE inbox SET message = ?, reason = '', thread = '',"
        " answer = CASE WHEN answer IS NULL THEN NULL ELSE ? END,"
        " state = 'withdrawn', updated = ? WHERE seq = ?",
        (encode(bare), answer, time.time(), seq),
    )
    connection.execute("DELETE FROM calls WHERE seq = ?", (seq,))


def _raise_generation(connection: Connection, conversation: str) -> int:
    old = connection.execute(
        "SELECT id FROM threads WHERE conversation = ?", (conversation,)
    ).fetchall()
    for row in old:
        connection.execute("UPDATE remotes SET erase = 1 WHERE thread = ?", (row["id"],))
    connection.execute("DELETE FROM threads WHERE conversation = ?", (conversation,))
    row = connection.execute(
        "UPDATE conversations SET generation = generation + 1, thread = hex(randomblob(8)),"
        " used_at = ? WHERE conversation = ? RETURNING generation, thread",
        (time.time(), conversation),
    ).fetchone()
    if row is None:
        return 0
    connection.execute(
        "INSERT INTO threads (id, conversation, generation, started) VALUES (?, ?, ?, ?)",
        (row["thread"], conversation, row["generation"], time.time()),
    )
    return int(row["generation"])
