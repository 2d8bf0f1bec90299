"""An inbox that many processes share: whoever is asked, whoever dies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.base.errors import Superseded
from core.changes.ledger import SqlLedger
from core.domain.changes import ApprovalNotice
from core.domain.messages import Answer
from core.journal import jobs
from core.observability import metrics
from core.people.notices import Outbox
from core.store import processes
from core.store.database import SqlConnection, SqlRow
from core.store.postgres import PostgresDatabase
from tests.contract.engines import Shared, Worker, count_blocked
from tests.contract.test_inbox import says
from tests.contract.test_journal import again, begin_turn
from tests.contract.test_ledger import BOB, proposal
from tests.fakes.clock import Clock
from tests.time_limits import Limits


@pytest.fixture
async def two(on_postgres: Shared) -> tuple[Shared, Shared]:
    other = await on_postgres.beside()
    assert isinstance(other, Shared)
    return on_postgres, other


Two = tuple[Shared, Shared]


async def test_turns_of_one_conversation_run_one_at_a_time_whoever_works(two: Two) -> None:
    workers = [Worker(engine).start() for engine in two]
    receipts = [await two[n % 2].inbox.accept(says(f"{n}")) for n in range(12)]
    answers = [await two[1].inbox.wait_for_answer(receipt.seq) for receipt in receipts]
    assert [answer.text for answer in answers] == [f"re: {n}" for n in range(12)]
    began = sorted(seq for worker in workers for seq in worker.began)
    assert began == [receipt.seq for receipt in receipts], "each once"


async def test_a_process_that_takes_in_runs_nothing(on_postgres: Shared) -> None:
    taking = await Shared.on(on_postgres.url, on_postgres.home, works=False)
    idle = Worker(taking).start()
    receipt = await taking.inbox.accept(says("hello"))
    worker = Worker(on_postgres).start()
    assert (await taking.inbox.wait_for_answer(receipt.seq)).text == "re: hello"
    assert (idle.began, worker.began) == ([], [receipt.seq])
    await taking.close()


async def test_a_stop_reaches_the_process_that_runs_it(two: Two) -> None:
    ours, theirs = two
    worker = Worker(theirs, held=True).start()
    receipt = await ours.inbox.accept(says("think"))
    await worker.until_begun(1)
    conversation = says("").address.conversation
    assert await ours.inbox.running_turn(conversation) == receipt.seq
    assert await ours.inbox.cancel(receipt.seq)
    assert (await ours.inbox.wait_for_answer(receipt.seq)).text == "stopped"
    assert worker.cut == [receipt.seq]
    assert await ours.inbox.running_turn(conversation) is None
    assert not await ours.inbox.cancel(receipt.seq)


async def test_a_stop_whose_notice_was_lost_is_found_with_the_next_beat(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two
    worker = Worker(theirs, held=True).start()
    receipt = await ours.inbox.accept(says("think"))
    await worker.until_begun(1)
    theirs.jobs.notifications._handlers.clear()
    assert await ours.inbox.cancel(receipt.seq)
    assert (await ours.inbox.wait_for_answer(receipt.seq)).text == "stopped"


async def test_each_beat_updates_the_metrics(two: Two) -> None:
    ours, _ = two
    for gauge in (metrics.queued, metrics.processes.labels("works")):
        gauge.set(0)
    await ours.inbox.accept(says("hello"))
    await ours.jobs._beat()
    view = metrics.render_metrics()
    assert "ponte_queued_messages 1.0\n" in view
    assert 'ponte_processes{task="run_turns"} 2.0\n' in view


async def test_a_waiting_message_is_withdrawn_by_whoever_is_asked(two: Two) -> None:
    ours, theirs = two
    worker = Worker(theirs, held=True).start()
    await ours.inbox.accept(says("think"))
    waiting = await ours.inbox.accept(says("and this"))
    await worker.until_begun(1)
    assert await ours.inbox.cancel(waiting.seq)
    worker.let_go()
    last = await ours.inbox.accept(says("last"))
    await worker.until(lambda: last.seq in worker.began)
    worker.let_go()
    await worker.until_ended(2)
    assert worker.said == ["think", "last"]


async def test_what_a_dead_process_held_is_taken_over_in_order(two: Two) -> None:
    """Turns, and a decision, which runs beside them."""
    ours, theirs = two
    doomed = Worker(ours, held=True).start()
    texts = ("0", "1", "2", "help")
    receipts = [await theirs.inbox.accept(says(text)) for text in texts]
    await doomed.until_begun(2)
    heir = await ours.kill()
    worker = Worker(theirs).start()
    answers = [await heir.inbox.wait_for_answer(receipt.seq) for receipt in receipts]
    assert [answer.text for answer in answers] == [f"re: {text}" for text in texts]
    assert [text for text in worker.said if text != "help"] == ["0", "1", "2"]
    turn = await theirs.journal.history_entry(receipts[0].turn)
    assert turn.state == "done"


async def test_a_job_that_outlived_its_turn_gives_its_conversation_free(two: Two) -> None:
    """A process died between the turn's end and the job's."""
    ours, theirs = two
    doomed = Worker(ours, held=True).start()
    receipt = await theirs.inbox.accept(says("one"))
    await doomed.until_begun(1)
    await ours.end(receipt.seq, "one")
    heir = await ours.kill()
    Worker(theirs).start()
    second = await heir.inbox.accept(says("two"))
    assert (await heir.inbox.wait_for_answer(second.seq)).text == "re: two"


async def test_who_was_frozen_writes_nothing_and_ends_nothing(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signs of life stop, another takes over; then it wakes and goes on with its work."""
    ours, theirs = two
    frozen = Worker(ours, held=True).start()
    first = await ours.inbox.accept(says("one"))
    await frozen.until_begun(1)
    turn = await again(ours, first.seq)
    assert ours.jobs.is_alive()
    await _freeze(ours)
    doing = Worker(theirs, held=True).start()
    await doing.until_begun(1)
    reply = await again(theirs, first.seq)
    assert (turn.attempt, reply.attempt) == (1, 2)
    assert not ours.jobs.is_alive()
    with pytest.raises(Superseded):
        await ours.journal.record_answer(turn, Answer("of the frozen one"))
    second = await theirs.inbox.accept(says("two"))

    async def give_way(*_: object) -> None:
        return None

    monkeypatch.setattr(ours, "end", give_way)
    frozen.let_go()  # its job ends here, while the one that stands in for it still runs
    await frozen.until_ended(1)
    other = await theirs.inbox.accept(says("other", channel="C9"))
    await doing.until_begun(2)
    assert doing.began == [first.seq, other.seq], "the conversation is not free for the second"
    doing.let_go()
    await doing.until_begun(3)
    doing.let_go()
    assert (await theirs.inbox.wait_for_answer(second.seq)).text == "re: two"


