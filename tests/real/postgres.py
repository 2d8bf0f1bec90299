"""A real Postgres in a folder of its own, on a Unix socket alone; the tests start and end it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bot.stores import SCHEMA
from core.store.postgres import CONNECTION_OPTIONS, PostgresDatabase

SPEED = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "deadlock_timeout": "50ms",
    "shared_buffers": "16MB",
}
"""Where no power is cut, no database lives for long or is large, and nobody waits for a deadlock's
end. Each new connection and each new database takes longer with larger buffers."""
MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 2 << 30
"""A database is about 300 files and 11 MB: on a disk, deleting one takes longer than most tests."""


def programs() -> Path | None:
    """The folder of the newest server that this machine has."""
    matches = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if matches:
        return max(matches, key=lambda path: int(path.parent.name))
    program = shutil.which("postgres")
    return Path(program).parent if program else None


def missing() -> str:
    """Why there is none; "" where there is one."""
    return "" if programs() else "needs Postgres (apt install postgresql)"


def memory_folder() -> Path | None:
    """A folder that is kept in memory, if this machine has enough of it."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED_BYTES
    return MEMORY if has_room else None


class Postgres:
    """One server; `url` of each of its databases."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._count = 0
        self._migrated = ""

    def start(self) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            **self._settings,
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = [str(_bin() / "postgres"), "-D", str(self.folder / "data"), *flags]
            self._process = subprocess.Popen(_run_as_postgres(command), stdout=log, stderr=log)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when it accepts connections, also after it recovered from a crash of its own."""
        assert self._process
        self.disconnect()
        subprocess.run(
            [str(_bin() / "pg_isready"), "-q", "-h", str(self.folder), "-t", "30"], check=False
        )
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, *, crash: bool = False) -> None:
        """Cut the connections at once and end. What was committed is kept. `crash`: without a
        checkpoint, so that the next start recovers (`pg_ctl stop -m immediate`)."""
        assert self._process
        self.disconnect()
        self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        self._process.wait()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def _version(self) -> int:
        return int((self.folder / "data" / "PG_VERSION").read_text())

    def execute(self, *statements: str) -> None:
        """Run statements in the database `postgres`, on one connection for all calls: a new one
        takes 4 ms of processor time."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.url("postgres"), autocommit=True)
        for statement in statements:
            self._connection.execute(statement.encode())

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def database(self, template: str = "template1") -> str:
        """Create a database as a copy of `template`; return its name, which no other process that
        uses this server gives."""
        self._count += 1
        name = f"t{os.getpid()}_{self._count}"
        # Since Postgres 15 the default writes each page to its log: twice the processor time.
        how = " STRATEGY file_copy" if self._version() >= 15 else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}{how}")
        return name

    @contextmanager
    def migrated_database(self) -> Iterator[str]:
        """The URL of a new database that has Ponte's newest schema; it is deleted afterwards."""
        if not self._migrated:
            self._migrated = self.database()
            url = self.url(self._migrated)
            with psycopg.connect(url, row_factory=dict_row, **CONNECTION_OPTIONS) as connection:
                PostgresDatabase(url, SCHEMA)._migrate(connection)
        name = self.database(self._migrated)
        yield self.url(name)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def cut(self, database: str) -> None:
        """Every connection to it."""
        self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )


@contextmanager
def postgres(settings: Mapping[str, str], within: Path | None = None) -> Iterator[Postgres]:
    """In a new folder, which goes with it; `within` is where that lies."""
    folder = Path(tempfile.mkdtemp(prefix="ponte-postgres-", dir=within))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        init = [
            str(_bin() / "initdb"),
            "-D",
            str(folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        subprocess.run(_run_as_postgres(init), check=True, capture_output=True)
        server = Postgres(folder, dict(settings))
        server.start()
        try:
            yield server
        finally:
            if server.running:
                server.stop()
    finally:
        shutil.rmtree(folder)


def expire_leases(url: str) -> None:
    """Make processes that died count as dead at once, and not when their lease is over."""
    with psycopg.connect(url, **CONNECTION_OPTIONS) as connection:
        connection.execute("UPDATE processes SET seen_at = 0")
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = 'epoch'")


def _bin() -> Path:
    match = programs()
    assert match
    return match


def _run_as_postgres(command: Sequence[str]) -> list[str]:
    """Postgres refuses to run as root."""
    if os.geteuid():
        return list(command)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
