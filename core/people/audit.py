"""The audit log: an append-only list of JSON lines, in files or in a table that several processes
share, and the pseudonyms of the people in them.

A line records a proposal, a decision, a change, a run that costs money, a refusal, or an action of
the operator. It contains ids and counts: who asked, which rule allowed it, who decided, and what
was done. It never contains values of rows or texts of messages.

People appear under a pseudonym that only the audit log uses. Forgetting a person destroys the link
to the pseudonym: the lines remain, but no longer identify anybody. A line can occur twice after a
crash between the line and the ledger.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import itertools
import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from core.base.errors import AuditRefused, NotStored
from core.base.tasks import BackgroundTasks
from core.domain.changes import Change
from core.domain.messages import Address, Person
from core.store.database import SqlConnection, SqlStore, in_batches, query, select_value
from core.store.tables import Index, TableDeclaration, integer, text

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
AUDIT_KEYS_TABLE = TableDeclaration(
    name="audit_keys", whose="person",
    not_exported="the section `audit` has the lines that it leads to",
    erased="deleted last: until then the person can be found again",
    contents="whose lines of the audit log are whose", kept="until the person is forgotten",
    columns=(text("pseudonym"), text("person")),
    key=("pseudonym",), indexes=(Index("audit_keys_person", "person"),),
)  # fmt: skip
AUDIT_TABLE = TableDeclaration(
    name="audit", whose="person", shared=True, not_exported="the section `audit` has the lines",
    erased="its lines name nobody once their `audit_keys` are deleted",
    contents="Postgres: as `audit.log` below",
    kept="`PONTE_AUDIT_DAYS`; 0, the default, is for ever",
    columns=(integer("id"), text("line")), key=("id",), generates_key=True,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of lines, oldest first. `next` is the start of the next page, or "" at the end."""

    lines: Sequence[str]
    next: str = ""


