"""Which turn is given up after crashes: only one that ran alone each time the process died."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from core.domain.messages import Answer, Message
from core.domain.records import CRASHED_REASON
from core.journal.turn_runner import (
    CRASHES_BEFORE_ALONE,
    MAX_CRASHES,
    MAX_CRASHES_ALONE,
    TurnExecutor,
)
from tests.contract.engines import Embedded, Worker, runner_of
from tests.contract.test_inbox import says
from tests.time_limits import Limits


class Life(Worker):
    """The turns of one process. When `dies` says so, nothing of it goes on any more."""

    def __init__(self, engine: Embedded, dies: Callable[[Life, str], bool]) -> None:
        super().__init__(engine)
        self.embedded = engine
        self.dead = asyncio.Event()
        self.given_up: list[str] = []
        self.undelivered: list[str] = []
        """Why the answer before did not arrive, where a turn has to say so."""
        self.beside: dict[str, int] = {}
        """By text: how many other turns were under way when it began."""
        self._dies = dies

    async def handle(self, seq: int) -> None:
        if self.dead.is_set():
            await asyncio.Event().wait()
        turn = await self.embedded.journal.begin(seq)
        if turn is None:
            return
        words = turn.message.text
        if turn.undelivered_reason:
            self.undelivered.append(turn.undelivered_reason)
        self.said.append(words)
        self._tell(self.began, seq)
        self.beside[words] = len(self.now) - 1
        if self._dies(self, "sorry" if turn.refusal == CRASHED_REASON else words):
            self.dead.set()
        if self.dead.is_set():
            await asyncio.Event().wait()
        if turn.refusal == CRASHED_REASON:
            self.given_up.append(words)
            await self.embedded.end(seq, "I was interrupted", "failed")
        else:
            await self.embedded.end(seq, f"re: {words}")
        self._tell(self.ended, seq)


class Lives:
    """Processes one after the other, each after a kill -9 of the one before."""

    def __init__(self, engine: Embedded, dies: Callable[[Life, str], bool]) -> None:
        self.engine = engine
        self.all: list[Life] = []
        self._dies = dies

    async def live(self, seqs: Sequence[int], most: int) -> None:
        """Go on until these turns are over, with `most` processes at most."""
        for _ in range(most):
            life = Life(self.engine, self._dies)
            self.all.append(life)
            life.start("web")
            task = asyncio.create_task(self._until_over(seqs))
            dead = asyncio.create_task(life.dead.wait())
            await asyncio.wait({task, dead}, return_when=asyncio.FIRST_COMPLETED)
            dead.cancel()
            if not life.dead.is_set():
                return
            task.cancel()
            self.engine = await self.engine.kill()
        raise AssertionError(f"{most} processes were not enough")

    async def _until_over(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            await self.engine.inbox.wait_for_answer(seq)

    @property
    def ended_turns(self) -> Sequence[int]:
        return [seq for life in self.all for seq in life.ended]

    @property
    def given_up(self) -> Sequence[str]:
        return [words for life in self.all for words in life.given_up]


async def crashed_often(engine: Embedded, text: str) -> tuple[Embedded, int]:
    """A process in which that message's turn runs alone; and the message's number."""
    engine, (seq,) = await all_crashed_often(engine, says(text))
    return engine, seq


async def all_crashed_often(engine: Embedded, *messages: Message) -> tuple[Embedded, list[int]]:
    """A process in which these messages' turns run alone; and their numbers."""
    seqs = [(await engine.inbox.accept(message)).seq for message in messages]
    for _ in range(CRASHES_BEFORE_ALONE):
        await Worker(engine, held=True).start("web").until_begun(len(messages))
        engine = await engine.kill()
    return engine, seqs


@pytest.mark.parametrize("poisons", [(7,), (3, 8)], ids=["one", "two"])
async def test_poisonous_messages_cost_nobody_else_their_answer(
    stores: Embedded, poisons: tuple[int, ...]
) -> None:
    seqs = []
    for number in range(12):
        text = f"poison {number}" if number in poisons else f"hello {number}"
        seqs.append((await stores.inbox.accept(says(text, f"C{number}"))).seq)
    lives = Lives(stores, lambda _, text: "poison" in text)
    await lives.live(seqs, 20)
    assert sorted(lives.given_up) == [f"poison {number}" for number in poisons]
    if len(poisons) == 1:
        assert len(lives.all) == CRASHES_BEFORE_ALONE + MAX_CRASHES_ALONE + 1
        beside = [life.beside["poison 7"] for life in lives.all if "poison 7" in life.beside]
        assert beside[CRASHES_BEFORE_ALONE:] == [0] * (MAX_CRASHES_ALONE + 1), "it ran alone"


