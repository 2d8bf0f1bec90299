"""Many processes on one Postgres, which it starts, with fsync on: `python -m benchmarks.shared`.

The engine with an instant model and a reply that posts nothing, on Postgres and embedded; beside
them a plain Procrastinate job that does nothing. Figures are of one run. CPU is that of Ponte's own
processes, Postgres' beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import procrastinate
import psycopg
import structlog

from benchmarks import process
from benchmarks.engine import NullReply, engine
from bot.engine import Engine
from bot.stores import Stores
from core.domain.messages import Message
from tests.fakes.choices import make_choices, make_message, open_engine
from tests.fakes.models import EchoModel
from tests.real.postgres import Postgres, postgres

CONVERSATIONS = 200
TURNS = 1000
LIGHT = 300
"""Events one after the other."""
QUEUED = 4
"""Messages that wait in each conversation whose turns follow each other."""
FINISHED = (1_000, 1_000_000)


class Timed(EchoModel):
    """When each turn's model was asked."""

    def __init__(self) -> None:
        super().__init__(gate=self._note)
        self.began: dict[str, float] = {}

    async def _note(self, ask: object) -> None:
        self.began[getattr(ask, "turn", "")] = time.perf_counter()


@asynccontextmanager
async def on(
    url: str, *, model: EchoModel | None = None, works: bool = True
) -> AsyncIterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        stores = await Stores.open_shared(url, works=works)
        opened = await open_engine(Path(folder), make_choices(model), stores)
        opened.platforms.replies["web"] = lambda to, posts: NullReply()
        opened.start()
        try:
            yield opened
        finally:
            await opened.drain(1)
            await opened.close()


@asynccontextmanager
async def workers(url: str, count: int) -> AsyncIterator[Sequence[int]]:
    """Their process ids."""
    command, pipe = [sys.executable, "-m", "benchmarks.shared", "--work", url], subprocess.PIPE
    started = [
        await asyncio.create_subprocess_exec(*command, stdout=pipe, stdin=pipe)
        for _ in range(count)
    ]
    for each in started:
        assert each.stdout
        assert await each.stdout.readline() == b"ready\n"
    yield [each.pid for each in started]
    for each in started:
        await each.communicate(b"")


async def work(url: str) -> None:
    async with on(url):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


def make_messages(count: int, name: str) -> list[Message]:
    return [make_message("hello", f"{name}{n}", f"C{n % CONVERSATIONS}") for n in range(count)]


async def measure_accept(opened: Engine, name: str) -> tuple[list[float], float]:
    """Seconds that each took, one after the other; and how many a second, all at once."""
    light = []
    for one in make_messages(LIGHT, f"{name}-light"):
        began = time.perf_counter()
        await opened.conversations.inbox.accept(one)
        light.append(time.perf_counter() - began)
    many = make_messages(TURNS, f"{name}-many")
    began = time.perf_counter()
    await asyncio.gather(*(opened.conversations.inbox.accept(one) for one in many))
    return light, TURNS / (time.perf_counter() - began)


async def turns(opened: Engine, name: str, count: int = TURNS) -> float:
    """A second, all asked at once."""
    began = time.perf_counter()
    receipts = await asyncio.gather(
        *(opened.conversations.inbox.accept(one) for one in make_messages(count, name))
    )
    await asyncio.gather(*(opened.conversations.inbox.wait_for_answer(one.seq) for one in receipts))
    return count / (time.perf_counter() - began)


async def serial(opened: Engine, name: str, count: int = 100) -> list[float]:
    """Seconds of one turn after the other, each in a conversation of its own."""
    took = []
    for number in range(count):
        began = time.perf_counter()
        receipt = await opened.conversations.inbox.accept(
            make_message("hello", f"{name}{number}", f"S{number}")
        )
        await opened.conversations.inbox.wait_for_answer(receipt.seq)
        took.append(time.perf_counter() - began)
    return took


async def handed_over(url: str) -> list[float]:
    """From one turn's end to the beginning of the one that waits for it."""
    model = Timed()
    gaps = []
    async with on(url, model=model) as opened:
        lines = [
            [
                await opened.conversations.inbox.accept(make_message("hello", f"h{c}-{n}", f"H{c}"))
                for n in range(QUEUED)
            ]
            for c in range(40)
        ]
        for line in lines:
            for receipt in line:
                await opened.conversations.inbox.wait_for_answer(receipt.seq)
        ends = await opened.stores.database.read(
            lambda c: {
                r["turn"]: r["updated_at"] for r in c.execute("SELECT turn, updated_at FROM inbox")
            }
        )
        ahead = time.time() - time.perf_counter()
        for line in lines:
            for before, after in itertools.pairwise(line):
                gaps.append(model.began[after.turn] + ahead - ends[before.turn])
    return gaps


