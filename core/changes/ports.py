"""The ports of proposals and changes: writes to other systems, and the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from core.domain.changes import (
    Change,
    ChangeState,
    ChangeStep,
    Consent,
    Draft,
    Proposal,
    RowCheck,
    RowWrite,
)
from core.domain.messages import Person
from core.domain.records import ALL_CONVERSATIONS, ConversationArea

Doing = Callable[[str], Awaitable[None]]
"""Shows the person a few words of progress, in their language."""


class Batch(Protocol):
    """Some rows of a change, from the check before their write to the check after it.

    A batch reads other facts that it needs, such as the description of the table, only once.
    """

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return the current state of each row, in their order. For created rows without an id,
        look for the row.

        For a `run`, wait for its end; this can be cancelled. A run with an id is continued. Raise
        ToolError if the rows cannot be read.
        """

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Write the rows once, in one call, and return them with the ids of created rows.

        Raise ToolError if no row was written, WriteUnsure if any row may have been.
        """


class Applier(Protocol):
    """Makes all writes to one system. It makes no decisions."""

    @property
    def name(self) -> str:
        """The name of the applier in drafts and in the ledger."""

    @property
    def patience(self) -> float:
        """Seconds that a check or a write may take. The applier's own timeouts are shorter."""

    def batch(self, draft: Draft) -> int:
        """Return the number of rows in one batch."""

    def open(self, draft: Draft) -> Batch:
        """Return a new batch for this draft. No request is sent yet. Use one batch from the check
        before a write to the check after it."""

    def revert(self, change: Change) -> Draft:
        """Return the draft that undoes the written rows. Raise ToolError if nothing can be
        undone."""


@runtime_checkable
class CheckedApplier(Applier, Protocol):
    """An applier that checks the asker's rights in its own system, before a proposal is claimed."""

    async def check_asker(self, draft: Draft) -> None:
        """Check that the asker may have this applied now. Raise NotAllowed, also if that is not
        known; the proposal then stays open."""


@runtime_checkable
class WatchedBatch(Batch, Protocol):
    """A batch that reports the progress of its runs."""

    async def watch(self, rows: Sequence[RowWrite], doing: Doing) -> Sequence[RowCheck]:
        """Check a run like `check`, and call `doing` with each new state."""


class Ledger(Protocol):
    """All proposals and their results. Each method is one transaction, durable when it returns.

    Methods with an `id` raise NotFound. Methods with a `seq` act only for the event with that
    `seq`.
    """

    async def propose(self, proposal: Proposal, *, asks_nobody: bool = False) -> Change:
        """Store the proposal as open and return it. If this call has proposed before, return that
        proposal.

        `asks_nobody`: no approver gets a direct message. Raise Superseded if the conversation was
        forgotten meanwhile.
        """

    async def get(self, id: str) -> Change:
        """Return the change with this id."""

    async def claim(self, id: str, seq: int, decider: Person, now: float) -> Change:
        """Claim an open proposal in order to apply it. If another event claimed it first, return it
        in its current state."""

    async def consent(self, id: str, consent: Consent) -> Change:
        """Record that this person approves an open proposal; this replaces their earlier approval.
        A change in any other state is returned as it is."""

    async def withdraw_consents(self, id: str, people: Sequence[str]) -> None:
        """Remove the approvals of the people with these keys, because they no longer count."""

    async def list_waiting_for_people(self) -> Sequence[Change]:
        """Return the open proposals, oldest first."""

    async def count_unfinished(self) -> Mapping[str, int]:
        """Return how many proposals are open, and how many are being applied."""

    async def close(
        self, id: str, state: ChangeState, decider: Person | None, note: str, now: float
    ) -> Change:
        """Deny or expire an open proposal, with a `note` as in `finish`. A change in any other
        state is returned as it is."""

    async def release(self, id: str, seq: int) -> None:
        """Reopen a claimed proposal of which nothing was begun."""

    async def undo(self, proposal: Proposal, decider: Person, now: float) -> Change:
        """Store the change that takes `proposal.undone_change` back and return it. If there already
        is one, return that one."""

    async def record(self, id: str, seq: int, steps: Sequence[ChangeStep]) -> None:
        """Record the current state of these steps. Raise Superseded for an event without the claim,
        TakenOver if another process has that event."""

    async def finish(
        self, id: str, seq: int, state: ChangeState, note: str, now: float,
        steps: Sequence[ChangeStep] = (),
    ) -> Change:  # fmt: skip
        """Record these last steps and the end of the change. The model reads `note` in the thread's
        next turn. With steps, raise what `record` raises."""

    async def list_waiting_runs(self, conversation: str, kinds: Collection[str]) -> Sequence[int]:
        """Return the events that wait for the end of a run that was proposed there, latest
        first."""

    async def list_of_conversation(self, conversation: str, limit: int) -> Sequence[Change]:
        """Return the changes of a conversation, newest first; "" means all conversations."""

    async def list_undrawn(self) -> Sequence[Change]:
        """Return the changes whose card does not show their current state, oldest first."""

    async def record_drawn(self, change: Change) -> None:
        """Record that this version of the card is shown, or that nobody can see the card any
        more."""

    async def list_overdue(self, now: float) -> Sequence[Change]:
        """Return the open proposals that have expired."""

    async def list_abandoned(self) -> Sequence[Change]:
        """Return the changes that an event claimed and did not finish before it ended."""

    async def erase_old_rows(self, before: float) -> int:
        """Erase the stored rows of changes that ended before this time. Return the number of
        changes."""

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        """Delete the changes of this area that were closed before this time. Return their
        number."""
