"""Made from the tables and the rights that a person has at this place, so that none of them is
refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from core.base.i18n import LOCALES, say
from core.base.text import to_one_line
from core.commands.grammar import localize_command
from core.domain.messages import Address, Person
from core.domain.ports import StatusBoard
from core.domain.records import Health
from core.domain.rights import Viewer
from core.people.policy import Policy

MAX_SUGGESTIONS = 3
_NEWEST_ROWS = "Show me the newest rows of {table}."
_CHANGE_ROW = "Help me change a row of {table}."
_COMPUTE = "What does a loan of 10,000 at 5% cost each month over two years?"
_EXPLAIN_COMMAND = "What does the quick command {name} do?"
INTRODUCE = "What can you do?"

SuggestionKind = Literal["ask", "change", "chart", "quick", "help", "commands"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A message that a new conversation may begin with: a person can send it as it is."""

    kind: SuggestionKind
    text: str


@dataclass(frozen=True, slots=True)
class StartingPoints:
    """Everything that a person can begin with at one place: the tables that they may read
    (`tables`), those in which they may ask for changes, and messages to send.

    `is_demo`: the demo model answers. `quick_command` is the slug of one that they may run, "" if
    there is none.
    """

    parts: Sequence[Health]
    tables: Sequence[str]
    changeable_tables: Sequence[str]
    is_demo: bool
    may_chat: bool
    runs_code: bool
    quick_command: str = ""

    @property
    def is_sample(self) -> bool:
        return bool(self.tables) and _is_on(self.parts, "sample")

    @property
    def suggestions(self) -> Sequence[Suggestion]:
        return list(islice(self._suggest(), MAX_SUGGESTIONS)) if self.may_chat else ()

    def _suggest(self) -> Iterator[Suggestion]:
        """Yield messages that a new conversation may begin with, by what is connected: first
        tables, then quick commands and code, then help. The demo model understands only a few
        sentences, so it gets no others."""
        # The sample tables may have been made in another language than this reader's.
        invoices = {say("Invoices", locale) for locale in LOCALES} if self.is_sample else set[str]()
        if invoices & {*self.tables}:
            from core.models.demo_model import CHART_SENTENCE, OVERDUE_SENTENCE, PAY_SENTENCE

            yield Suggestion("ask", say(OVERDUE_SENTENCE))
            if invoices & {*self.changeable_tables}:
                yield Suggestion("change", say(PAY_SENTENCE))
            yield Suggestion("chart", say(CHART_SENTENCE))
        # Over other tables, the demo model understands only a few fixed commands in English.
        elif self.tables and self.is_demo:
            yield Suggestion("ask", f"show {self.tables[0]}")
            yield Suggestion("ask", "list tables")
        elif self.tables:
            yield Suggestion("ask", _name_table(_NEWEST_ROWS, self.tables))
            if self.changeable_tables:
                yield Suggestion("change", _name_table(_CHANGE_ROW, self.changeable_tables))
        if self.quick_command and not self.is_demo:
            # A question, because a run may cost money.
            yield Suggestion("quick", say(_EXPLAIN_COMMAND, name=self.quick_command))
        if self.runs_code and not self.is_demo:
            yield Suggestion("ask", say(_COMPUTE))
        yield Suggestion("help", say(INTRODUCE))
        yield Suggestion("commands", localize_command("help"))


async def find_starting_points(
    board: StatusBoard, policy: Policy | None, person: Person, address: Address
) -> StartingPoints:
    """Return what the person can begin with at the address. Without a policy, they may do
    everything. Tables are listed only for people who may read, and those to change only for people
    who may propose changes too."""
    viewer = Viewer(await policy.rights(person, address) if policy else None)
    may_read, parts = viewer.may("read"), await board.health()
    may_change = may_read and viewer.may("propose")
    # `health` returns the state of all parts; "code" is the part that runs code in a sandbox.
    return StartingPoints(
        parts,
        await board.tables(person, address) if may_read else (),
        await board.tables(person, address, to_change=True) if may_change else (),
        board.is_demo,
        viewer.may("chat"),
        viewer.may("code") and _is_on(parts, "code"),
        next((command.slug for command in await board.commands(person, address)), ""),
    )


def _is_on(parts: Sequence[Health], name: str) -> bool:
    return any(part.name == name and part.state == "on" for part in parts)


def _name_table(sentence: str, tables: Sequence[str]) -> str:
    return say(sentence, table=to_one_line(tables[0], 60))
