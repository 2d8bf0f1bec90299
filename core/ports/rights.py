"""Protocols of rights, spending, known people and the audit log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Literal, Protocol

from core.domain.changes import Change
from core.domain.messages import Address, Message, Person, Usage
from core.domain.notices import PersonNotice
from core.domain.records import (
    ApiToken,
    EndedToken,
    MemberKey,
    PageAccount,
    PlaceRights,
    PlatformMember,
    Turn,
    UsageTotal,
    Verdict,
)
from core.rights.allowances import AllowanceCount, Grant, ModelCall
from core.rights.usage import PaidRun


class PageAccounts(Protocol):
    """The named accounts of a surface that belongs to the owner, in addition to the owner."""

    async def list_all(self) -> Sequence[PageAccount]:
        """Return all accounts."""

    async def find(self, person: str) -> PageAccount | None:
        """Return the account by the person's key."""

    async def record_visit(self, person: str, day: str) -> None:
        """Record that the person used the surface on that day."""

    async def end_session(self, session: str, until: float) -> None:
        """End a session, in every process, that would otherwise last until `until`.

        Raises NotStored.
        """

    async def is_session_ended(self, session: str) -> bool:
        """Return True if the session was ended. Raises NotStored."""

    async def find_api_token(self, token_hash: str) -> ApiToken | None:
        """Return the API token with this SHA-256, None if there is none. Raises NotStored."""

    async def record_api_token_use(self, id: str, day: str) -> None:
        """Record that an API token was used on that day."""

    async def list_api_tokens(self, person: str = "") -> Sequence[ApiToken]:
        """Return the API tokens of a person (a key), or of everybody."""

    async def create_api_token(self, person: str, name: str, days: int) -> tuple[ApiToken, str]:
        """Create an API token for a person. Return it and its text, which is stored nowhere.

        `days` is how long it is valid; 0 means without end. Raises BadInput and NotStored.
        """

    async def revoke_api_token(self, id: str, person: str = "") -> ApiToken:
        """Delete an API token, of that person if one is given, and return it.

        Raises NotFound and NotStored.
        """

    async def find_ended_token(self, token_hash: str) -> EndedToken | None:
        """Return the sign-in token with this SHA-256 if it was replaced or removed lately. Raises
        NotStored."""

    async def list_ended_tokens(self, person: str) -> Sequence[EndedToken]:
        """Return the sign-in tokens of this person (a key) that were replaced or removed lately."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Register a function to call when somebody's access changes, in any process.

        Access changes when a token is replaced or revoked, or a session is ended.
        """


class PersonNotices(Protocol):
    """Notices to people that answer no message (`core.domain.notices`)."""

    async def list_waiting(self, person: Person) -> Sequence[PersonNotice]:
        """Return the notices that this person has not closed yet on the page, oldest first."""

    async def dismiss(self, person: Person, id: str) -> bool:
        """Delete a notice that the person closed. Return False if it is not theirs."""


class OwnerNames(Protocol):
    """The name of the person who owns this Ponte."""

    @property
    def current(self) -> str:
        """The name to show; "" if none is known."""

    async def change(self, name: str) -> None:
        """Store a name; "" returns to the setting's or the system's name. Raises NotStored."""


