"""The storage of the audit log: its lines, in files or in a table that several processes share, and
the pseudonyms of the people in them."""

from __future__ import annotations

import asyncio
import base64
import errno
import itertools
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.people.audit import AuditPage
from core.store.database import (
    SqlConnection,
    SqlStore,
    in_batches,
    query,
    select_value,
)

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
        """Return the path of the current file."""
        return str(self._path)

    async def append(self, line: str) -> None:
        """Append a line and write it to disk. Raise OSError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._append, line)

    async def page(self, after: str, is_wanted: Callable[[str], bool]) -> AuditPage:
        """Return the next wanted lines after the place `after`: a file's inode and an offset in
        bytes, as in `INODE:OFFSET`. A file keeps its inode when it is rotated."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._page, after, is_wanted)

    async def purge(self, is_old: Callable[[str], bool]) -> int:
        """Drop the old lines at the beginning of the log, and return how many there were. A file
        that loses some of its lines is replaced completely or not at all."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._purge, is_old)

    async def close(self) -> None:
        """Wait for the thread's last write, and end it."""
        await asyncio.to_thread(self._thread.shutdown)

    def _append(self, line: str) -> None:
        data = f"{line}\n".encode(errors="replace")
        size = self._path.stat().st_size if self._path.is_file() else 0
        if size and size + len(data) > self._max_bytes:
            self._rotate()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write_whole(file, data)
        finally:
            os.close(file)

    def _rotate(self) -> None:
        names = [
            self._path,
            *(_rotated_path(self._path, n) for n in range(1, self._max_rotated + 1)),
        ]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)

    def _purge(self, is_old: Callable[[str], bool]) -> int:
        gone = 0
        for path in list_audit_files(self._path):
            with path.open(encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip("\n") for line in file]
            kept = list(itertools.dropwhile(is_old, lines))
            gone += len(lines) - len(kept)
            if not kept:
                path.unlink()
                continue
            if len(kept) < len(lines):
                _replace_file(path, kept)
            break  # all later files are newer
        return gone

    def _page(self, after: str, wanted: Callable[[str], bool]) -> AuditPage:
        found = list[str]()
        for count, (line, place) in enumerate(
            _read_lines_after(list_audit_files(self._path), after), 1
        ):
            if wanted(line):
                found.append(line)
            if len(found) == MAX_PAGE_LINES or count == MAX_SCANNED_LINES:
                return AuditPage(found, place)
        return AuditPage(found)


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
        found = [row for row in rows if is_wanted(row["line"])]
        more = len(rows) == MAX_SCANNED_LINES or len(found) > MAX_PAGE_LINES
        last = (
            found[MAX_PAGE_LINES - 1] if len(found) > MAX_PAGE_LINES else rows[-1] if rows else None
        )
        lines = [row["line"] for row in found[:MAX_PAGE_LINES]]
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


class SqlPseudonyms(SqlStore):
    """The `Pseudonyms` of the audit log, in the table `audit_keys`."""

    async def assign(self, people: Collection[str]) -> Mapping[str, str]:
        """Return the pseudonyms of these people by their keys, and create those that are missing.
        Raise NotStored."""
        wanted = sorted(people)  # one order of locks in every transaction
        found = await self._database.read(lambda c: _find_pseudonyms(c, wanted))
        if all(person in found for person in wanted):
            return found
        return await self._database.write(lambda c: _make_pseudonyms(c, wanted))

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


def _replace_file(path: Path, lines: Sequence[str]) -> None:
    """Replace a file's lines, completely or not at all."""
    beside = path.with_name("audit.new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _read_lines_after(paths: list[Path], after: str) -> Iterator[tuple[str, str]]:
    """Yield each line after the place `after`, with the place that follows it."""
    inode, _, offset = after.partition(":")
    inodes = [str(path.stat().st_ino) for path in paths]
    first = inodes.index(inode) if inode in inodes else 0
    for path, number in list(zip(paths, inodes, strict=True))[first:]:
        with path.open("rb") as file:
            file.seek(int(offset) if number == inode else 0)
            for line in file:
                yield line.decode(errors="replace").rstrip("\n"), f"{number}:{file.tell()}"


def _find_pseudonyms(connection: SqlConnection, people: Collection[str]) -> dict[str, str]:
    """Return the pseudonyms that exist, by the people's keys."""
    found = {}
    for person in people:
        sql = "SELECT pseudonym FROM audit_keys WHERE person = ? ORDER BY pseudonym LIMIT 1"
        if pseudonym := select_value(connection, sql, person):
            found[person] = pseudonym
    return found


def _make_pseudonyms(connection: SqlConnection, people: Collection[str]) -> dict[str, str]:
    """Return the pseudonyms of all these people, and create those that are missing."""
    # Locked first, so that two processes never give one person two pseudonyms.
    for person in people:
        connection.lock_key(f"audit:{person}")
    found = _find_pseudonyms(connection, people)
    for person in people:
        if person not in found:
            found[person] = f"p-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"
            connection.execute(
                "INSERT INTO audit_keys (pseudonym, person) VALUES (?, ?)", (found[person], person)
            )
    return found


def _write_whole(file: int, data: bytes) -> None:
    """Write all of `data` to disk or nothing of it: half a line would spoil the next one. Raise
    OSError."""
    size = os.fstat(file).st_size
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _rotated_path(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
