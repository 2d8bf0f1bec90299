"""The ports of proposals and changes: how a write is done, kept, and brought in by a tool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from core.changes.model import Change, ChangeState, Draft, Proposal, RowWrite, Seen, Step
from core.messages import Card, Person
from core.records import Outcome, ToolContext

Doing = Callable[[str], Awaitable[None]]
"""Shows a person a few words of progress, in their language."""


class Applier(Protocol):
    """Does the writes of one system, and nothing else does. It decides nothing."""

    @property
    def name(self) -> str:
        """As drafts name it, and the ledger keeps it."""

    @property
    def patience(self) -> float:
        """Seconds that one call of it may take; its own deadlines are shorter."""

    def batch(self, draft: Draft) -> int:
        """Rows that one call of it writes."""

    async def verify(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[Seen]:
        """How each row stands now, in their order; also looks for a created row without an id.

        Of a `run` it waits for the end, and may be cancelled; with an id it goes on where it was.
        Raises ToolError where it cannot be read.
        """

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Write them, once, in one call; gives them back with the ids of what was made.

        Raises ToolError when none was written, WriteUnsure when any may have been.
        """

    def revert(self, change: Change) -> Draft:
        """The draft that takes the written rows back. Raises ToolError where nothing can be."""


@runtime_checkable
class Watched(Protocol):
    """An `Applier` whose runs tell how far they are."""

    async def watch(
        self, draft: Draft, rows: Sequence[RowWrite], doing: Doing, locale: str
    ) -> Sequence[Seen]:
        """`verify` of a run; `doing` is told each new state of it."""


class Ledger(Protocol):
    """Every proposal and what became of it. Each method is one transaction, durable on return.

    Those that take an id raise NotFound. Those with a `seq` act for that event alone.
    """

    async def propose(self, proposal: Proposal) -> Change:
        """Keep it, open; the one that stands where this call has proposed before.

        Raises Superseded where the conversation was forgotten meanwhile.
        """

    async def get(self, id: str) -> Change: ...

    async def claim(self, id: str, seq: int, decider: Person, now: float) -> Change:
        """Take an open proposal up to apply it. Who comes second gets it as it stands."""

    async def close(
        self, id: str, state: ChangeState, decider: Person | None, note: str, now: float
    ) -> Change:
        """Deny or expire an open one, with a `note` as `finish`; any other stays as it stands."""

    async def release(self, id: str, seq: int) -> None:
        """Nothing was begun: open again."""

    async def undo(self, proposal: Proposal, decider: Person, now: float) -> Change:
        """Begin to take back `proposal.undoes`; where that was begun before, gives that one."""

    async def record(self, id: str, seq: int, steps: Sequence[Step]) -> None:
        """These steps as they stand. Raises Superseded for an event without the claim."""

    async def finish(self, id: str, seq: int, state: ChangeState, note: str, now: float) -> Change:
        """It has come to its end; `note` waits for the model's next turn in its thread."""

    async def of_conversation(self, conversation: str, limit: int) -> Sequence[Change]:
        """The newest first; of all conversations for ""."""

    async def undrawn(self) -> Sequence[Change]:
        """Those whose card does not stand as they do, oldest first."""

    async def drawn(self, change: Change) -> None:
        """This version of its card stands, or nobody can see it any more."""

    async def overdue(self, now: float) -> Sequence[Change]:
        """Open ones that have expired."""

    async def abandoned(self) -> Sequence[Change]:
        """Those that an event took up which has ended without an end for them."""

    async def lapse(self, before: float) -> int:
        """Erase the row images of what ended before; returns of how many."""

    async def purge(self, before: float) -> int:
        """Drop what was closed before; returns how many."""


class Audit(Protocol):
    async def write(self, event: str, change: Change) -> None:
        """A line for what happened: `proposed`, `approved`, `done` … Raises AuditRefused."""


class Proposals(Protocol):
    """What a turn knows of all this."""

    async def propose(self, ctx: ToolContext, draft: Draft) -> Outcome: ...

    async def cards(self, ids: Sequence[str], locale: str) -> Sequence[Card]: ...

    def words(self, cards: Sequence[Card], locale: str) -> str:
        """The text of an answer that is these cards."""
