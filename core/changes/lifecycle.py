"""The states of a change. Each step from one state to the next has its line in the log and in the
audit log, is counted, and redraws the card."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from core.base.errors import AuditRefused
from core.base.i18n import say
from core.changes.apply import ChangeRunner
from core.changes.cards import CardBuilder
from core.changes.ledger import SqlLedger
from core.changes.ports import Doing
from core.domain.changes import Change, ChangeState
from core.domain.messages import Person
from core.money.budget import Budget
from core.observability import metrics
from core.people.audit import Audit

log = structlog.get_logger("changes")
SHOW_APPLYING_SECONDS = 1.0
"""Seconds after which the card shows that its change is being applied."""
_UNAUDITED = "The audit log could not be written ({cause}). Contact the person who runs Ponte."


@dataclass(frozen=True, slots=True)
class ChangeLifecycle:
    """Closes, pays and applies changes, and records it.

    `on_change` is called when a card no longer shows the current state of its change. `purse` is
    None if runs cost nothing.
    """

    ledger: SqlLedger
    runner: ChangeRunner
    builder: CardBuilder
    audit: Audit
    on_change: Callable[[], None]
    clock: Callable[[], float] = time.time
    purse: Budget | None = None

    async def close(
        self, change: Change, state: ChangeState, decider: Person | None, rule: str = ""
    ) -> Change:
        """Deny or expire an open proposal, record that, and return it."""
        note = self.builder.build_note(replace(change, state=state, decider=decider))
        closed = await self.ledger.close(change.id, state, decider, note, self.clock())
        await self.record_event(closed.state, closed, rule)
        return closed

    async def end_overdue(self) -> None:
        """Close expired proposals, and end changes that their event did not finish before it
        ended."""
        for change in await self.ledger.list_overdue(self.clock()):
            await self.close(change, "expired", None)
        for change in await self.ledger.list_abandoned():
            await self.end_abandoned(change)

    async def end_abandoned(self, change: Change) -> Change:
        """End a change that its event did not finish, and return it."""
        ended = await self.runner.settle(change)
        await self.record_event(ended.state, ended)
        return ended

    async def apply(
        self, change: Change, rule: str, doing: Doing | None = None
    ) -> tuple[Change, str]:
        """Apply a claimed change to its end. Return it, and a sentence if its end could not be
        written to the audit log ("" otherwise).

        The audit log gets its line before the first write: if that fails, reopen the change and
        raise AuditRefused. On Draining and NotStored, the same event continues later.
        """
        if change.is_untouched and not change.proposal.undone_change:
            try:
                await self.audit.write("change-approved", change, rule)
            except AuditRefused:
                await self.ledger.release(change.id, change.decision_seq)
                raise
        # Most changes end before this delay, and their card needs only one edit.
        redraw = asyncio.get_running_loop().call_later(SHOW_APPLYING_SECONDS, self.on_change)
        try:
            ended = await self.runner.run(change, doing)
        finally:
            redraw.cancel()
        return ended, await self.record_event(ended.state, ended)

    async def record_event(self, event: str, change: Change, rule: str = "") -> str:
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

    async def reserve_payment(self, change: Change, seq: int) -> None:
        """Reserve the cost of a run before it begins, charged to its asker. Raise OverBudget."""
        paid, proposal = self.builder.kind(change).paid_run(change.draft), change.proposal
        if self.purse and paid:
            await self.purse.reserve_approved_run(
                proposal.asker, proposal.address, seq, change.id, paid
            )

    async def settle_payment(self, change: Change, seq: int) -> None:
        """Charge the reserved cost if this event began the run, or may have; otherwise release
        it."""
        paid = self.builder.kind(change).paid_run(change.draft)
        if self.purse and paid:
            begun = change.decision_seq == seq and any(
                step.write.id or step.state == "unknown" for step in change.steps
            )
            await self.purse.settle_run(seq, change.id, paid, begun)
