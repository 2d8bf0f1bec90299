"""What a person can begin with: only messages that this person may send."""

from __future__ import annotations

import pytest

from core.base.i18n import LOCALES, use_locale
from core.domain.messages import Address, Person
from core.domain.records import Health, QuickCommand
from core.models.demo_model import find_tour_step
from core.people.rules import Rule, RuleBook
from core.turn.suggestions import StartingPoints, SuggestionKind, find_starting_points
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.fakes.memory import MemoryBoard

SAMPLE, CODE = Health("sample", "on"), Health("code", "on")
SHOP = ("Customers", "Invoices")
BEA, HERE = Person("web", "bea"), Address("web", "", "main")


def points(**facts: object) -> StartingPoints:
    usual = {"parts": (), "tables": (), "changeable_tables": (), "is_demo": False}
    return StartingPoints(**{**usual, "may_chat": True, "runs_code": False, **facts})  # type: ignore[arg-type]


CASES: dict[str, tuple[StartingPoints, list[SuggestionKind]]] = {
    "sample tables": (
        points(parts=[SAMPLE], tables=SHOP, changeable_tables=SHOP, is_demo=True),
        ["ask", "change", "chart"],
    ),
    "sample tables that may only be read": (
        points(parts=[SAMPLE], tables=SHOP, changeable_tables=SHOP[:1]),
        ["ask", "chart", "help"],
    ),
    "own tables": (points(tables=["A"], changeable_tables=["A"]), ["ask", "change", "help"]),
    "own tables that may only be read": (points(tables=["A"]), ["ask", "help", "commands"]),
    "own tables and the demo model": (
        points(tables=["A"], changeable_tables=["A"], is_demo=True),
        ["ask", "ask", "help"],
    ),
    "Python alone": (points(runs_code=True), ["ask", "help", "commands"]),
    "a quick command": (points(tables=["A"], quick_command="joke"), ["ask", "quick", "help"]),
    "nothing": (points(), ["help", "commands"]),
    "no right to chat": (points(tables=["A"], may_chat=False), []),
}


@pytest.mark.parametrize("case", CASES)
def test_only_what_the_person_can_do_is_suggested(case: str) -> None:
    facts, kinds = CASES[case]
    assert [each.kind for each in facts.suggestions] == kinds


def test_the_demo_model_understands_what_is_suggested_in_each_language() -> None:
    for locale in LOCALES:
        with use_locale(locale):
            messages = [each.text for each in CASES["sample tables"][0].suggestions]
        assert [find_tour_step(text) for text in messages] == ["overdue", "pay", "draw"], locale


async def test_a_quick_command_that_the_person_may_run_is_asked_about() -> None:
    """A run may cost money, so nothing that runs at a click is suggested."""
    board = MemoryBoard()
    board.known, board.is_demo = [QuickCommand("tidy-up", "Tidy up")], False
    for locale, text in (
        ("en", "What does the quick command tidy-up do?"),
        ("pt-BR", "O que faz o comando rápido tidy-up?"),
        ("fr", "Que fait la commande rapide tidy-up\u202f?"),
    ):
        with use_locale(locale):
            found = await find_starting_points(board, allow_list(), BEA, HERE)
            assert text in [each.text for each in found.suggestions], locale
    board.known = []
    assert (await find_starting_points(board, allow_list(), BEA, HERE)).quick_command == ""


async def test_rights_decide_for_each_person() -> None:
    board = MemoryBoard()
    board.is_demo, board.titles, board.parts = False, ["Orders"], [CODE]
    everything = await find_starting_points(board, None, BEA, HERE)
    assert [each.kind for each in everything.suggestions] == ["ask", "change", "ask"]
    for denied, kinds in {
        "propose": ["ask", "ask", "help"],
        "read": ["ask", "help", "commands"],
        "code": ["ask", "change", "help"],
        "chat": [],
    }.items():
        policy = allow_list()
        rule = Rule("1", frozenset({"web:bea"}), deny=(denied,))
        policy.read_rules = fixed_rules(RuleBook((rule,)))
        found = await find_starting_points(board, policy, BEA, HERE)
        assert [each.kind for each in found.suggestions] == kinds, denied
