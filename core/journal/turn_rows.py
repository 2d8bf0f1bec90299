"""Turns as the journal reads them from their rows, and what the workers of a process know of the
turns whose jobs they fetched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
    """Return the turn of a result of `ponte_begin` (core.journal.shared_functions.py)."""
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


WaitForRoom = Callable[[Iterable[str] | None], Awaitable[bool]]
"""Waits until a job of these queues may begin. Returns False if the worker must fetch no more."""


class FetchedTurns:
    """The state that the job manager writes (core/journal/queue_manager.py) and `Jobs` reads.
    `owner` is the id of the process, for which fetched turns begin."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.ids: list[int] = []
        """The ids of the running workers, as in the table `procrastinate_workers`."""
        self.ended: set[int] = set()
        """The `seq` of turns that this process ended. The transaction that ended a turn also
        deleted its job."""
        self.messages: dict[int, tuple[str, float]] = {}
        """The messages of fetched turns that had not begun, as JSON, and when they were stored
        (seconds since 1970), by `seq`."""
        self.begun: dict[int, dict[str, Any]] = {}
        """What `ponte_begin` returned of turns that began with the fetch, by `seq`, until a handler
        takes it."""
        self.has_kernels = False
        """Whether any process may have had a kernel at the last fetch."""
