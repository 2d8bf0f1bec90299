"""Protocols of rights, spending, known people and the audit log."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from datetime import tzinfo
from typing import Any, Literal, Protocol

from core.domain.changes import Change
from core.domain.messages import (
    Address,
    Message,
    Person,
)
from core.domain.records import (
    MemberKey,
    PageAccount,
    PlatformMember,
    Turn,
    UsageTotal,
    Verdict,
)
from core.rights.allowances import AllowanceCount, Grant, ModelCall
from core.rights.policy import PlaceRights
from core.rights.usage import PaidRun


class PageAccounts(Protocol):
    """Who has a name on a surface of the owner's beside them, and may come in as that."""

    async def list_all(self) -> Sequence[PageAccount]: ...

    async def find(self, person: str) -> PageAccount | None:
        """By the person's key."""

    async def record_visit(self, person: str, day: str) -> None:
        """They were there on that day."""

    async def end_session(self, session: str, until: float) -> None:
        """Have a session end that would last `until` then, at every process. Raises NotStored."""

    async def is_session_ended(self, session: str) -> bool:
        """Whether it was ended. Raises NotStored."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have `heard` called when somebody may no longer come in as before, at any process: their
        token was changed, or a session was ended."""


class MemberStore(Protocol):
    """What platforms say of their people, over restarts: a row for each person and scope."""

    async def list_newest(self, platform: str, scope: str, most: int) -> Sequence[PlatformMember]:
        """Return the members that were confirmed last, the oldest of them first."""

    async def find(self, platform: str, places: Collection[MemberKey]) -> Sequence[PlatformMember]:
        """Return the members at these places, without those of whom there is no row."""

    async def put(self, platform: str, members: Sequence[PlatformMember]) -> frozenset[str]:
        """Keep them, but for people who were forgotten. Return the ids of those people."""

    async def remove(self, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, who left the platform."""

    async def forget(self, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, and let no later `put` bring them back."""

    async def purge(self, before: float) -> int:
        """Delete the rows that no platform confirmed since then. Return how many there were."""


class Policy(Protocol):
    async def may(self, person: Person, address: Address, right: str, *names: str) -> Verdict: ...

    async def rights(self, person: Person, address: Address) -> PlaceRights: ...

    async def prepare(
        self, person: Person, address: Address, *, confirmed: bool, seconds: float
    ) -> bool:
        """Wait up to `seconds` until the platform has told what their rights there depend on, or
        refuses to tell. Return False where it has done neither yet. `confirmed`: what it said
        before is not enough, but for a few minutes."""

    def list_names(self, right: str) -> Sequence[str]:
        """What rules give by its name of that right, as in `model:NAME`; no pattern."""

    async def is_guest(self, person: Person) -> bool | None:
        """Whether they are only a guest where they write; None: their platform does not tell."""

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Whether a person who did something there `since` then has been removed; None: their
        platform does not tell."""


ReportRow = Literal["person", "channel", "model", "tool", "day"]
"""What a report of usage has rows of."""


class Reservation(Protocol):
    """A step of a transaction; `grant` is what it reserved, once that is done."""

    @property
    def grant(self) -> Grant | None: ...
    @property
    def counts(self) -> Sequence[AllowanceCount]:
        """Of each allowance with this turn in it; none where it was counted before."""

    def __call__(self, connection: Any, /) -> None: ...


class Budget(Protocol):
    """What is reserved before it is spent. The journal settles it, where it keeps what came."""

    @property
    def bounds_calls(self) -> bool:
        """Whether there is any allowance of money or tokens."""

    async def reserve(self, turn: Turn) -> None:
        """Before anything that costs; once per turn. Raises OverBudget."""

    async def make_reservation(self, turn: Turn, call: ModelCall | None = None) -> Reservation:
        """The same as a step of the transaction in which the journal keeps what was heard, with
        the first call of the model."""

    def model_call(self, number: int, model: str, prompt_bytes: int) -> ModelCall:
        """That round's, with what the model costs; `told`: see `ModelCall`."""

    async def reserve_model_call(self, turn: Turn, call: ModelCall) -> Grant | None:
        """Reserve one more call of the model. None where no allowance bounds it. Raises
        OverBudget where not even a short answer fits."""

    async def reserve_run(self, turn: Turn, call_id: str, paid: PaidRun) -> None:
        """Reserve one run of something that has a price, once for each call. Raises OverBudget."""

    async def settle_run(self, seq: int, call_id: str, paid: PaidRun, begun: bool) -> None:
        """What a run cost that no call of a model stands for: its price, where it was begun."""

    def run_price(self, paid: PaidRun) -> float | None:
        """US dollars for one run; None where it is not known."""

    async def release(self, turn: Turn, part: str) -> None:
        """What was reserved for something of which surely nothing was done."""

    async def claim_notice(self, count: AllowanceCount, bit: int) -> bool:
        """Whether this is to be told now: once for each period, whoever asks."""

    async def usage_today(self, person: str | None = None, place: str = "") -> UsageTotal:
        """Today's, of one person key or of all; `place`: there alone."""

    async def list_counts(self, person: Person, address: Address) -> Sequence[AllowanceCount]:
        """What is used or held now of each allowance that applies to them there."""

    async def report(
        self, by: ReportRow, since: str = "", place: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Rows of `name`, `turns`, `calls`, tokens and `cost` since that day (ISO; "": today)."""

    @property
    def zone(self) -> tzinfo:
        """Where days begin."""

    def zone_of(self, message: Message) -> tzinfo:
        """The asker's, where their platform tells it."""

    async def settle_ended_turns(self) -> int:
        """End what is held for turns that are over: it counts as its bound. How many."""


class Audit(Protocol):
    """Who did what, by which rule, and who approved it: never a cell's value, never a text."""

    async def write(
        self, event: str, change: Change, rule: str = "", by: Person | None = None
    ) -> None:
        """A line for what happened to a change: `proposed`, `consented` (one of several approvals),
        `approved`, `done` … `rule` is the one that allowed it, `by` who wants it, where that is
        neither asker nor decider. Durable on return. Raises AuditRefused."""

    def note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        """A line for all else: `run`, `refused`, `reload` … It is written beside, after all that
        was told before it. `person` is the key of whom it is about; `facts` name no people."""
