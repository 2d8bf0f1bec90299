"""What differs between changes by their kind, as a table."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bot.integrations import KINDS
from core.base.errors import ToolError, WriteUnsure
from core.changes.approval import Access, Approval, TableRule, TableRules
from core.changes.card_rows import read_rows
from core.domain.changes import Change, Draft, Proposal, RowCheck, RowWrite
from core.domain.messages import PROGRAM, Address, Answer, Card, Person, ReplyTo, encode_json
from core.domain.ports import Tool
from core.domain.records import Health, Outcome, ToolContext
from core.domain.rights import Viewer
from core.money.usage import Prices
from core.people.rules import Rule
from core.schedules.schedule import ScheduleDraft, ScheduleRule, make_row
from core.tools.tool import FunctionTool
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.choices import allow_list, make_message
from tests.fakes.config import FixedConfig

ADA, BEA = {"Name": "Ada"}, {"Name": "Bea"}
DAILY = ScheduleDraft("post", "Hello", ScheduleRule("0 9 * * *"), "UTC")
TABLE_TARGET = {"table_id": "t9", "display_field": "Name"}
BO = Person("web", "bo", name="Bo")
"""Who asks for all changes: neither an admin nor the owner of the page."""
HERE = ReplyTo(Address("web", "all", person="bo"), BO, "", "")
DRAFTS = {
    "create": Draft("double", "create", TABLE_TARGET, "People", (RowWrite(after=BEA),)),
    "update": Draft("double", "update", TABLE_TARGET, "People", (RowWrite("1", ADA, BEA),)),
    "delete": Draft("double", "delete", TABLE_TARGET, "People", (RowWrite("1", ADA),)),
    "run": Draft(
        "double", "run", {"slug": "fix", "effect": "spend"}, "Fix it",
        (RowWrite(after={"input": "a bug"}),),
    ),
    "post": Draft(
        "double", "post", {"place": "slack:T1:C1"}, "#sales", (RowWrite(after={"text": "Hello"}),)
    ),
    "schedule": Draft(
        "double", "schedule", {}, "Hello",
        (RowWrite(after=make_row(DAILY), applier_data=encode_json(HERE)),),
    ),
    "mcp_call": Draft(
        "double", "mcp_call",
        {"server": "desk", "tool": "file", "effect": "spend", "slug": "desk__file", "price": 0.25},
        "desk: file", (RowWrite(after={"text": "Hello"}),),
    ),
}  # fmt: skip
"""A draft of each kind, in the order of the columns."""
NAMES = {"its title": "People", "its id": "t9"}


@dataclass
class Double:
    """An applier and a tool for drafts of every kind."""

    name = "double"
    patience = 5.0
    fault: str = ""
    """How the next write fails: "lost" (it never came) or "unread" (its result cannot be read)."""
    writes: int = 0
    done: set[str] = field(default_factory=set)
    marks: itertools.count[int] = field(default_factory=itertools.count)

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        return [FunctionTool(self.propose, effect="write", doing="…")]

    async def health(self) -> Health:
        return Health(self.name, "on")

    async def close(self) -> None:
        return None

    async def propose(self, ctx: ToolContext, kind: str) -> Outcome:
        """Propose.

        Args:
            kind: its kind
        """
        return await ctx.turn.propose(DRAFTS[kind])

    def batch(self, draft: Draft) -> int:
        return 1

    def open(self, draft: Draft) -> Double:
        return self

    def revert(self, change: Change) -> Draft:
        rows = [RowWrite("7", row.write.after, row.write.before) for row in change.written_steps]
        return replace(change.draft, rows=tuple(rows))

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        (row,) = rows
        if self.writes and self.fault == "unread":
            raise ToolError("It can't be read.")
        row = replace(row, applier_data=row.applier_data or f'{{"mark": {next(self.marks)}}}')
        if row.applier_data in self.done:
            return [RowCheck("after", replace(row, id="7"), {"result": "fixed"})]
        return [RowCheck("before", row, row.before)]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        (row,) = rows
        self.writes += 1
        if self.fault == "lost":
            self.fault = ""
            raise WriteUnsure("The answer was lost.")
        self.done.add(row.applier_data)
        return [replace(row, id="7")]


@dataclass
class Desk:
    """A Ponte at which Bo asks for changes, and the owner of the page approves them."""

    bot: RunningBot
    double: Double
    kind: str = ""

    @property
    def draft(self) -> Draft:
        return DRAFTS[self.kind]

    @property
    def approval(self) -> Approval:
        return self.bot.engine.changes.approval

    async def propose(self) -> Card:
        (card,) = (await self._ask(f'call propose {{"kind": "{self.kind}"}}', BO)).cards
        return card

    async def approve(self) -> tuple[Change, Answer]:
        card, person = await self.propose(), BO if KINDS[self.kind].is_personal else None
        answer = await self._ask(f"approve {card.id}", person)
        if code := re.search(rf"approve {card.id}-\d+", answer.text):
            answer = await self._ask(code[0], person)
        return await self.bot.engine.changes.ledger.get(card.id), answer

    async def undo(self, change: Change) -> Answer:
        return await self._ask(f"undo {change.id}", change.decider)

    async def _ask(self, text: str, person: Person | None = None) -> Answer:
        people = {} if person is None else {"person": person}
        return await self.bot.ask(text, "all", shared=True, **people)


@asynccontextmanager
async def open_desk(home: Path, access: Access) -> AsyncIterator[Desk]:
    double = Double()
    rules = TableRules({draft.title: TableRule(access) for draft in DRAFTS.values()})
    async with BotHome(home).open(
        sources=[double],
        appliers=[double],
        rules=rules,
        policy=allow_list(frozenset({BO.key, "web:owner"})),
        prices=Prices(commands={"fix": 0.25}, mcp={"desk__file": 0.25}),
    ) as running_bot:
        yield Desk(running_bot, double)


async def title(desk: Desk) -> str:
    return (await desk.propose()).title


async def text(desk: Desk) -> str:
    first, separator, _ = (await desk.propose()).text.partition("\n\n")
    return first if separator else "none"


async def rows(desk: Desk) -> str:
    found = read_rows((await desk.propose()).rows)
    return ", ".join(": ".join(filter(None, (row.name, row.text))) for row in found) or "none"


async def right_to_propose(desk: Desk) -> str:
    rights = desk.approval.kinds[desk.draft.kind].rights_to_propose(desk.draft)
    return ", ".join(f"`{':'.join(right[:2])}`" for right in rights)


async def right_to_approve(desk: Desk) -> str:
    right, *names = desk.approval.kinds[desk.draft.kind].right_to_approve(desk.draft)
    for_one_table = Rule("", allow=("approve:Invoices",))
    assert for_one_table.decide(right, names) == "silent", "no right to decide on anything else"
    assert Rule("", allow=("approve",)).decide(right, names) == "allow"
    return f"`{':'.join(filter(None, (right, *names[:1])))}`"


async def approves_alone(desk: Desk) -> str:
    """Look for the largest number of rows that the asker approves."""
    alone = 0
    for count in range(1, 13):
        (row,) = desk.draft.rows
        many = tuple(replace(row, id=row.id and str(number)) for number in range(count))
        proposal = Proposal(
            "abc234",
            replace(desk.draft, rows=many),
            BO,
            Address("web", "all"),
            1,
            "c1",
            "t1",
            0,
            "en",
            time.time(),
            time.time() + 1,
        )
        alone = alone if desk.approval.needs_admin(Change(proposal)) else count
    if alone == 12:
        return "its row"
    return f"{alone} rows" if alone else "never"


async def automatic(desk: Desk) -> str:
    return {"done": "yes", "open": "no"}[(await desk.propose()).state]


async def price(desk: Desk) -> str:
    budget = desk.bot.engine.people.budget
    before = (await budget.usage_today()).usage.cost or 0.0
    await desk.approve()
    cost = ((await budget.usage_today()).usage.cost or 0.0) - before
    return {0.0: "none", 0.25: "that of the command"}[cost]


async def lost_answer(desk: Desk) -> str:
    desk.double.fault = "lost"
    change, _ = await desk.approve()
    return {(2, "done"): "is repeated", (1, "partial"): "is unknown"}[
        desk.double.writes, change.state
    ]


async def unread_end(desk: Desk) -> str:
    desk.double.fault = "unread"
    change, _ = await desk.approve()
    return {"done": "is done", "partial": "is unknown"}[change.state]


async def undo(desk: Desk) -> str:
    change, _ = await desk.approve()
    answer = await desk.undo(change)
    undone = (await desk.bot.engine.changes.ledger.get(change.id)).state == "undone"
    return "yes" if undone else answer.text.partition(" Approved by")[0]


async def note(desk: Desk) -> str:
    change, _ = await desk.approve()
    words = desk.bot.engine.changes.views.builder.build_note(change)
    found = re.search(r"Proposal \w+ \((.*?)\): ", words)
    assert found
    more = (
        " and the result" if "fixed" in words else " and the ids" if "Row ids: 7." in words else ""
    )
    return found[1] + more


async def rule_names(desk: Desk) -> str:
    used = []
    for words, name in {**NAMES, "its title": desk.draft.title}.items():
        config = FixedConfig(TableRules({name: TableRule("read")}))
        if replace(desk.approval, config=config).rule_for(desk.draft).access == "read":
            used.append(words)
    return ", ".join(used) or "none"


async def other_approver(desk: Desk) -> str:
    """Let the owner of the page approve, who is an admin."""
    card = await desk.propose()
    answer = await desk._ask(f"approve {card.id}")
    if code := re.search(rf"approve {card.id}-\d+", answer.text):
        await desk._ask(code[0])
    state = (await desk.bot.engine.changes.ledger.get(card.id)).state
    return {"done": "an admin", "open": "nobody"}[state]


async def program(desk: Desk) -> str:
    author = replace(BO, is_bot=True)
    sent = make_message(f'call propose {{"kind": "{desk.kind}"}}', desk.kind, "all", author)
    answer = await desk.bot.ask_message(replace(sent, origin=PROGRAM))
    return "yes" if answer.cards else "no"


Probe = Callable[[Desk], Awaitable[str]]
TABLE: Mapping[str, tuple[Probe, tuple[str, ...]]] = {
    "title of the card": (
        title,
        ("Create a row in People", "Change a row in People", "Delete a row in People",
         "Run Fix it", "Post to #sales (C1)", "Reminder: Hello", "Call desk: file"),
    ),
    "text of the card": (text, ("none", "none", "none", "none", "Hello", "> Hello",
                               "The server desk gets these arguments:")),
    "rows of the card": (
        rows, ("Bea", "Ada: Name: Ada → Bea", "Ada", "input: a bug", "none", "none", "none"),
    ),
    "rights to propose": (
        right_to_propose,
        (*["`propose:People`, `read:People`"] * 3, "`spend`, `command:fix`",
         "`propose`, `post:slack:T1:C1`", "`chat`", "`spend`, `tool:desk__file`"),
    ),
    "right to approve for others": (
        right_to_approve, (*["`approve:People`"] * 3, *["`approve`"] * 4),
    ),
    "its asker approves alone up to": (
        approves_alone, ("10 rows", "10 rows", "never", "10 rows", "10 rows", "its row", "never"),
    ),
    "who else approves it": (other_approver, (*["an admin"] * 5, "nobody", "an admin")),
    "can be proposed by a program": (program, (*["yes"] * 5, "no", "yes")),
    "applied at once where `access` is `auto`": (automatic, ("yes", *["no"] * 6)),
    "price": (price, ("none", "none", "none", "that of the command", "none", "none",
                     "that of the command")),
    "a write that did not happen and whose answer was lost": (
        lost_answer, ("is unknown", "is repeated", "is repeated", "is unknown", "is repeated",
                      "is repeated", "is unknown"),
    ),
    "a write whose result can't be read": (
        unread_end, (*["is done"] * 3, "is unknown", *["is done"] * 3),
    ),
    "can be undone": (
        undo,
        (*["yes"] * 3, "Quick commands can't be undone.", "Posts can't be undone.", "yes",
         "This can't be undone."),
    ),
    "note to the model": (
        note,
        ("create 1 row(s) in 'People' and the ids", "update 1 row(s) in 'People'",
         "delete 1 row(s) in 'People'", "run the quick command 'Fix it' and the result",
         "post in '#sales'", "schedule 'Hello'", "run the tool 'desk: file' and the result"),
    ),
    "names that rules for tables use": (
        rule_names, (*["its title, its id"] * 3, *["none"] * 4),
    ),
}  # fmt: skip
"""For each decision: how it is found out, and what holds for each kind of DRAFTS."""


@pytest.mark.parametrize("decision", TABLE)
async def test_what_a_kind_decides(tmp_path: Path, decision: str) -> None:
    probe, expected = TABLE[decision]
    found = []
    async with open_desk(tmp_path, "auto" if probe is automatic else "ask") as desk:
        for kind in DRAFTS:
            desk.kind, desk.double.writes, desk.double.fault = kind, 0, ""
            found.append(await probe(desk))
    assert tuple(found) == expected


def test_each_kind_has_a_column() -> None:
    """Imports are applied in parts: `tests/dialogues/test_import_approvals.py` is about them."""
    assert {*DRAFTS} == {*KINDS} - {"import"}