class MemberStore(Protocol):
    """A durable store of what platforms report about people.

    It has a row for each person and scope.
    """

    async def list_newest(self, platform: str, scope: str, most: int) -> Sequence[PlatformMember]:
        """Return the `most` members that were confirmed last, the oldest of them first."""

    async def find(self, platform: str, places: Collection[MemberKey]) -> Sequence[PlatformMember]:
        """Return the members with these keys. Missing ones are left out."""

    async def put(self, platform: str, members: Sequence[PlatformMember]) -> frozenset[str]:
        """Store the members, except forgotten people. Return the ids of those people."""

    async def remove(self, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, who left the platform."""

    async def forget(self, platform: str, ids: Collection[str]) -> None:
        """Delete the rows of these people, and prevent a later `put` from storing them again."""

    async def purge(self, before: float) -> int:
        """Delete the rows that no platform has confirmed since `before`. Return how many."""


class Policy(Protocol):
    """Decides rights. See `core.rights.policy`."""

    async def may(self, person: Person, address: Address, right: str, *names: str) -> Verdict:
        """Decide whether the person has a right at the address. `names` are tables, models or
        commands."""

    async def rights(self, person: Person, address: Address) -> PlaceRights:
        """Return all rights of the person at the address."""

    async def prepare(
        self, person: Person, address: Address, *, confirmed: bool, seconds: float
    ) -> bool:
        """Wait until the platform has answered the lookups that the person's rights depend on.

        Wait up to `seconds`. An answer that discloses nothing counts. Return False if an answer is
        missing. `confirmed`: require data of the last few minutes instead of the last day.
        """

    def list_names(self, right: str) -> Sequence[str]:
        """Return the names that rules allow for a right, as in `model:NAME`, without patterns."""

    async def is_guest(self, person: Person) -> bool | None:
        """Return True if the person is a guest in the workspace that they write in.

        None: unknown.
        """

    async def is_stranger(self, person: Person, address: Address) -> bool | None:
        """Return True if the platform is open to everybody and no rule names the person. None:
        unknown."""

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return True if a person who was active there at `since` has been removed after it.

        `since` is in Unix seconds. None: unknown.
        """


ReportRow = Literal["person", "channel", "model", "tool", "day"]
"""The kind of thing that each row of a usage report sums up."""


class Reservation(Protocol):
    """A step of a transaction that reserves usage.

    `grant` is the reservation, once the step has run.
    """

    @property
    def grant(self) -> Grant | None:
        """Return the reservation, or None before the step has run."""

    @property
    def counts(self) -> Sequence[AllowanceCount]:
        """The counter of each allowance that includes this turn.

        Empty if the turn was counted before.
        """

    def __call__(self, connection: Any, /) -> None: ...


class Budget(Protocol):
    """Reserves usage before it is spent.

    The journal settles reservations when it stores the results.
    """

    @property
    def bounds_calls(self) -> bool:
        """True if any allowance limits money or tokens."""

    async def reserve(self, turn: Turn) -> None:
        """Reserve a turn, once for each turn, before anything that costs. Raises OverBudget."""

    async def make_reservation(self, turn: Turn, call: ModelCall | None = None) -> Reservation:
        """Return a reservation of the turn as a step of another store's transaction.

        The journal runs it in the transaction that stores the user's message. `call` is the first
        model call, if any.
        """

    def model_call(self, number: int, model: str, prompt_bytes: int) -> ModelCall:
        """Return a call of the model in that round, with the model's price. See `ModelCall`."""

    async def reserve_model_call(self, turn: Turn, call: ModelCall) -> Grant | None:
        """Reserve one more call of the model. None: no allowance limits it.

        Raises OverBudget if not even a short answer fits.
        """

    async def reserve_run(self, turn: Turn, call_id: str, paid: PaidRun) -> None:
        """Reserve one run of something that has a price, once for each call. Raises OverBudget."""

    async def settle_run(self, seq: int, call_id: str, paid: PaidRun, begun: bool) -> None:
        """Record the price of a run that began, or release the reservation if it did not begin."""

    def run_price(self, paid: PaidRun) -> float | None:
        """Return the price of one run in US dollars. None: unknown."""

    async def settle_model_call(self, turn: Turn, number: int, model: str, usage: Usage) -> None:
        """Record the usage of a model call that no round of the journal settles."""

    async def release(self, turn: Turn, part: str) -> None:
        """Release a reservation when it is certain that nothing of it was used."""

    async def claim_notice(self, count: AllowanceCount, bit: int) -> bool:
        """Return True if the caller must send this notice now.

        Only one caller gets True in each period. `bit` is `PERSON_NOTICE` or `ADMIN_NOTICE`.
        """

    async def usage_today(self, person: str | None = None, place: str = "") -> UsageTotal:
        """Return today's usage of one person (a key) or of everybody.

        `place` limits it to that place.
        """

    async def list_counts(self, person: Person, address: Address) -> Sequence[AllowanceCount]:
        """Return the used and reserved amounts of each allowance that applies to the person."""

    async def report(
        self, by: ReportRow, since: str = "", place: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Return one row for each person, channel, model, tool or day, with its usage.

        A row has `name`, `turns`, `calls`, tokens and `cost` since that day (ISO date; "": today).
        """

    async def models_without_price(self, since: str = "") -> Sequence[str]:
        """Return the models that have a cost since that day, but no price: the model's server named
        the cost."""

    @property
    def zone(self) -> tzinfo:
        """The time zone in which days begin."""

    def zone_of(self, message: Message) -> tzinfo:
        """Return the time zone of the message's author.

        It is `zone` if their platform does not report one.
        """

    async def settle_ended_turns(self) -> int:
        """Settle open reservations of ended turns at their maximum. Return how many."""


class Audit(Protocol):
    """Records who did what, by which rule, and who approved it.

    Never contains cell values or texts.
    """

    async def write(
        self, event: str, change: Change, rule: str = "", undo_asker: Person | None = None
    ) -> None:
        """Append a line about a change; it is durable on return. Raises AuditRefused.

        `event` is `change-proposed`, `change-consent-added` (one of several approvals),
        `change-approved`, `change-done` and others. `rule` is the rule that allowed it.
        `undo_asker` is the person who undoes the change.
        """

    def note(
        self,
        event: str,
        asker: Person,
        address: Address | None = None,
        *,
        person: str = "",
        **facts: str,
    ) -> None:
        """Append a line about anything else, in the background.

        `event` is `tool-run`, `action-refused` and others. Lines are written in the order of the
        calls. `person` is the key of the person that the line is about. `facts` must not identify
        people.
        """
