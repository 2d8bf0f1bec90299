"""Ponte on Postgres beside the embedded engine and a bare bot, interleaved:
`python -m benchmarks.postgres [--quick] [--rounds N]`.

First whole processes on the double of Slack: the bare bot, an embedded Ponte, and a server with a
worker on Postgres. Then the engine alone, with an instant model and a reply that posts nothing,
where the database's share is largest. Then statements: pg_stat_statements counts those that clients
send and those inside the database's functions; a transaction is a commit. Times are medians of the
rounds; processor time on Postgres is that of the server, the worker and all of Postgres' processes.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import psycopg
import structlog

from benchmarks import process, slack
from benchmarks.engine import engine
from benchmarks.model import fake
from benchmarks.rounds import PONTE, environment, parser_of_rounds
from benchmarks.shared import on, p, serial, turns, workers
from bot.engine import Engine
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack, Post
from tests.real.postgres import Postgres, postgres

MAX_TIMES_EMBEDDED = 4.0
"""Processor time of worker and database together, in times of the embedded engine's."""
MAX_IDLE_SHARE = 0.01
"""Of one core, Ponte and Postgres together."""
FLUSH_SECONDS = 11.0
"""After which Postgres has counted the commits of connections that are idle now (10 s)."""
SETTINGS = {
    "shared_buffers": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",
}
COUNTED = """
SELECT coalesce(sum(calls) FILTER (WHERE toplevel), 0),
    coalesce(sum(calls) FILTER (WHERE NOT toplevel), 0)
FROM public.pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname = current_database()
"""
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
Figures = Mapping[str, float]
Cpu = Callable[[], Mapping[str, float]]
"""Seconds of processor time until now, by kind of process."""


@asynccontextmanager
async def shared_on_slack(
    double: FakeSlack, model: str, url: str
) -> AsyncIterator[tuple[slack.Run, Mapping[str, int]]]:
    """Run a server and a worker on Slack's double; yield their process ids by role."""
    settings = {
        "SLACK_BOT_TOKEN": BOT_TOKEN,
        "SLACK_APP_TOKEN": APP_TOKEN,
        "SLACK_API_URL": double.base_url,
        "DATABASE_URL": url,
    }
    async with AsyncExitStack() as stack:
        pids = {}
        for role in ("serve", "work"):
            home = stack.enter_context(tempfile.TemporaryDirectory())
            bot = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                PONTE,
                role,
                cwd=slack.ROOT,
                env=environment(home, model, **settings),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            stack.push_async_callback(_end, bot)
            assert bot.stdout
            while b"ready" not in (line := await bot.stdout.readline()):
                assert line, f"ponte {role} did not start"
            pids[role] = bot.pid
        yield slack.Run(double, pids["serve"]), pids


async def _end(bot: asyncio.subprocess.Process) -> None:
    bot.terminate()
    await bot.communicate()


async def measure_slack(run: slack.Run, cpu: Cpu, quick: bool) -> Figures:
    """Measure turns one after the other, and a burst."""
    await run.wait_for_answers([run.ask(run.place(), "warm up") for _ in range(20)])
    found: dict[str, float] = {}
    count = 20 if quick else 100
    before = cpu()
    found["serial p50 ms"], found["serial p95 ms"] = await run.serial(count)
    found |= _cpu_per_turn("serial", before, cpu(), count)
    count, before = (60 if quick else 300), cpu()
    found["burst s"] = await run.at_once(count, 60)
    return found | _cpu_per_turn("burst", before, cpu(), count)


async def measure_engine(opened: Engine, cpu: Cpu, quick: bool) -> Figures:
    """Measure the same with an engine that is asked directly."""
    await turns(opened, "warm", 100)
    found: dict[str, float] = {}
    count = 30 if quick else 100
    before = cpu()
    took = await serial(opened, "s", count)
    found["serial p50 ms"], found["serial p95 ms"] = p(took, 50), p(took, 95)
    found |= _cpu_per_turn("serial", before, cpu(), count)
    count, before = (200 if quick else 1000), cpu()
    found["burst s"] = count / await turns(opened, "b", count)
    return found | _cpu_per_turn("burst", before, cpu(), count)


def _cpu_per_turn(name: str, before: Figures, after: Figures, count: int) -> dict[str, float]:
    """Return the milliseconds of processor time for a turn, of each kind of process and of all."""
    found = {kind: (after[kind] - before[kind]) * 1000 / count for kind in after}
    parts = {f"{name} CPU ms, {kind}": spent for kind, spent in found.items()}
    return {f"{name} CPU ms": sum(found.values()), **(parts if len(parts) > 1 else {})}


def _cpu_of_one(pid: int) -> Figures:
    return {"all": process.cpu(pid)}


async def slack_round(server: Postgres, quick: bool) -> dict[str, Figures]:
    found = {}
    async with fake(0.0) as model:
        for name, module in (("bare", slack.BARE), ("embedded", PONTE)):
            async with slack.running(module, model) as (run, _):
                found[name] = await measure_slack(run, partial(_cpu_of_one, run.pid), quick)
        url = server.url(server.database())
        async with FakeSlack() as double, shared_on_slack(double, model, url) as (run, pids):

            def cpu() -> Figures:
                spent = {role: process.cpu(pid) for role, pid in pids.items()}
                return {**spent, "database": process.family_cpu(server.pid)}

            found["Postgres"] = await measure_slack(run, cpu, quick)
    return found


