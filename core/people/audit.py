"""The audit log: an append-only table of JSON lines, and the pseudonyms of the people in them.

A line records a proposal, a decision, a change, a run that costs money, a refusal, or an action of
the operator. It contains ids and counts: who asked, which rule allowed it, who decided, and what
was done. It never contains values of rows or texts of messages.

A line is written in the transaction of what it records, so neither exists without the other.

People appear under a pseudonym that only the audit log uses. Forgetting a person destroys the link
to the pseudonym: the lines remain, but no longer identify anybody.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from core.base.errors import PonteError
from core.base.tasks import BackgroundTasks
from core.domain.changes import Change
from core.domain.messages import Address, Person
from core.domain.ports import TransactionStep
from core.store.database import (
    ROWS_PER_TRANSACTION,
    Database,
    SqlConnection,
    SqlStore,
    in_batches,
    select_value,
)
from core.store.tables import Index, TableDeclaration, count, integer, text

log = structlog.get_logger("audit")
OPERATOR = Person("operator", "")
"""The person who runs `ponte …` commands on the machine."""
AUDIT_CLOSE_SECONDS = 10.0
_MAX_FACT_CHARACTERS = 200
_ROW_ID = re.compile(r"\d{1,20}|[0-9a-fA-F-]{24,36}|[0-9A-Z]{26}")
"""A number, UUID or ULID, which no person made up."""
HIDDEN_ROW_ID = "-"
"""Replaces the id of a row that is not a number, UUID or ULID.

