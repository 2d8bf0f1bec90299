"""Where the audit log's lines are kept, in files of a home or in a table that many processes share,
and who goes by which pseudonym in them."""

from __future__ import annotations

import asyncio
import base64
import errno
import itertools
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from core.rights.audit import Keys, Page, is_old, renamed
from core.store.database import Connection, Database, Row, lock

LARGEST = 10_000_000
"""Bytes of one file before it is rotated."""
KEPT = 9
"""Rotated files beside the current one: `audit.log.1` is the newest of them."""
GIVEN = 500
"""Lines in a page, at most."""
LOOKED_AT = 5000
"""Lines that are looked at for one page: whoever writes waits no longer."""


class FileLines:
    """`audit.log` and those before it. One thread writes and reads them, not the event loop."""

    def __init__(self, path: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self._path = path
        self._largest = largest
        self._kept = kept
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="audit")

    @property
    def name(self) -> str:
        return str(self._path)

    async def append(self, line: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._owner, self._append, line)

    async def page(self, after: str, wanted: Callable[[str], bool]) -> Page:
        """`after`: a file's inode, which rotation leaves to it, and a place in bytes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._owner, self._page, after, wanted)

    async def purge(self, is_old: Callable[[str], bool]) -> int:
        """A file that has old lines is written anew, whole or not at all."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._owner, self._purge, is_old)

    async def renew(self, keys: Keys) -> None:
        """Bring old lines up to date, before any is appended. Raises NotStored."""
        for path in await asyncio.to_thread(files, self._path):
            if old := await asyncio.to_thread(_old, path):
                lines = await renamed(old, keys)
                await asyncio.to_thread(_replace, path, lines)

    async def close(self) -> None:
        await asyncio.to_thread(self._owner.shutdown)

    def _append(self, line: str) -> None:
        data = f"{line}\n".encode(errors="replace")
        size = self._path.stat().st_size if self._path.is_file() else 0
        if size and size + len(data) > self._largest:
            self._rotate()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write_whole(file, data)
        finally:
            os.close(file)

    def _rotate(self) -> None:
        names = [self._path, *(_numbered(self._path, n) for n in range(1, self._kept + 1))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)

    def _purge(self, is_old: Callable[[str], bool]) -> int:
        gone = 0
        for path in files(self._path):
            with path.open(encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip("\n") for line in file]
            kept = list(itertools.dropwhile(is_old, lines))
            gone += len(lines) - len(kept)
            if not kept:
                path.unlink()
                continue
            if len(kept) < len(lines):
                _replace(path, kept)
            break  # later ones are newer
        return gone

    def _page(self, after: str, wanted: Callable[[str], bool]) -> Page:
        found = list[str]()
        for count, (line, place) in enumerate(_lines_after(files(self._path), after), 1):
            if wanted(line):
                found.append(line)
            if len(found) == GIVEN or count == LOOKED_AT:
                return Page(found, place)
        return Page(found)


class TableLines:
    name = "the table audit"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, line: str) -> None:
        statement = "INSERT INTO audit (line) VALUES (?)"
        await self._database.write(lambda c: c.execute(statement, (line,)).close())

    async def page(self, after: str, wanted: Callable[[str], bool]) -> Page:
        """`after`: a row's id."""

        def read(connection: Connection) -> Page:
            rows = connection.execute(
                "SELECT id, line FROM audit WHERE id > ? ORDER BY id LIMIT ?",
                (int(after or 0), LOOKED_AT),
            ).fetchall()
            found = [row for row in rows if wanted(row["line"])]
            more = len(rows) == LOOKED_AT or len(found) > GIVEN
            last = found[GIVEN - 1] if len(found) > GIVEN else rows[-1] if rows else None
            lines = [row["line"] for row in found[:GIVEN]]
            return Page(lines, str(last["id"]) if more and last else "")

        return await self._database.read(read)

    async def purge(self, is_old: Callable[[str], bool]) -> int:
        def write(connection: Connection) -> int:
            rows = connection.execute(
                "SELECT id, line FROM audit ORDER BY id LIMIT ?", (LOOKED_AT,)
            ).fetchall()
            old = [row["id"] for row in itertools.takewhile(lambda r: is_old(r["line"]), rows)]
            if old:
                connection.execute("DELETE FROM audit WHERE id <= ?", (old[-1],)).close()
            return len(old)

        gone = 0
        while some := await self._database.write(write):
            gone += some
        return gone

    async def renew(self, keys: Keys) -> None:
        """Bring old lines up to date, the newest first: where the oldest is new, all are but what
        an older Ponte beside this one has written since. Raises NotStored."""
        first = "SELECT line FROM audit ORDER BY id LIMIT 1"
        row = await self._database.read(lambda c: c.execute(first).fetchone())
        before, more = 1 << 62, row is not None
        while more:
            rows = await self._database.read(partial(_before, before))
            if not rows:
                return
            if more := any(is_old(one["line"]) for one in rows):
                lines = await renamed([one["line"] for one in rows], keys)
                values = [(line, one["id"]) for line, one in zip(lines, rows, strict=True)]
                await self._database.write(partial(_rewrite, values))
            before, more = rows[-1]["id"], more or is_old(row["line"])

    async def close(self) -> None:
        """The database is its owner's."""


