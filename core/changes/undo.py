"""Undo: a change is taken back by a new change, for as long as its rows are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.base.errors import ToolError
from core.base.i18n import LANGUAGE, say
from core.changes import cards
from core.changes.lifecycle import ChangeLifecycle
from core.changes.ports import Applier
from core.changes.views import ChangeViews
from core.domain.changes import UNDO_LIFETIME_SECONDS, Change, DecisionRequest, new_change_id
from core.domain.messages import Answer

_UNDONE = "Undone (`{id}`)."
_NOT_UNDONE = "Not undone: `{id}` is unchanged."
_UNDONE_ALREADY = "`{id}` was already undone (`{undo}`)."
_NOTHING_DONE = "There is nothing to undo."


@dataclass(frozen=True, slots=True)
class Undo:
    """Takes applied changes back."""

    views: ChangeViews
    lifecycle: ChangeLifecycle
    appliers: Mapping[str, Applier]

    async def undo(self, change: Change, decision: DecisionRequest, reached: bool) -> Answer:
        """Take an applied change back, as a new change, and return the answer."""
        if change.state == "applying":
            return await self.views.describe_state(change, decision)
        undo = await self.views.ledger.get(change.undone_by) if change.undone_by else None
        if undo is None and self.views.builder.is_undoable(change):
            if change.decided_at + UNDO_LIFETIME_SECONDS <= self.views.clock():
                return await self.views.build_answer([cards.describe_lapse()], [change], decision)
            undo = await self._begin_undo(change, decision, reached)
        if undo is None or undo.decision_seq != decision.seq:
            return await self._not_undone(change, undo, decision)
        unaudited = ""
        if undo.state == "applying":
            undo, unaudited = await self.lifecycle.apply(undo, "")
        change = await self.views.ledger.get(change.id)
        sentence = _NOT_UNDONE if undo.state == "failed" else _UNDONE
        id = change.id if undo.state == "failed" else undo.id
        words = [say(sentence, id=id)]
        if undo.state == "done":  # the card of `change` says the rest
            return await self.views.build_answer([*words, unaudited], [change], decision)
        words.append(self.views.builder.describe_outcome(undo))
        return await self.views.build_answer([*words, unaudited], [undo, change], decision)

    async def _begin_undo(self, change: Change, decision: DecisionRequest, reached: bool) -> Change:
        """Check the rights, write the audit log, and store the change that takes `change` back."""
        await self.views.approval.check(decision.person, decision.address, change, reached)
        applier = self.appliers.get(change.draft.applier)
        if applier is None:
            raise ToolError("The system where it was done is no longer connected.")
        draft = applier.revert(change)
        rule = await self.views.approval.rule_of(decision.person, decision.address, change)
        await self.lifecycle.audit.write("change-undo-started", change, rule, decision.person)
        now = self.views.clock()
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
            revision=1,
        )
        return await self.views.ledger.undo(proposal, decision.person, now)

    async def _not_undone(
        self, change: Change, undo: Change | None, decision: DecisionRequest
    ) -> Answer:
        """Return the answer that explains why nothing was taken back by this event."""
        if undo is not None:
            words = [
                say(_UNDONE_ALREADY, id=change.id, undo=undo.id),
                self.views.builder.describe_outcome(undo),
            ]
            return await self.views.build_answer(words, [undo, change], decision)
        if change.written_steps and change.is_forgotten:
            return await self.views.build_answer([say(cards.ERASED)], [change], decision)
        if change.written_steps and change.has_lapsed:
            return await self.views.build_answer([cards.describe_lapse()], [change], decision)
        kind = self.views.builder.kind(change)
        is_final = change.written_steps and not kind.can_be_undone
        sentence = kind.no_undo if is_final else _NOTHING_DONE
        words = [say(sentence), self.views.builder.describe_outcome(change)]
        return await self.views.build_answer(words, [change], decision)
