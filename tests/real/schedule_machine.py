"""A process that runs schedules, to be killed: `python -m tests.real.schedule_machine JSON`.

JSON is a `Machine`. It ends by itself with 0 once nothing is due at `until` and all runs have
ended. Posts are lines of a file, as a platform that survives the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from bot.engine import Engine
from bot.stores import Stores
from core.chat.reply import GrowingReply
from core.domain.messages import Address, Person, ReplyTo, encode_json
from core.domain.ports import PostJournal, Reply
from core.domain.records import Outcome, StoredQuery
from core.domain.rows import RowColumn, RowsResult
from core.journal import jobs
from core.journal.jobs import Alone
from core.saved.queries import StoredCall, dump_calls
from core.schedules import runs as scheduler
from core.schedules.alerts import AlertCondition, read_state
from core.schedules.rows import Schedules
from core.schedules.schedule import (
    Schedule,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleRule,
    ScheduleRun,
    next_after,
)
from core.store import processes
from core.store.database import SqlConnection
from core.tools.tool import FixedToolSource, tool
from tests.fakes.choices import make_choices, open_engine
from tests.fakes.recorder import RecordingSurface
from tests.fakes.schedules import put_schedule

BEGIN = 1_812_355_200.0
"""The virtual time at which schedules are started, on a full hour."""
HOUR = 3600.0
OWNER = Person("web", "owner")


@dataclass(frozen=True, slots=True)
class Machine:
    """`url` is a Postgres, "" for `home/ponte.db`. The virtual time is `begin` at the real time
    `since`, runs `speed` times as fast, and stops at `until`. `dies` kills the process at its N-th
    start of a run: "3:before", "3:inside" or "3:after" the transaction; of an alert, also
    "3:before-look", and "3:look" or "3:after-look", before what it found is stored."""

    home: str
    until: float
    url: str = ""
    begin: float = BEGIN
    since: float = 0.0
    speed: float = 0.0
    dies: str = ""

    def clock(self) -> float:
        """Return the virtual time. Without a speed, it stands at `until`."""
        if not self.speed:
            return self.until
        return min(self.until, self.begin + (time.time() - self.since) * self.speed)

    def arguments(self) -> str:
        return json.dumps(asdict(self))


class FilePosts:
    """A platform's posts: a line of JSON for each, in the order of their effect."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[dict[str, str]]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [json.loads(line) for line in lines]

    async def post(self, channel: str, source: str, key: str, text: str) -> str:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, json.dumps({"key": key, "text": text}).encode() + b"\n")
        finally:
            os.close(descriptor)
        return key

    async def edit(self, post: str, text: str) -> None:
        return None

    async def delete(self, post: str) -> None:
        return None

    async def find(self, source: str, key: str) -> str | None:
        return key if any(line["key"] == key for line in self.read()) else None


def kill_at(dies: str) -> None:
    """Die at that start of a run."""
    number, _, moment = dies.partition(":")
    starts = 0

    def die_now() -> None:
        nonlocal starts
        starts += 1
        if starts == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    def around(name: str, before: bool) -> None:
        method: Callable[..., Any] = getattr(Schedules, name)

        def dying(self: Schedules, *arguments: Any, **options: Any) -> Any:
            if before:
                die_now()
            result = method(self, *arguments, **options)
            if not before:
                die_now()
            return result

        setattr(Schedules, name, dying)

    names = {
        "before": "advance",
        "inside": "_queue_run",
        "after": "_enqueue",
        "look": "end_look",
        "before-look": "begin_look",
        "after-look": "end_look",
    }
    around(names[moment], moment != "inside")


@tool(effect="read", doing="is counting…", strict=False)
async def nocodb_summarize(table: str, filters: list[Any], match: str) -> Outcome:
    """Count 30 rows."""
    column = RowColumn("Rows", "number")
    return Outcome(
        "ok",
        '{"total": 30}',
        data=RowsResult("", (column,), (("30",),), ((30,),)),
        query=StoredQuery("nocodb_summarize", "{}", {}),
    )


class Counting(FixedToolSource):
    name = "counting"
    _tools = (nocodb_summarize,)


@asynccontextmanager
async def open_machine(machine: Machine) -> AsyncIterator[Engine]:
    """Open the engine by the machine's clock, without running it."""
    home = Path(machine.home)
    stores = await (Stores.open_shared(machine.url) if machine.url else Stores.open_in_home(home))
    choices = replace(make_choices(sources=[Counting()]), clock=machine.clock)
    engine = await open_engine(home, choices, stores)
    # The virtual clock counts, and not that of the database.
    engine.schedules.store._peers = Alone()
    posts_of_all = FilePosts(home / "posts")

    def reply(to: ReplyTo, posts: PostJournal) -> Reply:
        return GrowingReply(RecordingSurface(posts_of_all, to), posts, to.turn)

    engine.platforms.replies["web"] = reply
    yield engine
    await engine.drain(5.0)
    await engine.close()


