"""All facts are from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from core.base.errors import BadInput, Expired, PonteError
from core.base.i18n import LANGUAGE, plural, say, use_locale
from core.base.markdown import escape_markdown
from core.base.redaction import is_secret_name, pretty_json, withhold_in_text
from core.base.splitting import make_code_block
from core.base.tasks import run_together
from core.base.text import clean_text, clip_line, run_off_loop, truncate_with_note
from core.base.trust import defang, make_inert, show_reason
from core.changes.approval import Approval, find_workspace
from core.changes.card_rows import build_rows, read_rows
from core.changes.kinds import Kind, Kinds
from core.changes.ledger import SqlLedger
from core.changes.standing import (
    Allowed,
    NotKnown,
    judge_approval,
    judge_change,
    judge_consent,
    may_see,
    require,
    shows_button,
)
from core.domain.changes import (
    POLICY_PERSON,
    PONTE_PERSON,
    UNDO_LIFETIME_SECONDS,
    Change,
    ChangeForm,
    Consent,
    DecisionRequest,
    DisplayName,
    PendingRequests,
)
from core.domain.messages import (
    MAX_CARD_RESULT_CHARACTERS,
    Address,
    Answer,
    Card,
    ChangeAction,
    Person,
)
from core.domain.ports import Platforms
from core.domain.records import REASON_HEADING
from core.people.page_accounts import OwnerName
from core.people.rules import NO_RIGHTS, OIDC_PLATFORM, OWNER_ID

MAX_SHORT_CARDS, MAX_SHORT_BYTES = 2, 600
"""The cards, and their bytes together, that fit into any message: Slack leaves 2,400 bytes beside
the longest part of an answer, and a card takes 500 bytes beside its text."""
_UNDO = "Undo {id}: {what}"
ERASED = "This change can no longer be undone, because `forget` deleted its rows."
_LAPSED = "This change can no longer be undone: changes can be undone for {days} days."
REPLACED = "This version was replaced, so nothing was done. See the newest one."
OPEN_ELSEWHERE = (
    "To open the plan of `{id}` and approve it, type `approve {id}` in a direct message with me."
)
_LEFT_OUT = (
    "To get a file with the rows that weren't written, type `approve {id}` in a direct message "
    "with me."
)
NOT_CHANGEABLE = (
    "The values of `{id}` can't be changed: the request was already decided, or it has no values "
    "to edit."
)
_CLOSED = {
    "open": "Waiting for approval.",
    "denied": "Denied by {name}.",
    "expired": "Expired: no one approved it within 24 hours.",
    "withdrawn": "Withdrawn because its conversation was deleted.",
}
_DENIED_BECAUSE = "Denied by {name}: “{reason}”"
_WITHDRAWN = "Withdrawn. Ask again if you still want this change."
_APPROVED = "Approved by {name}."
_ALLOWED = "Approved automatically, as set in ponte.toml."
_UNDO_BY = "Requested by {name}."
_UNDONE_BY = "Undone by {name}."
MAX_WRITTEN_ROWS = 3
MAX_WRITTEN_CHARACTERS = 200
_ADDED, _DELETED = "Added: {row}", "Deleted: {row}"


@dataclass(frozen=True, slots=True)
class CardBuilder:
    """The `Kind` of a change words what differs between kinds (rows of a table, a quick command, a
    schedule)."""

    kinds: Kinds

    def kind(self, change: Change) -> Kind:
        return self.kinds[change.proposal.draft.kind]

    def build(
        self,
        change: Change,
        actions: tuple[ChangeAction, ...] | None = None,
        deciders: str = "",
        needs_admin: bool = False,
        count: int = 1,
        asker: str | None = None,
        undo: Change | None = None,
        card_fields: Collection[str] = (),
    ) -> Card:
        """- `actions`: the card's buttons; None for all.
        - `deciders`: the names of the people who can decide on it; "" if no name is known.
        - `needs_admin`: the asker cannot approve it.
        - `count`: how many people must approve it.
        - `asker`: the name of the person who asked for it; "" for the reader; None for the one that
          the proposal stores.
        - `undo`: the change that has undone this one. The card then shows its rows, which hold the
          values as they are now, and who undid it and when.
        - `card_fields`: the fields that may identify its rows for the readers.
        """
        kind = self.kind(change)
        # What a person approves comes first, so that a platform cuts other sentences.
        first = "" if change.is_erased else kind.describe(change)
        if change.state == "open":
            sentences = _describe_request(change, deciders, needs_admin, count, asker)
        else:
            sentences = self._describe_decision(change, shows_names=True, undo=undo)
            # The badge says these.
            sentences = [s for s in sentences if s not in (say("Done."), say("In progress."))]
        return Card(
            id=change.id,
            kind=change.kind,
            title=self.build_title(change),
            text="\n\n".join(filter(None, [first, " ".join(sentences)])),
            rows=() if change.is_erased else self._build_rows(change, undo, card_fields),
            actions=self.possible_actions(change) if actions is None else actions,
            state=change.state,
            expires_at=change.proposal.expires_at if change.state == "open" else None,
            # True: a platform that must cut the card shows no button to approve.
            is_whole=change.state == "open",
            revision=change.proposal.revision,
            seq=change.proposal.seq,  # of the turn that proposed it
            decided_at=(undo or change).decided_at or None,
            label=kind.name_deed(change) if change.state == "open" else "",
            has_plan=kind.has_plan
            and not change.is_erased
            and (change.state == "partial" or not change.proposal.undone_change),
        )

    def _build_rows(
        self, change: Change, undo: Change | None, card_fields: Collection[str] = ()
    ) -> tuple[dict[str, Any], ...]:
        """If the change was undone, return the rows of `undo`, the change that took it back, which
        have the values as they are now. They keep the order and the names of `change`, because an
        undo stores only the fields that it restores, often without the one that names the row."""
        kind = self.kind(change)
        rows = build_rows(kind.select_shown(change), card_fields) if kind.has_rows else ()
        if undo is None or not rows:
            return rows
        keys = ("name", "name_field", "details")
        names = {row["id"]: {key: row[key] for key in keys} for row in rows}
        restored = [row | names.get(row["id"], {}) for row in build_rows(kind.select_shown(undo))]
        order = {id: n for n, id in enumerate(names)}  # rows without a place there come last
        return tuple(sorted(restored, key=lambda row: order.get(row["id"], len(order))))

    def list_written(self, change: Change, undo: Change | None = None) -> list[str]:
        """Return an item of a Markdown list for each of the first rows that the change has written,
        or that `undo`, the change that took it back, has. Return [] if nothing was written to a
        table. The items hold values of the table, so they are for people who see the card, and not
        for a model."""
        written = undo or change
        # A kind that can be undone writes rows. An erased change has no values any more.
        kind = self.kind(change)
        has_rows = kind.can_be_undone and not kind.has_plan
        if written.state != "done" or not has_rows or written.is_erased:
            return []
        rows = self._build_rows(change, undo)
        lines = list(map(_describe_written, rows[:MAX_WRITTEN_ROWS]))
        if lines and (hidden_count := len(written.rows) - len(lines)):
            lines.append(plural("…and {count} more row.", "…and {count} more rows.", hidden_count))
        return [f"- {line}" for line in lines]

    def describe_rows(self, change: Change, card_fields: Collection[str]) -> str:
        """`card_fields`: the fields that may identify its rows for the reader."""
        rows = () if change.is_erased else read_rows(self._build_rows(change, None, card_fields))
        shown = [f"{row.heading}, {row.text}".strip(", ") for row in rows[:MAX_WRITTEN_ROWS]]
        lines = [clip_line(title, MAX_WRITTEN_CHARACTERS) for title in shown]
        return "; ".join([*lines, *(["…"] if len(rows) > len(shown) else [])])

    def build_title(self, change: Change) -> str:
        """An undo names the change that it takes back."""
        what, undone = self.kind(change).build_title(change), change.proposal.undone_change
        return say(_UNDO, id=undone, what=what) if undone else what

    def build_note(self, change: Change) -> str:
        """The model reads the note in its next turn. The reason of a denial is a person's text, so
        it is in a code block after a warning that it is data and no instruction."""
        with use_locale("en"):
            note = self.kind(change).build_note(change, self.describe_outcome(change))
        if not change.denial_reason:
            return note
        return f"{note}\n{REASON_HEADING}\n{make_code_block(change.denial_reason)}"

    def describe_outcome(self, change: Change, count: int = 1) -> str:
        """While the change waits, the sentences are about the approvals so far; `count` is how many
        people must approve it."""
        if change.state == "open" and change.consents:
            return _describe_approvals(change, count)
        return " ".join(self._describe_decision(change, shows_names=False))

    def is_undoable(self, change: Change) -> bool:
        ended = change.state in ("done", "partial") and self.kind(change).can_be_undone
        is_left = not change.undone_by and not change.is_erased
        return ended and bool(change.written_steps) and is_left

    def possible_actions(self, change: Change) -> tuple[ChangeAction, ...]:
        """The actions "change" and "again" need a kind with fields that people can edit; "reason"
        lets a person who denied the change say why."""
        if change.state == "open":
            has_fields = bool(self.kind(change).form_fields(change))
            return ("approve", "change", "deny") if has_fields else ("approve", "deny")
        if change.is_erased:
            return ()
        # An undo that failed is not proposed again: `undo` can be typed again.
        has_failed = change.state == "failed" and not change.proposal.undone_change
        if change.state in ("denied", "expired") or has_failed:
            # Denied by a person, and not by Ponte because the asker has left.
            is_persons = change.state == "denied" and change.decider != PONTE_PERSON
            can_repeat = not change.repeated_by and bool(self.kind(change).form_fields(change))
            again: tuple[ChangeAction, ...] = ("again",) if can_repeat else ()
            return ("reason", *again) if is_persons and not change.denial_reason else again
        return ("undo",) if self.is_undoable(change) else ()

    def _describe_decision(
        self, change: Change, *, shows_names: bool, undo: Change | None = None
    ) -> list[str]:
        """Return the sentences about the decision and its result. `shows_names`: the readers may
        see names of rows and the reason of a denial. `undo` is the change that took this one back,
        if its card is drawn."""
        if change.kind == "proposal":  # it was never approved
            # For a forgotten one, _CLOSED tells that its conversation was deleted.
            if change.state == "withdrawn" and not change.is_forgotten:
                return [say(_WITHDRAWN)]
            decider = change.decider
            name = clip_line(decider.label) if decider else "?"
            if change.denial_reason and shows_names:
                return [say(_DENIED_BECAUSE, name=name, reason=show_reason(change.denial_reason))]
            return [say(_CLOSED[change.state], name=name)]  # only that of a denial has the name
        # `undone_change`: the id of the change that this one takes back; "" if this is no undo.
        who = _UNDO_BY if change.proposal.undone_change else _APPROVED
        # POLICY_PERSON stands for a rule of ponte.toml that approves without a person.
        is_policy, kind = change.decider == POLICY_PERSON, self.kind(change)
        sentences = [say(_ALLOWED) if is_policy else say(who, name=_list_approvers(change))]
        if change.proposal.revision > 1:
            sentences.append(describe_revision(change))
        if undo:  # the card of an undone change needs no more
            return [*sentences, say(_UNDONE_BY, name=_list_approvers(undo))]
        sentences += kind.describe_outcome(change, shows_names=shows_names)
        if change.state == "applying" or not kind.can_be_undone:
            return sentences
        # What comes back when deleted rows are created again.
        is_undo = bool(change.proposal.undone_change)
        if change.written_steps and (is_undo or self.is_undoable(change)):
            sentences += _describe_note(change)
        if change.undone_by and change.state != "undone":
            sentences.append(
                say("See {undo}, the request to undo this change.", undo=change.undone_by)
            )
        # The stored rows were erased by `forget`, or because the time for an undo is over.
        if change.is_forgotten and change.written_steps:
            sentences.append(say(ERASED))
        elif change.has_lapsed and change.written_steps and not change.undone_by:
            sentences.append(describe_lapse())
        return sentences


def _word_result(result: str) -> str:
    return withhold_in_text(pretty_json(result) or clean_text(result).strip())


def _describe_written(row: Mapping[str, Any]) -> str:
    """Return one line about a row that was written: its name with its new values, or that it was
    added or deleted. `row` is as a card stores it. The values are untrusted, so the Markdown links
    and mentions nothing on any platform."""
    pairs = ((change["field"], change["after"] or change["before"]) for change in row["changes"])
    name, values = row["name"], ", ".join(map(" ".join, pairs))
    is_update = None not in (row["before"], row["after"])
    line = f"{name}: {values}" if is_update else name or values
    line = escape_markdown(make_inert(clip_line(line, MAX_WRITTEN_CHARACTERS)))
    return line if is_update else say(_DELETED if row["before"] else _ADDED, row=line)


def _describe_request(
    change: Change, deciders: str, needs_admin: bool, needed: int, name: str | None
) -> list[str]:
    """Return the sentences on the card of an open proposal: who asks for it, and who must approve.

    `deciders` are the names of people who can; "" if none is known. `needed` is how many must
    approve. `needs_admin`: the asker cannot approve it. `name` is the asker's; "" if they are the
    reader, None for the one that is stored.
    """
    asker = change.proposal.asker
    name = clip_line(asker.label) if name is None else name
    # The name of the program with which the person asked over MCP; else "".
    client = change.proposal.origin.client
    if client:
        sentence = (
            "Requested by {name} with “{client}”." if name else "Requested by you with “{client}”."
        )
        sentences = [say(sentence, name=name, client=client)]
    else:
        sentences = [say("Requested by {name}.", name=name) if name else say("Requested by you.")]
    if change.proposal.revision > 1:
        # Who changed the values asks for the change now, so this names both.
        sentences = [describe_revision(change, name)]
    sentences += _describe_note(change)  # a remark of the tool that proposed it, if any
    if deciders:
        sentences.append(say("Waiting for {names}.", names=deciders))
    elif change.proposal.has_named_approvers:
        sentences.append(say("A designated approver must approve this request."))
    elif needs_admin:
        sentences.append(say("An admin must approve this request."))
    if change.consents:
        sentences.append(_describe_approvals(change, needed))
    elif needed > 1:
        sentences.append(say("{count} different people must approve this request.", count=needed))
    return sentences


def describe_revision(change: Change, name: str = "") -> str:
    """Return the sentence that names the version of a proposal whose values somebody changed, and
    who changed them: since then, that person counts as its asker."""
    asker = change.proposal.asker
    name = name or clip_line(asker.label)
    return say("Version {number}, changed by {name}.", number=change.proposal.revision, name=name)


def _describe_approvals(change: Change, needed: int) -> str:
    # The total is never less than the approvals, because the operator may have lowered it since.
    counts = {"done": len(change.consents), "total": max(needed, len(change.consents))}
    return say("{done} of {total} approvals, by {name}.", name=_list_approvers(change), **counts)


def _list_approvers(change: Change) -> str:
    people = [consent.person for consent in change.consents]
    if change.decider and change.decider.key not in [person.key for person in people]:
        people.append(change.decider)
    return ", ".join(clip_line(person.label) for person in people) or "?"


def _describe_note(change: Change) -> list[str]:
    # Its placeholder `{names}` are the fields that NocoDB fills in itself.
    names = ", ".join(clip_line(name, 80) for name in change.draft.view.system_fields)
    return [say(change.draft.note, names=names)] if change.draft.note else []


def describe_whole(card: Card) -> str:
    """A person reads it before they approve."""
    rows = [": ".join(filter(None, [row.heading, row.text])) for row in read_rows(card.rows)]
    return make_code_block(defang(clean_text("\n".join([card.title, card.text, *rows]))))


def is_short(texts: Sequence[str]) -> bool:
    """True if cards with these texts fit completely into one message on every platform, also beside
    the longest answer. Only then can a person who saw the message have read them whole."""
    return len(texts) <= MAX_SHORT_CARDS and len(escape("".join(texts)).encode()) <= MAX_SHORT_BYTES


def describe_proposals(count: int) -> str:
    """Unlike the cards, the line is never updated, so it must stay true when the proposals are
    decided."""
    return plural(
        "I've prepared this change for approval.",
        "I've prepared {count} changes for approval.",
        count,
    )


def describe_lapse() -> str:
    return say(_LAPSED, days=round(UNDO_LIFETIME_SECONDS / 86_400))


MAX_LISTED_CHANGES = 20
MAX_NAMED_DECIDERS = 4
_MAX_NAME_CHARS = 60
_OTHERS, _AN_ADMIN = "another designated approver", "an admin"
_THE_OWNER = "the owner of the page"
_ON_THE_PAGE = "someone on the page"
_ON_PLATFORM = "someone on {platform}"
_IN_GROUP = "someone in {group}"
_IN_PROGRESS = "`{id}` was already approved and is in progress."
_UNDO_WITH = "To undo this change, type `undo {id}`."


@dataclass(frozen=True, slots=True)
class ChangeViews:
    """Draws changes as cards and sentences for a person at a place: with the buttons that the
    person may use, and without what they may not know."""

    ledger: SqlLedger
    approval: Approval
    builder: CardBuilder
    clock: Callable[[], float]
    platforms: Platforms
    owner: OwnerName

    async def cards(self, ids: Sequence[str]) -> Sequence[Card]:
        return [await self.card(await self.ledger.get(id)) for id in ids]

    async def card(
        self,
        change: Change,
        viewer: Person | None = None,
        address: Address | None = None,
        *,
        is_opened: bool = False,
    ) -> Card:
        """Without `viewer` and `address`, the card is drawn for the asker, where they asked. A card
        in a shared place has all buttons, and its text names who can decide. A private card has
        only the buttons that its viewer may use. `is_opened`: its plan is posted with the card."""
        # Approvals of people who may not approve any more are not shown (`without_void`).
        change, proposal = await self.without_void(change), change.proposal
        # A request over MCP has the mark of a program (`is_bot`), but the person behind it reads
        # the card.
        person = proposal.asker
        person = replace(person, is_bot=False) if proposal.origin.client else person
        # A later file has the rows that were not written.
        is_beside_file = viewer is None and change.state == "open"
        viewer, address = viewer or person, address or proposal.address
        actions = self.builder.possible_actions(change)
        if actions and not address.is_shared:
            standing = await self.approval.find_standing(change, viewer, address, actions=actions)
            actions = tuple(action for action in actions if shows_button(action, standing))
        needs_plan = self.builder.kind(change).has_plan and not (
            is_opened
            or self.approval.can_open(change, viewer, address, is_beside_file=is_beside_file)
        )
        if needs_plan:
            actions = tuple(action for action in actions if action != "approve")
        card_fields = await self.approval.find_card_fields(change, viewer, address)
        if change.state != "open":
            is_undone = change.state == "undone" and change.undone_by
            undo = await self.ledger.get(change.undone_by) if is_undone else None
            card = self.builder.build(change, actions, undo=undo, card_fields=card_fields)
            if needs_plan and card.has_plan and change.state in ("partial", "failed"):
                card = replace(card, text=f"{card.text} {say(_LEFT_OUT, id=change.id)}")
            return replace(card, result=await self._find_result(change, address))
        asker_standing = await self.approval.find_standing(
            change, person, proposal.address, actions=["approve"]
        )
        named, deciders = self.approval.named_deciders(change), ""
        asker = self.name_of_asker(change, viewer, address)
        # A person who can decide alone, in private, needs no names.
        if address.is_shared or named or "approve" not in actions:
            may_decide = not asker_standing.admin_sentence and shows_button(
                "approve", asker_standing
            )
            # Who has approved already is not asked again.
            names = named - {
                f"{consent.person.platform}:{consent.person.id}" for consent in change.consents
            }
            deciders = await self._list_deciders(
                names,
                viewer,
                address,
                (asker or say("you")) if may_decide else "",
                asker_standing.is_exclusive,
            )
        # Where nobody is named, only admins can give the approvals of several people.
        needs_admin = bool(asker_standing.admin_sentence) or (
            asker_standing.needed_approvals > 1 and not named
        )
        card = self.builder.build(
            change,
            actions,
            deciders,
            needs_admin,
            asker_standing.needed_approvals,
            asker,
            card_fields=card_fields,
        )
        if not needs_plan:
            return card
        return replace(card, text=f"{card.text} {say(OPEN_ELSEWHERE, id=change.id)}")

    async def _find_result(self, change: Change, address: Address) -> str:
        """Return the result of a run for the conversation in which it was asked for, and no other.
        Where the decision was made there, the answer to it has the result."""
        here, result = address.conversation, self.builder.kind(change).read_result(change)
        if not result or here != change.proposal.address.conversation:
            return ""
        if await self.ledger.find_place_of_decision(change) == here:
            return ""
        outcome_text = await run_off_loop(_word_result, result)
        return truncate_with_note(outcome_text, MAX_CARD_RESULT_CHARACTERS)

    async def find_latest(self, conversation: str) -> Sequence[Card]:
        changes = await self.ledger.list_of_conversation(conversation, MAX_LISTED_CHANGES)
        return await run_together(*map(self.card, changes))

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        """The form is built from stored data alone, because a platform waits only a few seconds for
        a form. `press_id` is the change's id with the revision that the person sees (`abc234.2`);
        without one it is the newest.

        Raise NotFound (also if the person may not see the card), NotAllowed, StatusUnknown, Expired
        or BadInput.
        """
        id, _, revision = press_id.partition(".")
        change = await self.ledger.get(id)
        # Forms are opened from a card, so the person counts as seeing it (`is_click`).
        standing = await self.approval.find_standing(change, person, address, is_click=True)
        require(may_see(standing))
        # Its time is over, but its state is not updated yet.
        if change.state == "open" and change.proposal.expires_at <= self.clock():
            raise Expired(id=id)
        if revision not in ("", str(change.proposal.revision)):
            raise BadInput(REPLACED)
        fields = self.builder.kind(change).form_fields(change)
        if change.state != "open" or not fields:
            raise BadInput(NOT_CHANGEABLE, id=id)
        require(judge_change(standing))
        title = self.builder.build_title(change)
        # A secret is not shown: its input is empty. Sent back empty, it leaves the value as it is.
        fields = [
            replace(form_field, value="") if is_secret_name(form_field.label) else form_field
            for form_field in fields
        ]
        return ChangeForm(id, change.proposal.revision, title, tuple(fields))

    async def waiting_for(self, person: Person, address: Address) -> Sequence[Change]:
        """Return the open changes that this person may approve now at `address` and has not
        approved yet, oldest first. Those whose rights cannot be checked now are left out."""
        # Together, so that a silent platform delays the list once. Approvals of people who have
        # left, or may not approve any more, do not count.
        changes = await run_together(
            *map(self.without_void, await self.ledger.list_waiting_for_people())
        )
        standings = await run_together(
            *(
                self.approval.find_standing(change, person, address, actions=["approve"])
                for change in changes
            )
        )
        return [
            change
            for change, standing in zip(changes, standings, strict=True)
            if change.proposal.expires_at > self.clock()  # else its state is updated soon
            and not standing.has_approved
            and isinstance(judge_approval(standing), Allowed)
        ]

    async def list_requests(
        self, person: Person, address: Address, id: str = ""
    ) -> PendingRequests:
        """`id`: only this change, also if it waits for others or was decided. Raise NotFound (also
        if the person may not see it) or StatusUnknown."""
        refusal = ""
        if id:
            changes: Sequence[Change] = [await self.ledger.get(id)]
            standing = await self.approval.find_standing(
                changes[0], person, address, actions=["approve"]
            )
            require(may_see(standing))
            try:
                require(judge_approval(standing))
            except PonteError as error:
                refusal = error.words()
        else:
            changes = await self.waiting_for(person, address)
        listed = changes[:MAX_LISTED_CHANGES]
        cards = await run_together(*(self.card(change, person, address) for change in listed))
        askers = [self.name_of_asker(change, person, address) for change in listed]
        return PendingRequests(changes, cards, askers, refusal)

    def name_of_asker(self, change: Change, viewer: Person, address: Address) -> str:
        """Return "" if the asker is the viewer in a private place, where a card says "you"."""
        asker = change.proposal.asker
        if asker.key == viewer.key and not address.is_shared:
            return ""
        if asker.name:
            return clip_line(asker.name)
        return say(_THE_OWNER) if self.approval.is_owner(asker) else clip_line(asker.id)

    async def format_link(self, change: Change, reader: Person, here: Address) -> str:
        """Return a link in Markdown to the post with the card; "" if there is none, or if not
        everybody who reads this place may see it."""
        there = change.proposal.address
        messenger = self.platforms.messengers.get(there.platform)
        post = await self.ledger.find_first_post(change.proposal.seq)
        may_ask = not here.is_shared and reader.platform == there.platform
        with suppress(PonteError):
            if (messenger and post) and (
                here.is_same_channel(there) or (may_ask and await messenger.can_read(reader, there))
            ):
                return f"[{change.id}]({await messenger.link_to(there, post)})"
        return ""

    async def _list_deciders(
        self, names: Collection[str], viewer: Person, address: Address, asker: str, only_named: bool
    ) -> str:
        """Return who can decide on a change, as text such as "Ana, someone in Finance or an
        admin"; "" if no name is known. `names` are the people and groups that the operator named,
        and `asker` the name of the change's asker, "" if they cannot decide. `only_named`: admins
        cannot.

        It names at most MAX_NAMED_DECIDERS people and groups. In place of a name of another
        platform it tells only the platform, unless the viewer may see all changes.
        """
        # A name without a colon (a group of ponte.toml, a platform) has no label on a platform.
        labels = await self.platforms.labels([name for name in names if ":" in name])
        platform = "" if self.approval.sees_all(viewer) else find_workspace(viewer, address)[0]
        # None: the platform did not tell the name.
        all_labels = [self._label(name, labels, platform) for name in sorted(names)]
        decider_names = list(dict.fromkeys(label for label in all_labels if label))
        # No name of the named approvers is known. The card then says "a designated approver".
        if names and not decider_names:
            return ""
        decider_names = list(dict.fromkeys(filter(None, [*decider_names, asker])))
        if not decider_names:
            return ""
        # Names that are not known, or too many, are summed up as "another designated approver".
        if None in all_labels or len(decider_names) > MAX_NAMED_DECIDERS:
            decider_names = [*decider_names[:MAX_NAMED_DECIDERS], say(_OTHERS)]
        if not only_named:
            decider_names.append(say(_AN_ADMIN))
        *others, last = decider_names
        return say("{names} or {last}", names=", ".join(others), last=last) if others else last

    def _label(self, name: str, labels: Mapping[str, DisplayName], platform: str) -> str | None:
        """Return how a card names an approver to readers on `platform` ("" for readers who may see
        the names of every platform); None if the name is not known.

        `name` is the `platform:ID` of a person or group, or a group of ponte.toml. `labels` are the
        display names that the platforms told.
        """
        home, _, id = name.partition(":")
        platforms = self.approval.policy.platforms
        # `has_one_owner`: it is the page or the terminal, which belong to one person. The names of
        # people there are shown only to readers there.
        on_page = platforms.get(home, NO_RIGHTS).has_one_owner
        reads_page = platforms.get(platform, NO_RIGHTS).has_one_owner or not platform
        if on_page:
            if id in ("", OWNER_ID):  # the name of the platform alone is its owner, too
                return (self.owner.current if reads_page else "") or say(_THE_OWNER)
            return clip_line(id, _MAX_NAME_CHARS) if reads_page else say(_ON_THE_PAGE)
        if home == OIDC_PLATFORM:  # they sign in to the page with a provider's account
            return say(_ON_THE_PAGE)
        if not id:  # a group of ponte.toml
            return say(_IN_GROUP, group=clip_line(name, _MAX_NAME_CHARS))
        if platform not in ("", home):
            return say(_ON_PLATFORM, platform=home.capitalize())
        if (label := labels.get(name)) is None:
            return None
        name_of_label = clip_line(label.name, _MAX_NAME_CHARS)
        return say(_IN_GROUP, group=name_of_label) if label.is_group else name_of_label

    async def without_void(self, change: Change) -> Change:
        """An approval that cannot be checked now stays in the list."""
        if change.state != "open" or not change.consents:
            return change
        return replace(change, consents=tuple(await self.list_consents(change)))

    async def list_consents(
        self, change: Change, approver: Person | None = None
    ) -> Sequence[Consent]:
        """Return the approvals that still count. A person's accounts on several platforms count
        once.

        Without an `approver`, this is for readers, and an approval that cannot be checked now
        counts. With one, whose own approval was just checked, it decides whether the change is
        applied: such an approval then does not count.
        """
        canonical = self.approval.canonical_person
        approver_key = canonical(approver.key) if approver else ""
        counted = {}
        for consent in change.consents:
            key = canonical(consent.person.key)
            if key in counted:
                continue
            if approver and key == approver_key:  # their other accounts give no second one
                if consent.person.key == approver.key:
                    counted[key] = consent
                continue
            standing = await self.approval.find_standing(
                change,
                consent.person,
                consent.address,
                # The rules for an undo are those for an approval without a check whether the asker
                # has left, which does not concern this approval.
                actions=["undo"],
                since=consent.approved_at,  # so that people who have left since do not count
            )
            judgment = judge_consent(standing)
            if isinstance(judgment, Allowed) or (isinstance(judgment, NotKnown) and not approver):
                counted[key] = consent
        return list(counted.values())

    async def describe_outcome(self, change: Change) -> str:
        count = self.approval.approvers(change.proposal).count
        return self.builder.describe_outcome(await self.without_void(change), count)

    async def describe_state(self, change: Change, decision: DecisionRequest, note: str) -> Answer:
        """The answer ends with `note`, a sentence about the decision itself ("" for none)."""
        outcome = say(_IN_PROGRESS, id=change.id)
        if change.state != "applying":
            outcome = await self.describe_outcome(change)
        answer = await self.build_answer([outcome, note], [change], decision)
        # A card has a button to undo the change; a text says what to type.
        if not answer.cards and self.builder.is_undoable(change):
            answer = replace(answer, text=f"{answer.text} {say(_UNDO_WITH, id=change.id)}")
        return self.add_written(answer, change)

    def add_written(self, answer: Answer, change: Change, undo: Change | None = None) -> Answer:
        """Add the rows that the change, or the `undo` that took it back, has written. An answer
        with a card stays as it is, because the card shows them. So does a private answer, which is
        given in another place, whose readers may not see the rows."""
        if answer.cards or answer.is_private:
            return answer
        lines = self.builder.list_written(change, undo)
        return replace(answer, text="\n".join([answer.text, *lines]))

    async def build_answer(
        self, sentences: Sequence[str], changes: Sequence[Change], decision: DecisionRequest
    ) -> Answer:
        """Cards are shown after a click, and if a card is in another conversation; otherwise the
        card above the answer shows the new state. In a shared place other than that of the change,
        the answer is private and shows no values, because its readers may not see them."""
        here, places = decision.address, [change.proposal.address for change in changes]
        text = " ".join(sentence for sentence in sentences if sentence)
        if here.is_shared and any(not here.is_same_channel(there) for there in places):
            return Answer(text, is_private=True)
        away = any(there.conversation != here.conversation for there in places)
        cards = list[Card]()
        for change in changes:
            # A click edits the card's own post, whose language is that of the person who asked. Any
            # other card is new, in the language of the person who decides (LANGUAGE).
            is_own_post = (
                decision.is_click and change.proposal.address.conversation == here.conversation
            )
            with use_locale(change.proposal.locale if is_own_post else LANGUAGE.get()):
                cards.append(await self.card(change, decision.person, here))
        return Answer(text, cards=tuple(cards) if decision.is_click or away else ())