@pytest.mark.parametrize("seed", range(2))
async def test_kills_from_outside_cost_nobody_their_answer(sqlite: Embedded, seed: int) -> None:
    """Twenty kills while 120 turns run, one in every six turns that begin."""
    await kill_at_random(sqlite, random.Random(seed), kills=20, turns=120)


async def test_kills_of_processes_that_share_a_database_cost_nobody_their_answer(
    on_postgres: Embedded,
) -> None:
    await kill_at_random(on_postgres, random.Random(1), kills=6, turns=40)


async def kill_at_random(engine: Embedded, chance: random.Random, kills: int, turns: int) -> None:
    messages = [says(f"hello {number}", f"C{number % 30}") for number in range(turns)]
    seqs = [(await engine.inbox.accept(one)).seq for one in messages]
    left, killed_alone = kills, set[str]()

    def dies(life: Life, text: str) -> bool:
        """No message is hit twice with no other turn beside it: it would rightly be given up."""
        nonlocal left
        is_killed = left > 0 and not life.dead.is_set() and chance.random() < kills / turns
        if is_killed and not life.beside.get(text, 0):
            is_killed = text not in killed_alone
            killed_alone.add(text)
        left -= is_killed
        return is_killed

    lives = Lives(engine, dies)
    await lives.live(seqs, kills + 1)
    assert lives.given_up == []
    assert len(lives.all) == kills - left + 1
    assert kills - left > kills / 2, "the process was killed often"


async def test_an_answer_whose_delivery_ends_the_process_is_not_delivered(stores: Embedded) -> None:
    """Everybody else goes on, and the next answer says that this one did not arrive."""
    receipt = await stores.inbox.accept(says("poison"))
    turn = await stores.journal.begin(receipt.seq)
    assert turn
    await stores.journal.record_answer(turn, Answer("42"))
    stores = await stores.kill()
    lives = Lives(stores, lambda _, text: text == "poison")
    hello = await stores.inbox.accept(says("hello", "C2"))
    await lives.live([receipt.seq, hello.seq], CRASHES_BEFORE_ALONE + MAX_CRASHES_ALONE)
    # The process may be killed after the other turn ended and before this test saw it.
    assert set(lives.ended_turns) <= {hello.seq}
    assert await column(lives.engine, "state", hello.seq) == "done"
    assert await column(lives.engine, "state", receipt.seq) == "undeliverable"
    later = await lives.engine.inbox.accept(says("and now?"))
    await lives.live([later.seq], 1)
    assert [why for life in lives.all for why in life.undelivered] == [CRASHED_REASON]


async def test_an_apology_that_ends_the_process_is_given_up_too(stores: Embedded) -> None:
    receipt = await stores.inbox.accept(says("poison"))
    lives = Lives(stores, lambda _, text: text in ("poison", "sorry"))
    hello = await stores.inbox.accept(says("hello", "C2"))
    await lives.live([receipt.seq, hello.seq], 12)
    # The process may be killed after the other turn ended and before this test saw it.
    assert set(lives.ended_turns) <= {hello.seq}
    assert await column(lives.engine, "state", hello.seq) == "done"
    assert await column(lives.engine, "state", receipt.seq) == "undeliverable"


async def test_others_wait_while_a_suspect_runs_and_no_longer(
    stores: Embedded, limits: Limits
) -> None:
    limits(RUN_ALONE_SECONDS=600.0)
    engine, suspect = await crashed_often(stores, "poison")
    worker = Worker(engine, held=True).start("web")
    await worker.until_begun(1)
    assert worker.began == [suspect]
    assert await column(engine, "solo_crashes", suspect) == 1
    other = await engine.inbox.accept(says("hello", "C2"))
    decision = await engine.inbox.accept(says("help", "C2"))
    await worker.until(lambda: decision.seq in worker.began)
    assert other.seq not in worker.began
    worker.let_go(suspect)
    await worker.until(lambda: other.seq in worker.began)
    assert await column(engine, "solo_crashes", suspect) == 0


