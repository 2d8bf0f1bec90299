"""Buttons and forms as version 0.2 posted them (`tests/recorded/buttons.json` has one of each
kind), and what that version did with a press or a submitted form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.chat.interactions import Interactions
from core.chat.people import Conversations
from core.domain.changes import ChangeForm, FormField
from core.domain.messages import Address, Answer, File, Message, Person
from core.domain.ports import NO_STEP, TransactionStep
from core.domain.records import QuickCommand, Receipt
from core.feedback.votes import Press, Votes
from core.journal.journal import Journal
from tests.fakes.choices import EmptyStatusBoard
from tests.sources import ROOT

RECORDED: dict[str, Any] = json.loads((ROOT / "tests/recorded/buttons.json").read_text("utf-8"))
TURN = "abcdefghijklmnop"
QUICK = QuickCommand("summary", "Summary", inputs={"text": {"required": True}})
CODE = (File("f1", "code-abc123.py", "text/x-python", 5), b"x = 1")
CITY = FormField("City", "City", "text", "Porto")
FORM = ChangeForm("abc234", 2, "Update 1 row", (CITY, FormField("Paid", "Paid", "checkbox")))
LONG_FORM = replace(FORM, fields=tuple(FormField(f"F{n}", f"F{n}", "text") for n in range(7)))
EFFECTS = {
    "approve abc234.2": ["message: approve abc234.2"],
    "change abc234.2": ["form: City, Paid"],
    "deny abc234.2": ["message: deny abc234.2"],
    "approve bcd345": ["message: approve bcd345"],
    "deny bcd345": ["message: deny bcd345"],
    "together abc234.2 bcd345": ["message: approve abc234.2 bcd345"],
    "undo cde456": ["message: undo cde456"],
    "reason def567": ["form: Reason"],
    "again def567": ["message: again def567"],
    f"code {TURN}": ["shown: x = 1"],
    f"vote up {TURN}": [f"vote: up {TURN}"],
    f"vote down {TURN}": [
        f"vote: down {TURN}",
        "form: What was wrong?, Share the question and the answer",
    ],
    "stop": ["message: stop"],
    "schedule schedule abc234 pause": ["message: schedule abc234 pause"],
    "fields abc234.2 0": ["form: F1, F3"],
    "form reason": ["message: deny abc234.2 Because."],
    "form feedback": [f"reason: {TURN} Because. shared"],
    "form change": ['message: change abc234.2 {"City": "Braga"}'],
    "form ask": ["message: Why?"],
    "form about": ["message: Why?"],
    "form quick": ["message: quick-command summary x"],
    "form inputs": ['message: quick-command summary text="x"'],
}
VALUES = {
    "reason": "Because.",
    "share": "true",
    "change:0": "Braga",
    "question": "Why?",
    "slug": "summary",
    "input": "x",
    "field:text": "x",
    "0": "Braga",
    "prompt": "Why?",
    "text": "x",
}
"""What people fill in, by the names of the fields on Slack and on Discord."""


class Effects(list[str]):
    """What a press did."""

    def record_messages(self, interactions: Interactions) -> None:
        """Record messages in place of storing them."""
        effects, inbox = self, interactions.conversations.inbox

        class RecordedInbox:
            async def accept(self, message: Message, also: TransactionStep = NO_STEP) -> Receipt:
                effects.append(f"message: {message.text}")
                return Receipt(1, message.turn, is_new=True)

            def __getattr__(self, name: str) -> Any:
                return getattr(inbox, name)

        stores: Any = replace(interactions.conversations, inbox=RecordedInbox())
        interactions.conversations = stores

    def take(self) -> list[str]:
        taken = list(self)
        self.clear()
        return taken


class Board(EmptyStatusBoard):
    form = FORM

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return [QUICK]

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        assert press_id == "abc234.2"
        return self.form


def record_effects(monkeypatch: pytest.MonkeyPatch) -> Effects:
    """Record what presses do to stores; each has the turn of the recorded buttons."""
    effects = Effects()

    async def vote(_: Votes, press: Press, *, toggles: bool = False) -> bool:
        effects.append(f"vote: {press.vote} {press.turn}")
        return True

    async def explain(_: Votes, press: Press, reason: str, shares: bool) -> None:
        effects.append(f"reason: {press.turn} {reason}" + " shared" * shares)

    async def find_answer(_: Journal, turn: str, post: str) -> Answer | None:
        return Answer("", files=(CODE[0],), is_rateable=True) if turn == TURN else None

    async def find_code(_: Conversations, turn: str, post: str) -> Sequence[tuple[File, bytes]]:
        return [CODE] if turn == TURN else ()

    monkeypatch.setattr(Votes, "vote", vote)
    monkeypatch.setattr(Votes, "explain", explain)
    monkeypatch.setattr(Journal, "find_answer", find_answer)
    monkeypatch.setattr(Conversations, "find_code", find_code)
    return effects
