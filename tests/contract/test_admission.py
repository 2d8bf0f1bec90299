"""A turn whose author is not known yet waits, and holds up nobody else, on both engines."""

from __future__ import annotations

import asyncio
import time

import pytest

from core.base.errors import NotStored
from core.domain.messages import Address, Message, Person
from core.journal import jobs
from core.journal.kernels import SharedKernelRows
from core.people.policy import Policy
from core.turn.origins import Admission
from tests.contract.engines import Embedded, Shared, Worker
from tests.fakes.choices import make_message
from tests.time_limits import Limits


class Registrar(Policy):
    """The `Policy`'s part of it: who is known, and to whom nobody will ever be."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.confirmed: set[str] = set()
        self.asked: list[tuple[str, bool]] = []
        self.was_asked = asyncio.Event()
        self.was_waited_for = asyncio.Event()
        self._news = asyncio.Condition()

    async def tell(self, *people: str, confirmed: bool = True) -> None:
        async with self._news:
            self.known |= set(people)
            self.confirmed |= set(people) if confirmed else set()
            self._news.notify_all()

    async def prepare(
        self, person: Person, address: Address, *, confirmed: bool, seconds: float
    ) -> bool:
        self.asked.append((person.id, confirmed))
        self.was_asked.set()
        if seconds:
            self.was_waited_for.set()
        there = self.confirmed if confirmed else self.known
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: person.id in there)
        except TimeoutError:
            return False
        return True


@pytest.fixture
def registrar(stores: Embedded, limits: Limits) -> Registrar:
    limits(ADMISSION_WAIT_SECONDS=0.02)
    limits(FIRST_POSTPONED_SECONDS=0.05)
    limits(MAX_POSTPONED_SECONDS=0.1)
    match = Registrar()
    stores.inbox.set_admission(Admission(stores.inbox.find_unstarted, match).admit)
    return match


def says(text: str, name: str, channel: str = "") -> Message:
    person = Person("web", name)
    return make_message(text, f"{name}:{text}:{time.monotonic_ns()}", channel or f"C{name}", person)


async def test_who_is_not_known_waits_and_holds_up_nobody(
    stores: Embedded, registrar: Registrar, limits: Limits
) -> None:
    limits(MAX_WORKER_TURNS=3)
    await registrar.tell("known")
    worker = Worker(stores).start()
    for n in range(8):
        await stores.inbox.accept(says("hello", f"new{n}"))
    for n in range(3):
        await stores.inbox.accept(says(f"still {n}", "known", f"K{n}"))
    await worker.until_ended(3)
    assert set(worker.said) == {"still 0", "still 1", "still 2"}
    await registrar.tell(*(f"new{n}" for n in range(8)))
    await worker.until_ended(11)


async def test_a_conversation_keeps_its_order_while_its_first_waits(
    stores: Embedded, registrar: Registrar
) -> None:
    await registrar.tell("ana")
    worker = Worker(stores).start()
    await stores.inbox.accept(says("first", "new", "C1"))
    await stores.inbox.accept(says("second", "ana", "C1"))
    await stores.inbox.accept(says("beside", "ana", "C2"))
    await worker.until_ended(1)
    await registrar.tell("new")
    await worker.until_ended(3)
    assert worker.said == ["beside", "first", "second"]


async def test_after_its_time_a_turn_begins_all_the_same(
    stores: Embedded, registrar: Registrar, limits: Limits
) -> None:
    limits(WAIT_SECONDS=0.3)
    limits(CONFIRM_SECONDS=0.0)
    worker = Worker(stores).start()
    await stores.inbox.accept(says("hello", "nobody"))
    await worker.until_ended(1)


async def test_a_message_waits_for_its_author_though_it_needs_no_confirmed_status(
    stores: Embedded, registrar: Registrar, limits: Limits
) -> None:
    limits(CONFIRM_SECONDS=0.0)
    for text in ("hello", "quick-command"):  # the second is a wrong command
        receipt = await stores.inbox.accept(says(text, text))
        waits = Admission(stores.inbox.find_unstarted, registrar)
        assert not await waits.admit(receipt.seq, 0.0), text
        await registrar.tell(text, confirmed=False)
        assert await waits.admit(receipt.seq, 0.0), text


async def test_a_database_that_fails_during_the_look_up_holds_up_no_turn(
    on_postgres: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(seq: int, seconds: float) -> bool:
        raise NotStored

    def fail_to_hand_over(*_: object) -> str:
        raise NotStored

    async def tell(kind: str, thread: str) -> None:
        return None

    on_postgres.inbox.set_admission(fail)
    monkeypatch.setattr(jobs, "hand_over", fail_to_hand_over)
    monkeypatch.setattr(on_postgres.jobs, "_has_kernels", True)
    await SharedKernelRows(on_postgres.database, "another", tell).record_start("thread")
    worker = Worker(on_postgres).start()
    await on_postgres.inbox.accept(says("hello", "ana"))
    await worker.until_ended(1)
    assert worker.said == ["hello"]


async def test_chat_goes_on_unconfirmed_and_a_decision_waits_for_it(
    stores: Embedded, registrar: Registrar, limits: Limits
) -> None:
    limits(CONFIRM_SECONDS=0.0)
    await registrar.tell("ana", confirmed=False)
    worker = Worker(stores).start()
    await stores.inbox.accept(says("good morning", "ana"))
    await worker.until_ended(1)  # decisions found at its start would go first
    await stores.inbox.accept(says("approve abc234", "ana"))
    await stores.inbox.accept(says("hello", "ana"))
    await worker.until_ended(2)
    assert worker.said == ["good morning", "hello"]
    await registrar.tell("ana")
    await worker.until_ended(3)


async def test_a_decision_that_a_former_process_left_and_that_waits_holds_up_no_turn(
    stores: Embedded, registrar: Registrar, limits: Limits
) -> None:
    limits(CONFIRM_SECONDS=0.0)
    limits(DECISIONS_FIRST_SECONDS=3600.0)
    await registrar.tell("ana", confirmed=False)
    await stores.inbox.accept(says("approve abc234", "ana"))
    await stores.inbox.accept(says("hello", "ana"))
    worker = Worker(stores).start()
    await worker.until_ended(1)
    assert worker.said == ["hello"]


async def test_a_message_that_is_withdrawn_while_it_waits_never_begins(
    stores: Embedded, registrar: Registrar
) -> None:
    worker = Worker(stores).start()
    reply = says("hello", "new")
    await stores.inbox.accept(reply)
    await registrar.was_waited_for.wait()
    assert await stores.inbox.amend(reply.event_key, None) == "unstarted"
    await registrar.tell("new", "ana")
    await stores.inbox.accept(says("beside", "ana"))
    await worker.until_ended(1)
    assert worker.said == ["beside"]


async def test_a_drain_does_not_wait_for_it_and_the_next_process_goes_on(
    stores: Embedded, registrar: Registrar
) -> None:
    Worker(stores).start()
    await stores.inbox.accept(says("hello", "new"))
    await registrar.was_asked.wait()
    other = await stores.beside()
    await stores.inbox.drain(100_000)
    worker = Worker(other).start()
    await worker.until_ended(1)
    assert worker.said == ["hello"]
