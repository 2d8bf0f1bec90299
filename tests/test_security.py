"""docs/explanation/security.md and guides/rules.md match the code; each dependency is pinned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.integrations import PLATFORM_RIGHTS
from core.domain.messages import Address, Person
from core.domain.rights import Action
from core.people.policy import DailyCaps
from core.turn.rounds import MAX_ROUNDS
from core.turn.run import CallLimits
from tests.fakes.choices import allow_list

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "explanation" / "security.md").read_text("utf-8")
RULES = (ROOT / "docs" / "guides" / "rules.md").read_text("utf-8")
ACTIONS: tuple[Action, ...] = ("chat", "read", "code", "spend", "propose")
NOBODY: frozenset[str] = frozenset()
NAMED = frozenset({"slack:U1", "discord:42"})

PEOPLE = {
    "The owner of the page": (Person("web", "owner"), Address("web", "c"), NOBODY),
    "and terminal": (Person("terminal", "owner"), Address("terminal", "c"), NOBODY),
    "people added to the page": (Person("web", "ana"), Address("web", "c", person="ana"), NOBODY),
    "a company's account": (Person("oidc", "acme:1"), Address("web", "c"), NOBODY),
    "Members of the Slack workspace": (
        Person("slack", "U1", "T1"), Address("slack", "C1", "T1"), NOBODY,
    ),
    "people of other workspaces": (
        Person("slack", "U7", "T9"), Address("slack", "C1", "T1"), NOBODY,
    ),
    "People on Discord": (Person("discord", "7"), Address("discord", "5", "6"), NAMED),
    "in `PONTE_ALLOW`": (Person("discord", "42"), Address("discord", "5"), NAMED),
    "People in `PONTE_ALLOW`": (Person("slack", "U1", "T1"), Address("slack", "C1", "T1"), NAMED),
}  # fmt: skip


@pytest.mark.parametrize("who", PEOPLE)
async def test_what_is_allowed_without_rules(who: str) -> None:
    section = RULES.partition("## Without rules\n")[2].partition("\n## ")[0]
    items = " ".join(section.partition("\n\n")[0].split()).split("- ")
    lines = [each.partition(": ") for each in items]
    [(rights, caps)] = [
        (set(re.findall("`(.+?)`", text)), text) for names, _, text in lines if who in names
    ]
    person, place, allow = PEOPLE[who]
    policy = allow_list(allow)
    assert {each for each in ACTIONS if (await policy.may(person, place, each)).allowed} == rights
    turns = await DailyCaps().cap_for(person, place, policy)
    assert (turns == PLATFORM_RIGHTS["discord"].stranger_cap) == (
        "50 turns a day each, 1,000" in caps
    )


def test_what_one_turn_may_cost() -> None:
    limits = CallLimits()
    section = TEXT.partition("## What one turn may cost\n")[2].partition("\n## ")[0]
    section = " ".join(section.split())
    assert f"at most {MAX_ROUNDS} model calls and {limits.total} tool calls" in section
    assert f"of which at most {limits.costly} cost money" in section


def test_every_dependency_is_pinned_by_hash() -> None:
    for path in (
        "requirements/base.txt",
        "requirements/dev.txt",
        "requirements/mcp.txt",
        "requirements/build.txt",
        "core/tools/code/requirements-sandbox.txt",
        "tests/real/llama/requirements.txt",
    ):
        text = (ROOT / path).read_text("utf-8")
        blocks = re.split(r"\n(?=[\w.-]+)", text)
        pins = [block for block in blocks if re.match(r"[\w.\[\]-]+==", block)]
        assert pins, path
        assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
        assert not re.search(r"^(?!#)[\w.-]+\s*(>=|~=|<|@|$)", text, re.M)
