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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
    query,
    select_value,
)
from core.store.tables import Index, TableDeclaration, count, integer, text

log = structlog.get_logger("audit")
OPERATOR = Person("operator", "")
"""The person who runs `ponte …` commands on the machine."""
AUDIT_CLOSE_SECONDS = 10.0
"""Seconds that `close` waits for pending lines."""
_MAX_FACT_CHARACTERS = 200
"""Maximum characters of one fact."""
_ROW_ID = re.compile(r"\d{1,20}|[0-9a-fA-F-]{24,36}|[0-9A-Z]{26}")
HIDDEN_ROW_ID = "-"
"""Replaces the id of a row that is not a number, UUID or ULID.

Such an id is made up by people, for example an e-mail address, and is the value of a cell.
"""
PERSON_FACTS = ("asker", "decider", "undo_asker", "person")
"""Facts that hold the key of a person."""
MAX_AUDIT_LOG_CHARACTERS = 100_000_000
"""The size of all lines at which the oldest ones are deleted."""
MAX_PAGE_LINES = 500
"""The largest number of lines in a page."""
MAX_SCANNED_LINES = 5000
"""The largest number of lines that one page reads, so that it holds others up only briefly."""
LOG_INTERVAL_SECONDS = 5.0
"""Seconds between two looks for lines that are not in the log yet."""
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
    """The audit log of an installation. Methods raise NotStored."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._lock = asyncio.Lock()
        self._background = BackgroundTasks("audit")

    def note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        """Write a line in the background, after those noted before. A failure is only logged."""
        step = audit_step(event, asker, address, person=person, **facts)
        self._background.start(self._write_or_log(event, step))

    async def write_note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        """Write a line in a transaction of its own."""
        step = audit_step(event, asker, address, person=person, **facts)
        # Tasks start in the order of their creation: this line comes after those noted before.
        await asyncio.create_task(self._write(step))

    async def forget(self, person: str) -> None:
        """Destroy the link between the person (a key) and their lines.

        Waits for pending lines first, because a line could create a pseudonym again.
        """
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
        or `platform:ID`.
        """
        await asyncio.create_task(self._wait_for_pending())
        people = await self._list_people()
        names = [json.dumps(person)]
        for pseudonym, key in people.items():
            parts = key.split(":")
            # A person may be named without their workspace, as in `slack:U1`.
            if person in (key, f"{parts[0]}:{parts[-1]}"):
                names.append(f'"{pseudonym}"')

        def is_wanted(line: str) -> bool:
            # The time has a fixed place: {"at": "2026-11-20T08:30:00.000+00:00"
            at = line[8:37]
            return (
                since <= at
                and (not until or at < until)
                and (not event or f'"event": {json.dumps(event)}' in line)
                and (not person or any(name in line for name in names))
            )

        lines, following = await self._read_page(int(before or 1 << 62), is_wanted)
        return [_replace_people(json.loads(line), people) for line in lines], following

    @query
    def _read_page(
        self, connection: SqlConnection, before: int, is_wanted: Callable[[str], bool]
    ) -> tuple[Sequence[str], str]:
        """Return the newest wanted lines with a number below `before`, and where the next page
        begins ("" at the end)."""
        sql = "SELECT id, line FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"
        rows = connection.execute(sql, (before, MAX_SCANNED_LINES)).fetchall()
        hits = [row for row in rows if is_wanted(row["line"])]
        page = hits[:MAX_PAGE_LINES]
        last = page[-1] if len(hits) > len(page) else rows[-1] if rows else None
        has_more = last is not None and (len(hits) > len(page) or len(rows) == MAX_SCANNED_LINES)
        return [row["line"] for row in page], str(last["id"]) if last and has_more else ""

    @query
    def _list_people(self, connection: SqlConnection) -> Mapping[str, str]:
        """Return everybody's key by their pseudonym."""
        rows = connection.execute("SELECT pseudonym, person FROM audit_keys")
        return {row["pseudonym"]: row["person"] for row in rows}

    @in_batches
    def purge(self, connection: SqlConnection, before: str = "") -> int:
        """Delete the lines written before that moment (in the format of the lines), and the oldest
        ones over MAX_AUDIT_LOG_CHARACTERS. Return how many there were."""
        total = select_value(connection, "SELECT size FROM audit ORDER BY id DESC LIMIT 1") or 0
        return connection.execute(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?)"
            " AND (substr(line, 9, 29) < ? OR size <= ?)",
            (ROWS_PER_TRANSACTION, before, total - MAX_AUDIT_LOG_CHARACTERS),
        ).rowcount

    async def copy_to_log(self) -> None:
        """Write each new line to the log, until cancelled. A line can be logged twice after a
        crash; its number tells."""
        while True:
            try:
                while await self.log_new_lines():
                    pass
            except PonteError as error:
                log.warning("could not copy the audit log to this log", error=str(error))
            await asyncio.sleep(LOG_INTERVAL_SECONDS)

    async def log_new_lines(self) -> int:
        """Write the oldest lines that are not in the log yet to the log. Return how many."""
        rows = await self._database.read(
            lambda c: c.execute(
                "SELECT id, line FROM audit WHERE is_logged = 0 ORDER BY id LIMIT ?",
                (ROWS_PER_TRANSACTION,),
            ).fetchall()
        )
        for row in rows:
            line = json.loads(row["line"])
            log.info("audit", number=row["id"], audit_event=line.pop("event"), **line)
        ids = [(row["id"],) for row in rows]
        sql = "UPDATE audit SET is_logged = 1 WHERE id = ?"
        if ids:
            await self._database.write(lambda c: c.executemany(sql, ids))
        return len(rows)

    async def close(self) -> None:
        """Write the pending lines, waiting up to `AUDIT_CLOSE_SECONDS`."""
        await self._background.close(AUDIT_CLOSE_SECONDS)

    async def _write(self, step: TransactionStep) -> None:
        async with self._lock:
            await self._database.write(step)

    async def _wait_for_pending(self) -> None:
        """Wait until all lines noted so far are written. Callers start it as a task, because tasks
        start in the order of their creation."""
        async with self._lock:
            pass

    async def _write_or_log(self, event: str, step: TransactionStep) -> None:
        try:
            await self._write(step)
        except PonteError as error:
            log.error("could not write to the audit log", lost_event=event, error=str(error))