Such an id is made up by people, for example an e-mail address, and is the value of a cell.
"""
PERSON_FACTS = ("asker", "decider", "undo_asker", "person")
MAX_AUDIT_LOG_CHARACTERS = 100_000_000
MAX_PAGE_LINES = 500
MAX_SCANNED_LINES = 5000
"""The largest number of lines that one page reads, so that it holds others up only briefly."""
LOG_INTERVAL_SECONDS = 5.0
AUDIT_KEYS_TABLE = TableDeclaration(
    name="audit_keys",
    whose="person",
    not_exported="the section `audit` has the lines that it leads to",
    erased="deleted last: until then the person can be found again",
    contents="whose lines of the audit log are whose",
    kept="until the person is forgotten",
    columns=(text("pseudonym"), text("person")),
    key=("pseudonym",),
    indexes=(Index("audit_keys_person", "person"),),
)
AUDIT_TABLE = TableDeclaration(
    name="audit",
    whose="person",
    not_exported="the section `audit` has the lines",
    erased="its lines name nobody once their `audit_keys` are deleted",
    names_nobody=True,
    contents="who asked, decided and did what, by random keys and ids",
    kept="`PONTE_AUDIT_DAYS`; 0, the default, is for ever; the newest 100 MB",
    # `size`: the characters of this line and of all before it. `is_logged`: it was written to the
    # JSON log.
    columns=(integer("id"), text("line"), count("size"), count("is_logged")),
    key=("id",),
    indexes=(Index("audit_unlogged", "id", where="is_logged = 0"),),
    generates_key=True,
    never_reuses_keys=True,
)


class Audit(SqlStore):
    """Writes and reads the audit log of an installation. Methods raise NotStored."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._lock = asyncio.Lock()
        self._background = BackgroundTasks("audit")

    def note(self, event: str, asker: Person, address: Address | None = None, **facts: str) -> None:
        """The line is written in the background, after those noted before. A failure is only
        logged, so what the line records must not depend on it."""
        step = audit_step(event, asker, address, **facts)
        self._background.start(self._write_or_log(event, step))

    async def write_note(
        self, event: str, asker: Person, address: Address | None = None, **facts: str
    ) -> None:
        """The line is written after those that `note` began to write."""
        # Tasks start in the order of their creation.
        await asyncio.create_task(self._write(audit_step(event, asker, address, **facts)))

    async def forget(self, person: str) -> None:
        """Waits for pending lines first, because a line could create a pseudonym again."""
        # In a task, because tasks start in the order of their creation: after those of `note`.
        await asyncio.create_task(self._wait_for_pending())
        await self._execute("DELETE FROM audit_keys WHERE person = ?", person)

    async def read(
        self,
        before: str = "",
        *,
        since: str = "",
        until: str = "",
        person: str = "",
        event: str = "",
    ) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Return a page of lines, newest first, and the start of the next page ("" at the end).
        Pseudonyms are replaced by person keys, except for forgotten people. `since` (inclusive) and
        `until` (exclusive) are moments in the format of the lines. `person` is a key, a pseudonym,
        or `platform:ID`."""
        # Tasks start in the order of their creation, so this one waits for all lines noted before.
        await asyncio.create_task(self._wait_for_pending())
        event_part = f'"event": {json.dumps(event)}' if event else ""

        def read_page(connection: SqlConnection) -> tuple[Sequence[Mapping[str, Any]], str]:
            """A page scans at most MAX_SCANNED_LINES, so it can be short or empty and still not be
            the last one."""
            sql = "SELECT pseudonym, person FROM audit_keys"
            people = {row["pseudonym"]: row["person"] for row in connection.execute(sql)}
            # An empty text is in each line: without a person, all lines fit.
            names = [json.dumps(person) if person else ""]
            for pseudonym, key in people.items():
                # A person may be named without their workspace, as in `slack:U1`.
                if person in (key, re.sub(":.*:", ":", key)):
                    names.append(f'"{pseudonym}"')
            sql = "SELECT id, line FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"
            rows = connection.execute(sql, (int(before or 1 << 62), MAX_SCANNED_LINES)).fetchall()
            hits = [
                row
                for row in rows
                # The time has a fixed place: {"at": "2026-11-20T08:30:00.000+00:00". Without
                # `until`, "~" is the bound, because it sorts after all digits.
                if since <= row["line"][8:37] < (until or "~")
                and event_part in row["line"]
                and any(name in row["line"] for name in names)
            ]
            page = hits[:MAX_PAGE_LINES]
            # A full page ends at its last line, a scan that found less at the last line that it
            # read.
            end = page[-1:] if len(hits) > len(page) else rows[MAX_SCANNED_LINES - 1 :]
            lines = [_replace_people(json.loads(row["line"]), people) for row in page]
            return lines, "".join(str(row["id"]) for row in end)

        return await self._database.read(read_page)

    @in_batches
    def purge(self, connection: SqlConnection, before: str = "") -> int:
        """Delete the lines written before that moment (in the format of the lines), and the oldest
        ones over MAX_AUDIT_LOG_CHARACTERS. Return how many there were.

        `size` is the number of characters of a line and of all before it, so no sum is needed. The
        time of a line has a fixed place in its JSON, from the ninth character. This statement is
        repeated in new transactions (`in_batches`) until it deletes nothing."""
        # No time is before "", so then only the size counts.
        return connection.execute(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?)"
            " AND (substr(line, 9, 29) < ?"
            " OR size <= (SELECT size - ? FROM audit ORDER BY id DESC LIMIT 1))",
            (ROWS_PER_TRANSACTION, before, MAX_AUDIT_LOG_CHARACTERS),
        ).rowcount

    async def copy_to_log(self) -> None:
        """Collectors of logs read only Ponte's own log. A line can be logged twice after a crash;
        its number tells."""
        while True:
            try:
                while await self.log_new_lines():
                    pass
            except PonteError as error:
                log.warning("could not copy the audit log to this log", error=str(error))
            await asyncio.sleep(LOG_INTERVAL_SECONDS)

    async def log_new_lines(self) -> int:
        """Lines are marked after they are logged: a crash in between logs them twice and loses
        none."""
        rows = await self._database.read(
            lambda c: c.execute(
                "SELECT id, line FROM audit WHERE is_logged = 0 ORDER BY id LIMIT ?",
                (ROWS_PER_TRANSACTION,),
            ).fetchall()
        )
        for row in rows:
            line = json.loads(row["line"])
            # structlog has its own `event`, the text "audit".
            log.info("audit", number=row["id"], audit_event=line.pop("event"), **line)
        ids = [(row["id"],) for row in rows]
        sql = "UPDATE audit SET is_logged = 1 WHERE id = ?"
        if ids:
            await self._database.write(lambda c: c.executemany(sql, ids))
        return len(rows)

    async def close(self) -> None:
        await self._background.close(AUDIT_CLOSE_SECONDS)

    async def _write(self, step: TransactionStep) -> None:
        async with self._lock:
            await self._database.write(step)

    async def _wait_for_pending(self) -> None:
        # Each line holds the lock while it is written. Callers start this as a task, because tasks
        # start in the order of their creation: all lines noted before come first.
        async with self._lock:
            pass

    async def _write_or_log(self, event: str, step: TransactionStep) -> None:
        try:
            await self._write(step)
        except PonteError as error:
            log.error("could not write to the audit log", lost_event=event, error=str(error))


def audit_step(
    event: str, asker: Person, address: Address | None = None, **facts: str
) -> TransactionStep:
    """The step runs in the transaction of what the line records, so that neither is stored without
    the other."""
    fields = {
        "at": _format_now(),  # first, because `purge` and `read` find it by its place in the line
        "event": event,
        "asker": asker.key,
        "person": "",  # `facts` may replace it; empty facts are not stored
        "api_token": asker.api_token,
        **{name: value[:_MAX_FACT_CHARACTERS] for name, value in facts.items()},
        "place": place_of(address) if address else "",
    }
    return lambda connection: _insert_line(connection, fields)


def add_change_line(
    connection: SqlConnection,
    event: str,
    change: Change,
    rule: str = "",
    undo_asker: Person | None = None,
) -> None:
    """Write a line about a change, in the transaction of what it records: ids and counts of rows,
    never their values. `unknown_rows` are the numbers, from 1, of rows of which it is not known
    whether they were written. `undo_asker` is the person who undoes the change, if the line records
    that."""
    proposal, draft, view = change.proposal, change.draft, change.draft.view
    # A post goes to a channel (`slack:T1:C1`), or to a person (`slack:U1`), who is left out.
    channel = view.place if view.place.count(":") == 2 else ""
    # Each id once, in order: several steps can write one row.
    row_ids = dict.fromkeys(step.write.id for step in change.written_steps)
    fields = {
        "at": _format_now(),  # first, because `purge` finds it by its place in the line
        "event": f"change-{event}",
        "change": change.id,
        "revision": proposal.revision,
        "undone_change": proposal.undone_change,
        "state": change.state,
        "asker": proposal.asker.key,
        "decider": change.decider.key if change.decider else "",
        "undo_asker": undo_asker.key if undo_asker else "",
        "rule": rule,
        "place": place_of(proposal.address),
        "api_token": proposal.asker.api_token,
        "system": draft.applier,
        "kind": draft.kind,
        "table": view.table_id or channel,
        "command": view.slug,
        "row_count": len(change.rows),
        # An id that people made up is the value of a cell.
        "written_row_ids": [id if _ROW_ID.fullmatch(id) else HIDDEN_ROW_ID for id in row_ids],
        "unknown_rows": [
            number
            for number, steps in enumerate(change.rows, 1)
            if any(step.state == "unknown" for step in steps)
        ],
    }
    _insert_line(connection, fields)


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _insert_line(connection: SqlConnection, fields: Mapping[str, object]) -> None:
    people = {str(fields[name]) for name in PERSON_FACTS if ":" in str(fields.get(name, ""))}
    # All transactions assign in the same order, because each new pseudonym is locked.
    names = {person: assign_pseudonym(connection, person) for person in sorted(people)}
    _insert_lines(connection, [json.dumps(_replace_people(fields, names))])


def _insert_lines(connection: SqlConnection, lines: Sequence[str], is_logged: int = 0) -> None:
    connection.executemany(
        "INSERT INTO audit (line, is_logged, size)"
        " SELECT ?, ?, ? + coalesce((SELECT size FROM audit ORDER BY id DESC LIMIT 1), 0)",
        [(line, is_logged, len(line)) for line in lines],
    )


def place_of(address: Address) -> str:
    """A direct conversation becomes `platform:workspace:direct`, because the id of the channel
    would reveal the other person."""
    parts = [address.platform, address.workspace]
    parts += [address.channel, address.thread] if address.is_shared else ["direct"]
    return ":".join(filter(None, parts))


def _replace_people(line: Mapping[str, object], known: Mapping[str, str]) -> Mapping[str, Any]:
    # `known` maps keys to pseudonyms, or back.
    return {
        name: known.get(str(value), value) if name in PERSON_FACTS else value
        for name, value in line.items()
        if value not in ("", 0, [])
    }


def assign_pseudonym(connection: SqlConnection, person: str) -> str:
    """Create it if it is missing. `person` is a key."""
    # The table does not forbid a second pseudonym; the order then gives all callers the same one.
    sql = "SELECT pseudonym FROM audit_keys WHERE person = ? ORDER BY pseudonym LIMIT 1"
    pseudonym = select_value(connection, sql, person)
    # Locked first, so that two processes never give one person two pseudonyms. Where there is
    # something to lock, another process may have created it before the lock: look again.
    if not pseudonym and connection.lock_key(f"audit:{person}"):
        pseudonym = select_value(connection, sql, person)
    if not pseudonym:
        pseudonym = f"p-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"
        sql = "INSERT INTO audit_keys (pseudonym, person) VALUES (?, ?)"
        connection.execute(sql, (pseudonym, person))
    return str(pseudonym)


async def import_audit_files(database: Database, home: Path) -> None:
    """The files are of Ponte 0.1.0. One that cannot be read or deleted is logged, and the next
    start tries again."""
    files = list_audit_files(home)

    def write(connection: SqlConnection) -> None:
        # With the first line in the table, an earlier start was killed before it deleted the files.
        if not select_value(connection, "SELECT 1 FROM audit WHERE line = ? LIMIT 1", lines[0]):
            # 1: these old lines are not written to the JSON log.
            _insert_lines(connection, lines, is_logged=1)

    try:
        if lines := await asyncio.to_thread(list, _read_lines(files)):
            await database.write(write)
        for path in files:
            path.unlink()
    except OSError as error:
        log.warning("could not import audit.log", error=str(error))


def _read_lines(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        for line in path.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError):  # incomplete, because the machine went down
                if isinstance(json.loads(line), dict):
                    yield line


def list_audit_files(home: Path) -> list[Path]:
    """Ponte 0.1.0 kept nine."""
    names = (*(f"audit.log.{number}" for number in range(9, 0, -1)), "audit.log")
    return [path for name in names if (path := home / name).is_file()]
