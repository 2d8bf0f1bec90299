"""The embedded engine, each figure beside a floor that was measured in the same run.

`make bench` or `python -m benchmarks.engine`. The floors do by hand, without a bot around it, the
least that the figure's work needs. Nothing here passes or fails.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from bot.engine import Engine
from bot.stores import SCHEMA
from core.domain.messages import Answer, Message, Post, Progress, encode_json
from core.domain.ports import RenderProgress, ToolSource
from core.domain.records import Thread
from core.journal.thread_map import FileThreadMap
from core.store.database import SqliteDatabase
from tests.fakes.choices import make_choices, make_message, open_engine
from tests.fakes.models import EchoModel

CONVERSATIONS = 200


class NullReply:
    first_key = ""

    def split(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def show(self, progress: Progress, render: RenderProgress | None = None) -> None:
        return None

    async def wait_for_updates(self) -> None:
        return None

    async def settle_posts(self) -> None:
        return None

    async def finish(self, answer: Answer) -> None:
        return None

    async def refresh(self, answer: Answer) -> None:
        return None

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        return None


@asynccontextmanager
async def engine(
    model: EchoModel | None = None, sources: Sequence[ToolSource] = (), **options: Any
) -> AsyncIterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        opened = await open_engine(Path(folder), replace(make_choices(model, sources), **options))
        opened.platforms.replies["web"] = lambda to, posts: NullReply()
        yield opened
        await opened.drain(1)
        await opened.close()


async def acceptance() -> None:
    """Light load: one event at a time. The floor is one synchronous INSERT + COMMIT, FULL."""
    async with engine() as opened:
        ours = [
            await _measure_seconds(
                opened.conversations.inbox.accept(make_message("hello", f"k{n}"))
            )
            for n in range(500)
        ]
    floor = await asyncio.to_thread(_bare_inserts, 500)
    _line("accept, one at a time, p50", _p(ours, 50) * 1e3, _p(floor, 50) * 1e3, "ms")
    _line("accept, one at a time, p99", _p(ours, 99) * 1e3, _p(floor, 99) * 1e3, "ms")
    async with engine() as opened:
        tasks = [
            _measure_seconds(
                opened.conversations.inbox.accept(make_message("hello", f"k{n}", f"C{n}"))
            )
            for n in range(200)
        ]
        at_once = await asyncio.gather(*tasks)
    _line("accept, 200 at once, p50", _p(at_once, 50) * 1e3, _p(floor, 50) * 1e3, "ms")
    _line("accept, 200 at once, p99", _p(at_once, 99) * 1e3, _p(floor, 99) * 1e3, "ms")


async def inbox_alone(count: int = 5000) -> None:
    """Accept and hand out. The floor: the same rows in one transaction by hand."""
    done = 0
    all_done = asyncio.Event()

    async with engine() as opened:

        async def handler(seq: int) -> None:
            nonlocal done
            done += 1
            if done == count:
                all_done.set()

        running = asyncio.create_task(opened.conversations.inbox.run(handler))
        messages = [make_message("hello", f"k{n}", f"C{n % CONVERSATIONS}") for n in range(count)]
        begun = time.perf_counter()
        await asyncio.gather(*(opened.conversations.inbox.accept(one) for one in messages))
        await all_done.wait()
        took = time.perf_counter() - begun
        await opened.conversations.inbox.drain(1)
        await running
    floor = await asyncio.to_thread(_bare_group, messages)
    _line("events/s through the inbox alone", count / took, count / floor, "/s")


async def whole_turns(count: int = 2000) -> None:
    """Message to answer with an instant model and a null reply. The floor: the inbox alone."""
    async with engine() as opened:
        opened.start()
        messages = [make_message("hello", f"k{n}", f"C{n % CONVERSATIONS}") for n in range(count)]
        cpu, begun = time.process_time(), time.perf_counter()
        receipts = await asyncio.gather(
            *(opened.conversations.inbox.accept(one) for one in messages)
        )
        await asyncio.gather(
            *(opened.conversations.inbox.wait_for_answer(one.seq) for one in receipts)
        )
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    floor = await asyncio.to_thread(_bare_group, messages)
    _line("whole turns/s over 200 conversations", count / took, count / floor, "/s")
    _line("CPU per turn", cpu / count * 1e3, floor / count * 1e3, "ms")


async def hundred_people() -> None:
    """100 people at once against a model of 1 s. The floor: that second."""
    model = EchoModel(delay=1.0)
    async with engine(model) as opened:
        opened.start()
        messages = [make_message("hello", f"k{n}", f"C{n}") for n in range(100)]
        begun = time.perf_counter()
        receipts = await asyncio.gather(
            *(opened.conversations.inbox.accept(one) for one in messages)
        )
        await asyncio.gather(
            *(opened.conversations.inbox.wait_for_answer(one.seq) for one in receipts)
        )
        took = time.perf_counter() - begun
    _line(f"100 people at once ({model.most} calls in flight)", took, 1.0, "s")


async def thread_map() -> None:
    """The floor: sqlite3 by hand in the same thread, one row a commit (put) or one read (get)."""
    for size in (1_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "threads.db"
            database = await SqliteDatabase.open(Path(folder) / "ponte.db", SCHEMA)
            opened = await FileThreadMap.open(path, database)
            await asyncio.to_thread(_fill, path, size)
            puts = [
                await _measure_seconds(opened.link(Thread(f"slack:T1:C{n}", "x")))
                for n in range(300)
            ]
            gets = [await _measure_seconds(opened.get(f"slack:T2:C{n}")) for n in range(300)]
            await opened.close()
            await database.close()
        floor = await asyncio.to_thread(_bare_inserts, 300)
        _line(f"thread map put, {size:,} keys, p50", _p(puts, 50) * 1e3, _p(floor, 50) * 1e3, "ms")
        _line(f"thread map get, {size:,} keys, p50", _p(gets, 50) * 1e3, _p(floor, 50) * 1e3, "ms")


async def _measure_seconds(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def _bare_inserts(count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        connection = _bare(Path(folder) / "floor.db")
        took = []
        for number in range(count):
            begun = time.perf_counter()
            connection.execute("INSERT INTO t VALUES (?, ?)", (f"k{number}", "hello"))
            took.append(time.perf_counter() - begun)
        connection.close()
    return took


def _bare_group(messages: list[Message]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        connection = _bare(Path(folder) / "floor.db")
        begun = time.perf_counter()
        connection.execute("BEGIN")
        for one in messages:
            connection.execute("INSERT INTO t VALUES (?, ?)", (one.event_key, encode_json(one)))
        connection.execute("COMMIT")
        took = time.perf_counter() - begun
        connection.close()
    return took


def _bare(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)")
    return connection


def _fill(path: Path, size: int) -> None:
    connection = sqlite3.connect(path)
    rows = ((f"slack:T2:C{n}", "0123456789abcdef") for n in range(size))
    connection.executemany("INSERT OR REPLACE INTO threads (key, value) VALUES (?, ?)", rows)
    connection.commit()
    connection.close()


def _p(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _line(what: str, ours: float, floor: float, unit: str) -> None:
    sys.stdout.write(
        f"{what:<46} {ours:>10.2f} {unit:<3} floor {floor:>10.2f}  ratio {ours / floor:>6.2f}\n"
    )


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for part in (acceptance, inbox_alone, whole_turns, hundred_people, thread_map):
        await part()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"peak memory of this run {memory:.0f} MB\n")


if __name__ == "__main__":
    asyncio.run(main())