async def _freeze(engine: Shared) -> None:
    """No sign of life comes any more, and no job is fetched."""
    engine.jobs.places.shut()
    await engine.jobs._side_tasks.close()
    # A sign of life may still be written: a write goes on when its caller is cancelled.
    assert isinstance(engine.database, PostgresDatabase)
    await asyncio.gather(*engine.database._running, return_exceptions=True)
    await engine.age_signs_of_life(engine.jobs)
    engine.jobs.own.seen_at -= 3600


async def _row(engine: Shared, seq: int) -> SqlRow:
    return await engine.database.read(
        lambda c: c.execute("SELECT * FROM inbox WHERE seq = ?", (seq,)).fetchone()
    )


async def _with_kernel(engine: Shared, worker: Worker) -> str:
    """A turn ran there, and left its conversation's kernel there; the thread."""
    receipt = await engine.inbox.accept(says("x = 1"))
    await worker.until_ended(1)
    thread = str((await _row(engine, receipt.seq))["thread"])
    assert not await engine.jobs.kernel_places().record_start(thread)
    return thread


def _start_named_worker(engine: Shared) -> Worker:
    """One that also takes what is handed to it by name."""
    engine.jobs.kernel_places()
    return Worker(engine).start("web")


async def test_a_turn_runs_where_its_conversations_kernel_is(two: Two) -> None:
    ours, theirs = two
    here = _start_named_worker(ours)
    thread = await _with_kernel(ours, here)
    there = _start_named_worker(theirs)
    for number in range(9):
        last = await theirs.inbox.accept(says(f"{number}"))
    await ours.inbox.wait_for_answer(last.seq)
    assert (here.said, there.said) == (["x = 1", *map(str, range(9))], [])
    assert (await _row(ours, last.seq))["attempt"] == 1, "handing over is no attempt"
    await ours.jobs.kernel_places().record_end(thread)


async def test_what_was_handed_to_a_dead_process_is_taken_up_by_another(two: Two) -> None:
    ours, theirs = two
    thread = await _with_kernel(ours, _start_named_worker(ours))
    busy = Worker(ours, held=True)
    ours.jobs._handler = busy.handle
    await ours.inbox.accept(says("think"))
    await busy.until_begun(1)
    there = _start_named_worker(theirs)
    waits = await theirs.inbox.accept(says("next"))
    heir = await ours.kill()
    assert (await heir.inbox.wait_for_answer(waits.seq)).text == "re: next"
    assert there.said == ["think", "next"]
    places = theirs.jobs.kernel_places()
    assert not await places.is_here(thread)
    assert await places.record_start(thread), "so that its loss is told"
    assert await places.is_here(thread)


