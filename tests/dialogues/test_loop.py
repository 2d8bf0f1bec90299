"""What may not happen on the event loop: SQLite, and anything that takes long."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
import time
from asyncio import events
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.base.splitting import split_text
from tests.dialogues.bot_home import BotHome
from tests.fakes.choices import ANA
from tests.fakes.models import EchoModel

ROOT = Path(__file__).parents[2]
MAX_CALLBACK_SHARE = 0.1
"""The share of the CPU time of splitting a long answer into posts, which a thread does."""


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """The CPU time of each callback: a busy machine preempts, but adds none of it."""
    took: list[tuple[float, str]] = []
    run: Callable[[events.Handle], None] = events.Handle._run

    def run_timed(handle: events.Handle) -> None:
        start_seconds = time.thread_time()
        run(handle)
        took.append((time.thread_time() - start_seconds, repr(handle)))

    monkeypatch.setattr(events.Handle, "_run", run_timed)
    return took


@pytest.mark.slow
async def test_no_callback_is_long(bot_home: BotHome, callbacks: list[tuple[float, str]]) -> None:
    model = EchoModel()
    long_message = "word " * 400_000
    start_seconds = time.thread_time()
    split_text(long_message, 2_000)
    most = MAX_CALLBACK_SHARE * (time.thread_time() - start_seconds)
    bot_home.recorder.limit = 4_000_000
    gc.collect()
    gc.freeze()  # what other tests left is not walked through, here and later
    async with bot_home.open(model) as ponte:
        await ponte.ask("warm up")
        callbacks.clear()
        receipts = [(await ponte.send("hello", channel=f"C{n}"))[1] for n in range(200)]
        await asyncio.gather(*(ponte.wait_for_answer(receipt) for receipt in receipts))
        await ponte.ask(long_message)
        await ponte.ask("forget")
    assert len(callbacks) > 1000
    assert max(callbacks)[0] < most, max(callbacks)


async def test_sqlite_is_not_used_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()

    class Watched(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            threads.add(threading.get_ident())
            return super().execute(*arguments)

        def cursor(self, *arguments: Any, **more: Any) -> Any:
            threads.add(threading.get_ident())
            return super().cursor(*arguments, **more)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **k: connect(*a, **{"factory": Watched, **k})
    )
    bot_home = BotHome(tmp_path / "home")
    async with bot_home.open() as ponte:
        for text in ("hello", "status", "new", "hello again", "usage", "forget"):
            await ponte.ask(text)
        files = ponte.engine.conversations.files
        file = await files.put("k9", "a.txt", "text/plain", b"x", ANA, "web:C1")
        await files.get(file.id)
        await ponte.engine.upkeep.once()
    assert threads, "it did see calls"
    assert threading.get_ident() not in threads


async def files_opened_on_loop(home: Path) -> list[str]:
    """What is imported and which files are opened on the loop while Ponte works."""
    here, new_event = threading.get_ident(), list[str]()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("import", "open") and threading.get_ident() == here:
            new_event.append(f"{event} {arguments[0]}")

    async with BotHome(home).open() as ponte:
        sys.addaudithook(watch)
        for text in ("hello", "word " * 100_000, "help", "status", "new", "usage"):
            await ponte.ask(text)
        files = ponte.engine.conversations.files
        file = await files.put("k9", "a.txt", "text/plain", b"x", ANA, "web:C1")
        await files.get(file.id)
        await ponte.ask("forget")
        return list(new_event)


@pytest.mark.slow
def test_nothing_is_imported_and_no_file_opened_on_the_loop(tmp_path: Path) -> None:
    """In a process of its own, which has imported nothing yet that it did not need."""
    script = (
        "import asyncio, pathlib, sys; from tests.dialogues.test_loop import files_opened_on_loop;"
        "print(asyncio.run(files_opened_on_loop(pathlib.Path(sys.argv[1]))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "home")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_no_wait_can_swallow_a_cancellation() -> None:
    """`asyncio.wait_for` of Python 3.11 loses one that comes as its wait ends (gh-86296), and then
    a task goes on for ever; `asyncio.timeout` does not."""
    matches = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "core").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "asyncio.wait_for(" in line
    ]
    assert matches == []
