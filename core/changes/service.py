"""Proposals, decisions on them, and undo.

A write tool only stores a proposal, and its turn ends with a card. A person's decision is an event
of its own: it claims the proposal, which only one event can do. After a crash, the same event
continues the change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from core.changes import cards
from core.changes.apply import ChangeRunner
from core.changes.approval import ASKER_UNKNOWN, Approval
from core.changes.cards import CardBuilder
from core.changes.ports import Applier, CheckedApplier, Doing, Ledger
from core.domain.changes import (
    MAX_PROPOSAL_ROWS,
    NO_PROPOSAL_SENTENCE,
    POLICY_PERSON,
    PONTE_PERSON,
    PROPOSAL_LIFETIME_SECONDS,
    UNDO_LIFETIME_SECONDS,
    Change,
    ChangeState,
    Consent,
    DecisionRequest,
    DisplayName,
    Draft,
    PendingRequest,
    Proposal,
    confirmation_code,
    new_change_id,
)
from core.domain.errors import AuditRefused, Expired, NotAllowed, NotFound, StatusUnknown, ToolError
from core.domain.messages import Address, Answer, Card, ChangeAction, Person
from core.domain.records import Outcome, ToolContext, add_model_instruction
from core.observability import metrics
from core.ports.rights import Audit
from core.rights.rules import NO_RIGHTS, OWNER_ID
from core.rights.usage import PaidRun
from core.text.i18n import LANGUAGE, say

log = structlog.get_logger("changes")
SHOW_APPLYING_SECONDS = 1.0
"""Seconds after which the card shows that its change is being applied."""
MAX_LISTED_CHANGES = 20
"""The largest number of changes that the command `changes` lists."""

_PROPOSED = (
    "Proposed as {id}: nothing is changed yet. A person sees it as a card and decides; "
    "you are told on their next message."
)
_DONE_BEFORE = add_model_instruction(
    "This very change was done already, as {id}, when it was asked before: nothing new is "
    "proposed.",
    "tell the person so; only they can say that it is wanted twice",
)
_NOT_ATTENDED = "Only a person can ask for this, not a program, webhook or schedule."
_NO_ROWS = "No row matches, so there is nothing to change."
_TOO_MANY = "That is {count} rows. One request can have at most {most}."
_IN_PROGRESS = "`{id}` was already decided and is in progress."
_UNDONE = "Undone (`{id}`)."
_NOT_UNDONE = "Not undone: `{id}` is unchanged."
_UNDONE_ALREADY = "`{id}` was already undone (`{undo}`)."
_NOTHING_DONE = "There is nothing to undo."
_UNDO_WITH = "To undo it, type `undo {id}`."
_READ_FIRST = "This is all of `{id}`. To approve exactly this, type `{hint}`."
_READ_ELSEWHERE = (
    "Not everybody here may read all of `{id}`. Type `approve {id}` where it was requested, or in "
    "a direct message."
)
_ONE_MORE = "Your approval is counted. Someone else must approve it too."
_UNCOUNTED = (
    "Some approvals are no longer valid. Each must come from a different person who can "
    "approve now."
)
MAX_NAMED_DECIDERS = 4
"""The largest number of people and groups that a card names as those who can decide on it."""
_MAX_NAME_CHARS = 60
_OTHERS, _AN_ADMIN = "another designated approver", "an admin"
_THE_OWNER = "the owner of the page"
_ON_THE_PAGE = "someone on the page"
_ON_PLATFORM = "someone on {platform}"
_IN_GROUP = "someone in {group}"
_UNAUDITED = "The audit log could not be written ({cause}). Contact the person who runs Ponte."


async def _not_reached(change: str, person: str) -> bool:
    """Return False: no direct messages with cards exist."""
    return False


async def _no_labels(names: Collection[str]) -> Mapping[str, DisplayName]:
    """Return no names: no platform knows any."""
    return {}


class RunPayments(Protocol):
    """Reserves and settles the cost of approved quick commands (implemented in
    `core.store.budget`)."""

    async def reserve_approved_run(
        self, person: Person, address: Address, seq: int, call_id: str, paid: PaidRun
    ) -> None:
        """Reserve the cost of an approved quick command. `person` asked for it and pays for it.

        `seq` is the event of the approval. Raises OverBudget.
        """

    async def settle_run(self, seq: int, call_id: str, paid: PaidRun, begun: bool) -> None:
        """Record the price of a run. If it was not begun, release its reservation instead."""


@dataclass(frozen=True, slots=True)
class ChangeService:
    """Stores proposals, decides on them, and has them applied. All writes to other systems go
    through it.

    `on_change` is called when a card no longer shows the current state of its change.
    """

    ledger: Ledger
    applying: ChangeRunner
    approval: Approval
    builder: CardBuilder
    audit: Audit
    appliers: Mapping[str, Applier]
    on_change: Callable[[], None]
    clock: Callable[[], float] = time.time
    reached: Callable[[str, str], Awaitable[bool]] = _not_reached
    """Returns whether a direct message with the person of this key contains the card of this
    change."""
    labels: Callable[[Collection[str]], Awaitable[Mapping[str, DisplayName]]] = _no_labels
    """Returns the display names of people and groups, by `platform:ID`. Unknown ones are left
    out."""
    owner_name: Callable[[], str] = str
    """Returns the name of the owner of the page and the terminal; "" if it is not known."""
    purse: RunPayments | None = None
    """Reserves the cost of approved runs; None if runs cost nothing."""

    async def propose(self, ctx: ToolContext, draft: Draft) -> Outcome:
        """Store the draft as a proposal and return the outcome of the write tool's call.

        A change that the operator's policy allows is applied at once. A repeated message does not
        propose a change that its thread has already applied. Raise ToolError, Superseded, and what
        `_apply` raises.
        """
        if not 1 <= draft.row_count <= MAX_PROPOSAL_ROWS:
            sentence = _TOO_MANY if draft.rows else _NO_ROWS
            raise ToolError(sentence, code="rows", count=draft.row_count, most=MAX_PROPOSAL_ROWS)
        is_attended = ctx.origin.is_attended and ctx.origin.is_by_person and not ctx.asker.is_bot
        if self.approval.kinds[draft.kind].needs_attended_turn and not is_attended:
            raise ToolError(_NOT_ATTENDED, code="not_allowed", hint="tell the person")
        await self.approval.check_draft(ctx.asker, ctx.address, draft)
        if ctx.is_repeat and (done := await self._find_done_before(ctx, draft)):
            return Outcome("ok", _DONE_BEFORE.format(id=done.id))
        proposal = Proposal(
            id=new_change_id(),
            draft=draft,
            asker=ctx.asker,
            address=ctx.address,
            seq=ctx.seq,
            call_id=ctx.call_id,
            thread=ctx.thread.id,
            generation=ctx.thread.generation,
            locale=LANGUAGE.get(),
            created_at=self.clock(),
            expires_at=self.clock() + PROPOSAL_LIFETIME_SECONDS,
            tool=ctx.tool,
            origin=ctx.origin,
        )
        by_policy = self.approval.is_decided_by_policy(proposal)
        named = self.approval.names_approvers(proposal)
        proposal = replace(proposal, has_named_approvers=named, is_decided_by_policy=by_policy)
        asks_nobody = not self.approval.to_be_asked(Change(proposal))
        change = await self.ledger.propose(proposal, asks_nobody=asks_nobody)
        if change.proposal.created_at == proposal.created_at:
            rule = await self.approval.rule_of_draft(ctx.asker, ctx.address, draft)
            await self._record_event("proposed", change, rule)
        if by_policy:
            return await self._by_policy(change, ctx.seq)
        return Outcome("proposed", _PROPOSED.format(id=change.id), proposal=change.id)

    async def _find_done_before(self, ctx: ToolContext, draft: Draft) -> Change | None:
        """Return an earlier change of this thread with the same writes that was applied, at least
        in part, and not undone; None if there is none."""
        found = await self.ledger.list_of_conversation(ctx.address.conversation, MAX_LISTED_CHANGES)
        return next(
            (
                change for change in found
                if change.proposal.thread == ctx.thread.id and change.kind == "change"
                and change.state != "undone" and change.written_steps
                and _intended_write(change.draft) == _intended_write(draft)
            ),
            None,
        )  # fmt: skip

    async def cards(self, ids: Sequence[str]) -> Sequence[Card]:
        """Return the cards of these changes in their current state."""
        return [await self.card(await self.ledger.get(id)) for id in ids]

    async def card(
        self,
        change: Change,
        viewer: Person | None = None,
        address: Address | None = None,
        reached: bool = False,
    ) -> Card:
        """Return the card of a change as `viewer` sees it at `address`.

        Without these arguments, it is drawn for the asker, where they asked.
        A card in a shared place has all buttons, and its text names who can decide. A private card
        has only the buttons that its viewer may use. `reached`: this card is the copy that was sent
        to the viewer.
        """
        change = await self._without_void(change)
        viewer, address = viewer or change.proposal.asker, address or change.proposal.address
        shown = self.builder.possible_actions(change)
        if not address.is_shared:
            shown = tuple([
                action
                for action in shown
                if await self._may_use(action, change, viewer, address, reached)
            ])  # fmt: skip
        is_named = bool(self.approval.named_deciders(change))
        deciders = ""
        if change.state == "open" and (address.is_shared or is_named or "approve" not in shown):
            deciders = await self._deciders(change, viewer, address)
        count = self.approval.approvers(change.proposal).count
        # Where nobody is named, only admins can give the approvals of several people.
        needs_admin = self.approval.needs_admin(change) or (count > 1 and not is_named)
        asker = self.name_of_asker(change, viewer, address)
        return self.builder.build(change, shown, deciders, needs_admin, count, asker)

    def name_of_asker(self, change: Change, viewer: Person, address: Address) -> str:
        """Return the display name of the person who asked for the change; "" if it is the viewer,
        who has no name, in a private place."""
        asker = change.proposal.asker
        if asker.name:
            return cards.clip_line(asker.name)
        if asker.key == viewer.key and not address.is_shared:
            return ""
        return say(_THE_OWNER) if self.approval.is_owner(asker) else cards.clip_line(asker.id)

    async def _may_use(
        self,
        action: ChangeAction,
        change: Change,
        viewer: Person,
        address: Address,
        reached: bool = False,
    ) -> bool:
        """Return whether the button is shown to the viewer. If their rights are not known now, it
        is shown, because a click checks them again."""
        if action == "approve" and viewer.key in [one.person.key for one in change.consents]:
            return False
        reached = reached or await self.reached(change.id, viewer.key)
        checks = {
            "approve": self.approval.check_approval,
            "deny": self.approval.check_denial,
            "undo": self.approval.check,
        }
        try:
            await checks[action](viewer, address, change, reached)
        except StatusUnknown:
            return True
        except NotAllowed as error:
            return error.sentence == ASKER_UNKNOWN
        return True

    async def _deciders(self, change: Change, viewer: Person, address: Address) -> str:
        """Return who can decide on the change, as text such as "Ana, someone in Finance or an
        admin"; "" if no name is known.

        It names at most MAX_NAMED_DECIDERS people and groups. Names of another platform than that
        of `address` are left out, unless the viewer may see all changes.
        """
        proposal = change.proposal
        named = sorted(self.approval.named_deciders(change))
        labels = await self.labels([name for name in named if ":" in name])
        everywhere = self.approval.sees_all(viewer)
        known = [self._label(name, labels, "" if everywhere else address.platform)
                 for name in named]  # fmt: skip
        words = [label for label in known if label]
        if named and not words:
            return ""
        if not self.approval.needs_admin(change):
            asker = proposal.asker
            if await self._may_use(
                "approve", replace(change, consents=()), asker, proposal.address
            ):
                words.append(self.name_of_asker(change, viewer, address) or say("you"))
        if not words:
            return ""
        words = list(dict.fromkeys(words))
        if None in known or len(words) > MAX_NAMED_DECIDERS:
            words = [*words[:MAX_NAMED_DECIDERS], say(_OTHERS)]
        if not self.approval.approvers(proposal).is_exclusive:
            words.append(say(_AN_ADMIN))
        *others, last = words
        return say("{names} or {last}", names=", ".join(others), last=last) if others else last

    def _label(self, name: str, labels: Mapping[str, DisplayName], platform: str) -> str | None:
        """Return how a card names this person, group or set to readers on `platform` ("" for
        readers who may see the names of every platform); None if the name is not known."""
        home, _, id = name.partition(":")
        platforms = self.approval.platforms
        on_page = platforms.get(home, NO_RIGHTS).has_one_owner
        reads_page = platforms.get(platform, NO_RIGHTS).has_one_owner or not platform
        if on_page:
            if id in ("", OWNER_ID):
                return (self.owner_name() if reads_page else "") or say(_THE_OWNER)
            return cards.clip_line(id, _MAX_NAME_CHARS) if reads_page else say(_ON_THE_PAGE)
        if not id:
            return say(_IN_GROUP, group=cards.clip_line(name, _MAX_NAME_CHARS))
        if platform not in ("", home):
            return say(_ON_PLATFORM, platform=home.capitalize())
        if (label := labels.get(name)) is None:
            return None
        shown = cards.clip_line(label.name, _MAX_NAME_CHARS)
        return say(_IN_GROUP, group=shown) if label.is_group else shown

    def describe_proposals(self, shown: Sequence[Card]) -> str:
        """Return the text above the cards of new proposals."""
        return cards.describe_proposals(len(shown))

    async def find_latest(self, conversation: str) -> Sequence[Card]:
        """Return the cards of the latest changes, newest first. The
        conversation "" means all conversations."""
        found = await self.ledger.list_of_conversation(conversation, MAX_LISTED_CHANGES)
        return [await self.card(change) for change in found]

    async def waiting_for(self, person: Person, address: Address) -> Sequence[Change]:
        """Return the open changes that this person may approve now and has not approved yet, oldest
        first."""
        found = []
        for waiting in await self.ledger.list_waiting_for_people():
            change = await self._without_void(waiting)
            given = {consent.person.key for consent in change.consents}
            if change.proposal.expires_at <= self.clock() or person.key in given:
                continue
            reached = await self.reached(change.id, person.key)
            with suppress(NotAllowed, StatusUnknown):
                await self.approval.check_approval(person, address, change, reached)
                found.append(change)
        return found

    async def list_requests(self, person: Person, address: Address) -> Sequence[PendingRequest]:
        """Return the changes that wait for this person, with the cards as they see them at
        `address`, oldest first; at most MAX_LISTED_CHANGES."""
        waiting = await self.waiting_for(person, address)
        return [
            PendingRequest(change, await self.card(change, person, address))
            for change in waiting[:MAX_LISTED_CHANGES]
        ]

    async def decide(self, action: ChangeAction, decision: DecisionRequest) -> Answer:
        """Approve, deny or undo a change and return the answer for the person.

        Raise NotFound (also if the person may not see the card), NotAllowed, Expired, AuditRefused,
        ToolError, Draining or NotStored.
        """
        if action == "approve":  # before the change is read, so that the answer reveals nothing
            self.approval.check_no_program(decision)
        change = await self.ledger.get(decision.id)
        # An event that continues after a crash passed this check before.
        ours = change.decision_seq == decision.seq
        reached = await self.reached(change.id, decision.person.key)
        if not ours and not await self.approval.may_see(decision, change, reached):
            # The same words as for an unknown id, so that they do not reveal that it exists.
            raise NotFound(NO_PROPOSAL_SENTENCE, id=decision.id)
        is_others = change.state == "applying" and change.decision_seq != decision.seq
        if is_others and change.id in [one.id for one in await self.ledger.list_abandoned()]:
            change = await self._end_abandoned(change)
        # Expiry is checked here, too, because the periodic check may not have run yet.
        if change.state == "open" and change.proposal.expires_at <= self.clock():
            change = await self._close(change, "expired", None)
        if change.state == "expired" and action != "undo":
            raise Expired(id=change.id)
        try:
            match action:
                case "approve":
                    return await self._approve(change, decision, reached)
                case "deny":
                    return await self._deny(change, decision, reached)
                case "undo":
                    return await self._undo(change, decision, reached)
        except NotAllowed as error:
            error.values.setdefault("right", "approve")
            raise

    async def result(self, id: str, seq: int) -> tuple[str, str]:
        """Return the result and the title of the run that the event `seq` approved; two empty
        strings for any other change."""
        change = await self.ledger.get(id)
        result = self.builder.kind(change).read_result(change) if change.decision_seq == seq else ""
        return (result, change.draft.title) if result else ("", "")

    async def end_overdue(self) -> None:
        """Close expired proposals, and end changes that their event did not finish before it
        ended."""
        for change in await self.ledger.list_overdue(self.clock()):
            await self._close(change, "expired", None)
        for change in await self.ledger.list_abandoned():
            await self._end_abandoned(change)

    async def _approve(self, change: Change, decision: DecisionRequest, reached: bool) -> Answer:
        """Record the approval. Claim and apply the change once enough people have approved it."""
        if _is_untouched(change, decision.seq):
            await self._check_again(change, decision, reached)
        if change.state == "open":
            await self.approval.check_approval(decision.person, decision.address, change, reached)
            if not decision.is_click and not await self._is_seen(change, decision, reached):
                return await self._show_whole(change, decision, reached)
            applier = self.appliers.get(change.draft.applier)
            if isinstance(applier, CheckedApplier):
                await applier.check_asker(change.draft)
            count = self.approval.approvers(change.proposal).count
            if count > 1 or change.consents:
                before = await self._without_void(change)
                change = await self._consent(change, decision)
                counted = await self._count_consents(change, decision)
                if change.state == "open" and len(counted) < count:
                    known = [consent.person.key for consent in before.consents]
                    words = _ONE_MORE if decision.person.key in known else ""
                    words = words if len(counted) == len(change.consents) else _UNCOUNTED
                    return await self._answer_with_outcome(
                        change, decision, say(words) if words else ""
                    )
                if change.state == "open":
                    await self._withdraw_others(change, counted)
        if change.state == "open":
            # Reserve before the claim: if the budget refuses, the proposal stays open.
            await self._pay(change, decision.seq)
            change = await self.ledger.claim(change.id, decision.seq, decision.person, self.clock())
            if change.decision_seq != decision.seq:  # another event claimed it first
                await self._settle_payment(change, decision.seq)
        unaudited = ""
        if change.state == "applying" and change.decision_seq == decision.seq:
            rule = await self.approval.rule_of(decision.person, decision.address, change)
            change, unaudited = await self._apply(change, rule, decision.show_progress)
            await self._settle_payment(change, decision.seq)
        return await self._answer_with_outcome(change, decision, unaudited)

    async def _is_seen(self, change: Change, decision: DecisionRequest, reached: bool) -> bool:
        """Return whether the person who typed `approve` can have seen all of the change where they
        typed it. A button is only under a card that shows everything."""
        proposal, here, asked = change.proposal, decision.address, change.proposal.address
        if decision.code:
            return decision.code == _code(change, decision)
        # What a program asked for with a token of theirs, they need not have seen.
        is_asker = not proposal.asker.is_bot and proposal.asker.key == decision.person.key
        is_here = asked.is_shared and asked.is_same_channel(here)
        if not (is_asker or is_here or reached or asked.conversation == here.conversation):
            return False
        if self.approval.platforms.get(here.platform, NO_RIGHTS).has_room:
            return True
        found = await self.ledger.list_of_conversation(asked.conversation, MAX_LISTED_CHANGES)
        beside = {one.id: one for one in [*found, change] if one.proposal.seq == proposal.seq}
        shown = [await self.card(one) for one in beside.values()]
        return cards.is_short([cards.describe_whole(card) for card in shown])

    async def _show_whole(self, change: Change, decision: DecisionRequest, reached: bool) -> Answer:
        """Return the answer with all of the change and the words that confirm it. Values are not
        shown to the readers of another place."""
        here = decision.address
        if here.is_shared and not here.is_same_channel(change.proposal.address):
            return Answer(say(_READ_ELSEWHERE, id=change.id), "failed", is_private=True)
        card = await self.card(change, decision.person, here, reached)
        hint = f"approve {change.id}-{_code(change, decision)}"
        words = say(_READ_FIRST, id=change.id, hint=hint)
        return Answer(f"{words}\n\n{cards.describe_whole(card)}", "failed")

    async def _consent(self, change: Change, decision: DecisionRequest) -> Change:
        """Record one of several approvals. The audit log is written first: if that fails, raise
        AuditRefused and record nothing."""
        consent = Consent(decision.person, decision.address, self.clock())
        if decision.person.key not in [one.person.key for one in change.consents]:
            with_theirs = replace(change, decider=decision.person, decision_seq=decision.seq)
            rule = await self.approval.rule_of(decision.person, decision.address, change)
            await self.audit.write("change-consent-added", with_theirs, rule)
        change = await self.ledger.consent(change.id, consent)
        self.on_change()
        return change

    async def _count_consents(self, change: Change, decision: DecisionRequest) -> Sequence[Consent]:
        """Return the approvals that count now, one for each person, including that of the person
        who decides. Accounts that belong to one person count once."""
        own = self.approval.canonical_person(decision.person.key)
        counted = {}
        for given in change.consents:
            key = self.approval.canonical_person(given.person.key)
            if key not in counted and (
                given.person.key == decision.person.key
                or (key != own and await self._counts(given, change))
            ):
                counted[key] = given
        return list(counted.values())

    async def _counts(self, given: Consent, change: Change) -> bool | None:
        """Return whether this approval still counts; None if the platform does not report that
        now."""
        reached = await self.reached(change.id, given.person.key)
        return await self.approval.counts(given, change, reached)

    async def _without_void(self, change: Change) -> Change:
        """Return the change as people see it. While it is open, its approvals are those that still
        count, one for each person. An approval that cannot be checked now stays in the list."""
        if change.state != "open" or not change.consents:
            return change
        listed = {}
        for given in change.consents:
            key = self.approval.canonical_person(given.person.key)
            if key not in listed and await self._counts(given, change) is not False:
                listed[key] = given
        return replace(change, consents=tuple(listed.values()))

    async def _withdraw_others(self, change: Change, counted: Sequence[Consent]) -> None:
        """Remove the approvals that did not count, so that the card names only the people who
        approved it."""
        keys = [given.person.key for given in counted]
        others = [one.person.key for one in change.consents if one.person.key not in keys]
        if others:
            await self.ledger.withdraw_consents(change.id, others)

    async def _check_again(self, change: Change, decision: DecisionRequest, reached: bool) -> None:
        """Check the rights again for a claimed change of which nothing was written before a crash.

        Rights may have changed since the claim. If they no longer suffice, reopen the change and
        raise NotAllowed or StatusUnknown.
        """
        try:
            await self.approval.check_approval(decision.person, decision.address, change, reached)
            needed = self.approval.approvers(change.proposal).count
            if needed > 1:
                counted = await self._count_consents(change, decision)
                if len(counted) < needed:
                    raise NotAllowed(_UNCOUNTED)
                await self._withdraw_others(change, counted)
        except (NotAllowed, StatusUnknown):
            await self.ledger.release(change.id, change.decision_seq)
            await self._settle_payment(await self.ledger.get(change.id), decision.seq)
            self.on_change()
            raise

    async def _pay(self, change: Change, seq: int) -> None:
        """Reserve the cost of a run before it begins, charged to its asker. Raise OverBudget."""
        paid, proposal = self.builder.kind(change).paid_run(change.draft), change.proposal
        if self.purse and paid:
            await self.purse.reserve_approved_run(
                proposal.asker, proposal.address, seq, change.id, paid
            )

    async def _settle_payment(self, change: Change, seq: int) -> None:
        """Charge the reserved cost if this event began the run; otherwise release it."""
        paid = self.builder.kind(change).paid_run(change.draft)
        if self.purse and paid:
            begun = change.decision_seq == seq and any(step.write.id for step in change.steps)
            await self.purse.settle_run(seq, change.id, paid, begun)

    async def _deny(self, change: Change, decision: DecisionRequest, reached: bool) -> Answer:
        """Deny an open proposal and return the answer."""
        if change.state == "open":
            await self.approval.check_denial(decision.person, decision.address, change, reached)
            rule = await self.approval.rule_of(decision.person, decision.address, change)
            change = await self._close(change, "denied", decision.person, rule)
        return await self._answer_with_outcome(change, decision)

    async def _undo(self, change: Change, decision: DecisionRequest, reached: bool) -> Answer:
        """Take an applied change back, as a new change, and return the answer."""
        if change.state == "applying":
            return await self._answer_with_outcome(change, decision)
        undo = await self.ledger.get(change.undone_by) if change.undone_by else None
        if undo is None and self.builder.is_undoable(change):
            if change.decided_at + UNDO_LIFETIME_SECONDS <= self.clock():
                return await self._build_answer([cards.describe_lapse()], [change], decision)
            undo = await self._begin_undo(change, decision, reached)
        if undo is None or undo.decision_seq != decision.seq:
            return await self._not_undone(change, undo, decision)
        unaudited = ""
        if undo.state == "applying":
            undo, unaudited = await self._apply(undo, "")
        change = await self.ledger.get(change.id)
        sentence = _NOT_UNDONE if undo.state == "failed" else _UNDONE
        id = change.id if undo.state == "failed" else undo.id
        words = [say(sentence, id=id)]
        if undo.state == "done":  # the card of `change` says the rest
            return await self._build_answer([*words, unaudited], [change], decision)
        words.append(self.builder.describe_outcome(undo))
        return await self._build_answer([*words, unaudited], [undo, change], decision)

    async def _begin_undo(self, change: Change, decision: DecisionRequest, reached: bool) -> Change:
        """Check the rights, write the audit log, and store the change that takes `change` back."""
        await self.approval.check(decision.person, decision.address, change, reached)
        applier = self.appliers.get(change.draft.applier)
        if applier is None:
            raise ToolError("The system where it was done is no longer connected.")
        draft = applier.revert(change)
        rule = await self.approval.rule_of(decision.person, decision.address, change)
        await self.audit.write("change-undo-started", change, rule, decision.person)
        now = self.clock()
        proposal = replace(
            change.proposal,
            id=new_change_id(),
            draft=draft,
            asker=decision.person,
            seq=decision.seq,
            call_id="undo",
            locale=LANGUAGE.get(),
            created_at=now,
            expires_at=now,
            undone_change=change.id,
        )
        return await self.ledger.undo(proposal, decision.person, now)

    async def _not_undone(
        self, change: Change, undo: Change | None, decision: DecisionRequest
    ) -> Answer:
        """Return the answer that explains why nothing was taken back by this event."""
        if undo is not None:
            words = [
                say(_UNDONE_ALREADY, id=change.id, undo=undo.id),
                self.builder.describe_outcome(undo),
            ]
            return await self._build_answer(words, [undo, change], decision)
        if change.written_steps and change.is_forgotten:
            return await self._build_answer([say(cards.ERASED)], [change], decision)
        if change.written_steps and change.has_lapsed:
            return await self._build_answer([cards.describe_lapse()], [change], decision)
        kind = self.builder.kind(change)
        is_final = change.written_steps and not kind.can_be_undone
        sentence = kind.no_undo if is_final else _NOTHING_DONE
        words = [say(sentence), self.builder.describe_outcome(change)]
        return await self._build_answer(words, [change], decision)

    async def _by_policy(self, change: Change, seq: int) -> Outcome:
        """Apply a change that the operator's policy approves, with no person's decision. It uses
        the ledger like any other change."""
        change = await self.ledger.claim(change.id, seq, POLICY_PERSON, self.clock())
        if change.state == "applying" and change.decision_seq == seq:
            rule = self.approval.rule_of_policy(change.draft)
            change, _ = await self._apply(change, rule)
        done = change.state == "done"
        return Outcome(
            "ok" if done else "error",
            self.builder.build_note(change),
            proposal=change.id,
        )

    async def _apply(
        self, change: Change, rule: str, doing: Doing | None = None
    ) -> tuple[Change, str]:
        """Apply a claimed change to its end. Return it, and a sentence if its end could not be
        written to the audit log ("" otherwise).

        The audit log gets its line before the first write: if that fails, reopen the change and
        raise AuditRefused. On Draining and NotStored, the same event continues later.
        """
        if _is_untouched(change, change.decision_seq) and not change.proposal.undone_change:
            try:
                await self.audit.write("change-approved", change, rule)
            except AuditRefused:
                await self.ledger.release(change.id, change.decision_seq)
                raise
        # Most changes end before this delay, and their card needs only one edit.
        redraw = asyncio.get_running_loop().call_later(SHOW_APPLYING_SECONDS, self.on_change)
        try:
            ended = await self.applying.run(change, doing)
        finally:
            redraw.cancel()
        return ended, await self._record_event(ended.state, ended)

    async def _end_abandoned(self, change: Change) -> Change:
        """End a change that its event did not finish, and return it."""
        ended = await self.applying.settle(change)
        await self._record_event(ended.state, ended)
        return ended

    async def withdraw_of(self, person: str) -> None:
        """Close all open proposals of the person with this key, who has left."""
        for change in await self.ledger.list_waiting_for_people():
            if change.proposal.asker.key == person:
                await self._close(change, "denied", PONTE_PERSON)

    async def withdraw(self, id: str) -> None:
        """Withdraw a proposal if it is open, because another one replaces it."""
        change = await self.ledger.get(id)
        if change.state == "open":
            await self._close(change, "withdrawn", None)

    async def withdraw_drafts_of(self, applier: str) -> int:
        """Withdraw the open proposals for a system whose data was replaced. Return how many."""
        drafted = [
            change
            for change in await self.ledger.list_waiting_for_people()
            if change.draft.applier == applier
        ]
        for change in drafted:
            await self._close(change, "withdrawn", None)
        return len(drafted)

    async def _close(
        self, change: Change, state: ChangeState, decider: Person | None, rule: str = ""
    ) -> Change:
        """Deny or expire an open proposal, record that, and return it."""
        note = self.builder.build_note(replace(change, state=state, decider=decider))
        closed = await self.ledger.close(change.id, state, decider, note, self.clock())
        await self._record_event(closed.state, closed, rule)
        return closed

    async def _record_event(self, event: str, change: Change, rule: str = "") -> str:
        """Log, count and audit an event. Return a sentence if the audit log could not be written;
        else ""."""
        log.info(
            "change recorded", change=change.id, state=event, kind=change.draft.kind,
            rows=change.draft.row_count,
            written_rows=len({step.write.id for step in change.written_steps}),
        )  # fmt: skip
        metrics.changes.labels(event, change.draft.kind).inc()
        self.on_change()
        try:
            await self.audit.write(f"change-{event}", change, rule)
        except AuditRefused as error:
            log.error("could not write to the audit log", error=str(error))
            return say(_UNAUDITED, cause=error.values["cause"])
        return ""

    async def _answer_with_outcome(
        self, change: Change, decision: DecisionRequest, unaudited: str = ""
    ) -> Answer:
        """Return the answer that describes the state of the change."""
        if change.state == "applying":
            words = [say(_IN_PROGRESS, id=change.id)]
        else:
            count = self.approval.approvers(change.proposal).count
            words = [self.builder.describe_outcome(await self._without_void(change), count)]
        answer = await self._build_answer([*words, unaudited], [change], decision)
        if (
            self.builder.is_undoable(change) and not answer.cards
        ):  # a card says itself how to undo it
            return replace(answer, text=f"{answer.text} {say(_UNDO_WITH, id=change.id)}")
        return answer

    async def _build_answer(
        self, words: Sequence[str], shown: Sequence[Change], decision: DecisionRequest
    ) -> Answer:
        """Return an answer with the cards of these changes, where it shows them.

        Cards are shown after a click, and if a card is in another conversation. In a shared place
        other than that of the change, the answer is private and shows no values.
        """
        here, places = decision.address, [change.proposal.address for change in shown]
        text = " ".join(word for word in words if word)
        if here.is_shared and any(not here.is_same_channel(there) for there in places):
            return Answer(text, is_private=True)
        away = any(there.conversation != here.conversation for there in places)
        drawn = [await self.card(change, decision.person, here) for change in shown]
        return Answer(text, cards=tuple(drawn) if decision.is_click or away else ())


def _code(change: Change, decision: DecisionRequest) -> str:
    """Return the code by which this person confirms the change."""
    return confirmation_code(change.id, decision.person, change.proposal.created_at)


def _is_untouched(change: Change, seq: int) -> bool:
    """Return whether the event `seq` claimed the change and has not begun to write any row."""
    waits = all(step.state == "waiting" for step in change.steps)
    return change.state == "applying" and change.decision_seq == seq and waits


def _intended_write(draft: Draft) -> object:
    """Return what the draft writes, without the old values, to compare two drafts."""
    rows = [(row.id if row.before else "", row.after) for row in draft.rows]
    return draft.applier, draft.kind, draft.title, draft.view.place, rows