async def test_others_wait_for_a_long_turn_only_so_long(stores: Embedded, limits: Limits) -> None:
    engine, suspect = await crashed_often(stores, "long")
    limits(RUN_ALONE_SECONDS=0.2)
    worker = Worker(engine, held=True).start("web")
    await worker.until_begun(1)
    other = await engine.inbox.accept(says("hello", "C2"))
    await worker.until(lambda: other.seq in worker.began)
    assert worker.now == {suspect, other.seq}
    assert await column(engine, "solo_crashes", suspect) == 0, "it isn't blamed any more"


async def test_a_suspect_waits_for_the_others_only_so_long(
    stores: Embedded, limits: Limits
) -> None:
    engine, suspect = await crashed_often(stores, "unlucky")
    limits(RUN_ALONE_SECONDS=0.0)
    keep_busy(engine)
    worker = Worker(engine, held=True).start("web")
    await worker.until_begun(1)
    assert worker.began == [suspect]
    assert await column(engine, "solo_crashes", suspect) == 0, "it does not run alone"


async def test_suspect_decisions_hold_nobody_once_they_ended(
    stores: Embedded, limits: Limits
) -> None:
    limits(RUN_ALONE_SECONDS=600.0)
    decisions = [says("help", f"C{number}") for number in range(2)]
    engine, suspects = await all_crashed_often(stores, *decisions)
    worker = Worker(engine).start("web")
    await worker.until_ended(2)
    assert sorted(worker.ended) == suspects
    other = await engine.inbox.accept(says("hello", "C5"))
    await worker.until(lambda: other.seq in worker.ended)
    runner = runner_of(engine)
    assert isinstance(runner, TurnExecutor)
    await runner.places.wait_until_quiet()


async def test_who_waited_for_a_suspect_comes_before_the_next_one(
    stores: Embedded, limits: Limits
) -> None:
    limits(RUN_ALONE_SECONDS=600.0)
    limits(LONG_WAIT_SECONDS=0.0)
    engine, suspects = await all_crashed_often(stores, says("one", "C1"), says("two", "C2"))
    worker = Worker(engine, held=True).start("web")
    await worker.until_begun(1)
    (first,), (second,) = worker.began, set(suspects) - set(worker.began)
    others = [(await engine.inbox.accept(says("hello", f"C{n}"))).seq for n in (3, 4)]
    worker.let_go(first)
    await worker.until_begun(3)
    assert sorted(worker.began[1:]) == others
    worker.let_go(*others)
    await worker.until_begun(4)
    assert worker.began[3] == second
    assert await column(engine, "solo_crashes", second) == 1, "it runs alone"


async def test_a_turn_with_very_many_crashes_is_given_up(stores: Embedded) -> None:
    """Even if it never crashed alone, because it crashes late."""
    engine, suspect = await crashed_often(stores, "slow poison")
    sql = f"UPDATE inbox SET attempt = {MAX_CRASHES} WHERE seq = ?"
    await engine.database.write(lambda connection: connection.execute(sql, (suspect,)).close())
    lives = Lives(engine, lambda *_: False)
    await lives.live([suspect], 1)
    assert lives.given_up == ["slow poison"]


async def test_a_suspect_that_waits_can_be_stopped(stores: Embedded) -> None:
    engine, suspect = await crashed_often(stores, "unlucky")
    runner = keep_busy(engine)
    worker = Worker(engine).start("web")
    while suspect not in runner._admitting:  # noqa: ASYNC110 (nothing tells that it waits)
        await asyncio.sleep(0)
    assert await engine.inbox.cancel(suspect)
    assert (await engine.inbox.wait_for_answer(suspect)).text == "stopped"
    assert worker.said == []


async def test_a_suspect_that_a_drain_puts_back_is_not_blamed(stores: Embedded) -> None:
    engine, suspect = await crashed_often(stores, "unlucky")
    heir = await engine.beside()
    worker = Worker(engine, held=True).start("web")
    await worker.until_begun(1)
    await engine.inbox.drain(0)
    assert await column(heir, "solo_crashes", suspect) == 0


def keep_busy(engine: Embedded) -> TurnExecutor:
    """Have a turn that is always under way in this process."""
    runner = runner_of(engine)
    assert isinstance(runner, TurnExecutor)
    runner.places.begin(10**6)
    return runner


async def column(engine: Embedded, name: str, seq: int) -> int | str:
    select = f"SELECT {name} AS found FROM inbox WHERE seq = ?"
    row = await engine.database.read(lambda c: c.execute(select, (seq,)).fetchone())
    match: int | str = row["found"]
    return match
