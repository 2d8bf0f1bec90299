"""The rules about who may see, approve, deny, change, repeat and undo a change.

A `Standing` has all facts that the rules need. The rules are plain functions of it: they ask
neither a database nor a platform. `Approval.find_standing` finds the facts out. The table of
standings and deeds is in docs/dev/architecture.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from core.base.errors import NotAllowed, NotFound, StatusUnknown
from core.domain.changes import NO_PROPOSAL_SENTENCE, OWN_ROWS
from core.domain.messages import ChangeAction
from core.domain.rights import Verdict

REFUSAL_SENTENCES: Mapping[str, str] = {
    # The words for an unknown id, so that they do not reveal that the change exists.
    "hidden": NO_PROPOSAL_SENTENCE,
    "read_only": "This table is read-only in Ponte, as set in ponte.toml.",
    "bot": "Bots can't decide on changes. A person must decide on {id}.",
    "guest": "Guests can't decide on changes. A member must decide on {id}.",
    "elsewhere": (
        "{id} was requested in another conversation. Decide on it there, or ask an admin."
    ),
    "only_asker": (
        "Only the person who requested {id} can approve it or undo it. Admins can deny it."
    ),
    "only_named": "Only a designated approver can decide on {id}.",
    "not_named": "Only an admin or a designated approver can decide on {id}.",
    "not_yours": "Someone else requested {id}. They or an admin can approve it.",
    "two_others": "{id} needs {count} approvals. The person who requested it can't approve it.",
    "asker_lacks_right": (
        "{id} can no longer be applied: the person who requested it has lost the permission "
        "there (`{right}`)."
    ),
    "asker_left": (
        "{id} can no longer be applied: the person who requested it is no longer a member, or has "
        "signed out everywhere."
    ),
    "not_asker": "Someone else requested {id}. Only they can propose it again.",
    "repeat_elsewhere": "{id} was requested in another conversation. Propose it again there.",
    "not_decider": "Someone else denied {id}. Only they can say why.",
}
"""The sentence of each refusal by its code. "no_right" has the words of the right, "needs_admin"
those of the kind of change, and nobody reads that an earlier approver has "left"."""
_ASKER_UNKNOWN = (
    "I couldn't check in time whether the person who requested {id} is still a member, so "
    "nothing was changed. Try again in a minute."
)


@dataclass(frozen=True, slots=True)
class Standing:
    """All facts about a person and one change, at one moment and in one place, on which it depends
    what the person may do with the change.

    None, and a verdict with `is_unknown`, mean that the platform did not tell. No rule takes that
    for a no or for a yes.
    """

    id: str

    is_read_only: bool
    """True if the operator lets nobody change the table."""
    is_personal: bool
    """True if only its asker approves it (`Kind.is_personal`)."""
    needed_approvals: int
    named_rule: str
    """The operator's rule that names who approves it, or its asker; "" if none does."""
    is_exclusive: bool
    """True if only the named approvers decide, and no admins."""
    admin_sentence: str
    """Why an admin must approve it in place of its asker; "" if the asker can."""

    is_bot: bool
    is_guest: bool | None
    is_asker: bool
    has_asked: bool
    """True also if they asked for it before somebody else changed it."""
    is_named: bool | None
    is_decider: bool
    has_approved: bool
    has_left: bool | None
    """True if they were removed, or took it back, since they approved it."""

    is_same_workspace: bool
    repeats_here: bool
    """True if this is a place from which its asker may propose it again."""
    sees_card: bool
    has_copy: bool
    """True if a copy of the card was posted to them, or may have been."""

    admin: Verdict
    approve: tuple[Verdict, ...]
    """The person's rights to approve: for the change's table, then for each linked table. Who has a
    copy of the card has the rights of the place where it was asked for."""
    propose_here: tuple[Verdict, ...]
    propose_there: tuple[Verdict, ...]
    asker_propose: tuple[Verdict, ...] | None = None
    """The rights of its asker to propose it, where they asked. None as long as no rule needs them:
    only the rules about an approval and an undo do, unless something else refuses it."""
    asker_has_left: bool | None = None
    """True if its asker was removed, or took it back, since. Only an approval depends on that."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The judgment that a person may do something with a change, by the rule `rule`."""

    rule: str = ""


@dataclass(frozen=True, slots=True)
class RuleRefusal:
    """The judgment that a person may not do something with a change, with the sentence for them.
    `rule` is the operator's rule that refuses it, "" for a rule of Ponte's own. `values` fill the
    placeholders of the sentence."""

    code: str
    sentence: str
    rule: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class NotKnown:
    """The judgment that it cannot be decided now whether a person may do something with a change: a
    platform did not tell `fact`, a right or a field of `Standing`."""

    fact: str
    id: str = ""


Judgment = Allowed | RuleRefusal | NotKnown
_Objections = Iterator[str | Verdict | NotKnown]
"""The reasons against a deed, of which the first one counts: the code of a refusal, a right that
the person lacks, or a fact that is not known. A right that they have is no objection."""