class Audit:
    """The audit log of an installation.

    Lines are written one by one, in the order of the calls.
    """

    def __init__(
        self,
        lines: AuditLines,
        keys: SqlPseudonyms,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lines = lines
        self._keys = keys
        self._now = now
        self._lock = asyncio.Lock()
        self._background = BackgroundTasks("audit")

    async def write(
        self, event: str, change: Change, rule: str = "", undo_asker: Person | None = None
    ) -> None:
        """Append a line about a change; it is durable on return. Raises AuditRefused."""
        line = self._start_line(event)
        proposal, draft, view = change.proposal, change.draft, change.draft.view
        # The place of a post is a channel (`slack:T1:C1`) or a person, who is left out.
        channel = view.place if view.place.count(":") == 2 else ""
        row_ids = dict.fromkeys(step.write.id for step in change.written_steps)
        line |= {
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
        await self._write_durably(line)

    def note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        """Append a line in the background. A failure is only logged."""
        self._background.start(
            self._append_or_log(self._note_line(event, asker, address, person, facts))
        )

    async def write_note(
        self, event: str, asker: Person, address: Address | None = None, *, person: str = "",
        **facts: str,
    ) -> None:  # fmt: skip
        """Append a line with the facts of `note`; it is durable on return. Raises AuditRefused."""
        await self._write_durably(self._note_line(event, asker, address, person, facts))

    async def forget(self, person: str) -> None:
        """Destroy the link between the person (a key) and their lines.

        Waits for pending lines first, because a line could create a pseudonym again. Raises
        NotStored.
        """
        await asyncio.create_task(self._wait_for_pending())
        await self._keys.destroy(person)

    async def read(
        self, after: str = "", *, since: str = "", until: str = "", person: str = "",
        event: str = "",
    ) -> tuple[Sequence[Mapping[str, Any]], str]:  # fmt: skip
        """Return a page of lines, oldest first, and the start of the next page ("" at the end).

        Pseudonyms are replaced by person keys, except for forgotten people. `since` (inclusive) and
        `until` (exclusive) are moments in the format of the lines. `person` is a key, a pseudonym,
        or `platform:ID`. Raises NotStored.
        """
        await asyncio.create_task(self._wait_for_pending())
        people = await self._keys.list_people()
        theirs = [json.dumps(person)]
        for pseudonym, key in people.items():
            parts = key.split(":")
            # A person may be named without their workspace, as in `slack:U1`.
            if person in (key, f"{parts[0]}:{parts[-1]}"):
                theirs.append(f'"{pseudonym}"')

        def is_wanted(line: str) -> bool:
            # The time has a fixed place: {"at": "2026-11-20T08:30:00.000+00:00"
            at = line[8:37]
            return (
                since <= at
                and (not until or at < until)
                and (not event or f'"event": {json.dumps(event)}' in line)
                and (not person or any(name in line for name in theirs))
            )

        page = await self._lines.page(after, is_wanted)
        entries = (_replace_people(_parse_line(line), people) for line in page.lines)
        return [line for line in entries if line], page.next

    async def purge(self, before: datetime) -> int:
        """Delete the lines written before that moment. Return how many. Raises NotStored."""
        first = before.astimezone(UTC).isoformat(timespec="milliseconds")
        async with self._lock:
            try:
                # An incomplete line has no time, and counts as old.
                return await self._lines.purge(
                    lambda line: str(_parse_line(line).get("at", "")) < first
                )
            except OSError as error:
                raise NotStored from error

    async def close(self) -> None:
        """Write the pending lines, waiting up to `AUDIT_CLOSE_SECONDS`, and close the storage."""
        await self._background.close(AUDIT_CLOSE_SECONDS)
        await self._lines.close()

    def _start_line(self, event: str) -> dict[str, object]:
        return {"at": self._now().isoformat(timespec="milliseconds"), "event": event}

    def _note_line(
        self, event: str, asker: Person, address: Address | None, person: str,
        facts: Mapping[str, str],
    ) -> Mapping[str, object]:  # fmt: skip
        line = self._start_line(event) | {"asker": asker.key, "person": person}
        line |= {name: value[:_MAX_FACT_CHARACTERS] for name, value in facts.items()}
        place = place_of(address) if address else ""
        return line | {"place": place, "api_token": asker.api_token}

    async def _write_durably(self, line: Mapping[str, object]) -> None:
        try:
            # Tasks start in the order of their creation. As a task, this line comes after the lines
            # of earlier `note` calls.
            await asyncio.create_task(self._append(line))
        except (OSError, NotStored) as error:
            raise AuditRefused(path=self._lines.name, cause=_cause_of(error)) from None

    async def _append(self, line: Mapping[str, object]) -> None:
        """Replace people by pseudonyms and store the line. Raises OSError, NotStored."""
        async with self._lock:
            people = {str(line[name]) for name in PERSON_FACTS if ":" in str(line.get(name, ""))}
            pseudonyms = await self._keys.assign(people) if people else {}
            await self._lines.append(json.dumps(_replace_people(line, pseudonyms)))

    async def _wait_for_pending(self) -> None:
        """Wait until all lines noted so far are written. Callers start it as a task, because tasks
        start in the order of their creation."""
        async with self._lock:
            pass

    async def _append_or_log(self, line: Mapping[str, object]) -> None:
        try:
            await self._append(line)
        except (OSError, NotStored) as error:
            log.error(
                "could not write to the audit log", lost_event=line["event"], error=_cause_of(error)
            )


def place_of(address: Address) -> str:
    """Return the place of an event as `platform:workspace:channel:thread`.

    A direct conversation becomes `platform:workspace:direct`, because the id of the channel would
    reveal the other person.
    """
    parts = [address.platform, address.workspace]
    parts += [address.channel, address.thread] if address.is_shared else ["direct"]
    return ":".join(filter(None, parts))


def _parse_line(line: str) -> Mapping[str, Any]:
    try:
        fields: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return {}  # incomplete, because the machine went down
    return fields


def _replace_people(line: Mapping[str, object], known: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the line with people replaced by their entry in `known`, and without empty values."""
    return {
        name: known.get(str(value), value) if name in PERSON_FACTS else value
        for name, value in line.items()
        if value not in ("", 0, [])
    }


def _cause_of(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


MAX_AUDIT_FILE_BYTES = 10_000_000
"""The size in bytes at which the file is rotated."""
MAX_ROTATED_FILES = 9
"""The number of rotated files beside the current one. `audit.log.1` is the newest of them."""
MAX_PAGE_LINES = 500
"""The largest number of lines in a page."""
MAX_SCANNED_LINES = 5000
"""The largest number of lines that one page reads, because writers wait that long."""


class FileAuditLines:
    """The lines in `audit.log` and its rotated files. One thread reads and writes them, so the
    event loop never waits for the disk."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = MAX_AUDIT_FILE_BYTES,
        max_rotated: int = MAX_ROTATED_FILES,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_rotated = max_rotated
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")

    @property
    def name(self) -> str:
        """Return the path of the current file, for an operator who has to make room there."""
        return str(self._path)

    async def append(self, line: str) -> None:
        """Append a line; it is durable on return. Raise OSError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._append, line)

    async def page(self, after: str, is_wanted: Callable[[str], bool]) -> AuditPage:
        """Return the next wanted lines after the place `after`: a file's inode and an offset in
        bytes, as in `INODE:OFFSET`. A file keeps its inode when it is rotated."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._page, after, is_wanted)

    async def purge(self, is_old: Callable[[str], bool]) -> int:
        """Drop the old lines at the beginning of the log, and return how many there were. A file
        that loses some of its lines is replaced completely or not at all."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._purge, is_old)

    async def close(self) -> None:
        """Wait for the thread's last write, and end it."""
        await asyncio.to_thread(self._thread.shutdown)

    def _append(self, line: str) -> None:
        data = f"{line}\n".encode(errors="replace")
        size = self._path.stat().st_size if self._path.is_file() else 0
        if size and size + len(data) > self._max_bytes:
            path, numbers = self._path, range(1, self._max_rotated + 1)
            names = [path, *(path.with_name(f"{path.name}.{n}") for n in numbers)]
            # From the oldest to the newest, so that none is overwritten before it moves on.
            for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
                if newer.exists():
                    newer.replace(older)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(file).st_size
        try:
            if os.write(file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)  # half a line would spoil the next one
            raise
        finally:
            os.close(file)

    def _purge(self, is_old: Callable[[str], bool]) -> int:
        purged_count = 0
        for path in list_audit_files(self._path):
            with path.open(encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip("\n") for line in file]
            remaining_lines = list(itertools.dropwhile(is_old, lines))
            purged_count += len(lines) - len(remaining_lines)
            if not remaining_lines:
                path.unlink()
                continue
            if len(remaining_lines) < len(lines):
                # Written beside the file and renamed, so that it is replaced completely or not.
                beside = path.with_name("audit.new")
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                with open(os.open(beside, flags, 0o600), "w") as new_file:
                    new_file.writelines(f"{line}\n" for line in remaining_lines)
                    new_file.flush()
                    os.fsync(new_file.fileno())
                beside.replace(path)
            break  # all later files are newer
        return purged_count

    def _page(self, after: str, wanted: Callable[[str], bool]) -> AuditPage:
        page_lines, scanned_count = list[str](), 0
        inode, _, offset = after.partition(":")
        paths = list_audit_files(self._path)
        inodes = [str(path.stat().st_ino) for path in paths]
        # If the file of `after` was purged meanwhile, it was the oldest one.
        first = inodes.index(inode) if inode in inodes else 0
        for path, number in list(zip(paths, inodes, strict=True))[first:]:
            with path.open("rb") as file:
                file.seek(int(offset) if number == inode else 0)
                for data in file:
                    scanned_count += 1
                    line = data.decode(errors="replace").rstrip("\n")
                    if wanted(line):
                        page_lines.append(line)
                    if len(page_lines) == MAX_PAGE_LINES or scanned_count == MAX_SCANNED_LINES:
                        return AuditPage(page_lines, f"{number}:{file.tell()}")
        return AuditPage(page_lines)


class TableAuditLines(SqlStore):
    """The lines in the table `audit` of a database that several processes share."""

    name = "the table audit"
    """The name of the log in messages to the operator."""

    async def append(self, line: str) -> None:
        """Append a line. Raise NotStored."""
        await self._execute("INSERT INTO audit (line) VALUES (?)", line)

    @query
    def page(
        self, connection: SqlConnection, after: str, is_wanted: Callable[[str], bool]
    ) -> AuditPage:
        """Return the next wanted lines after the place `after`, which is a row's id."""
        rows = connection.execute(
            "SELECT id, line FROM audit WHERE id > ? ORDER BY id LIMIT ?",
            (int(after or 0), MAX_SCANNED_LINES),
        ).fetchall()
        hits = [row for row in rows if is_wanted(row["line"])]
        # The next page begins after the last line of this one, or after the last one that was read.
        more = len(rows) == MAX_SCANNED_LINES or len(hits) > MAX_PAGE_LINES
        last = (
            hits[MAX_PAGE_LINES - 1] if len(hits) > MAX_PAGE_LINES else rows[-1] if rows else None
        )
        lines = [row["line"] for row in hits[:MAX_PAGE_LINES]]
        return AuditPage(lines, str(last["id"]) if more and last else "")

    @in_batches
    def purge(self, connection: SqlConnection, is_old: Callable[[str], bool]) -> int:
        """Delete the old lines at the beginning of the log, and return how many there were."""
        rows = connection.execute(
            "SELECT id, line FROM audit ORDER BY id LIMIT ?", (MAX_SCANNED_LINES,)
        ).fetchall()
        old = [row["id"] for row in itertools.takewhile(lambda r: is_old(r["line"]), rows)]
        if old:
            connection.execute("DELETE FROM audit WHERE id <= ?", (old[-1],)).close()
        return len(old)

    async def close(self) -> None:
        """Do nothing: the owner of the database closes it."""


AuditLines = FileAuditLines | TableAuditLines
"""The storage of the lines."""


class SqlPseudonyms(SqlStore):
    """The pseudonyms of people in the audit log, in the table `audit_keys`."""

    async def assign(self, people: Collection[str]) -> Mapping[str, str]:
        """Return the pseudonyms of these people by their keys, and create those that are missing.
        Raise NotStored."""
        sorted_people = sorted(people)  # one order of locks in every transaction
        pseudonyms = await self._database.read(lambda c: _find_pseudonyms(c, sorted_people))
        if all(person in pseudonyms for person in sorted_people):
            return pseudonyms
        return await self._database.write(lambda c: _make_pseudonyms(c, sorted_people))

    @query
    def list_people(self, connection: SqlConnection) -> Mapping[str, str]:
        """Return everybody's key by their pseudonym. Raise NotStored."""
        rows = connection.execute("SELECT pseudonym, person FROM audit_keys")
        return {row["pseudonym"]: row["person"] for row in rows}

    async def destroy(self, person: str) -> None:
        """Delete the pseudonyms of a person (a key). Nobody can tell any more which lines are
        theirs. Raise NotStored."""
        await self._execute("DELETE FROM audit_keys WHERE person = ?", person)


def list_audit_files(path: Path) -> list[Path]:
    """Return the log's files, the oldest first."""
    older = [one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit()]
    older.sort(key=lambda one: -int(one.suffix[1:]))
    return [each for each in (*older, path) if each.is_file()]


def _find_pseudonyms(connection: SqlConnection, people: Collection[str]) -> dict[str, str]:
    """Return the pseudonyms that exist, by the people's keys."""
    pseudonyms = {}
    for person in people:
        sql = "SELECT pseudonym FROM audit_keys WHERE person = ? ORDER BY pseudonym LIMIT 1"
        if pseudonym := select_value(connection, sql, person):
            pseudonyms[person] = pseudonym
    return pseudonyms


def _make_pseudonyms(connection: SqlConnection, people: Collection[str]) -> dict[str, str]:
    """Return the pseudonyms of all these people, and create those that are missing."""
    # Locked first, so that two processes never give one person two pseudonyms.
    for person in people:
        connection.lock_key(f"audit:{person}")
    pseudonyms = _find_pseudonyms(connection, people)
    for person in people:
        if person not in pseudonyms:
            pseudonyms[person] = f"p-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"
            connection.execute(
                "INSERT INTO audit_keys (pseudonym, person) VALUES (?, ?)",
                (pseudonyms[person], person),
            )
    return pseudonyms
