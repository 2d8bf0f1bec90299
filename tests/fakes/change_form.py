"""A proposal's form with an input of each type, its card, and a board that knows it."""

from __future__ import annotations

import asyncio

from core.domain.changes import ChangeForm, FormField
from core.domain.messages import Address, Card, Person
from tests.fakes.choices import EmptyStatusBoard

FIELDS = (
    FormField("Status", "Status", "select", "Open", ("Open", "Paid")),
    FormField("Amount", "Amount", "number", "12.50"),
    FormField("Due", "Due", "date", "2026-11-20"),
    FormField("Done", "Done", "checkbox", "false"),
    FormField("Notes", "*Notes* <!channel> @everyone", "lines", "first\nsecond <@U1>"),
)
FORM = ChangeForm("abc234", 2, "Update 1 row", FIELDS)
CARD = Card(
    "abc234",
    "proposal",
    "Update 1 row",
    "Requested by Ana.",
    actions=("approve", "change", "deny"),
    state="open",
    revision=2,
)


class FormBoard(EmptyStatusBoard):
    """Knows the form of one proposal, or raises `error`. `gate` delays its answer."""

    def __init__(self, form: ChangeForm = FORM) -> None:
        self.form = form
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.presses: list[str] = []

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        self.presses.append(press_id)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.form