def require(judgment: Judgment) -> str:
    """Return the rule that allows what was judged, for the audit log. Raise NotFound or NotAllowed
    if it is refused, and StatusUnknown if it cannot be decided now. If it is not known whether the
    change's asker has left, the change counts as refused for now.

    A hidden change raises the error of an unknown id, so that nobody learns that it exists.
    """
    match judgment:
        case Allowed():
            return judgment.rule
        case RuleRefusal(code="hidden"):
            raise NotFound(judgment.sentence, **judgment.values)
        case RuleRefusal():
            raise NotAllowed(judgment.sentence, rule=judgment.rule, **judgment.values)
        # Both facts about the asker have the same sentence, but errors of different kinds.
        case NotKnown(fact="asker_has_left"):
            raise NotAllowed(_ASKER_UNKNOWN, id=judgment.id)
        case NotKnown(fact="asker_propose"):
            raise StatusUnknown(_ASKER_UNKNOWN, id=judgment.id)
    # Any other fact that a platform did not tell is about the person who wants to do something.
    raise StatusUnknown


def _rule(list_objections: Callable[[Standing], _Objections]) -> Callable[[Standing], Judgment]:
    """Decorate a generator of objections. The result is a function that judges a `Standing`: it
    refuses for the first objection, or allows the deed if there is none. An objection is the code
    of a refusal, a right that the person may lack, or a fact that is not known."""

    @functools.wraps(list_objections)
    def judge(standing: Standing) -> Judgment:
        for objection in list_objections(standing):
            code = "no_right"
            if isinstance(objection, NotKnown):
                return replace(objection, id=standing.id)
            if isinstance(objection, str):
                code = objection
                # A text is the code of a refusal. For "needs_admin", `standing` has the sentence.
                sentence = REFUSAL_SENTENCES.get(code, standing.admin_sentence)
                objection = Verdict(False, sentence, right="approve")
            # Unknown, too, is a right that a rule may deny, because the platform did not tell the
            # person's groups (`may_be_denied`).
            if objection.is_unknown or objection.may_be_denied:
                return NotKnown(objection.right, standing.id)
            if not objection.allowed:
                values: dict[str, object] = {"right": objection.right, "id": standing.id}
                values |= {"count": standing.needed_approvals, "rows": OWN_ROWS}
                return RuleRefusal(code, objection.reason, objection.rule, values)
        # Nothing objects. The audit log names the rule of a right of the person (unless only named
        # approvers decide), else the one that names them, else that of the right to propose.
        rights = () if standing.is_exclusive else (standing.admin, standing.approve[0])
        rule = next((right.rule for right in rights if right.allowed), standing.named_rule)
        return Allowed(rule or standing.propose_here[0].rule)

    return judge


@_rule
def may_see(standing: Standing) -> _Objections:
    """People who may not see the card get the same answer as for an unknown id, because ids are not
    secret."""
    # The first right to approve is that for the change's own table. It does not count for a
    # personal change, which only its asker approves.
    rights = (standing.admin, *(() if standing.is_personal else standing.approve[:1]))
    has_card = standing.sees_card or standing.has_copy
    is_known = has_card or standing.has_asked or standing.is_named
    if is_known or any(right.allowed for right in rights):
        return
    # None: the platform did not tell whether the person is a named approver.
    if standing.is_named is None:
        yield NotKnown("is_named")
    yield from (right for right in rights if right.is_unknown)
    yield "hidden"


@_rule
def judge_approval(standing: Standing) -> _Objections:
    """The person needs what an undo needs: they may decide on the change, and its asker still has
    the right to ask for it. Moreover, the asker must not have left since."""
    yield from _object_to_undo(standing)
    if standing.asker_has_left is None:
        yield NotKnown("asker_has_left")
    if standing.asker_has_left:
        yield "asker_left"


@_rule
def judge_consent(standing: Standing) -> _Objections:
    # Whether an earlier approval of the person, one of several, still counts.
    if standing.has_left is None:
        yield NotKnown("has_left")
    if standing.has_left:
        yield "left"
    yield from _object_to_undo(standing)


@_rule
def judge_undo(standing: Standing) -> _Objections:
    return _object_to_undo(standing)


@_rule
def judge_denial(standing: Standing) -> _Objections:
    """The asker always may deny it, on the platform and in the workspace where they asked, also
    after somebody else changed it."""
    if standing.is_personal and not standing.is_asker:
        yield from _object_to_member(standing)
        yield from _object_to_others(standing, "only_asker")
    elif not (standing.is_same_workspace and standing.has_asked):
        yield from _object_to_decider(standing)


@_rule
def judge_change(standing: Standing) -> _Objections:
    """The person who changes an open proposal becomes its asker."""
    return _object_to_change(standing)


@_rule
def judge_repeat(standing: Standing) -> _Objections:
    if not standing.is_asker:
        yield "not_asker"
    if not standing.repeats_here:
        yield "repeat_elsewhere"
    yield from _object_to_change(standing)


