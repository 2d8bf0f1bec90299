"""The table of rights in docs/dev/architecture.md, standing × deed, is what the rules say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from core.base.errors import NotAllowed, NotFound, StatusUnknown
from core.changes import standing as rules
from core.changes.standing import (
    REFUSAL_SENTENCES,
    RULES,
    Allowed,
    Judgment,
    NotKnown,
    RuleRefusal,
    Standing,
    judge_consent,
    judge_notice,
    may_see,
    require,
    shows_button,
)
from core.domain.rights import Verdict

ARCHITECTURE = Path(__file__).parents[3] / "docs/dev/architecture.md"
YES, NO = Verdict(True, rule="a rule", right="right"), Verdict(False, "No.", right="right")
UNKNOWN = replace(NO, is_unknown=True)
DENIED = replace(NO, rule="a rule")
MAYBE_DENIED = replace(NO, may_be_denied=True)
NOBODY = Standing(
    id="abcde2",
    is_read_only=False,
    is_personal=False,
    needed_approvals=1,
    named_rule="",
    is_exclusive=False,
    admin_sentence="",
    is_bot=False,
    is_guest=False,
    is_asker=False,
    has_asked=False,
    is_named=False,
    is_decider=False,
    has_approved=False,
    has_left=False,
    is_same_workspace=True,
    repeats_here=True,
    sees_card=True,
    has_copy=False,
    admin=NO,
    approve=(NO,),
    propose_here=(YES,),
    propose_there=(YES,),
    asker_propose=(YES,),
    asker_has_left=False,
)
"""A member who reads the conversation, and may propose changes."""
ASKER = replace(NOBODY, is_asker=True, has_asked=True)
ADMIN, APPROVER = replace(NOBODY, admin=YES), replace(NOBODY, approve=(YES,))
NAMES = replace(NOBODY, named_rule="names")
TWO = replace(NOBODY, needed_approvals=2)
PERSONAL = replace(NOBODY, is_personal=True, is_exclusive=True)


def elsewhere(standing: Standing) -> Standing:
    return replace(standing, is_same_workspace=False, repeats_here=False, sees_card=False)


STANDINGS: Mapping[str, Standing] = {
    "whoever asked": ASKER,
    "whoever asked, an admin must approve": replace(ASKER, admin_sentence="An admin must."),
    "whoever asked, in another workspace": elsewhere(ASKER),
    "whoever asked, a rule denies `approve`": replace(ASKER, approve=(DENIED,)),
    "whoever asked, and is a guest": replace(ASKER, is_guest=True),
    "whoever asked before somebody changed it": replace(NOBODY, has_asked=True),
    "another member": NOBODY,
    "another member, in another conversation": replace(NOBODY, sees_card=False),
    "admin": ADMIN,
    "admin, in another workspace": elsewhere(ADMIN),
    "approver by a right": APPROVER,
    "approver by a right, in another workspace": elsewhere(APPROVER),
    "approver with a copy of the card": replace(elsewhere(APPROVER), has_copy=True),
    "named approver": replace(NAMES, is_named=True),
    "not named, others are": NAMES,
    "whoever asked, others are named": replace(NAMES, is_asker=True, has_asked=True),
    "admin, only the named decide": replace(NAMES, is_exclusive=True, admin=YES),
    "whoever asked, two must approve": replace(TWO, is_asker=True, has_asked=True),
    "admin, two must approve": replace(TWO, admin=YES),
    "whoever asked for a schedule": replace(PERSONAL, is_asker=True, has_asked=True),
    "admin, somebody's schedule": replace(PERSONAL, admin=YES),
    "another member, somebody's schedule": PERSONAL,
    "bot": replace(NOBODY, is_bot=True),
    "guest": replace(NOBODY, is_guest=True),
    "admin, the table is read-only": replace(ADMIN, is_read_only=True),
    "admin, the asker lost the right": replace(ADMIN, asker_propose=(NO,)),
    "admin, the asker lost the right to read": replace(ADMIN, asker_propose=(YES, NO)),
    "admin, the asker has left": replace(ADMIN, asker_has_left=True),
    "admin, the asker may have left": replace(ADMIN, asker_has_left=None),
    "whoever asked, may be a guest": replace(ASKER, is_guest=None),
    "whoever asked, may be an approver": replace(ASKER, approve=(UNKNOWN,)),
    "whoever asked, a rule may deny `approve`": replace(ASKER, approve=(MAYBE_DENIED,)),
    "whoever asked, a rule may deny or give `approve`": replace(
        ASKER, approve=(replace(UNKNOWN, may_be_denied=True),)
    ),
    "whoever asked, a rule may deny a linked table": replace(ASKER, approve=(NO, MAYBE_DENIED)),
    "named approver, a rule may deny `approve`": replace(
        NAMES, is_named=True, approve=(MAYBE_DENIED,)
    ),
    "another member, a rule may deny `approve`": replace(NOBODY, approve=(MAYBE_DENIED,)),
    "a stranger, a rule may deny `approve`": replace(elsewhere(NOBODY), approve=(MAYBE_DENIED,)),
    "another member, may be an approver": replace(NOBODY, approve=(UNKNOWN,)),
    "a stranger, may be an admin": replace(elsewhere(NOBODY), admin=UNKNOWN),
    "a stranger, may be named": replace(elsewhere(NAMES), is_named=None),
    "whoever denied it": replace(NOBODY, is_decider=True),
}
DEEDS: dict[str, Callable[[Standing], Judgment]] = {"see": may_see}
DEEDS |= {str(action): rule for action, rule in RULES.items()}


def read_judgment(judgment: Judgment) -> str:
    match judgment:
        case Allowed():
            return "yes"
        case NotKnown():
            return "not known"
        case RuleRefusal():
            return f"`{judgment.code}`"


def build_table() -> str:
    rows = [["", *DEEDS], ["---"] * (len(DEEDS) + 1)]
    for name, standing in STANDINGS.items():
        rows.append([name, *(read_judgment(rule(standing)) for rule in DEEDS.values())])
    return "\n".join(f"|{'|'.join(row)}|" for row in rows)


def test_the_table_of_rights_is_what_the_rules_say() -> None:
    assert build_table() in ARCHITECTURE.read_text("utf-8"), build_table()


def test_each_code_has_a_sentence() -> None:
    judgments = [rule(standing) for standing in STANDINGS.values() for rule in DEEDS.values()]
    codes = {one.code for one in judgments if isinstance(one, RuleRefusal)}
    # The sentence of the former is the kind's, that of the latter the right's.
    assert codes - REFUSAL_SENTENCES.keys() == {"needs_admin", "no_right"}
    # A lost right of the asker has the code of every right that is missing.
    assert REFUSAL_SENTENCES.keys() - codes == {"asker_lacks_right"}


def test_a_rule_asks_nobody() -> None:
    assert not [name for name, rule in DEEDS.items() if inspect.iscoroutinefunction(rule)]
    assert "await" not in inspect.getsource(rules)


@pytest.mark.parametrize("standing", STANDINGS.values(), ids=STANDINGS)
def test_what_is_not_known_neither_allows_nor_hides_a_button(standing: Standing) -> None:
    for action, rule in RULES.items():
        judgment = rule(standing)
        assert shows_button(action, standing) == (not isinstance(judgment, RuleRefusal))
        match judgment:
            case NotKnown():
                with pytest.raises((StatusUnknown, NotAllowed), match=r"[Tt]ry again"):
                    require(judgment)
            case RuleRefusal():
                with pytest.raises(NotAllowed):
                    require(judgment)
    # No fact that is not known makes a yes of what is refused when it is known.
    for rule in DEEDS.values():
        if isinstance(rule(standing), RuleRefusal):
            for unknown in (
                replace(standing, is_guest=None),
                replace(standing, is_named=None),
                replace(standing, asker_has_left=None),
            ):
                assert not isinstance(rule(unknown), Allowed)


def test_ids_are_not_revealed() -> None:
    stranger = elsewhere(NOBODY)
    with pytest.raises(NotFound, match=r"^Request abcde2 not found\.$"):
        require(may_see(stranger))


def test_who_approved_shows_no_second_button() -> None:
    assert not shows_button("approve", replace(ADMIN, has_approved=True))


@pytest.mark.parametrize(
    ("has_left", "kind"), [(False, Allowed), (None, NotKnown), (True, RuleRefusal)]
)
def test_an_approval_counts_while_its_person_is_there(
    has_left: bool | None, kind: type[Judgment]
) -> None:
    assert isinstance(judge_consent(replace(ADMIN, has_left=has_left)), kind)


def test_who_is_asked_unasked() -> None:
    """Nobody whom a rule denies it, and nobody before it is known."""
    verdicts = {"yes": NOBODY, "`no_right`": replace(NOBODY, approve=(DENIED,))}
    verdicts |= {"not known": replace(NOBODY, approve=(UNKNOWN,)), "`guest`": STANDINGS["guest"]}
    for words, standing in verdicts.items():
        assert read_judgment(judge_notice(standing)) == words


def test_a_refusal_has_a_code_a_sentence_and_the_rule_that_speaks() -> None:
    judgment = RULES["approve"](STANDINGS["whoever asked, a rule denies `approve`"])
    assert isinstance(judgment, RuleRefusal)
    assert (judgment.code, judgment.sentence, judgment.rule) == ("no_right", "No.", "a rule")
    judgment = RULES["approve"](NAMES)
    assert isinstance(judgment, RuleRefusal)
    assert judgment.sentence == REFUSAL_SENTENCES["not_named"]
