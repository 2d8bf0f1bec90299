"""Builds the cards, sentences and model notes about a change. All facts are from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from core.base.i18n import plural, say, use_locale
from core.base.markdown import defang
from core.base.text import clean_text, clip_line, make_code_block
from core.changes.card_rows import read_rows
from core.changes.kinds import Kind, Kinds
from core.domain.changes import POLICY_PERSON, UNDO_LIFETIME_SECONDS, Change
from core.domain.messages import Card, ChangeAction

MAX_SHORT_CARDS, MAX_SHORT_BYTES = 2, 600
"""The cards, and their bytes together, that fit into any message: Slack leaves 2,400 bytes beside
the longest part of an answer, and a card takes 500 bytes beside its text."""
_UNDO = "Undo {id}: {what}"
ERASED = "It can no longer be undone, because `forget` deleted its rows."
_LAPSED = "It can no longer be undone: changes can be undone for {days} days."
_CLOSED = {
    "open": "Waiting for approval.",
    "denied": "Denied by {name}.",
    "expired": "Expired: no one approved it within 24 hours.",
    "withdrawn": "Withdrawn because its conversation was deleted.",
}
_WITHDRAWN = "Withdrawn. If you still want it, ask again."
_APPROVED = "Approved by {name}."
_ALLOWED = "Approved automatically by the policy."
_UNDO_BY = "Requested by {name}."


@dataclass(frozen=True, slots=True)
class CardBuilder:
    """Builds the cards, sentences and notes about changes, with what their kinds say."""

    kinds: Kinds

    def kind(self, change: Change) -> Kind:
        """Return the change's kind."""
        return self.kinds[change.draft.kind]

    def build(
        self,
        change: Change,
        shown: tuple[ChangeAction, ...] | None = None,
        deciders: str = "",
        needs_admin: bool = False,
        count: int = 1,
        asker: str | None = None,
    ) -> Card:
        """Return the card of a change.

        - `shown`: its buttons; None for all.
        - `deciders`: the names of the people who can decide on it; "" if no name is known.
        - `needs_admin`: the asker cannot approve it.
        - `count`: the number of people who must approve it.
        - `asker`: the name of the person who asked for it; "" for the reader; None for the one that
          the proposal stores.
        """
        kind, is_erased = self.kind(change), change.is_forgotten or change.has_lapsed
        # What a person approves comes first, so that a platform cuts other sentences.
        first = "" if is_erased else kind.describe(change)
        if change.state == "open":
            sentences = _describe_request(change, deciders, needs_admin, count, asker)
        else:
            sentences = self._describe_decision(change, shows_names=True)
        return Card(
            id=change.id,
            kind=change.kind,
            title=self.build_title(change),
            text="\n\n".join(filter(None, [first, " ".join(sentences)])),
            rows=() if is_erased else kind.build_rows(change),
            actions=self.possible_actions(change) if shown is None else shown,
            state=change.state,
            expires_at=change.proposal.expires_at if change.state == "open" else None,
            is_whole=change.state == "open",
            revision=change.proposal.revision,
        )

    def build_title(self, change: Change) -> str:
        """Return what the change does, as one line."""
        what, undone = self.kind(change).build_title(change), change.proposal.undone_change
        return say(_UNDO, id=undone, what=what) if undone else what

    def build_note(self, change: Change) -> str:
        """Return the note for the model's next turn."""
        with use_locale("en"):
            return self.kind(change).build_note(change, self.describe_outcome(change))

    def describe_outcome(self, change: Change, count: int = 1) -> str:
        """Return sentences about the decision and its result, without values of the rows. `count`:
        how many people must approve it."""
        if change.state == "open" and change.consents:
            return _describe_approvals(change, count)
        return " ".join(self._describe_decision(change, shows_names=False))

    def is_undoable(self, change: Change) -> bool:
        """Return whether the change can be taken back."""
        ended = change.state in ("done", "partial") and self.kind(change).can_be_undone
        erased = change.is_forgotten or change.has_lapsed
        return ended and bool(change.written_steps) and not change.undone_by and not erased

    def possible_actions(self, change: Change) -> tuple[ChangeAction, ...]:
        """Return the actions that are possible in this state, regardless of who may take them."""
        if change.state == "open":
            return ("approve", "deny")
        return ("undo",) if self.is_undoable(change) else ()

    def _describe_decision(self, change: Change, *, shows_names: bool) -> list[str]:
        """Return the sentences about the decision and its result."""
        if change.kind == "proposal":
            if change.state == "withdrawn" and not change.is_forgotten:
                return [say(_WITHDRAWN)]
            decider = change.decider
            name = clip_line(decider.name or decider.id) if decider else "?"
            return [say(_CLOSED[change.state], name=name)]
        who = _UNDO_BY if change.proposal.undone_change else _APPROVED
        is_policy, kind = change.decider == POLICY_PERSON, self.kind(change)
        sentences = [say(_ALLOWED) if is_policy else say(who, name=_list_approvers(change))]
        sentences += kind.describe_outcome(change, shows_names=shows_names)
        if change.state == "applying" or not kind.can_be_undone:
            return sentences
        if change.proposal.undone_change and change.written_steps:
            sentences += _describe_note(change)
        if change.undone_by and change.state != "undone":
            sentences.append(say("See {undo}, the request to undo it.", undo=change.undone_by))
        if change.is_forgotten and change.written_steps:
            sentences.append(say(ERASED))
        elif change.has_lapsed and change.written_steps and not change.undone_by:
            sentences.append(describe_lapse())
        return sentences


