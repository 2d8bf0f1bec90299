"""Whatever happens to a few conversations: nothing is lost, done twice or out of order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from core.base.errors import Forgotten
from core.base.tasks import Backoff
from core.domain.messages import Message
from tests.contract.engines import Worker
from tests.contract.test_inbox import says
from tests.core.machine import MACHINE_SETTINGS, EngineMachine
from tests.time_limits import Limits

CHANNELS = ("C1", "C2", "C3")
channels = st.sampled_from(CHANNELS)
picks = st.integers(0, 1_000_000)


@dataclass
class Said:
    """What the machine knows of one message; `heard` is the text that its turn took up."""

    seq: int
    channel: str
    message: Message
    state: Literal["waiting", "running", "done", "stopped", "gone"] = "waiting"
    heard: str = ""


class InboxMachine(EngineMachine):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[Said] = []
        self.worker = self.run(self.work())

    async def work(self) -> Worker:
        return Worker(self.engine, held=True).start()

    @rule(channel=channels)
    def accept(self, channel: str) -> None:
        message = replace(says(f"text {len(self.said)}", channel), sent_at=1.0)
        receipt = self.run(self.engine.inbox.accept(message))
        assert receipt.is_new
        assert all(receipt.seq > messages.seq for messages in self.said)
        self.said.append(Said(receipt.seq, channel, message))
        self.settle()

    @precondition(lambda self: self.said)
    @rule(pick=picks)
    def accept_again(self, pick: int) -> None:
        choice = self.pick(pick)
        receipt = self.run(self.engine.inbox.accept(choice.message))
        assert (receipt.seq, receipt.is_new) == (choice.seq, False)

    @precondition(lambda self: self.said)
    @rule(pick=picks, sent_at=st.sampled_from([0.5, 1.0, 2.0, 3.0]))
    def edit(self, pick: int, sent_at: float) -> None:
        choice = self.pick(pick)
        message = choice.message
        variant = replace(message, text=f"{message.text}, edited", sent_at=sent_at)
        result = self.run(self.engine.inbox.amend(message.event_key, variant))
        if choice.state == "gone" or not message.text or sent_at < message.sent_at:
            assert result == "unknown"
        else:
            assert result == ("unstarted" if choice.state == "waiting" else "started")
            choice.message = variant

    @precondition(lambda self: self.said)
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        choice = self.pick(pick)
        result = self.run(self.engine.inbox.amend(choice.message.event_key, None))
        assert result == ("unstarted" if choice.state in ("waiting", "gone") else "started")
        choice.message = replace(choice.message, text="")
        if choice.state == "waiting":
            choice.state = "gone"

    @precondition(lambda self: self.said)
    @rule(pick=picks)
    def stop(self, pick: int) -> None:
        choice = self.pick(pick)
        result = self.run(self.engine.inbox.cancel(choice.seq))
        if choice.state in ("waiting", "running"):
            assert result
            choice.state = "gone" if choice.state == "waiting" else "stopped"
            self.run(self.check_answer(choice))
            self.settle()

    @precondition(lambda self: self.said)
    @rule(channel=channels)
    def finish(self, channel: str) -> None:
        if head := next(iter(self.open(channel)), None):
            self.worker.let_go(head.seq)
            self.run(self.worker.until(lambda: head.seq in self.worker.ended))
            head.state = "done"
            self.settle()

    @rule(channel=channels)
    def forget(self, channel: str) -> None:
        async def forget() -> None:
            forgot = await self.engine.journal.forget(f"web:{channel}")
            for seq in forgot.running:
                await self.engine.inbox.cancel(seq)

        self.run(forget())
        for message in self.said:
            if message.channel == channel:
                message.state, message.message = "gone", replace(message.message, text="")
        self.settle()

    @rule(gently=st.booleans())
    def restart(self, gently: bool) -> None:
        if gently:
            self.run(self.engine.inbox.drain(0))
        self.kill()
        self.worker = self.run(self.work())
        for message in self.said:
            message.state = "waiting" if message.state == "running" else message.state
        self.settle()

    def settle(self) -> None:
        """The oldest open message of each conversation is at work, and no other."""
        heads = {stream.seq: stream for channel in CHANNELS for stream in self.open(channel)[:1]}
        self.run(self.worker.until(lambda: self.worker.now == heads.keys()))
        for stream in heads.values():
            if stream.state == "waiting":
                stream.state, stream.heard = "running", stream.message.text
        assert len(self.worker.ended) == len(set(self.worker.ended))

    def open(self, channel: str) -> list[Said]:
        return [s for s in self.said if s.channel == channel and s.state in ("waiting", "running")]

    def pick(self, number: int) -> Said:
        return self.said[number % len(self.said)]

    def teardown(self) -> None:
        for channel in CHANNELS:
            while self.open(channel):
                self.finish(channel)
        for message in self.said:
            self.run(self.check_answer(message))
        super().teardown()

    async def check_answer(self, said: Said) -> None:
        answer = self.engine.inbox.wait_for_answer(said.seq)
        if said.state == "gone":
            with pytest.raises(Forgotten):
                await answer
        else:
            text = f"re: {said.heard}" if said.state == "done" else "stopped"
            assert (await answer).text == text


def test_random_operations_on_the_inbox_keep_its_promises(limits: Limits) -> None:
    limits(TURN_BACKOFF=Backoff(0.0))
    # turns that run alone are for tests/contract/test_crashes.py; here the next ones begin at once
    limits(CRASHES_BEFORE_ALONE=10**6)
    run_state_machine_as_test(InboxMachine, settings=MACHINE_SETTINGS)
