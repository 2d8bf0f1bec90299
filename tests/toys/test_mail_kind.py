"""A kind of change is one file and one line. Its changes keep every promise, on Slack, Discord, the
page and the terminal, and if the process is lost after any stored step."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.integrations import KINDS
from core.changes.approval import ASKER, TableRule, TableRules
from core.changes.ledger import SqlLedger
from core.domain.changes import Change
from core.money.usage import Prices
from tests.fakes.choices import make_choices, make_spending
from tests.toys.mail_kind import READ_ALREADY, REFUSED, MailOffice, MailSending
from tests.toys.offices import Office, Process, make_office

BEA, STAFF = "Bea", "Staff"
"""Two people must approve a mail to the staff."""
PRICE = 0.25
UNKNOWN = "The result is unknown. Check it before you ask again."
STEPS = ("propose", "claim", "consent", "close", "undo", "record", "finish")
"""The methods of the ledger that store a step of a change."""


@dataclass
class PostRoom:
    """An office that sends mails."""

    office: Office
    mails: MailOffice

    async def propose(self, to: str = BEA) -> str:
        """Ask for a mail, and return the id of its change."""
        call = f"call mail_send {json.dumps({'to': to, 'text': 'Lunch at noon?'})}"
        answer = await self.office.ask(call)
        assert f"Send a mail to {to}" in answer
        assert "Lunch at noon?" in answer, "who approves it must see all of it"
        return (await self.changes())[0].id

    async def decide(self, action: str, id: str, *, second: bool = False) -> str:
        """Type a decision, and again as the answer demands if it first shows the change."""
        answer = await self.office.ask(f"{action} {id}", second=second)
        if code := re.search(rf"`?approve ({id}-\d+)", answer):
            assert "Lunch at noon?" in answer
            answer = await self.office.ask(f"approve {code[1]}", second=second)
        return answer

    async def changes(self) -> list[Change]:
        """Return all changes, newest first."""
        return list(await self.office.engine.changes.ledger.list_of_conversation("", 100))

    async def state(self, id: str) -> str:
        return (await self.office.engine.changes.ledger.get(id)).state

    async def cost(self) -> float:
        return (await self.office.engine.people.budget.usage_today()).usage.cost or 0.0


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    for name in STEPS:
        monkeypatch.setattr(SqlLedger, name, process.watch(SqlLedger, name))
    return process


@pytest.fixture(params=["slack", "discord", "page", "terminal"])
async def room(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[PostRoom]:
    monkeypatch.setitem(KINDS, "mail", MailSending())  # the one line that adds the kind
    database = request.getfixturevalue("migrated_postgres") if request.param == "postgres" else ""
    async with make_office(request.param, tmp_path / "home", database) as office:
        mails = MailOffice()
        rule = TableRule("ask", frozenset({ASKER, office.second}), approvals=2)
        office.choices = make_choices(
            office.model,
            [mails],
            office.policy,
            [mails],
            rules=TableRules({STAFF: rule}),
            spending=make_spending(prices=Prices(commands={"mail": PRICE})),
        )
        await office.open()
        yield PostRoom(office, mails)


async def test_a_mail_is_proposed_decided_sent_and_taken_back(room: PostRoom) -> None:
    server = room.mails.server
    proposal = await room.propose()
    assert "Denied by" in await room.decide("deny", proposal)
    assert server.calls == 0

    first = await room.propose()
    assert "Done." in await room.decide("approve", first)
    assert server.sent == {"m1": (BEA, "Lunch at noon?")}
    assert await room.cost() == PRICE
    assert "Undone (" in await room.decide("undo", first)
    assert (server.sent, await room.state(first)) == ({}, "undone")
    assert await room.cost() == PRICE, "to take it back costs nothing"

    both = await room.propose(STAFF)
    assert "1 of 2 approvals" in await room.decide("approve", both)
    assert server.sent == {}
    assert "Done." in await room.decide("approve", both, second=True)
    assert server.sent == {"m2": (STAFF, "Lunch at noon?")}
    server.read.add("m2")
    assert READ_ALREADY in await room.decide("undo", both)
    assert (list(server.sent), await room.state(both)) == (["m2"], "done")


@pytest.mark.parametrize("room", ["discord"], indirect=True)
async def test_a_mail_fails_half_way(room: PostRoom) -> None:
    """A mail whose answer was lost is found by its id. One that did not come is not sent again,
    because it may still come, and is paid for."""
    for fault, words, state, request, payment in (
        ("refused", f"Nothing was changed. {REFUSED}", "failed", 0, 0),
        ("lost", "Done.", "done", 1, 1),
        ("never came", UNKNOWN, "partial", 1, 2),
    ):
        id = await room.propose()
        room.mails.server.fault = fault
        assert words in await room.decide("approve", id), fault
        assert (await room.state(id), len(room.mails.server.sent)) == (state, request)
        assert await room.cost() == payment * PRICE, fault
        calls = room.mails.server.calls
        await room.decide("approve", id)
        assert room.mails.server.calls == calls


@pytest.mark.slow
@pytest.mark.parametrize("room", ["slack", "postgres"], indirect=True)
async def test_no_mail_is_sent_twice_if_the_process_is_lost_after_any_step(
    room: PostRoom, process: Process
) -> None:
    server, office = room.mails.server, room.office
    id = await room.propose()
    process.restart()
    await room.decide("approve", id)
    steps = list(process.steps)
    assert steps == ["claim", "record", "record", "finish"]
    for number in range(1, len(steps)):
        id, count = await room.propose(), len(server.sent)
        process.restart(ends_after=number)
        decision = asyncio.create_task(office.ask(f"approve {id}"))
        await process.lost.wait()
        seq = await office.last_seq()
        was_sent = len(server.sent) - count
        decision.cancel()
        await asyncio.gather(decision, return_exceptions=True)
        process.gone.set()
        await office.close()
        process.restart()
        await office.open()
        answer = await office.engine.conversations.inbox.wait_for_answer(seq)
        is_lost_in_write = number == 2 and not was_sent
        assert await room.state(id) == ("partial" if is_lost_in_write else "done"), number
        assert (UNKNOWN if is_lost_in_write else "Done.") in answer.text, number
        assert len(server.sent) == count + (not is_lost_in_write), number