async def plain(server: Postgres) -> tuple[list[float], float, float]:
    """Procrastinate alone: seconds to defer a job, jobs a second, milliseconds of CPU for one."""
    url = server.url(server.database())
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=8)
    app = procrastinate.App(connector=connector)
    done = asyncio.Event()
    count = 0

    @app.task(name="nothing")
    async def nothing(number: int) -> None:
        nonlocal count
        count += 1
        if count == TURNS:
            done.set()

    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        took = []
        for number in range(LIGHT):
            began = time.perf_counter()
            await nothing.configure(lock=f"L{number}", queue="light").defer_async(number=number)
            took.append(time.perf_counter() - began)
        used, began = time.process_time(), time.perf_counter()
        await asyncio.gather(
            *(
                nothing.configure(lock=f"C{n % CONVERSATIONS}", queue="many").defer_async(number=n)
                for n in range(TURNS)
            )
        )
        worker = asyncio.create_task(
            app.run_worker_async(
                queues=["many"],
                concurrency=100,
                fetch_job_polling_interval=0.2,
                install_signal_handlers=False,
                delete_jobs="always",
            )
        )
        await done.wait()
        rate = TURNS / (time.perf_counter() - began)
        cpu = (time.process_time() - used) * 1000 / TURNS
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    return took, rate, cpu


def fill(url: str, count: int) -> None:
    """So many finished turns, each in a conversation and a thread of its own."""
    with psycopg.connect(url, options="-c search_path=ponte", autocommit=True) as connection:
        made = f"FROM generate_series(1, {count}) AS n"
        for statement in (
            "INSERT INTO inbox (event_key, turn, conversation, person, is_decision, message, state,"
            " created_at, updated_at) SELECT 'f' || n, 't' || n, 'web::F' || n, 'web:p' || n %"
            " 1000, 0,"
            f" repeat('x', 200), 'done', 0, extract(epoch FROM now()) {made}",
            "INSERT INTO conversations (conversation, thread, used_at)"
            f" SELECT 'web::F' || n, 'th' || n, 0 {made}",
            "INSERT INTO threads (id, conversation, generation, started_at, record)"
            f" SELECT 'th' || n, 'web::F' || n, 0, 0, repeat('y', 200) {made}",
        ):
            connection.execute(statement.encode())
        connection.execute("ANALYZE")


def p(values: Sequence[float], percent: int) -> float:
    """In milliseconds."""
    return statistics.quantiles(values, n=100)[percent - 1] * 1000


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with postgres({"shared_buffers": "256MB"}) as server:
        light, rate, cpu = await plain(server)
        print(
            f"plain Procrastinate: deferred p50 {p(light, 50):.1f} p99 {p(light, 99):.1f} ms;"
            f" {rate:.0f} jobs/s; CPU {cpu:.2f} ms a job"
        )
        async with engine() as embedded:
            light, many = await measure_accept(embedded, "a")
            print(
                f"embedded: accepted p50 {p(light, 50):.1f} p99 {p(light, 99):.1f} ms, {many:.0f}/s"
            )
        async with engine() as embedded:
            embedded.start()
            used = time.process_time()
            rate = await turns(embedded, "b")
            base = (time.process_time() - used) * 1000 / TURNS
            print(
                f"embedded: {rate:.0f} turns/s; CPU {base:.2f} ms a turn;"
                f" serial p50 {p(await serial(embedded, 's'), 50):.1f} ms"
            )
        url = server.url(server.database())
        async with on(url, works=False) as opened:
            light, many = await measure_accept(opened, "a")
        print(f"Postgres: accepted p50 {p(light, 50):.1f} p99 {p(light, 99):.1f} ms, {many:.0f}/s")
        gaps = await handed_over(server.url(server.database()))
        print(f"Postgres: handed over p50 {p(gaps, 50):.0f} p99 {p(gaps, 99):.0f} ms")
        for count in (1, 2, 4):
            url = server.url(server.database())
            async with on(url, works=False) as opened, workers(url, count) as pids:
                await turns(opened, "warm", 100)
                before = [process.cpu(pid) for pid in pids]
                used = time.process_time()
                rate = await turns(opened, "b")
                cpu = time.process_time() - used
                cpu += sum(process.cpu(pid) - was for pid, was in zip(pids, before, strict=True))
                cpu *= 1000 / TURNS
                memory = max(process.resident(pid) for pid in pids) / 2**20
                print(
                    f"Postgres, {count} workers: {rate:.0f} turns/s; CPU {cpu:.2f} ms a turn"
                    f" ({cpu / base:.2f} of embedded); memory {memory:.0f} MiB"
                )
        for count in FINISHED:
            url = server.url(server.database())
            async with on(url) as opened:
                await asyncio.to_thread(fill, url, count)
                await serial(opened, "warm", 20)
                used = time.process_time()
                took = await serial(opened, "s")
                cpu = (time.process_time() - used) * 10
                print(
                    f"Postgres, {count:,} finished turns and threads: serial p50"
                    f" {p(took, 50):.1f} p95 {p(took, 95):.1f} ms; CPU {cpu:.2f} ms"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", default="")
    asked = parser.parse_args()
    asyncio.run(work(asked.work) if asked.work else main())
