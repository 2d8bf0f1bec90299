"""Close the unfinished work in a home that was restored from a backup.

A backup shows one moment. Work that was unfinished then has most likely ended since: the message
was answered, the proposal approved. Continuing it would do it a second time, so all of it is
closed.

Closing posts nothing. The author of a message is notified with their next message in that
conversation, and cards stay as they are in their channels. The rows of a partly applied change are
recorded as unknown.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.base.errors import RESTORED_REASON, Restored, Superseded
from core.base.i18n import use_locale
from core.changes.ledger import SqlLedger
from core.domain.messages import Answer
from core.journal.journal import Journal
from core.journal.tables import IS_OPEN
from core.schedules.rows import close_schedules
from core.store.database import Database, SqlConnection, select_values

_RESTORED = (
    "The proposal {id} does not count any more: this system was set back to a backup in which "
    "nobody had decided on it. Whether it was carried out since is not known here; read the rows "
    "before you propose it again."
)


@dataclass(frozen=True, slots=True)
class ClosedCounts:
    """The numbers of unfinished turns and open proposals that were closed."""

    turns: int
    proposals: int


async def close_unfinished(database: Database) -> ClosedCounts:
    """Close all unfinished turns, open proposals and changes that are being applied.

    Call it before anything else uses the database. Raises NotStored.
    """
    journal, ledger = Journal(database), SqlLedger(database)
    open_turns = await database.read(
        lambda c: select_values(c, f"SELECT seq FROM inbox WHERE {IS_OPEN} ORDER BY seq")  # noqa: S608
    )
    for seq in open_turns:
        await _close_turn(database, journal, seq)
    waiting = await ledger.list_waiting_for_people()
    for change in waiting:
        note = _RESTORED.format(id=change.id)
        await ledger.record_drawn(
            await ledger.close(change.id, "withdrawn", None, note, time.time())
        )
    await database.write(_mark_unknown)
    # Since the backup, runs may have taken place, and schedules may have been deleted.
    await database.write(lambda c: close_schedules(c, time.time()))
    return ClosedCounts(len(open_turns), len(waiting))


async def _close_turn(database: Database, journal: Journal, seq: int) -> None:
    """End a turn as undeliverable, with an apology as its answer if it has none."""
    try:
        if turn := await journal.begin(seq):
            if turn.answer is None:
                with use_locale(turn.message.locale):
                    words = Restored().words()
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
    """Mark unwritten rows of partly applied changes as unknown, and drop pending notifications.

    Since the backup, these rows may have been written and these notifications sent.
    """
    connection.execute(
        "UPDATE steps SET state = 'unknown' WHERE state IN ('waiting', 'writing')"
        " AND change IN (SELECT id FROM changes WHERE state = 'applying')"
    )
    connection.execute("UPDATE outbox SET state = 'refused' WHERE state IN ('new', 'posting')")
