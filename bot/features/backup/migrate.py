"""`ponte migrate`: copies a home to the database of DATABASE_URL.

It copies table by table in pieces and may be repeated: each row arrives once. The home is only
read. At the end it compares the numbers of rows on both sides.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.home import Home
from bot.settings import Settings
from bot.stores import SCHEMA, Stores
from core.base.errors import NotFound, PonteError, SettingsError
from core.integrations import plain_value
from core.people.audit import OPERATOR, list_audit_files
from core.store.database import Database, SqlConnection, SqlRow, select_value
from core.store.files import FolderBytes
from core.store.tables import TableDeclaration

ROWS_PER_INSERT = 500
"""The most rows in one transaction."""


class NotTheSame(PonteError):
    """After `ponte migrate`, the Postgres database has fewer rows than the data folder."""

    code = "not_the_same"
    sentence = (
        "After copying, {table} has {there} rows, but the data folder has {here}. Another process "
        "may have written data during the copy. Stop all Ponte processes and run `ponte migrate` "
        "again."
    )


async def migrate(settings: Settings, home: Home) -> int:
    """Copy the data folder (`ours`) to the Postgres database of DATABASE_URL (`theirs`), which is
    set, print what was copied, and return the exit code. Raises SettingsError, HomeTaken (Ponte
    must be stopped), NotStored, NotTheSame.
    """
    with home.take():
        if not (home.path / "ponte.db").exists():
            raise SettingsError("{path} has no data to copy.", path=home.path)
        async with _open_both(home.path, plain_value(settings.database_url)) as (ours, theirs):
            for name, own in home.secrets().items():
                secret = await theirs.secret(name, own)
                # The database may have one already, as from an earlier migration.
                if secret != own:
                    sys.stdout.write(f"  {name}: the database has its own already, which stays\n")
            for table in SCHEMA.copy_tables:
                await _copy_table(ours.database, theirs.database, table)
            # Messages that wait for an answer are queued before anything new arrives: without a job
            # and an owner they look like those of a dead process, whose turns `sweep` queues again.
            await theirs.database.write(
                lambda c: c.execute(
                    "UPDATE inbox SET owner = '' WHERE job = 0"
                    " AND state IN ('new', 'running', 'answered', 'posting')"
                ).close()
            )
            await theirs.peers.sweep()
            ids = await ours.database.read(
                lambda c: [row["id"] for row in c.execute("SELECT id FROM files")]
            )
            missing_count = 0
            for id in ids:
                try:
                    await theirs.file_bytes.put(id, await ours.file_bytes.get(id))
                except NotFound:
                    missing_count += 1
            lost = f", {missing_count} of which the home has no bytes any more"
            sys.stdout.write(f"  bytes of files: {len(ids)}{lost if missing_count else ''}\n")
            for table in SCHEMA.copy_tables:
                select = f"SELECT count(*) FROM {table.name}"  # noqa: S608 - ours
                count = partial(select_value, sql=select)
                here, there = await ours.database.read(count), await theirs.database.read(count)
                # A process may write to the new database already.
                if there < here:
                    raise NotTheSame(table=table.name, here=here, there=there)
            await theirs.audit.write_note("data-migrated", OPERATOR)
    sys.stdout.write(f"Done. {home.path} stays as it was; start with DATABASE_URL set.\n")
    return 0


@asynccontextmanager
async def _open_both(home: Path, url: str) -> AsyncIterator[tuple[Stores, Stores]]:
    """Open a copy of the data folder's databases, which may be migrated to the newest schema while
    the originals stay, and the Postgres database."""
    with TemporaryDirectory() as copies:
        for name in ("ponte.db", "threads.db"):
            if (home / name).exists():
                source, copy = sqlite3.connect(home / name), sqlite3.connect(Path(copies) / name)
                with closing(source), closing(copy):
                    source.backup(copy)
        for path in list_audit_files(home):  # of Ponte 0.1.0
            shutil.copy(path, copies)
        # `keeps` would copy them once more before their migration.
        stores = await Stores.open_in_home(Path(copies), keeps=False)
        # The files are read where they are.
        ours = replace(stores, file_bytes=FolderBytes(home / "files"))
        try:
            # This process receives no messages and answers none.
            theirs = await Stores.open_shared(url, takes=False, works=False)
            try:
                yield ours, theirs
            finally:
                # Ends this process's tasks, and deletes its row in the table of processes.
                await theirs.peers.drain(0)
                await theirs.close()
        finally:
            await ours.close()


async def _copy_table(ours: Database, theirs: Database, table: TableDeclaration) -> None:
    """Copy all rows of a table from SQLite (`ours`) to Postgres (`theirs`), and print how many
    there are. Rows that an earlier attempt copied are skipped (ON CONFLICT)."""
    select = f"SELECT * FROM {table.name} ORDER BY {', '.join(table.key)}"  # noqa: S608 - ours
    rows = await ours.read(lambda c: [dict(row) for row in c.execute(select)])
    for begin in range(0, len(rows), ROWS_PER_INSERT):
        piece = rows[begin : begin + ROWS_PER_INSERT]
        await theirs.write(partial(_insert_rows, table.name, piece))
    if table.generates_key:
        # Postgres gives out numbers above the copied ones. `false`: the first one is the given
        # number itself, not the one after it.
        (column,) = table.key
        await theirs.write(
            lambda c: c.execute(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column}'),"  # noqa: S608
                f" (SELECT coalesce(max({column}), 0) + 1 FROM {table.name}), false)"
            ).close()
        )
    sys.stdout.write(f"  {table.name}: {len(rows)}\n")


def _insert_rows(table: str, rows: Sequence[SqlRow], connection: SqlConnection) -> None:
    names = list(rows[0])
    values = ", ".join(f":{name}" for name in names)
    connection.executemany(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) ON CONFLICT DO NOTHING",  # noqa: S608
        rows,
    )
