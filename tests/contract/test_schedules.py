"""`Schedules` over both databases: due times, one run for each, states, results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.features.backup.backup import close_unfinished
from core.base.errors import NotFound
from core.domain.messages import Address, Message, Person, ReplyTo, decode_json, turn_id
from core.domain.ports import Platforms
from core.domain.records import TurnState
from core.erasure import SqlPersonalData
from core.journal.inbox import SenderLimits
from core.people.notices import Outbox, PersonNotice
from core.schedules.rows import Schedules
from core.schedules.schedule import (
    BadSchedule,
    DuePlan,
    Schedule,
    ScheduleDraft,
    ScheduleFilter,
    ScheduleRule,
    ScheduleRun,
    plan_due,
)
from core.schedules.service import Scheduling
from core.store.database import SqlConnection, has_rows
from tests.contract.engines import Embedded, Shared
from tests.fakes.clock import Clock
from tests.fakes.loop_clock import run_ready
from tests.fakes.schedules import put_schedule

MONDAY = datetime.fromisoformat("2027-06-07T08:00:00+00:00").timestamp()
"""An hour before the first due time of `DAILY`."""
HOUR = 3600.0
DAY = 24 * HOUR
DAILY = ScheduleDraft("post", "Good morning!", ScheduleRule("0 9 * * *"), "UTC")
ANA, BO = Person("slack", "U1", "T1", "Ana"), Person("slack", "U2", "T1", "Bo")
PLACE = Address("slack", "C1", "T1", "1.0", is_shared=True)
TO = ReplyTo(PLACE, BO, "1.0", "turn", "a secret", 9.0)


@dataclass
class Book:
    """The store under test, at a time that the test sets."""

    engine: Embedded
    clock: Clock
    schedules: Schedules

    async def start(self, draft: ScheduleDraft = DAILY, owner: Person = ANA) -> Schedule:
        return await put_schedule(self.schedules, replace(TO, asker=owner), draft, "pt-BR")

    async def edit(self, one: Schedule, revision: str, draft: ScheduleDraft) -> Schedule:
        variant = replace(one, draft=draft, revision=revision, state="active", runs=0)
        return await self.schedules.put(variant, one.revision)

    async def advance(self, one: Schedule) -> ScheduleRun | None:
        plan = plan_due(one.draft, one.next_due_at, self.clock.now)
        return await self.schedules.advance(one, plan)

    async def run_due(self, one: Schedule) -> ScheduleRun:
        """Go to the schedule's due time, and start its run."""
        self.clock.now = (await self.schedules.get(one.id)).next_due_at
        run = await self.advance(await self.schedules.get(one.id))
        assert run is not None
        return run

    async def end_run(self, one: Schedule, state: TurnState = "done") -> ScheduleRun:
        run = await self.run_due(one)
        await self.engine.end(run.seq, "ok", state)
        assert await self.schedules.settle_runs() == 1
        return (await self.schedules.list_runs(one.id))[0]

    async def messages(self) -> list[Message]:
        def read(connection: SqlConnection) -> Sequence[Any]:
            return connection.execute("SELECT message FROM inbox ORDER BY seq").fetchall()

        rows = await self.engine.database.read(read)
        return [decode_json(Message, row["message"]) for row in rows]


@pytest.fixture
def book(stores: Embedded) -> Book:
    clock = Clock(MONDAY)
    schedules = Schedules(stores.database, stores.inbox, clock)
    return Book(stores, clock, schedules)


async def test_a_draft_replaces_the_revision_that_it_was_made_for(book: Book) -> None:
    schedules = book.schedules
    assert not await has_rows(book.engine.database, "schedules")
    assert await schedules.earliest_due() is None
    one = await book.start()
    assert (one.state, one.next_due_at, one.locale) == ("active", MONDAY + HOUR, "pt-BR")
    assert (one.reply_to.token, one.reply_to.asker) == ("", ANA)
    assert await has_rows(book.engine.database, "schedules")
    evening = replace(DAILY, text="Good evening!", rule=ScheduleRule("0 18 * * *"))
    edit = await book.edit(one, "change", evening)
    assert (edit.draft, edit.revision, edit.state) == (evening, "change", "active")
    assert edit.next_due_at == MONDAY + 10 * HOUR
    for refusals in (book.edit(one, "other", DAILY), schedules.delete(one.id, one.revision)):
        with pytest.raises(BadSchedule, match="has since changed"):
            await refusals
    await schedules.pause(one.id, "person")
    file = await schedules.put(replace(one, revision="third", state="paused"), "change")
    assert (file.state, file.draft) == ("paused", DAILY), "it stays paused"
    assert (await book.edit(file, "fourth", evening)).state == "active"
    await schedules.delete(one.id)
    with pytest.raises(NotFound):
        await schedules.get(one.id)
    back = await schedules.put(replace(one, state="paused"), "")
    assert (back.id, back.state, back.reason) == (one.id, "paused", "person")


