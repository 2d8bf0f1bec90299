"""One change in the database: its row, its steps, its note. Each function is part of its caller's
transaction; those that read a change by its id raise NotFound."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace

from core.base.errors import NotFound
from core.changes.columns import select_changes, to_columns
from core.domain.changes import (
    FILE_KEY,
    NO_PROPOSAL_SENTENCE,
    ApprovalNotice,
    Change,
    ChangeState,
    ChangeStep,
    Proposal,
    Row,
    new_change_id,
)
from core.domain.messages import Person, decode_json, encode_json
from core.people import notices as outbox
from core.store.database import SqlConnection

_DECISION_COLUMNS = ("decision_seq", "decider", "decided_by", "decided_at", "denial_reason")
_UNCHANGED_COLUMNS = dict.fromkeys((*_DECISION_COLUMNS, "ended_at", "undone_by"))
"""None leaves a column unchanged."""
_NEVER_DRAWN = 1_000_000


def get_change(connection: SqlConnection, id: str) -> Change:
    for change in select_changes(connection, "SELECT * FROM changes WHERE id = ?", (id,)):
        return change
    raise NotFound(NO_PROPOSAL_SENTENCE, id=id)


def get_locked(connection: SqlConnection, id: str) -> Change:
    # The conversation is known only from the row. So if another transaction may have written
    # between the read and the lock, the row is read again.
    change = get_change(connection, id)
    if connection.lock_key(change.proposal.address.conversation):
        change = get_change(connection, id)
    return change


def insert_change(connection: SqlConnection, change: Change, last_notice: str = "") -> Change:
    """Store a new change and return it as stored. If its id is in use, it gets another one. For
    `last_notice`, see the column (tables.py)."""
    while connection.execute("SELECT 1 FROM changes WHERE id = ?", (change.id,)).fetchone():
        change = replace(change, proposal=replace(change.proposal, id=new_change_id()))
    values = to_columns(change, last_notice)
    names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    connection.execute(f"INSERT INTO changes ({names}) VALUES ({marks})", values)  # noqa: S608
    put_steps(connection, change, change.draft.steps)
    if change.proposal.part_of:  # nobody sees a card of it
        sql = "UPDATE changes SET drawn_version = ? WHERE id = ?"
        connection.execute(sql, (_NEVER_DRAWN, change.id)).close()
    return get_change(connection, change.id)


def put_steps(connection: SqlConnection, change: Change, steps: Iterable[ChangeStep]) -> None:
    """For a step that is stored already, only its progress changes (a created row gets its id by
    the write), and not the values to write. `current` is the row as it was read last."""
    rows, now = list[tuple[object, ...]](), time.time()
    for step in steps:
        write, current = step.write, _row_to_json(step.current)
        before, after = _row_to_json(write.before), _row_to_json(write.after)
        values = (write.id, before, after, write.applier_data, step.state)
        # The column `person` has the asker's key, by which core/erasure finds the row.
        key = (change.id, step.number, change.proposal.asker.key)
        rows.append((*key, *values, current, step.explanation, now))
    connection.executemany(
        "INSERT INTO steps (change, number, person, row, before, after, applier_data, state,"
        " current, explanation, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (change, number) DO UPDATE SET"
        " row = excluded.row, applier_data = excluded.applier_data, state = excluded.state,"
        " current = excluded.current, explanation = excluded.explanation,"
        " updated_at = excluded.updated_at",
        rows,
    )


def set_state(
    connection: SqlConnection, id: str, state: ChangeState, **columns: str | int | float
) -> None:
    """Other columns keep their values (a parameter of None). The card is drawn again."""
    connection.execute(
        "UPDATE changes SET state = :state, version = version + 1,"
        " decision_seq = coalesce(:decision_seq, decision_seq),"
        " decider = coalesce(:decider, decider),"
        " decided_by = coalesce(:decided_by, decided_by), decided_at = coalesce(:decided_at,"
        " decided_at),"
        " ended_at = coalesce(:ended_at, ended_at), undone_by = coalesce(:undone_by, undone_by),"
        " denial_reason = coalesce(:denial_reason, denial_reason) WHERE id = :id",
        _UNCHANGED_COLUMNS | {"id": id, "state": state, **columns},
    )


def add_note(connection: SqlConnection, change: Change, note: str) -> None:
    """The model reads it in its next turn in the thread; "" stores nothing."""
    if not note:
        return
    connection.execute(
        "INSERT INTO notes (thread, change, person, text, created_at)"
        # A thread without a row was forgotten.
        " SELECT id, ?, ?, ?, ? FROM threads WHERE id = ?",
        (change.id, change.proposal.asker.key, note, time.time(), change.proposal.thread),
    )


def put_reason(
    connection: SqlConnection, change: Change, decider: Person | None, reason: str
) -> None:
    if reason:
        set_state(connection, change.id, "denied", denial_reason=reason)
        asker = change.proposal.asker
        if decider is not None and decider.key != asker.key:
            outbox.put_notice(connection, ApprovalNotice(change.id, "denied", asker))


def erase_contents(connection: SqlConnection, id: str) -> None:
    """Erase the stored values of a change's rows, and the names of the people who asked for it,
    decided on it or approved it. Ids of rows and keys of people remain, for the audit."""
    erase_rows(connection, id)
    row = connection.execute("SELECT asker, decided_by FROM changes WHERE id = ?", (id,)).fetchone()
    connection.execute(
        "UPDATE changes SET asker = ?, decided_by = ? WHERE id = ?",
        (_without_name(row["asker"]), _without_name(row["decided_by"]), id),
    )
    for consent in connection.execute("SELECT * FROM consents WHERE change = ?", (id,)).fetchall():
        connection.execute(
            "UPDATE consents SET approver = ? WHERE change = ? AND person = ?",
            (_without_name(consent["approver"]), id, consent["person"]),
        )


def erase_rows(connection: SqlConnection, id: str) -> None:
    """Erase the stored values of all rows of a change, and the reason of a denial, which may name
    values. The ids of the rows remain."""
    row = connection.execute("SELECT target FROM changes WHERE id = ?", (id,)).fetchone()
    if FILE_KEY in (target := json.loads(row["target"])):
        del target[FILE_KEY]
        connection.execute("UPDATE changes SET target = ? WHERE id = ?", (json.dumps(target), id))
    connection.execute("UPDATE changes SET denial_reason = '' WHERE id = ?", (id,))
    connection.execute(
        "UPDATE steps SET before = NULL, after = NULL, current = NULL, applier_data = '',"
        " explanation = '' WHERE change = ?",
        (id,),
    )


def find_of_call(connection: SqlConnection, proposal: Proposal) -> Change | None:
    statement = "SELECT * FROM changes WHERE seq = ? AND call_id = ?"
    return next(iter(select_changes(connection, statement, (proposal.seq, proposal.call_id))), None)


def _row_to_json(row: Row | None) -> str | None:
    return None if row is None else json.dumps(dict(row), ensure_ascii=False)


def _without_name(person: str) -> str:
    return encode_json(replace(decode_json(Person, person), name="")) if person else ""