async def test_forgetting_ends_a_kernel_wherever_it_is(two: Two) -> None:
    ours, theirs = two
    thread = await _with_kernel(ours, _start_named_worker(ours))
    dropped = asyncio.Queue[str]()
    ours.jobs.on("kernel", dropped.put)
    await theirs.jobs.kernel_places().forget(thread)
    assert await dropped.get() == thread
    assert not await ours.jobs.kernel_places().is_here(thread)


async def test_nothing_of_a_finished_turn_is_left_at_the_engine(two: Two) -> None:
    ours, _ = two
    Worker(ours).start()
    receipt = await ours.inbox.accept(says("hello"))
    await ours.inbox.wait_for_answer(receipt.seq)

    async def count_jobs() -> int:
        return await ours.database.read(
            lambda c: int(c.execute("SELECT count(*) AS n FROM procrastinate_jobs").fetchone()["n"])
        )

    while await count_jobs():
        await ours.jobs.sweep()


async def test_connections_that_are_cut_are_made_anew(two: Two) -> None:
    ours, theirs = two
    Worker(ours).start()
    first = await theirs.inbox.accept(says("one"))
    await theirs.inbox.wait_for_answer(first.seq)
    await theirs.database.read(
        lambda c: c.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        ).fetchall()
    )
    second = await theirs.inbox.accept(says("two"))
    assert (await theirs.inbox.wait_for_answer(second.seq)).text == "re: two"


async def test_forgotten_text_leaves_the_queue_tables(two: Two) -> None:
    """Also the dead rows; what may hold it still is said."""
    ours, _ = two
    Worker(ours).start()
    receipt = await ours.inbox.accept(says("a secret of mine"))
    await ours.inbox.wait_for_answer(receipt.seq)
    await ours.journal.forget(says("").address.conversation)
    await ours.database.scrub()

    remaining = await ours.database.read(
        lambda c: c.execute(
            "SELECT coalesce(sum(n_dead_tup), 0) AS n FROM pg_stat_user_tables"
            " WHERE relname IN ('items', 'posts')"
        ).fetchone()
    )
    assert int(remaining["n"]) == 0
    assert (
        "may remain in the database's write-ahead log and backups" in ours.database.remains_notice
    )


async def test_what_has_no_job_gets_one_before_anything_new(on_postgres: Shared) -> None:
    """As a migrated home has it."""
    old = await on_postgres.inbox.accept(says("old"))
    await on_postgres.database.write(lambda c: c.execute("DELETE FROM procrastinate_jobs").close())
    await on_postgres.jobs.sweep()
    new = await on_postgres.inbox.accept(says("new"))
    worker = Worker(on_postgres).start()
    await on_postgres.inbox.wait_for_answer(new.seq)
    assert worker.began == [old.seq, new.seq]


class LeaseRow:
    """A database with one row of `leases`, by the test's clock. From `away_at` on it does not
    answer; each renewal before takes `seconds`."""

    def __init__(self, clock: Clock, seconds: float, away_at: float) -> None:
        self.clock = clock
        self.until = 0.0
        self._seconds = seconds
        self._away_at = away_at

    async def write(self, work: Callable[[SqlConnection], Any]) -> bool:
        if self.clock() >= self._away_at:
            await asyncio.Event().wait()
        if self._seconds:
            await asyncio.sleep(self._seconds)
        self.until = self.clock() + processes.ROLE_LEASE_SECONDS
        return True