async def test_a_due_time_becomes_one_message_whoever_sees_it(book: Book) -> None:
    one = await book.start()
    assert await book.schedules.list_due(MONDAY + HOUR - 1) == []
    book.clock.now = MONDAY + HOUR + 200
    assert await book.schedules.list_due(book.clock.now) == [one]
    other = await book.engine.beside()
    beside = replace(book, schedules=Schedules(other.database, other.inbox, book.clock))
    runs = await asyncio.gather(*(each.advance(one) for each in (book, beside) * 4))
    (run,) = [each for each in runs if each]
    (message,) = await book.messages()
    assert message.event_key == f"schedule:{one.id}:{MONDAY + HOUR:.0f}" == run.event_key
    assert (message.text, message.author, message.address) == ("Good morning!", ANA, PLACE)
    assert (message.locale, message.reply_to.turn, message.reply_to.source) == (
        "pt-BR",
        message.turn,
        "1.0",
    )
    assert (message.origin.name, message.origin.id) == ("schedule", one.id)
    assert (message.origin.data["kind"], message.origin.data["is_late"]) == ("post", True)
    response = await book.schedules.get(one.id)
    assert (response.next_due_at, response.last_due_at, response.runs) == (
        one.next_due_at + DAY,
        one.next_due_at,
        1,
    )
    assert await book.schedules.is_current(run.seq)


async def test_missed_runs_are_listed_and_a_run_that_is_under_way_is_not_doubled(
    book: Book,
) -> None:
    one = await book.start()
    book.clock.now = one.next_due_at + 2 * DAY + 8 * HOUR
    assert await book.advance(one) is None
    (missed,) = await book.schedules.list_runs(one.id)
    assert (missed.state, missed.due_at, missed.missed_count) == ("missed", one.next_due_at, 3)
    first = await book.run_due(one)
    second = await book.run_due(one)
    assert (first.state, second.state, second.reason) == ("queued", "skipped", "busy")
    assert len(await book.messages()) == 1
    unreported = [run for _, run in await book.schedules.list_unreported()]
    assert [(run.state, run.due_at) for run in unreported] == [
        ("missed", one.next_due_at),
        ("skipped", second.due_at),
    ]
    for run in unreported:
        await book.schedules.record_reported(run.event_key)
    assert await book.schedules.list_unreported() == []


async def test_results_are_those_of_the_turns_and_failures_in_a_row_pause(book: Book) -> None:
    one = await book.start()
    states: Sequence[tuple[TurnState, str, int]] = (
        ("failed", "failed", 1),
        ("undeliverable", "failed", 2),
        ("done", "done", 0),
        ("failed", "failed", 1),
        ("removed", "stopped", 1),
        ("failed", "failed", 2),
        ("failed", "failed", 3),
    )
    for state, result, failures in states:
        run = await book.end_run(one, state)
        response = await book.schedules.get(one.id)
        assert (run.state, response.failures) == (result, failures), state
    assert (response.state, response.reason, response.next_due_at) == ("paused", "failures", 0.0)
    assert await book.schedules.settle_runs() == 0
    resumption = await book.schedules.resume(one.id)
    assert (resumption.state, resumption.failures) == ("active", 0)
    assert resumption.next_due_at > book.clock.now


async def test_a_schedule_ends_after_its_last_time_or_number_of_runs(book: Book) -> None:
    once = await book.start(replace(DAILY, rule=ScheduleRule(run_at=MONDAY + 60)))
    twice = await book.start(replace(DAILY, max_runs=2))
    until = await book.start(replace(DAILY, ends_at=MONDAY + DAY))
    for one, count in ((once, 1), (twice, 2), (until, 1)):
        for _ in range(count):
            assert (await book.schedules.get(one.id)).state == "active"
            assert (await book.end_run(one)).state == "done"
        response = await book.schedules.get(one.id)
        assert (response.state, response.next_due_at) == ("ended", 0.0), one.draft
        with pytest.raises(BadSchedule):
            await book.schedules.resume(one.id)
    assert await book.schedules.list_matching(ScheduleFilter()) == []
    again = await book.edit(once, "change", replace(once.draft, rule=ScheduleRule("0 9 * * *")))
    assert (again.state, again.runs) == ("active", 0)
    again = await book.edit(twice, "change", replace(twice.draft, text="Good evening!"))
    assert (again.state, again.runs) == ("active", 0), "it had ended, so its runs count anew"