async def add_schedules(machine: Machine, rules: list[str]) -> None:
    """Start a schedule for each rule, each in a conversation of its own."""
    async with open_machine(replace(machine, until=machine.begin, speed=0.0)) as engine:
        store = engine.schedules.store
        for number, cron in enumerate(rules):
            to = ReplyTo(Address("web", f"C{number}"), OWNER, f"s{number}", "")
            draft = ScheduleDraft("post", f"run of {number}", ScheduleRule(cron), "UTC")
            await put_schedule(store, to, draft)


async def add_alert(machine: Machine) -> None:
    """Start an alert that becomes true at its first look."""
    async with open_machine(replace(machine, until=machine.begin, speed=0.0)) as engine:
        to = ReplyTo(Address("web", "C0"), OWNER, "s0", "")
        call = StoredCall("nocodb_query", {"table": "t", "filters": [], "match": "all"}, {})
        condition = AlertCondition("count", limit="20", first="1")
        rule = ScheduleRule("*/5 * * * *")
        draft = ScheduleDraft("alert", "many rows", rule, "UTC", queries=dump_calls([call]))
        draft = replace(draft, condition=encode_json(condition))
        await put_schedule(engine.schedules.store, to, draft)


async def count_posts(machine: Machine) -> tuple[int, bool]:
    """Return how many posts there are, and whether a look has stored that it is true."""
    async with open_machine(replace(machine, speed=0.0)) as engine:
        (alert,) = await engine.schedules.store.list_matching(ScheduleFilter())
        return len(FilePosts(Path(machine.home) / "posts").read()), read_state(alert).is_true


async def run(machine: Machine) -> None:
    """Run everything that is due until `until`, and return when all of it has ended."""
    async with open_machine(machine) as engine:
        engine.start()
        looks = engine.schedules._tasks._running
        while (  # noqa: ASYNC110
            machine.clock() < machine.until or looks or await _is_busy(engine, machine)
        ):
            await asyncio.sleep(0.05)


async def _is_busy(engine: Engine, machine: Machine) -> bool:
    """Return whether a schedule is due, or a look or a run has not ended."""

    def read(connection: SqlConnection) -> bool:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM schedules WHERE state = 'active' AND next_due_at <= ?)"
            " + (SELECT count(*) FROM schedule_runs WHERE state = 'queued') AS n",
            (machine.until,),
        ).fetchone()
        return bool(row["n"])

    database, looks = engine.stores.database, engine.schedules._tasks._running
    # A look that ended after the first reading has stored its post before the second.
    return await database.read(read) or bool(looks) or await database.read(read)


async def count_results(machine: Machine) -> Counter[str]:
    """Compare the runs and posts with the due times. Return how many due times there were (`due`),
    and how many of them were `done`, listed as `missed` or `skipped`, `lost` and `doubled`. `hasty`
    ones are listed as missed although they could still run."""
    match = Counter[str]()
    posts = Counter(line["key"] for line in FilePosts(Path(machine.home) / "posts").read())
    match["doubled"] = sum(posts.values()) - len(posts)
    outcome_count = 0
    async with open_machine(replace(machine, until=machine.until, speed=0.0)) as engine:
        store = engine.schedules.store
        for schedule in await store.list_matching(ScheduleFilter()):
            target, listing = _due_times(schedule, machine), Counter[float]()
            for each in await store.list_runs(schedule.id, 10_000):
                listing[each.due_at] += 1
                if each.state == "missed":
                    later = [due for due in target if due >= each.due_at][: each.missed_count]
                    listing.update(later[1:])
                    match["missed"] += len(later)
                    match["hasty"] += sum(not _is_missed(schedule, due, each) for due in later)
                else:
                    match[each.state] += 1
                    outcome_count += each.state == "done"
            match["due"] += len(target)
            match["lost"] += sum(1 for due in target if not listing[due])
            match["doubled"] += sum(count - 1 for count in listing.values() if count > 1)
            match["invented"] += sum(1 for due in listing if due not in target)
    match["lost"] += max(0, outcome_count - len(posts))
    return match


def _is_missed(schedule: Schedule, due: float, row: ScheduleRun) -> bool:
    """Return whether nothing could run for `due` any more when its row was stored: a later due time
    had come, which is the one that is caught up, or it was older than the limit."""
    draft = schedule.draft
    later = next_after(draft.rule, draft.time_zone, due)
    return due < row.started_at - draft.catch_up_seconds or (
        later is not None and later <= row.started_at
    )


def _due_times(schedule: Schedule, machine: Machine) -> list[float]:
    """Return all due times until the end."""
    match, at = list[float](), machine.begin
    rule, zone = schedule.draft.rule, schedule.draft.time_zone
    while (due := next_after(rule, zone, at)) is not None and due <= machine.until:
        match.append(due)
        at = due
    return match


if __name__ == "__main__":
    asked = Machine(**json.loads(sys.argv[1]))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    scheduler.MAX_SLEEP_SECONDS = scheduler.MIN_SLEEP_SECONDS = 0.05
    processes.BEAT_SECONDS, processes.LEASE_SECONDS = 0.5, 3.0
    jobs.RECHECK_SECONDS = jobs.Jobs.recheck = 0.5
    if asked.dies:
        kill_at(asked.dies)
    asyncio.run(run(asked))