@pytest.mark.parametrize("away_at", [0.1, 2.9, 3.1, 7.0, 29.9])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 2.5])
async def test_a_leader_stops_its_work_before_its_lease_can_be_taken(
    monkeypatch: pytest.MonkeyPatch, seconds: float, away_at: float
) -> None:
    """The database goes away at any moment of a renewal. The clock is the test's own."""
    clock = Clock(0.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    row = LeaseRow(clock, seconds, away_at)
    process = jobs.Jobs("postgresql://", row)  # type: ignore[arg-type]
    remaining: list[float] = []
    gauge, leads_by_gauge = metrics.leader.labels("gate")._value, list[float]()

    async def work() -> None:
        leads_by_gauge.append(gauge.get())
        try:
            await asyncio.Event().wait()
        finally:
            remaining.append(row.until - clock())

    leads = asyncio.create_task(process.lead("gate", work))
    while not remaining and clock() < away_at + 2 * processes.ROLE_LEASE_SECONDS:
        for _ in range(10):  # what is due now happens
            await asyncio.sleep(0)
        clock.now += 0.1
    leads_by_gauge.append(gauge.get())
    leads.cancel()
    await asyncio.wait({leads})
    assert leads_by_gauge == [1, 0], "operators see that nobody leads"
    assert remaining[0] > processes.ROLE_MARGIN_SECONDS - 0.2, "another process could lead already"
    assert remaining[0] < 2 * processes.ROLE_MARGIN_SECONDS, "it still leads through a short outage"


async def test_led_work_that_broke_is_logged_and_work_that_was_cancelled_is_not() -> None:
    async def break_at_once() -> None:
        raise RuntimeError("broken on purpose")

    async def wait_forever() -> None:
        await asyncio.Event().wait()

    for work, count in ((break_at_once, 1), (wait_forever, 0)):
        led = asyncio.create_task(work())
        await asyncio.sleep(0)
        with capture_logs() as logs:
            await processes._cancel_and_log(led)
        assert [line["log_level"] for line in logs] == ["error"] * count


async def test_a_role_is_given_up_after_its_work_has_ended(two: Two) -> None:
    """A drain of the process does not let another one lead beside it."""
    ours, theirs = two
    order: list[str] = []
    began = {1: asyncio.Event(), 2: asyncio.Event()}
    ending, may_end = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> None:
        order.append(f"{number} begins")
        began[number].set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await may_end.wait()
            order.append(f"{number} ends")

    first = asyncio.create_task(ours.jobs.lead("gate", lambda: work(1)))
    await began[1].wait()
    second = asyncio.create_task(theirs.jobs.lead("gate", lambda: work(2)))
    try:
        await ours.jobs.drain(0)
        assert await _leader(theirs) == ours.jobs.process
        first.cancel()
        await ending.wait()
        assert await _leader(theirs) == ours.jobs.process
        may_end.set()
        await began[2].wait()
        assert order == ["1 begins", "1 ends", "2 begins"]
    finally:
        may_end.set()
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def _leader(engine: Shared) -> str:
    row = await engine.database.read(
        lambda c: c.execute("SELECT process FROM leases WHERE role = 'gate'").fetchone()
    )
    return str(row["process"]) if row else ""


async def test_who_cannot_reach_the_database_leads_no_more(
    two: Two, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """Its own connection hangs, and another one takes over: never both."""
    limits(ROLE_LEASE_SECONDS=0.6)
    limits(ROLE_MARGIN_SECONDS=0.1)
    leading, most = list[int](), 0
    began = {1: asyncio.Event(), 2: asyncio.Event()}

    async def work(number: int) -> None:
        nonlocal most
        leading.append(number)
        most = max(most, len(leading))
        began[number].set()
        try:
            await asyncio.Event().wait()
        finally:
            leading.remove(number)

    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    ours, theirs = two
    first = asyncio.create_task(ours.jobs.lead("gate", lambda: work(1)))
    await began[1].wait()
    second = asyncio.create_task(theirs.jobs.lead("gate", lambda: work(2)))
    with monkeypatch.context() as patch:
        patch.setattr(ours.database, "write", hangs)
        await began[2].wait()
    assert (leading, most) == ([2], 1)
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_a_notice_that_is_stored_while_its_change_is_forgotten_keeps_no_words(
    two: Two,
) -> None:
    ours, theirs = two
    turn = await begin_turn(ours)
    change = await SqlLedger(ours.database).propose(proposal("c1", turn.seq, turn.message.address))
    forgets, may_end = threading.Event(), threading.Event()

    def forget(connection: SqlConnection) -> None:
        connection.lock_key(change.proposal.address.conversation)
        connection.execute("UPDATE changes SET erasure_reason = 1 WHERE id = ?", (change.id,))
        forgets.set()
        may_end.wait()

    forgetting = asyncio.create_task(ours.database.write(forget))
    await asyncio.to_thread(forgets.wait)
    outbox = Outbox(theirs.database)
    notice = ApprovalNotice(change.id, "copy", BOB, text="Ana asks", state="posted")
    putting = asyncio.create_task(outbox.put(notice))
    while not putting.done() and not await theirs.database.read(count_blocked):
        pass
    may_end.set()
    await asyncio.gather(forgetting, putting)
    (copy,) = await outbox.list_copies(change.id)
    assert (copy.text, copy.person.name) == ("", "")
