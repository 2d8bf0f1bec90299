"""Proposals: from the draft of a write tool to a card that waits for a person."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.base.errors import ToolError
from core.base.i18n import LANGUAGE
from core.changes.approval import Approval
from core.changes.lifecycle import ChangeLifecycle
from core.changes.views import MAX_LISTED_CHANGES
from core.domain.changes import (
    MAX_PROPOSAL_ROWS,
    POLICY_PERSON,
    PONTE_PERSON,
    PROPOSAL_LIFETIME_SECONDS,
    Change,
    Draft,
    Proposal,
    new_change_id,
)
from core.domain.records import Outcome, ToolContext, add_model_instruction

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


@dataclass(frozen=True, slots=True)
class Proposals:
    """Stores and withdraws proposals."""

    approval: Approval
    lifecycle: ChangeLifecycle

    async def propose(self, ctx: ToolContext, draft: Draft) -> Outcome:
        """Store the draft as a proposal and return the outcome of the write tool's call.

        A change that the operator's policy allows is applied at once. A repeated message does not
        propose a change that its thread has already applied. Raise ToolError, Superseded, and what
        `_apply` raises.
        """
        if not 1 <= draft.row_count <= MAX_PROPOSAL_ROWS:
            sentence = _TOO_MANY if draft.rows else _NO_ROWS
            raise ToolError(sentence, code="rows", count=draft.row_count, most=MAX_PROPOSAL_ROWS)
        origin = ctx.message.origin
        is_attended = origin.is_attended and origin.is_by_person and not ctx.asker.is_bot
        if self.approval.kinds[draft.kind].needs_attended_turn and not is_attended:
            raise ToolError(_NOT_ATTENDED, code="not_allowed", hint="tell the person")
        await self.approval.check_draft(ctx.asker, ctx.address, draft)
        if ctx.message.replaced_turn and (done := await self._find_done_before(ctx, draft)):
            return Outcome("ok", _DONE_BEFORE.format(id=done.id))
        proposal = Proposal(
            id=new_change_id(),
            draft=draft,
            asker=ctx.asker,
            address=ctx.address,
            seq=ctx.seq,
            call_id=ctx.call.call_id,
            thread=ctx.thread.id,
            generation=ctx.thread.generation,
            locale=LANGUAGE.get(),
            created_at=self.lifecycle.clock(),
            expires_at=self.lifecycle.clock() + PROPOSAL_LIFETIME_SECONDS,
            tool=ctx.call.name,
            origin=origin,
        )
        by_policy = self.approval.is_decided_by_policy(proposal)
        named = self.approval.names_approvers(proposal)
        proposal = replace(proposal, has_named_approvers=named, is_decided_by_policy=by_policy)
        asks_nobody = not self.approval.to_be_asked(Change(proposal))
        change = await self.lifecycle.ledger.propose(proposal, asks_nobody=asks_nobody)
        if change.proposal.created_at == proposal.created_at:
            rule = await self.approval.rule_of_draft(ctx.asker, ctx.address, draft)
            await self.lifecycle.record_event("proposed", change, rule)
        if by_policy:
            return await self._apply_by_policy(change, ctx.seq)
        return Outcome("proposed", _PROPOSED.format(id=change.id), proposal=change.id)

    async def _find_done_before(self, ctx: ToolContext, draft: Draft) -> Change | None:
        """Return an earlier change of this thread with the same writes that was applied, at least
        in part, and not undone; None if there is none."""
        found = await self.lifecycle.ledger.list_of_conversation(
            ctx.address.conversation, MAX_LISTED_CHANGES
        )
        return next(
            (
                change for change in found
                if change.proposal.thread == ctx.thread.id and change.kind == "change"
                and change.state != "undone" and change.written_steps
                and _intended_write(change.draft) == _intended_write(draft)
            ),
            None,
        )  # fmt: skip

    async def _apply_by_policy(self, change: Change, seq: int) -> Outcome:
        """Apply a change that the operator's policy approves, with no person's decision. It uses
        the ledger like any other change."""
        change = await self.lifecycle.ledger.claim(
            change.id, seq, POLICY_PERSON, self.lifecycle.clock()
        )
        if change.state == "applying" and change.decision_seq == seq:
            rule = self.approval.rule_of_policy(change.draft)
            change, _ = await self.lifecycle.apply(change, rule)
        done = change.state == "done"
        return Outcome(
            "ok" if done else "error",
            self.lifecycle.builder.build_note(change),
            proposal=change.id,
        )

    async def withdraw(self, id: str) -> None:
        """Withdraw a proposal if it is open, because another one replaces it."""
        change = await self.lifecycle.ledger.get(id)
        if change.state == "open":
            await self.lifecycle.close(change, "withdrawn", None)

    async def withdraw_of(self, person: str) -> None:
        """Close all open proposals of the person with this key, who has left."""
        for change in await self.lifecycle.ledger.list_waiting_for_people():
            if change.proposal.asker.key == person:
                await self.lifecycle.close(change, "denied", PONTE_PERSON)

    async def withdraw_drafts_of(self, applier: str) -> int:
        """Withdraw the open proposals for a system whose data was replaced. Return how many."""
        drafted = [
            change
            for change in await self.lifecycle.ledger.list_waiting_for_people()
            if change.draft.applier == applier
        ]
        for change in drafted:
            await self.lifecycle.close(change, "withdrawn", None)
        return len(drafted)


def _intended_write(draft: Draft) -> object:
    """Return what the draft writes, without the old values, to compare two drafts."""
    rows = [(row.id if row.before else "", row.after) for row in draft.rows]
    return draft.applier, draft.kind, draft.title, draft.view.place, rows