@_rule
def judge_reason(standing: Standing) -> _Objections:
    if not standing.is_decider:
        yield "not_decider"


@_rule
def judge_notice(standing: Standing) -> _Objections:
    """Not to programs, guests, or people without the right."""
    yield from _object_to_member(standing)
    yield from (right for right in standing.approve if right.is_denied)


RULES: Mapping[ChangeAction, Callable[[Standing], Judgment]] = {
    "approve": judge_approval,
    "change": judge_change,
    "deny": judge_denial,
    "undo": judge_undo,
    "reason": judge_reason,
    "again": judge_repeat,
}


def lacks(fact: str, actions: Collection[ChangeAction], standing: Standing) -> bool:
    """The caller then finds it out, which may take a request to a platform."""
    return any(RULES[action](standing) == NotKnown(fact, standing.id) for action in actions)


def shows_button(action: ChangeAction, standing: Standing) -> bool:
    """If a fact is not known now, the button is shown, because a click finds out again."""
    is_given = action == "approve" and standing.has_approved
    return not is_given and not isinstance(RULES[action](standing), RuleRefusal)


def _object_to_undo(standing: Standing) -> _Objections:
    """Yield the objections against a decision of the person: that they may not decide, or that the
    change's asker has lost the right to ask for it."""
    if standing.is_read_only:
        yield "read_only"
    yield from _object_to_decider(standing)
    rights, sentence = standing.asker_propose, REFUSAL_SENTENCES["asker_lacks_right"]
    if rights is None or any(right.is_unknown for right in rights):
        yield NotKnown("asker_propose")
    # Of these, a right that the asker still has is no objection.
    yield from (replace(right, reason=sentence) for right in rights or ())


def _object_to_decider(standing: Standing) -> _Objections:
    """Yield the objections against a decision of the person on the change: codes of refusals,
    rights that they lack, or facts that are not known. Only the first one counts. A plain `return`
    before the end means that nothing (more) speaks against it.

    A personal change is decided by its asker. Others are decided by an admin, by somebody with the
    rights to approve, or by a person that the operator named as an approver; if nobody is named and
    one approval suffices, also by the asker.
    """
    if standing.is_personal:
        if standing.is_bot:
            yield "bot"
        if not standing.is_asker:
            yield "only_asker"
        return
    yield from _object_to_member(standing)
    if standing.is_named is None:
        yield NotKnown("is_named")
    if standing.is_exclusive and not standing.is_named:
        yield "only_named"
    # The operator named approvers, or several people must approve: then nobody decides on their own
    # request alone.
    by_names = bool(standing.named_rule) or standing.needed_approvals > 1
    # If several people must approve, the asker counts only if the operator named them.
    if standing.needed_approvals > 1 and standing.is_asker and not standing.is_named:
        yield "two_others"
    # An admin may decide on everything else.
    if standing.admin.allowed:
        return
    if standing.admin.is_unknown or not (standing.has_copy or standing.is_same_workspace):
        yield from _object_to_others(standing, "elsewhere")
    if all(right.allowed for right in standing.approve):
        return
    # Rights that only no rule gives are no objection to one's own changes. A rule's denial is.
    yield from (right for right in standing.approve if right.rule)
    is_own = standing.is_asker and not standing.admin_sentence
    is_enough = standing.is_named if by_names else is_own
    # If the person decides as a named approver or as the asker, a right that is not known matters
    # only where a rule may deny it.
    for right in standing.approve:
        if right.may_be_denied if is_enough else right.is_unknown:
            yield right
    if not by_names:
        yield from standing.propose_here
    if is_enough:
        return
    if by_names:
        yield "not_named"
    yield "needs_admin" if standing.is_asker else "not_yours"


def _object_to_change(standing: Standing) -> _Objections:
    """Yield the objections against a change of the proposal's values by the person. Who changes
    them asks for the change from then on, so they need the rights to propose it: where it was
    asked for (`propose_there`), and in the place from which they change it (`propose_here`). Who
    changes it from a copy of its card, as in a direct message, has the rights of the place where
    it was asked for. So the place of the copy does not count."""
    yield from _object_to_member(standing)
    if standing.is_personal and not standing.is_asker:  # such as somebody's own schedule
        yield "only_asker"
    if not standing.is_same_workspace:  # from elsewhere, only an admin may
        yield from _object_to_others(standing, "elsewhere")
    yield from standing.propose_there
    if not standing.has_copy:
        yield from standing.propose_here


def _object_to_others(standing: Standing, code: str) -> _Objections:
    if standing.admin.is_unknown:
        yield standing.admin
    if not standing.admin.allowed:
        yield code


def _object_to_member(standing: Standing) -> _Objections:
    """Programs and guests never decide."""
    if standing.is_bot:
        yield "bot"
    if standing.is_guest is None:
        yield NotKnown("is_guest")
    if standing.is_guest:
        yield "guest"