async def engine_round(server: Postgres, quick: bool) -> dict[str, Figures]:
    found = {}
    async with engine() as embedded:
        embedded.start()
        found["embedded"] = await measure_engine(
            embedded, lambda: {"all": time.process_time()}, quick
        )
    url = server.url(server.database())
    async with on(url, works=False) as opened, workers(url, 1) as (worker,):

        def cpu() -> Figures:
            return {
                "serve": time.process_time(),
                "work": process.cpu(worker),
                "database": process.family_cpu(server.pid),
            }

        found["Postgres"] = await measure_engine(opened, cpu, quick)
    return found


class Counters:
    """What the clients of one database sent since the last look, without the looks themselves."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(
            url, autocommit=True, options="-c pg_stat_statements.track=none"
        )
        self._last = self._look()

    def _look(self) -> tuple[int, int, int]:
        sent, nested = self._connection.execute(COUNTED).fetchone() or (0, 0)
        self._connection.execute("SELECT pg_stat_clear_snapshot()")
        (commits,) = self._connection.execute(COMMITS).fetchone() or (0,)
        return int(sent), int(nested), int(commits)

    def new(self) -> tuple[int, int, int]:
        """Return statements, nested statements, and transactions."""
        now, last = self._look(), self._last
        self._last = now
        return now[0] - last[0], now[1] - last[1], now[2] - last[2] - 3

    def close(self) -> None:
        self._connection.close()


async def count_statements(server: Postgres, quick: bool) -> None:
    """Print what a turn on Slack sends, and what two idle processes send and use."""
    count, seconds = (30, 20.0) if quick else (200, 60.0)
    name = server.database()
    with psycopg.connect(server.url(name)) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements SCHEMA public")
    server.execute(f"ALTER DATABASE {name} SET pg_stat_statements.track = 'all'")
    async with (
        fake(0.0) as model,
        FakeSlack() as double,
        shared_on_slack(double, model, server.url(name)) as (run, pids),
    ):
        counters = Counters(server.url(name))
        await run.wait_for_answers([run.ask(run.place(), "warm up") for _ in range(20)])
        await asyncio.sleep(FLUSH_SECONDS)

        def cpu() -> Figures:
            ours = sum(process.cpu(pid) for pid in pids.values())
            return {"Ponte": ours, "Postgres": process.family_cpu(server.pid)}

        counters.new()
        before = cpu()
        await asyncio.sleep(seconds)
        idle = [each / seconds for each in counters.new()]
        share = {kind: (spent - before[kind]) / seconds for kind, spent in cpu().items()}
        places = [run.place() for _ in range(count)]
        roots: list[Post] = []
        print(f"{'statements':28}{'sent':>8}{'nested':>8}{'transactions':>14}")
        for turn in ("first", "later"):
            counters.new()
            began = time.monotonic()
            for number, place in enumerate(places):
                thread = roots[number] if turn == "later" else None
                said = double.say(run.alice, place, f"{double.bot} hello", thread=thread)
                roots.append(said)
                await run.wait_for_answers([said])
            await asyncio.sleep(FLUSH_SECONDS)
            seconds = time.monotonic() - began
            row = [
                (new - quiet * seconds) / count
                for new, quiet in zip(counters.new(), idle, strict=True)
            ]
            print(f"{f'{turn} turn':28}{row[0]:8.1f}{row[1]:8.1f}{row[2]:14.1f}")
        print(f"{'idle, a second':28}{idle[0]:8.1f}{idle[1]:8.1f}{idle[2]:14.1f}")
        print(
            f"idle share of a core: Ponte {share['Ponte']:.2%}, Postgres {share['Postgres']:.2%};"
            f" aim {MAX_IDLE_SHARE:.0%} together"
        )
        counters.close()


def print_table(title: str, rounds: Sequence[Mapping[str, Figures]]) -> None:
    """Print medians, and the ratios of Postgres with their spread over the rounds."""
    engines = list(rounds[0])
    others = engines[:-1]
    print(
        f"\n{title:28}"
        + "".join(f"{name:>10}" for name in engines)
        + "".join(f"{f'/ {name}':>24}" for name in others)
    )
    for figure in rounds[0]["Postgres"]:
        cells, ratios = "", ""
        for name in engines:
            each = [one[name][figure] for one in rounds if figure in one[name]]
            cells += f"{statistics.median(each):10.2f}" if each else f"{'':10}"
        for name in others:
            if figure in rounds[0][name]:
                each = sorted(one["Postgres"][figure] / one[name][figure] for one in rounds)
                spread = f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"
                ratios += f"{spread:>24}"
        print(f"{figure:28}{cells}{ratios}")
    print(
        f"aim: CPU of work and database together at most {MAX_TIMES_EMBEDDED:.0f} × embedded;",
        end="",
    )
    for name in ("serial", "burst"):
        together = [
            (one["Postgres"][f"{name} CPU ms, work"] + one["Postgres"][f"{name} CPU ms, database"])
            / one["embedded"][f"{name} CPU ms"]
            for one in rounds
        ]
        print(f" {name} {statistics.median(together):.1f}", end="")
    print()


async def main(quick: bool, rounds: int) -> None:
    """Print the three tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with postgres(SETTINGS) as server:
        on_slack, alone = [], []
        for _ in range(rounds):
            on_slack.append(await slack_round(server, quick))
            alone.append(await engine_round(server, quick))
        print_table("Slack", on_slack)
        print_table("Engine alone", alone)
        print()
        await count_statements(server, quick)


if __name__ == "__main__":
    asked = parser_of_rounds(__doc__).parse_args()
    asyncio.run(main(asked.quick, asked.rounds))