async def test_an_edit_keeps_the_count_of_runs_unless_their_limit_changes(book: Book) -> None:
    one = await book.start(replace(DAILY, max_runs=3))
    await book.end_run(one)
    edit = await book.edit(one, "text", replace(one.draft, text="Good evening!"))
    assert edit.runs == 1
    await book.end_run(edit)
    edit = await book.edit(edit, "limit", replace(edit.draft, max_runs=2))
    assert (edit.state, edit.runs) == ("active", 0)
    back = await book.schedules.put(replace(one, revision="undo", runs=2), "limit")
    assert (back.draft, back.runs) == (one.draft, 2), "an undo restores the count"
    await book.end_run(back)
    assert (await book.schedules.get(one.id)).state == "ended"


async def test_a_run_of_a_schedule_that_changed_before_it_began_is_not_carried_out(
    book: Book,
) -> None:
    schedules = book.schedules
    for change in ("pause", "edit", "delete"):
        one = await book.start()
        run = await book.run_due(one)
        assert await schedules.is_current(run.seq)
        if change == "pause":
            await schedules.pause(one.id, "person")
        elif change == "edit":
            await book.edit(one, "change", DAILY)
        else:
            await schedules.delete(one.id)
        assert not await schedules.is_current(run.seq), change
    one = await book.start()
    run = await book.run_due(one)
    await schedules.skip(run.seq, "rights", "rights")
    assert not await schedules.is_current(run.seq)
    response = await schedules.get(one.id)
    assert (response.state, response.reason) == ("paused", "rights")
    await book.engine.end(run.seq, "", "stopped")
    assert (await schedules.list_runs(one.id))[0].reason == "rights"


async def test_a_run_now_is_one_run_for_each_wish_and_leaves_the_due_times(book: Book) -> None:
    one = await book.start()
    await book.schedules.pause(one.id, "person")
    run = await book.schedules.run_now(one.id, "slack:T1:C1:5.0")
    assert await book.schedules.run_now(one.id, "slack:T1:C1:5.0") == run
    assert await book.schedules.is_current(run.seq), "paused, but a person asked for it"
    with pytest.raises(BadSchedule):
        await book.schedules.run_now(one.id, "slack:T1:C1:6.0")  # the first has not ended
    await book.engine.end(run.seq)
    assert (await book.schedules.run_now(one.id, "slack:T1:C1:6.0")).seq != run.seq
    assert (await book.schedules.get(one.id)).state == "paused"


async def test_due_runs_are_not_limited_and_leave_their_owner_s_places_free(book: Book) -> None:
    inbox = book.engine.inbox
    vars(inbox)["_config"] = SimpleNamespace(sender_limits=SenderLimits(waiting=1))
    schedules = [await book.start() for _ in range(3)]
    runs = [await book.run_due(one) for one in schedules]
    runs.append(await book.schedules.run_now((await book.start()).id, "event"))
    assert [run.state for run in runs] == ["queued"] * 4
    receipts = [
        await inbox.accept(Message(key, "hello", ANA, PLACE, replace(TO, turn=turn_id(key))))
        for key in ("k1", "k2")
    ]
    assert [receipt.refusal for receipt in receipts] == ["", "waiting:1"]
    assert (await book.run_due(await book.start())).state == "queued", "the places are taken"


async def test_a_schedule_whose_times_have_all_passed_is_not_stored(book: Book) -> None:
    for draft in (
        replace(DAILY, rule=ScheduleRule(run_at=MONDAY - HOUR)),
        replace(DAILY, ends_at=MONDAY),
    ):
        with pytest.raises(BadSchedule, match="have passed"):
            await book.start(draft)
    assert await book.schedules.list_matching(ScheduleFilter()) == []


async def test_the_limit_for_each_person_holds_at_once(book: Book) -> None:
    one = await book.start(owner=BO)
    new = [replace(one, id=f"new{n}aa", revision=f"new{n}aa") for n in range(4)]
    puts = (book.schedules.put(each, "", (BO.key,), 3) for each in new)
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(result, BadSchedule) for result in results) == 2


