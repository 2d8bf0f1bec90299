"""An origin of turns is one file and one line. Its turns keep every promise, on Slack, Discord and
the page: with and without rights, and if the process is lost after any stored step."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.engine import ORIGINS
from core.changes.approval import TableRule, TableRules
from core.domain.messages import Answer
from core.journal.journal import Journal
from core.people.rules import Rule, RuleBook
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable
from tests.toys.mail import PREFACE, MailOrigin, allow_senders, make_mail
from tests.toys.offices import Office, Process, make_office

ADD = f"call table_create {json.dumps({'rows': [{'Name': 'Ada'}]})}"
READ = "call table_read {}"
SHOP, GUEST, STRANGER = "shop@ours.example", "guest@ours.example", "who@evil.example"
"""The first may read and propose, the second may chat, and the third is not known."""
RULES = RuleBook(
    (Rule("1", frozenset({"crew"}), allow=("read", "propose:People")),),
    stand_ins=allow_senders({SHOP: "crew", GUEST: "visitors"}),
)
STEPS = (
    "begin",
    "record_user_message",
    "record_response",
    "record_round",
    "record_call_start",
    "record_call_end",
    "record_answer",
    "record_posting",
    "record_posted",
    "end_turn",
    "put_back",
)
"""The methods of the journal that store a step of a turn."""


@dataclass
class Mailroom:
    """An office that gets mails, whose first person is an admin. Mails are answered in that
    person's direct conversation."""

    office: Office
    table: MemoryTable

    async def store(self, id: str, sender: str, text: str, *, is_spam: bool = False) -> int:
        mail = make_mail(id, sender, text, await self.office.find_place(), is_spam=is_spam)
        return (await self.office.engine.conversations.inbox.accept(mail)).seq

    async def answer(self, seq: int) -> Answer:
        return await self.office.engine.conversations.inbox.wait_for_answer(seq)

    async def receive(self, id: str, sender: str, text: str, *, is_spam: bool = False) -> Answer:
        return await self.answer(await self.store(id, sender, text, is_spam=is_spam))

    async def count_answers(self) -> int:
        """Return how many answers were posted. The admin also gets requests for approval."""
        return len([post for post in await self.office.posts() if "_Mail m" in post])


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    for name in STEPS:
        monkeypatch.setattr(Journal, name, process.watch(Journal, name))
    return process


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> MailOrigin:
    """The one line that adds the origin."""
    mails = MailOrigin()
    monkeypatch.setitem(ORIGINS, "mail", lambda engine: mails)
    return mails


@pytest.fixture(params=["slack", "discord", "page"])
async def room(
    request: pytest.FixtureRequest, tmp_path: Path, process: Process, mails: MailOrigin
) -> AsyncIterator[Mailroom]:
    database = request.getfixturevalue("migrated_postgres") if request.param == "postgres" else ""
    async with make_office(request.param, tmp_path / "home", database) as office:
        room = Mailroom(office, MemoryTable())
        office.policy = allow_list(frozenset({office.first}), frozenset({office.first}))
        office.policy.read_rules = fixed_rules(RULES)
        office.choices = make_choices(
            office.model,
            [room.table],
            office.policy,
            [room.table],
            rules=TableRules({"people": TableRule("auto")}),
        )
        await office.open()
        yield room


async def test_a_mail_is_answered_by_the_rules_of_its_origin(
    room: Mailroom, mails: MailOrigin
) -> None:
    await room.office.write("a secret plan")
    answer = await room.receive("m1", SHOP, "See https://evil.example/x")
    text = "You said: See `https://evil.example/x`"
    assert answer.text == f"{text}\n\n_Mail m1 from `{SHOP}`_", "its address is no link"
    (ask,) = room.office.model.asks[1:]
    assert PREFACE in ask.preface
    assert await ask.history() == [], "it reads nothing of the conversation"

    (card,) = (await room.receive("m2", SHOP, ADD)).cards
    assert card.state == "open", "no policy approves what a mail leads to"
    decision = await room.receive("m3", SHOP, f"approve {card.id}")
    assert decision.text.startswith(f"You said: approve {card.id}"), "its text is no command"
    schedule = await room.receive("m4", SHOP, "call schedule_propose {}")
    assert "Not run: there is no tool 'schedule_propose' here" in schedule.text
    assert room.table.applied == []
    await room.office.write(f"approve {card.id}")
    assert [row["Name"] for row in room.table.rows.values()] == ["Ada"], "a person approved it"

    posts = len(await room.office.posts())
    await room.receive("m5", SHOP, "Win a prize", is_spam=True)
    assert len(await room.office.posts()) == posts
    assert mails.skipped == [f"{SHOP}: rights"]
    assert mails.ended == 5


@pytest.mark.parametrize("room", ["slack", "page"], indirect=True)
async def test_a_mail_has_the_rights_of_its_sender(room: Mailroom) -> None:
    """Whoever may not chat is refused in the place, because nobody else could read it."""
    room.table.rows["1"] = {"Name": "Bea"}
    assert "Bea" in (await room.receive("m1", SHOP, READ)).text
    for number, text in enumerate((READ, ADD), 2):
        answer = await room.receive(f"m{number}", GUEST, text)
        assert "Not run: there is no tool 'table_" in answer.text
        assert not answer.cards
    count = len(room.office.model.asks)
    message = await room.receive("m4", STRANGER, READ)
    assert message.text == "Programs can't do this. A person must ask for it."
    assert (message.code, message.is_private) == ("forbidden", False)
    assert (await room.office.posts())[-1] == message.text
    assert len(room.office.model.asks) == count
    lines = (await room.office.engine.people.audit.read())[0][::-1]
    assert [one["asker"] for one in lines if one["event"] == "action-refused"] == [
        f"mail:{STRANGER}"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("room", ["slack", "discord", "postgres"], indirect=True)
async def test_nothing_happens_twice_if_the_process_is_lost_after_any_step(
    room: Mailroom, process: Process, mails: MailOrigin
) -> None:
    process.restart()
    await room.receive("m", SHOP, ADD)
    await process.ended.wait()
    steps = list(process.steps)
    assert len(steps) > 5
    for number in range(len(steps) + 1):
        asks, posts, end = (len(room.office.model.asks), await room.count_answers(), mails.ended)
        process.restart(ends_after=number)
        seq = await room.store(f"m{number}", SHOP, ADD)
        await process.lost.wait()
        process.gone.set()
        await room.office.close()
        process.restart()
        await room.office.open()
        answer = await room.answer(seq)
        lost_after = steps[number - 1] if number else "accept"
        if lost_after != "end_turn":
            await process.ended.wait()
        (card,) = answer.cards
        assert card.state == "open", lost_after
        assert len(room.office.model.asks) == asks + 1, lost_after
        assert await room.count_answers() == posts + 1, lost_after
        assert mails.ended == end + (lost_after != "end_turn"), lost_after
    proposals = await room.office.engine.changes.ledger.list_of_conversation("", 100)
    assert len(proposals) == len(steps) + 2
    assert room.table.applied == []
