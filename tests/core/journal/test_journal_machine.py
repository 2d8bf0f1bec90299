"""Whatever is written of a few turns, by whom and when: states go forward, nothing twice."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from core.base.errors import Superseded, TakenOver
from core.domain.messages import Answer, Item, Post, Usage
from core.domain.records import FINAL_STATES, Outcome, RoundOutput, ToolCall, Turn, TurnState
from tests.contract.test_inbox import says
from tests.core.machine import MACHINE_SETTINGS, EngineMachine

ORDER: tuple[TurnState, ...] = ("new", "running", "answered", "posting")
HEARD = Item("message", role="user", text="hello")
INTERRUPTED_OUTPUT = "error: interrupted, result unknown"
channels = st.sampled_from(("C1", "C2"))
picks = st.integers(0, 1_000_000)
numbers = st.integers(1, 3)
some_began = precondition(lambda self: self.turns)


def call_of(number: int) -> Item:
    return Item("call", call_id=f"c{number}", name="look", arguments="{}")


def output(call_id: str, text: str) -> Item:
    return Item("output", call_id=call_id, text=text)


@dataclass
class Row:
    """What must be journalled of one message."""

    seq: int
    channel: str
    state: TurnState = "new"
    attempt: int = 0
    begun: bool = False
    """By the present process."""
    thread: str = ""
    items: list[Item] = field(default_factory=list)
    posts: dict[int, Post] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)

    @property
    def open_calls(self) -> list[str]:
        ends = {item.call_id for item in self.items if item.kind == "output"}
        calls = {item.call_id for item in self.items if item.kind == "call"}
        return sorted(calls - ends)


class JournalMachine(EngineMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Row] = {}
        self.turns: list[Turn] = []
        """All that were ever handed out: most are stale."""
        self.generations = {"C1": 0, "C2": 0}
        self.lives = 1

    @rule(channel=channels)
    def accept(self, channel: str) -> None:
        receipt = self.run(self.engine.inbox.accept(says("hello", channel)))
        self.rows[receipt.seq] = Row(receipt.seq, channel)

    @precondition(lambda self: self.rows)
    @rule(pick=picks)
    def begin(self, pick: int) -> None:
        row = list(self.rows.values())[pick % len(self.rows)]
        turn = self.run(self.engine.journal.begin(row.seq))
        if row.state in FINAL_STATES:
            assert turn is None
            return
        assert turn
        row.attempt = max(1, row.attempt + (not row.begun))
        row.begun, row.thread = True, row.thread or turn.thread
        row.state = "running" if row.state == "new" else row.state
        expected_row = (row.attempt, row.state, self.generations[row.channel], row.thread)
        assert (turn.attempt, turn.state, turn.generation, turn.thread) == expected_row
        assert list(turn.items) == row.items
        assert {post.number: post for post in turn.posts} == row.posts
        self.turns.append(turn)

    @some_began
    @rule(pick=picks)
    def record_question(self, pick: int) -> None:
        turn, row = self.pick(pick)
        wrote = self.check_write(turn, self.engine.journal.record_user_message(turn, [HEARD]))
        if wrote and not row.items:
            row.items.append(HEARD)

    @some_began
    @rule(pick=picks, number=numbers)
    def round(self, pick: int, number: int) -> None:
        turn, row = self.pick(pick)
        call = call_of(number)
        message = self.engine.journal.record_round(turn, RoundOutput(number, (call,), Usage(), "m"))
        if self.check_write(turn, message) and call not in row.items:
            row.items.append(call)

    @some_began
    @rule(pick=picks, number=numbers)
    def start_call(self, pick: int, number: int) -> None:
        turn, row = self.pick(pick)
        call = ToolCall(f"c{number}", "look", "{}", "read")
        if self.check_write(turn, self.engine.journal.record_call_start(turn, call)):
            row.started.add(call.call_id)

    @some_began
    @rule(pick=picks, number=numbers)
    def end_call(self, pick: int, number: int) -> None:
        turn, row = self.pick(pick)
        id = f"c{number}"
        call_end = self.engine.journal.record_call_end(turn, id, Outcome("ok", "3 rows"))
        if self.check_write(turn, call_end) and id in row.started:
            row.started.remove(id)
            if call_of(number) in row.items:  # what a person typed is no call of a model's
                row.items.append(output(id, "3 rows"))

    @some_began
    @rule(pick=picks)
    def answer(self, pick: int) -> None:
        turn, row = self.pick(pick)
        wrote = self.check_write(turn, self.engine.journal.record_answer(turn, Answer("hi")))
        if wrote and row.state == "running":
            row.state = "answered"
            row.items.extend(output(call_id, INTERRUPTED_OUTPUT) for call_id in row.open_calls)

    @some_began
    @rule(pick=picks, number=numbers)
    def posting(self, pick: int, number: int) -> None:
        turn, row = self.pick(pick)
        if self.check_write(turn, self.engine.journal.record_posting(turn, number, f"k{number}")):
            row.posts.setdefault(number, Post(number, f"k{number}"))
            row.state = "posting" if row.state == "answered" else row.state

    @some_began
    @rule(pick=picks, number=numbers)
    def record_post(self, pick: int, number: int) -> None:
        """Its id is kept, also where the turn is over; but not of an older attempt."""
        turn, row = self.pick(pick)
        if turn.attempt < row.attempt:
            with pytest.raises(TakenOver):
                self.run(self.engine.journal.record_posted(turn, number, "late"))
            return
        self.run(self.engine.journal.record_posted(turn, number, f"p{number}"))
        if number in row.posts:
            row.posts[number] = Post(number, f"k{number}", f"p{number}", "posted")

    @some_began
    @rule(pick=picks, state=st.sampled_from(["done", "failed", "undeliverable"]))
    def end(self, pick: int, state: TurnState) -> None:
        turn, row = self.pick(pick)
        if self.check_write(turn, self.engine.journal.end_turn(turn, state)):
            row.state = state

    @some_began
    @rule(pick=picks)
    def put_back(self, pick: int) -> None:
        turn, row = self.pick(pick)
        if self.check_write(turn, self.engine.journal.put_back(turn)):
            row.attempt, row.begun = row.attempt - 1, False
            row.state = "new" if row.state == "running" else row.state

    @rule()
    def crash(self) -> None:
        self.kill()
        self.lives += 1
        for row in self.rows.values():
            row.begun = False

    @rule(channel=channels)
    def forget(self, channel: str) -> None:
        rows = [row for row in self.rows.values() if row.channel == channel]
        forgot = self.run(self.engine.journal.forget(f"web:{channel}"))
        if any(row.thread for row in rows):
            self.generations[channel] += 1
        assert forgot.generation == self.generations[channel]
        assert list(forgot.running) == [r.seq for r in rows if r.state in ORDER[1:]]
        for row in rows:
            row.state, row.items = "withdrawn", []

    @rule(channel=channels)
    def new_thread(self, channel: str) -> None:
        if any(row.thread for row in self.rows.values() if row.channel == channel):
            self.run(self.engine.journal.new_thread(f"web:{channel}"))

    @invariant()
    def journal_is_as_known(self) -> None:
        states = {row.seq: (row.state, row.attempt) for row in self.rows.values()}
        assert self.run(self.stored_states()) == states
        assert all(row.attempt <= self.lives for row in self.rows.values())
        for row in self.rows.values():
            entries = self.run(self.engine.journal.transcript(row.thread))
            assert [entry.item for entry in entries if entry.seq == row.seq] == row.items

    async def stored_states(self) -> dict[int, tuple[str, int]]:
        statement = "SELECT seq, state, attempt FROM inbox"
        return await self.engine.database.read(
            lambda c: {r[0]: (r[1], r[2]) for r in c.execute(statement)}
        )

    def pick(self, number: int) -> tuple[Turn, Row]:
        turn = self.turns[number % len(self.turns)]
        return turn, self.rows[turn.seq]

    def check_write(self, turn: Turn, write: Coroutine[Any, Any, object]) -> bool:
        """Do it; whether it may be done must be whether it is done."""
        row = self.rows[turn.seq]
        generation = self.generations[row.channel]
        current = (turn.attempt, turn.generation) == (row.attempt, generation)
        if current and row.state not in FINAL_STATES:
            self.run(write)
            return True
        with pytest.raises(Superseded):
            self.run(write)
        return False


def test_random_writes_to_the_journal_keep_its_promises() -> None:
    run_state_machine_as_test(JournalMachine, settings=MACHINE_SETTINGS)