class SqlKeys:
    """The `Keys` of the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, people: Collection[str]) -> Mapping[str, str]:
        wanted = sorted(people)
        found = await self._database.read(lambda c: _found(c, wanted))
        if all(person in found for person in wanted):
            return found
        return await self._database.write(lambda c: _made(c, wanted))

    async def people(self) -> Mapping[str, str]:
        def read(connection: Connection) -> Mapping[str, str]:
            rows = connection.execute("SELECT pseudonym, person FROM audit_keys")
            return {row["pseudonym"]: row["person"] for row in rows}

        return await self._database.read(read)

    async def destroy(self, person: str) -> None:
        statement = "DELETE FROM audit_keys WHERE person = ?"
        await self._database.write(lambda c: c.execute(statement, (person,)).close())


def files(path: Path) -> list[Path]:
    """Those that there are, the oldest first."""
    older = [one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit()]
    older.sort(key=lambda one: -int(one.suffix[1:]))
    return [each for each in (*older, path) if each.is_file()]


def _old(path: Path) -> list[str]:
    """The lines of a file that an older Ponte wrote; all of a file are by one."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
        return [line.rstrip("\n") for line in (first, *file)] if is_old(first) else []


def _replace(path: Path, lines: Sequence[str]) -> None:
    beside = path.with_name("audit.new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _before(id: int, connection: Connection) -> Sequence[Row]:
    return connection.execute(
        "SELECT id, line FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?", (id, LOOKED_AT)
    ).fetchall()


def _rewrite(lines: Sequence[tuple[str, int]], connection: Connection) -> None:
    connection.executemany("UPDATE audit SET line = ? WHERE id = ?", lines)


def _lines_after(paths: list[Path], after: str) -> Iterator[tuple[str, str]]:
    """Each line with the place after it."""
    inode, _, offset = after.partition(":")
    inodes = [str(path.stat().st_ino) for path in paths]
    first = inodes.index(inode) if inode in inodes else 0
    for path, number in list(zip(paths, inodes, strict=True))[first:]:
        with path.open("rb") as file:
            file.seek(int(offset) if number == inode else 0)
            for line in file:
                yield line.decode(errors="replace").rstrip("\n"), f"{number}:{file.tell()}"


def _found(connection: Connection, people: Collection[str]) -> dict[str, str]:
    found = {}
    for person in people:
        row = connection.execute(
            "SELECT pseudonym FROM audit_keys WHERE person = ? ORDER BY pseudonym LIMIT 1",
            (person,),
        ).fetchone()
        if row:
            found[person] = row["pseudonym"]
    return found


def _made(connection: Connection, people: Collection[str]) -> dict[str, str]:
    for person in people:
        lock(connection, f"audit:{person}")
    found = _found(connection, people)
    for person in people:
        if person not in found:
            found[person] = f"p-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"
            connection.execute(
                "INSERT INTO audit_keys (pseudonym, person) VALUES (?, ?)", (found[person], person)
            )
    return found


def _write_whole(file: int, data: bytes) -> None:
    """All of it and onto the disk, or nothing: a torn line would spoil the next one."""
    size = os.fstat(file).st_size
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
