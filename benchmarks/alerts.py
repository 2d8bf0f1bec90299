"""2,000 alerts of 500 people, all due at one moment: `python -m benchmarks.alerts`.

A bot with the fakes of the tests looks at all of them while people ask it. Printed are the calls of
NocoDB beside the looks, the places of turns that looks took, the growth of memory, and how long a
question takes beside one without looks in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.domain.messages import Person
from core.saved.queries import dump_calls, load_calls
from core.schedules.alerts import read_state
from core.schedules.schedule import Schedule, ScheduleFilter, ScheduleRule
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import MEMBER, says
from tests.dialogues.test_alerts import OVER_20, QUERY, stop_timer
from tests.dialogues.test_run_again import Office, office
from tests.fakes.choices import allow_list
from tests.fakes.schedules import LateScheduleSource

QUESTIONS = 1_000


def make_alerts(first: Schedule, count: int, people: int, queries: int) -> Sequence[Schedule]:
    """Alerts like the `first` one, of so many people, which ask so many different queries."""
    (call,) = load_calls(first.draft.queries)
    alerts = list[Schedule]()
    for number in range(count):
        paid = call.arguments["filters"][0]
        amount = {"field": "Amount", "op": "gt", "value": str(number % queries)}
        asked = replace(call, arguments={**call.arguments, "filters": [paid, amount]})
        rule = ScheduleRule("*/15 * * * *")
        draft = replace(first.draft, queries=dump_calls([asked]), rule=rule)
        owner = Person("slack", f"P{number % people}", "T1", "P")
        to = replace(first.reply_to, asker=owner)
        id = f"a{number}"
        alerts.append(replace(first, id=id, revision=id, owner=owner, reply_to=to, draft=draft))
    return alerts


async def time_questions(
    ponte: RunningBot, looks: asyncio.Future[float] | None = None
) -> Sequence[float]:
    """Return the median, and what 19 of 20 are below, of the milliseconds that a question takes,
    one after the other; with `looks`, until these have ended."""
    seconds = list[float]()
    while not looks.done() if looks else len(seconds) < QUESTIONS:
        began = time.perf_counter()
        await ponte.ask("Hello", channel=f"D{len(seconds)}", person=MEMBER)
        seconds.append((time.perf_counter() - began) * 1000)
    return statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]


async def look_at_all(crm: Office) -> float:
    """As the timer does at the due time. Return the seconds until the last look has ended."""
    scheduling, began = crm.ponte.engine.schedules, time.perf_counter()
    while await scheduling.store.list_due(await scheduling.store.read_clock(), 1):
        await scheduling.scheduler.start_due_runs()
    while running := [*scheduling._tasks._running]:
        await asyncio.gather(*running)
    return time.perf_counter() - began


async def measure(home: Path, count: int, people: int, queries: int) -> None:
    policy = allow_list(frozenset({"slack:U1", *(f"slack:P{n}" for n in range(people))}))
    calls, late = (QUERY, ("schedule_propose", OVER_20)), LateScheduleSource()
    async with office(BotHome(home), *calls, policy=policy, schedules=late) as crm:
        ponte, store = crm.ponte, crm.ponte.engine.schedules.store
        stop_timer(ponte)
        (card,) = (await says(ponte, "Tell me when", "k1")).cards
        await says(ponte, f"approve {card.id}", "k2", clicked=True)
        (first,) = await store.list_matching(ScheduleFilter())
        await store.delete(first.id)
        for alert in make_alerts(first, count, people, queries):
            await store.put(alert, "")
        crm.model.calls = ()
        due = (await store.list_due(4e9, 1))[0].next_due_at
        vars(store)["_clock"] = lambda: due
        turns, asked = len(crm.model.asks), len(crm.nocodb.calls)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        looks = asyncio.ensure_future(look_at_all(crm))
        beside, slow_beside = await time_questions(ponte, looks)
        seconds = await looks
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
        asked = len(crm.nocodb.calls) - asked
        questions = len(crm.model.asks) - turns
        alone, slow_alone = await time_questions(ponte)  # with as many stored messages
        done = [a for a in await store.list_matching(ScheduleFilter()) if read_state(a).looked_at]
        print(
            f"{count:,} alerts of {people} people, {queries} queries: {len(done):,} looks in"
            f" {seconds:.1f} s ({count / seconds:.0f} a second), {asked} calls of NocoDB,"
            f" {grown:.0f} MB; {questions:,} questions meanwhile, each"
            f" {beside:.1f} ms beside {alone:.1f} ms alone ({beside / alone:.2f}), 19 of 20 below"
            f" {slow_beside:.1f} and {slow_alone:.1f} ms ({slow_beside / slow_alone:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--alerts", type=int, default=2_000)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--queries", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(measure(Path(home) / "home", asked.alerts, asked.people, asked.queries))


if __name__ == "__main__":
    main()
