"""Turns as the journal reads them from their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.domain.messages import Answer, Item, Message, Post, decode_json
from core.domain.records import Outcome, Round, Thread, ToolCall, Turn
from core.store.database import SqlConnection, SqlRow


def read_turn(connection: SqlConnection, row: SqlRow, *, has_records: bool = True) -> Turn:
    """Return the turn of an `inbox` row with its rounds, items, calls, posts and answer.
    `has_records` is False if there can be none but the answer."""
    seq = row["seq"]

    def read(sql: str) -> Sequence[SqlRow]:
        return connection.execute(sql, (seq,)).fetchall() if has_records else ()

    rounds = read("SELECT number, response, is_complete FROM rounds WHERE seq = ? ORDER BY number")
    calls = read("SELECT * FROM calls WHERE seq = ? ORDER BY started_at")
    posts = read("SELECT * FROM posts WHERE seq = ? ORDER BY number")
    # This condition is that of the partial index `inbox_untold`.
    untold = connection.execute(
        "SELECT reason FROM inbox WHERE conversation = ? AND state = 'undeliverable'"
        " AND is_notified = 0 ORDER BY seq DESC LIMIT 1",
        (row["conversation"],),
    ).fetchone()
    return Turn(
        seq=seq, attempt=row["attempt"], generation=row["generation"], thread=row["thread"],
        state=row["state"], message=decode_json(Message, row["message"]),
        rounds=tuple(Round(r["number"], r["response"], bool(r["is_complete"])) for r in rounds),
        items=read_items(connection, seq) if has_records else (),
        calls=tuple(
            ToolCall(
                call_id=call["call_id"], name=call["name"], arguments=call["arguments"],
                effect=call["effect"], handle=call["handle"],
                outcome=decode_json(Outcome, call["outcome"]) if call["outcome"] else None,
            )
            for call in calls
        ),
        posts=tuple(Post(p["number"], p["key"], p["post"], p["state"]) for p in posts),
        answer=decode_json(Answer, row["answer"]) if row["answer"] else None,
        refusal=row["refusal"].partition(":")[0], limit=int(row["refusal"].partition(":")[2] or 0),
        accepted_at=row["created_at"], undelivered_reason=str(untold["reason"]) if untold else "",
    )  # fmt: skip


def turn_begun_by_fetch(seq: int, begun: Mapping[str, Any]) -> Turn:
    """Return the turn of a result of `ponte_begin` (core.journal.shared_statements.py)."""
    refusal, _, limit = begun["refusal"].partition(":")
    record = begun["record"]
    return Turn(
        seq=seq, attempt=1, generation=begun["generation"], thread=begun["thread"],
        state="running", message=decode_json(Message, begun["message"]),
        accepted_at=begun["accepted_at"], refusal=refusal, limit=int(limit or 0),
        undelivered_reason=begun["undelivered_reason"] or "",
        is_thread_new=begun["is_thread_new"],
        thread_record=decode_json(Thread, record) if record else None,
    )  # fmt: skip


def read_items(connection: SqlConnection, seq: int) -> tuple[Item, ...]:
    """Return the transcript items of a turn, oldest first."""
    rows = connection.execute("SELECT item FROM items WHERE seq = ? ORDER BY id", (seq,))
    return tuple(decode_json(Item, row["item"]) for row in rows)
