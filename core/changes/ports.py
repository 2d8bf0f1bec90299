"""The ports of proposals and changes: how a write is done, kept, and brought in by a tool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from core.domain.changes import (
    ApprovalNotice,
    Change,
    ChangeState,
    ChangeStep,
    Consent,
    Draft,
    NoticeStage,
    Proposal,
    RowCheck,
    RowWrite,
)
from core.domain.messages import Card, Person
from core.domain.records import ALL_CONVERSATIONS, ConversationArea, Outcome, ToolContext

Doing = Callable[[str], Awaitable[None]]
"""Shows a person a few words of progress, in their language."""


class Batch(Protocol):
    """Some rows of a change, from the check before their write until they are read back.

    What a batch needs to know of its system besides the rows, it reads once: the table's
    description, for example."""

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """Return how each row stands now, in their order. Looks for created rows that have no id
        yet.

        For a `run`, waits for its end, which may be cancelled; a run with an id is continued.
        Raises ToolError where the rows cannot be read.
        """

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Write the rows once, in one call, and return them with the ids of created rows.

        Raises ToolError when no row was written, WriteUnsure when any row may have been.
        """


class Applier(Protocol):
    """Makes all writes of one system. It decides nothing."""

    @property
    def name(self) -> str:
        """The name in drafts and in the ledger."""

    @property
    def patience(self) -> float:
        """Seconds that a check or a write may take; its own deadlines are shorter."""

    def batch(self, draft: Draft) -> int:
        """Rows of one batch."""

    def open(self, draft: Draft) -> Batch:
        """Return a new batch for this draft. No request is sent yet. Use one batch from the check
        before a write to the check after it."""

    def revert(self, change: Change) -> Draft:
        """Return the draft that undoes the written rows. Raises ToolError where nothing can be
        undone."""


@runtime_checkable
class WatchedBatch(Batch, Protocol):
    """A batch whose runs report their progress."""

    async def watch(
        self, rows: Sequence[RowWrite], doing: Doing, locale: str
    ) -> Sequence[RowCheck]:
        """Do what `check` does for a run, and call `doing` with each new state."""


class Ledger(Protocol):
    """Every proposal and what became of it. Each method is one transaction, durable on return.

    Those that take an id raise NotFound. Those with a `seq` act for that event alone.
    """

    async def propose(self, proposal: Proposal, *, asks_nobody: bool = False) -> Change:
        """Store it as open and return it, or the one that this call has proposed before.

        `asks_nobody`: nobody is sent a message to decide on it. Raises Superseded where the
        conversation was forgotten meanwhile.
        """

    async def get(self, id: str) -> Change: ...

    async def claim(self, id: str, seq: int, decider: Person, now: float) -> Change:
        """Take an open proposal up to apply it. Who comes second gets it as it stands."""

    async def consent(self, id: str, consent: Consent) -> Change:
        """Keep that this person approves an open one; their earlier approval is replaced. Any other
        change stays as it stands."""

    async def withdraw_consents(self, id: str, people: Sequence[str]) -> None:
        """Remove the approvals of people by their keys: they do not count any more."""

    async def list_waiting_for_people(self) -> Sequence[Change]:
        """The open ones, oldest first."""

    async def count_unfinished(self) -> Mapping[str, int]:
        """How many are open, and how many are being applied."""

    async def close(
        self, id: str, state: ChangeState, decider: Person | None, note: str, now: float
    ) -> Change:
        """Deny or expire an open one, with a `note` as `finish`; any other stays as it stands."""

    async def release(self, id: str, seq: int) -> None:
        """Nothing was begun: open again."""

    async def undo(self, proposal: Proposal, decider: Person, now: float) -> Change:
        """Begin to take back `proposal.undoes`; where that was begun before, gives that one."""

    async def record(self, id: str, seq: int, steps: Sequence[ChangeStep]) -> None:
        """These steps as they stand. Raises Superseded for an event without the claim, TakenOver
        where another process has that event."""

    async def finish(
        self, id: str, seq: int, state: ChangeState, note: str, now: float,
        steps: Sequence[ChangeStep] = (),
    ) -> Change:  # fmt: skip
        """Record these last steps and that the change has ended. `note` waits for the model's next
        turn in the thread. With steps, raises what `record` raises."""

    async def list_waiting_runs(self, conversation: str) -> Sequence[int]:
        """The events that wait for the end of a run which was proposed there, the latest first."""

    async def list_of_conversation(self, conversation: str, limit: int) -> Sequence[Change]:
        """The newest first; of all conversations for ""."""

    async def list_undrawn(self) -> Sequence[Change]:
        """Those whose card does not stand as they do, oldest first."""

    async def record_drawn(self, change: Change) -> None:
        """This version of its card stands, or nobody can see it any more."""

    async def list_overdue(self, now: float) -> Sequence[Change]:
        """Open ones that have expired."""

    async def list_abandoned(self) -> Sequence[Change]:
        """Those that an event took up which has ended without an end for them."""

    async def erase_old_rows(self, before: float) -> int:
        """Erase the row images of what ended before; returns of how many."""

    async def purge(self, before: float, area: ConversationArea = ALL_CONVERSATIONS) -> int:
        """Drop what was closed there before; returns how many."""


class Outbox(Protocol):
    """What is said of proposals unasked, each once. Each method is one transaction."""

    async def list_due(self, stage: NoticeStage, created_before: float) -> Sequence[str]:
        """The ids of those whose next stage this is, and that were made before, oldest first: open
        ones, or those that have expired."""

    async def record_notices(
        self, change: str, stage: NoticeStage, outgoing: Sequence[ApprovalNotice]
    ) -> None:
        """They are to be told so, by these; once for each stage."""

    async def list_unposted(self) -> Sequence[ApprovalNotice]:
        """Those that are not posted yet, oldest first."""

    async def list_copies(self, change: str) -> Sequence[ApprovalNotice]:
        """The copies of its card that stand."""

    async def has_reached(self, change: str, person: str) -> bool:
        """Whether its card was brought to whoever has this key, as far as is known."""

    async def list_outdated(self) -> Sequence[ApprovalNotice]:
        """The copies that do not show their change as it stands."""

    async def put(self, outgoing: ApprovalNotice) -> None:
        """It is so now."""


class Proposals(Protocol):
    """What a turn knows of all this."""

    async def propose(self, ctx: ToolContext, draft: Draft) -> Outcome: ...

    async def cards(self, ids: Sequence[str], locale: str) -> Sequence[Card]: ...

    def words(self, cards: Sequence[Card], locale: str) -> str:
        """The text of an answer that is these cards."""