async def test_after_the_clock_was_set_back_nothing_runs_twice_or_stays_away(book: Book) -> None:
    one = await book.start()
    assert (await book.end_run(one)).state == "done"
    book.clock.now += 400 * DAY + 8 * HOUR  # a wrong clock
    assert await book.advance(await book.schedules.get(one.id)) is None
    book.clock.now -= 401 * DAY + 8 * HOUR
    assert await book.schedules.realign() == 1
    assert await book.schedules.realign() == 0
    back = await book.schedules.get(one.id)
    assert back.next_due_at == one.next_due_at
    book.clock.now = back.next_due_at
    assert await book.advance(back) is None, "that time had its run"
    assert (await book.end_run(one)).due_at == one.next_due_at + DAY
    assert len(await book.messages()) == 2


async def test_only_the_newest_runs_are_kept(book: Book) -> None:
    one = await book.start()
    for number in range(55):
        due = MONDAY + number * DAY
        plan = DuePlan(0.0, due + DAY, first_missed_at=due, missed_count=1)
        book.clock.now = due
        await book.schedules.advance(await book.schedules.get(one.id), plan)
    assert len(await book.schedules.list_runs(one.id, 99)) == 50


async def test_after_a_restore_all_schedules_are_paused(book: Book) -> None:
    """A run that was under way in the backup is over, and nobody is notified of it."""
    one = await book.start()
    run = await book.run_due(one)
    assert (await close_unfinished(book.engine.database))[-1] == 1
    entries = await book.schedules.list_matching(ScheduleFilter(conversation=PLACE.conversation))
    assert {(each.id, each.state, each.reason) for each in entries} == {
        (one.id, "paused", "restored")
    }
    assert not await book.schedules.is_current(run.seq)
    assert (await book.schedules.settle_runs(), await book.schedules.list_unreported()) == (0, [])
    assert (await book.schedules.resume(one.id)).state == "active"


async def test_erasing_a_person_ends_their_schedules(book: Book) -> None:
    mine, theirs = await book.start(), await book.start(owner=BO)
    outbox = await skip_with_a_notice(book, mine)
    people = SqlPersonalData(book.engine.database, str)
    who = people.by_key(ANA.key)
    counts = await people.count_rows(who)
    assert (counts["schedules"], counts["schedule_runs"]) == (1, 1)
    (rows,) = await people.read_rows(who, "schedules")
    assert (rows["text"], rows["owner"]["id"]) == ("Good morning!", "U1")
    await people.erase(who, ())
    assert [each.id for each in await book.schedules.list_matching(ScheduleFilter())] == [theirs.id]
    assert not (await book.schedules.list_runs(mine.id))
    assert await outbox.list_person_notices(BO.key) == []


async def skip_with_a_notice(book: Book, one: Schedule) -> Outbox:
    """Bo is notified that a due run of the schedule was skipped."""
    run = await book.run_due(one)
    await book.schedules.skip(run.seq, "rights")
    notice = PersonNotice.new(run.event_key, "schedule-rights", schedule="a", what="b", when="c")
    await book.schedules.record_reported(run.event_key, [(BO, notice)])
    outbox = Outbox(book.engine.database)
    assert len(await outbox.list_person_notices(BO.key)) == 1
    return outbox


async def test_notices_about_runs_go_with_them(book: Book) -> None:
    """Afterwards nothing would say whose runs they were about."""
    outbox = await skip_with_a_notice(book, await book.start(replace(DAILY, max_runs=1)))
    assert await book.schedules.purge(book.clock.now + DAY) == 1
    assert await outbox.list_person_notices(BO.key) == []


async def test_the_first_schedule_wakes_the_other_processes(on_postgres: Shared) -> None:
    """Until then, a process loads nothing and looks up nothing."""
    start_event = asyncio.Event()

    class Timer:
        def wake(self) -> None: ...

        async def run(self) -> None:
            start_event.set()

    def parts_of(engine: Any) -> Scheduling:
        nothing: Any = None
        stores = SimpleNamespace(inbox=engine.inbox)
        return Scheduling(
            engine.database,
            cast(Any, stores),
            nothing,
            Platforms(),
            nothing,
            nothing,
            engine.jobs,
            nothing,
            nothing,
            nothing,
        )

    other = parts_of(await on_postgres.beside())
    vars(other)["scheduler"] = Timer()
    waiting = asyncio.create_task(other.run())
    await run_ready()
    assert not start_event.is_set()
    store = parts_of(on_postgres).store
    await put_schedule(store, replace(TO, asker=ANA), DAILY)
    await start_event.wait()
    await waiting
