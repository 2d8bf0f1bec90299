"""Homes of earlier schemas, opened by a process that is killed at every step of the upgrade."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.store.schema import MIGRATIONS
from tests.bot.test_process import ROOT
from tests.recorded.recorded_ponte import put_home, read

KILLED = """
import asyncio, os, shutil, signal, sys, threading
from pathlib import Path
from bot.engine import Stores
from core.store import database, kernels, remembered, snapshot

# A kill loses nothing that the kernel was given, so that the disk need not be waited for.
database.SYNCHRONOUS_MODE, os.fsync = "OFF", lambda _: None
STEPS = {
    database.SqliteDatabase._prepare.__code__, remembered.import_file.__code__,
    remembered._read_file.__code__, remembered._remove_file.__code__,
    remembered._write_text.__code__, remembered._read_text.__code__,
    snapshot.snapshot_before_migration.__code__, kernels.import_marks.__code__,
    kernels._list_marks.__code__, kernels._remove_marks.__code__, kernels._threads_by_hash.__code__,
}

async def open_home(home):
    await (await Stores.open_in_home(home)).close()

def child(home, step):
    left = [step]
    def trace(frame, event, argument):
        if frame.f_code not in STEPS:
            return None
        def line(frame, event, argument):
            if event == "line":
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return line
        return line
    if step:
        threading.settrace(trace)
        sys.settrace(trace)
    asyncio.run(open_home(home))

def run(home, step):
    pid = os.fork()
    if not pid:
        try:
            child(home, step)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

home, last, step, deaths, left = Path(sys.argv[1]), sys.argv[2], 0, 0, ()
while True:
    step += 1
    copy = home.with_name(f"killed-{step}")
    shutil.copytree(home, copy)
    code = run(copy, step)
    assert code in (0, -signal.SIGKILL), code
    deaths += code != 0
    # The index of SQLite's log (-shm) is made anew by whoever opens it after a death.
    found = tuple(
        (path.relative_to(copy), path.read_bytes())
        for path in sorted(copy.rglob("*")) if path.is_file() and path.suffix != ".db-shm"
    )
    if code != 0 and found == left:  # the step before left the same, and that was opened
        shutil.rmtree(copy)
        continue
    left = found
    assert run(copy, 0) == 0, step
    # A snapshot is named after the schema that the killed upgrade had reached.
    if code == 0 or list(copy.glob(f"snapshots/ponte-{last}-*")):
        break
print(deaths)
"""


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if there is one: a hundred homes are made in it."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK):
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            yield Path(folder)
    else:
        yield tmp_path


@pytest.mark.parametrize(("schema", "last"), [(3, 8), (8, len(MIGRATIONS))])
def test_killed_at_any_step_of_the_upgrade_nothing_is_lost(
    in_memory: Path, schema: int, last: int
) -> None:
    """A home is killed in each step up to schema `last`, where the next home begins."""
    home = in_memory / "home"
    record = read(schema)["home"]
    put_home(record, home)
    expected = json.loads((home / "discord.json").read_text())
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        turns = connection.execute("SELECT count(*) FROM inbox").fetchone()
        threads = [id for (id,) in connection.execute("SELECT id FROM threads ORDER BY id LIMIT 3")]
    (home / "kernels").mkdir()
    for thread in threads:
        (home / "kernels" / hashlib.sha256(thread.encode()).hexdigest()[:32]).touch()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), str(last)], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 30, "so many steps"
    for killed in in_memory.glob("killed-*"):
        with closing(sqlite3.connect(killed / "ponte.db")) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
            assert connection.execute("SELECT count(*) FROM inbox").fetchone() == turns
            ((stored,),) = connection.execute(
                "SELECT data FROM remembered WHERE name = 'discord.json'"
            ).fetchall()
            marked = connection.execute("SELECT thread FROM kernels ORDER BY thread").fetchall()
        assert json.loads(stored) == expected, killed.name
        assert [thread for (thread,) in marked] == threads, killed.name
        left = {path.name for path in killed.iterdir() if path.suffix in (".json", "")}
        assert left <= {"files", "snapshots"}, killed.name