def audit_step(
    event: str,
    asker: Person,
    address: Address | None = None,
    *,
    person: str = "",
    **facts: str,
) -> TransactionStep:
    """Return a step that writes a line, for the transaction of what the line records."""
    fields = {
        "at": _format_now(),
        "event": event,
        "asker": asker.key,
        "person": person,
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
    """Write a line about a change, in the transaction of what it records."""
    proposal, draft, view = change.proposal, change.draft, change.draft.view
    # The place of a post is a channel (`slack:T1:C1`) or a person, who is left out.
    channel = view.place if view.place.count(":") == 2 else ""
    row_ids = dict.fromkeys(step.write.id for step in change.written_steps)
    fields = {
        "at": _format_now(),
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
    """Replace people by pseudonyms, and store the line."""
    people = {str(fields[name]) for name in PERSON_FACTS if ":" in str(fields.get(name, ""))}
    line = json.dumps(_replace_people(fields, assign_pseudonyms(connection, sorted(people))))
    _insert_lines(connection, (line,))


def _insert_lines(
    connection: SqlConnection, lines: Iterable[str], *, is_logged: bool = False
) -> None:
    connection.executemany(
        "INSERT INTO audit (line, is_logged, size) SELECT :line, :is_logged, :length"
        " + coalesce((SELECT size FROM audit ORDER BY id DESC LIMIT 1), 0)",
        [{"line": line, "length": len(line), "is_logged": int(is_logged)} for line in lines],
    )


def place_of(address: Address) -> str:
    """Return the place of an event as `platform:workspace:channel:thread`.

    A direct conversation becomes `platform:workspace:direct`, because the id of the channel would
    reveal the other person.
    """
    parts = [address.platform, address.workspace]
    parts += [address.channel, address.thread] if address.is_shared else ["direct"]
    return ":".join(filter(None, parts))


def _replace_people(line: Mapping[str, object], known: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the line with people replaced by their entry in `known`, and without empty values."""
    return {
        name: known.get(str(value), value) if name in PERSON_FACTS else value
        for name, value in line.items()
        if value not in ("", 0, [])
    }


def assign_pseudonyms(connection: SqlConnection, people: Sequence[str]) -> Mapping[str, str]:
    """Return the pseudonyms of these people by their keys, and create those that are missing. The
    order of `people` must be the same in every transaction, because each new one is locked."""
    pseudonyms = _find_pseudonyms(connection, people)
    missing = [person for person in people if person not in pseudonyms]
    # Locked first, so that two processes never give one person two pseudonyms.
    for person in missing:
        connection.lock_key(f"audit:{person}")
    pseudonyms |= _find_pseudonyms(connection, missing)
    for person in missing:
        if person not in pseudonyms:
            pseudonyms[person] = f"p-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"
            sql = "INSERT INTO audit_keys (pseudonym, person) VALUES (?, ?)"
            connection.execute(sql, (pseudonyms[person], person))
    return pseudonyms


def _find_pseudonyms(connection: SqlConnection, people: Collection[str]) -> dict[str, str]:
    """Return the pseudonyms that exist, by the people's keys."""
    pseudonyms = {}
    for person in people:
        sql = "SELECT pseudonym FROM audit_keys WHERE person = ? ORDER BY pseudonym LIMIT 1"
        if pseudonym := select_value(connection, sql, person):
            pseudonyms[person] = pseudonym
    return pseudonyms


async def import_audit_files(database: Database, home: Path) -> None:
    """Move the lines of Ponte 0.1.0's `audit.log` files into the table, then delete the files."""
    files = list_audit_files(home / "audit.log")

    def write(connection: SqlConnection) -> None:
        # With the first line in the table, an earlier start was killed before it deleted the files.
        if not select_value(connection, "SELECT 1 FROM audit WHERE line = ? LIMIT 1", lines[0]):
            _insert_lines(connection, lines, is_logged=True)  # a collector had them

    try:
        if lines := await asyncio.to_thread(lambda: list(_read_lines(files))):
            await database.write(write)
        for path in files:
            path.unlink()
    except OSError as error:
        log.warning("could not import audit.log", error=str(error))


def _read_lines(files: Sequence[Path]) -> Iterator[str]:
    """Yield the complete lines of the files, each a JSON object."""
    for path in files:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with suppress(ValueError):  # incomplete, because the machine went down
                    if isinstance(json.loads(line), dict):
                        yield line.rstrip("\n")


def list_audit_files(path: Path) -> list[Path]:
    """Return the files of the audit log of Ponte 0.1.0, the oldest first."""
    older = [one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit()]
    older.sort(key=lambda one: -int(one.suffix[1:]))
    return [each for each in (*older, path) if each.is_file()]