def _describe_request(
    change: Change, deciders: str, needs_admin: bool, needed: int, name: str | None
) -> list[str]:
    """Return the sentences on the card of an open proposal."""
    asker = change.proposal.asker
    name = clip_line(asker.name or asker.id) if name is None else name
    sentences = [say("Requested by {name}.", name=name) if name else say("Requested by you.")]
    sentences += _describe_note(change)
    if deciders:
        sentences.append(say("Waiting for {names}.", names=deciders))
    elif change.proposal.has_named_approvers:
        sentences.append(say("A designated approver must approve it."))
    elif needs_admin:
        sentences.append(say("An admin must approve it."))
    if change.consents:
        sentences.append(_describe_approvals(change, needed))
    elif needed > 1:
        sentences.append(say("{count} different people must approve it.", count=needed))
    return sentences


def _describe_approvals(change: Change, needed: int) -> str:
    """Return the sentence about the approvals so far."""
    counts = {"done": len(change.consents), "total": max(needed, len(change.consents))}
    return say("{done} of {total} approvals, by {name}.", name=_list_approvers(change), **counts)


def _list_approvers(change: Change) -> str:
    """Return the names of the people who approved the change, the latest last."""
    people = [consent.person for consent in change.consents]
    if change.decider and change.decider.key not in [person.key for person in people]:
        people.append(change.decider)
    return ", ".join(clip_line(person.name or person.id) for person in people) or "?"


def _describe_note(change: Change) -> list[str]:
    """Return the tool's note for the people who decide. Its `{names}` are the fields that NocoDB
    fills in itself."""
    names = ", ".join(clip_line(name, 80) for name in change.draft.view.system_fields)
    return [say(change.draft.note, names=names)] if change.draft.note else []


def describe_whole(card: Card) -> str:
    """Return all of a card as Markdown that shows it exactly as it is."""
    rows = [": ".join(filter(None, [row.name, row.text])) for row in read_rows(card.rows)]
    return make_code_block(defang(clean_text("\n".join([card.title, card.text, *rows]))))


def is_short(texts: Sequence[str]) -> bool:
    """Return whether every platform has room for cards with these texts in full, in one message and
    beside the longest answer."""
    size = len(escape("".join(texts)).encode())
    return len(texts) <= MAX_SHORT_CARDS and size <= MAX_SHORT_BYTES


def describe_proposals(count: int) -> str:
    """Return the line above the cards of `count` new proposals. It is not updated, so it must stay
    true when they are decided."""
    return plural(
        "I've prepared this change for approval.",
        "I've prepared {count} changes for approval.",
        count,
    )


def describe_lapse() -> str:
    """Return the sentence that the time for undoing the change is over."""
    return say(_LAPSED, days=round(UNDO_LIFETIME_SECONDS / 86_400))
