"""What a home that was put back from a backup does not take up again.

The backup knows a moment, and what was under way then has most likely come to its end since: the
message was answered, the proposal approved. Taken up again, it would happen twice. So each is
closed. Nothing is posted unasked: who asked is told with their next message there, cards stay as
they are in their channels, and whether a half applied change went on is not claimed to be known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.domain.errors import RESTORED_REASON, Restored, Superseded
from core.domain.messages import Answer
from core.store.changes import SqlLedger
from core.store.database import Database, SqlConnection
from core.store.turns import SqlJournal

_RESTORED = (
    "The proposal {id} does not count any more: this system was set back to a backup in which "
    "nobody had decided on it. Whether it was carried out since is not known here; read the rows "
    "before you propose it again."
)


@dataclass(frozen=True, slots=True)
class ClosedCounts:
    """How many were under way."""

    turns: int
    proposals: int


async def close_unfinished(database: Database) -> ClosedCounts:
    """End what was under way, before anything runs. Raises NotStored."""
    journal, ledger = SqlJournal(database), SqlLedger(database)
    open_turns = await database.read(
        lambda c: c.execute(
            "SELECT seq FROM inbox WHERE state IN ('new', 'running', 'answered', 'posting')"
            " ORDER BY seq"
        ).fetchall()
    )
    for row in open_turns:
        await _close_turn(database, journal, row["seq"])
    waiting = await ledger.list_waiting_for_people()
    for change in waiting:
        note = _RESTORED.format(id=change.id)
        await ledger.record_drawn(
            await ledger.close(change.id, "withdrawn", None, note, time.time())
        )
    await database.write(_mark_unknown)
    return ClosedCounts(len(open_turns), len(waiting))


async def _close_turn(database: Database, journal: SqlJournal, seq: int) -> None:
    try:
        if turn := await journal.begin(seq):
            if turn.answer is None:
                words = Restored().words(turn.message.locale or None)
                answer = Answer(words, status="failed", code=RESTORED_REASON)
                await journal.record_answer(turn, answer, None, "")
            await journal.end_turn(turn, "undeliverable", RESTORED_REASON)
    except Superseded:  # its conversation was forgotten while it ran
        await database.write(
            lambda c: c.execute(
                "UPDATE inbox SET state = 'withdrawn' WHERE seq = ?", (seq,)
            ).close()
        )


def _mark_unknown(connection: SqlConnection) -> None:
    """Of a change half applied, all that was not written yet may be by now; and what was to be
    said unasked was."""
    connection.execute(
        "UPDATE steps SET state = 'unknown' WHERE state IN ('waiting', 'writing')"
        " AND change IN (SELECT id FROM changes WHERE state = 'applying')"
    )
    connection.execute("UPDATE outbox SET state = 'refused' WHERE state IN ('new', 'posting')")
