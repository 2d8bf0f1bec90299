"""What `ponte backup` tells of Postgres does what it says: `pg_dump`, then `pg_restore`."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from bot.features.backup.backup import StoredInPostgres
from bot.stores import Stores
from core.domain.messages import Person
from core.journal.inbox import SqlInbox
from core.store.files import SqlFiles
from tests.fakes.choices import make_message
from tests.real.postgres import Postgres, programs

ANA = Person("slack:T1:ana", "Ana")


async def test_the_commands_that_are_told(real_postgres: Postgres, tmp_path: Path) -> None:
    bin = programs()
    if not (bin and (bin / "pg_dump").exists()):
        pytest.skip("needs pg_dump (apt install postgresql-client)")
    dump, restore = re.findall(r"`(?:umask 077; )?(pg_[^`]+)`", str(StoredInPostgres()))
    old, new = (real_postgres.url(real_postgres.database()) for _ in range(2))
    stores = await Stores.open_shared(old, takes=False, works=False)
    inbox = SqlInbox(stores.database, stores.peers.runner)
    for number in range(3):
        await inbox.accept(make_message(f"hello {number}", f"k{number}"))
    file = await SqlFiles(stores.database, stores.file_bytes).put(
        "k1", "a.bin", "application/octet-stream", b"bytes" * 9, ANA, "web:C1"
    )
    secret = await stores.secret("web-token", b"of the page")
    await stores.audit.write_note("config-reloaded", ANA)
    before = await _counts(stores)
    await _close(stores)
    for command, url in ((dump, old), (restore, new)):
        await asyncio.to_thread(
            subprocess.run,
            ["sh", "-ec", command],
            cwd=tmp_path,
            check=True,
            env={"PATH": f"{bin}:{os.environ['PATH']}", "DATABASE_URL": url},
        )
    stores = await Stores.open_shared(new, takes=False, works=False)
    try:
        assert await _counts(stores) == before
        assert await stores.secret("web-token", b"another") == secret
        files = SqlFiles(stores.database, stores.file_bytes)
        assert (await files.get(file.id))[1] == b"bytes" * 9
        fresh = await SqlInbox(stores.database, stores.peers.runner).accept(
            make_message("hello 1", "k1")
        )
        assert not fresh.is_new, "a second delivery is known"
    finally:
        await _close(stores)


async def _counts(stores: Stores) -> dict[str, int]:
    tables = ("inbox", "files", "pieces", "audit", "secrets", "procrastinate_jobs")

    def read(connection: object) -> dict[str, int]:
        execute = connection.execute  # type: ignore[attr-defined]
        return {t: execute(f"SELECT count(*) AS n FROM {t}").fetchone()["n"] for t in tables}

    return await stores.database.read(read)


async def _close(stores: Stores) -> None:
    await stores.peers.drain(0)
    await stores.close()
