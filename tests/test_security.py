"""docs/explanation/security.md: its tables match the code; each dependency is pinned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.integrations import PLATFORM_RIGHTS
from core.domain.messages import Address, Person
from core.domain.records import Action
from core.people.policy import DailyCaps
from core.turn.rounds import MAX_ROUNDS
from core.turn.run import CallLimits
from tests.fakes.choices import allow_list

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "explanation" / "security.md").read_text("utf-8")
COLUMNS: tuple[Action, ...] = ("chat", "read", "code", "spend", "propose")
NOBODY: frozenset[str] = frozenset()
NAMED = frozenset({"slack:U1", "discord:42"})

PEOPLE = {
    "web: the owner": (Person("web", "owner"), Address("web", "c"), NOBODY),
    "web: added with `ponte people`": (
        Person("web", "ana"), Address("web", "c", person="ana"), NOBODY,
    ),
    "terminal: the owner": (Person("terminal", "owner"), Address("terminal", "c"), NOBODY),
    "Slack: a member": (Person("slack", "U1", "T1"), Address("slack", "C1", "T1"), NOBODY),
    "Slack: a guest, or of another organization": (
        Person("slack", "U7", "T9"), Address("slack", "C1", "T1"), NOBODY,
    ),
    "Slack: named in `PONTE_ALLOW`": (
        Person("slack", "U1", "T1"), Address("slack", "C1", "T1"), NAMED,
    ),
    "Discord: anybody": (Person("discord", "7"), Address("discord", "5", "6"), NAMED),
    "Discord: named in `PONTE_ALLOW`": (Person("discord", "42"), Address("discord", "5"), NAMED),
}  # fmt: skip


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading: first cell → the others."""
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells[2:]}


@pytest.mark.parametrize("who", PEOPLE)
async def test_what_is_allowed_where_nothing_is_set(who: str) -> None:
    *told, cap = rows("What is allowed where nothing is set")[who]
    person, place, allow = PEOPLE[who]
    policy = allow_list(allow)
    found = [(await policy.may(person, place, action)).allowed for action in COLUMNS]
    assert told == ["yes" if may else "no" for may in found]
    turns = await DailyCaps().cap_for(person, place, policy)
    assert (turns == PLATFORM_RIGHTS["discord"].stranger_cap) == ("50 each, 1,000 in all" in cap)


def test_every_row_of_that_table_was_looked_at() -> None:
    assert rows("What is allowed where nothing is set").keys() == PEOPLE.keys()


def test_what_one_turn_may_cost() -> None:
    limits = CallLimits()
    section = " ".join(
        TEXT.partition("## What one turn may cost\n")[2].partition("\n## ")[0].split()
    )
    assert f"at most {MAX_ROUNDS} calls of the model" in section
    assert f"at most {limits.total} tool calls, of which at most {limits.costly} cost" in section


def test_every_dependency_is_pinned_by_hash() -> None:
    for path in ("requirements.txt", "requirements-dev.txt", "requirements-build.txt",
                 "core/tools/code/requirements-sandbox.txt",
                 "tests/real/llama/requirements.txt"):  # fmt: skip
        text = (ROOT / path).read_text("utf-8")
        blocks = re.split(r"\n(?=[\w.-]+)", text)
        pins = [block for block in blocks if re.match(r"[\w.\[\]-]+==", block)]
        assert pins, path
        assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
        assert not re.search(
            r"^(?!#)[\w.-]+\s*(>=|~=|<|@|$)", (ROOT / path).read_text("utf-8"), re.M
        )
