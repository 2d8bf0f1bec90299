"""Frozen data of proposed, approved and applied writes.

A write tool makes a `Draft`. The ledger keeps it as a `Proposal`, a `Change` once somebody has
decided; both go by one id. Each row of it is a `Step`, journalled before and after it is written.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.domain.messages import Address, CardKind, Person, ReplyTo

Row = Mapping[str, Any]
"""A row's values by the names of its fields: plain JSON."""

WriteKind = Literal["create", "update", "delete", "run"]
"""`run`: a command of another system, its input as the one row. It cannot be taken back."""

ChangeState = Literal[
    "open", "denied", "expired", "withdrawn",
    "applying", "done", "partial", "failed", "undone",
]  # fmt: skip
"""Until it is decided; then what came of it. `failed`: no row was written. `undone`: taken back."""

StepState = Literal["waiting", "writing", "done", "differs", "changed", "failed", "unknown"]
"""`differs`: written, but the row now reads otherwise. `changed`: left alone, because the row is
no longer as it was proposed on. `failed`: refused. `unknown`: it may have been written."""

WRITTEN_STATES: tuple[StepState, ...] = ("done", "differs")
PENDING_STATES: tuple[StepState, ...] = ("waiting", "writing")
PROPOSAL_LIFETIME_SECONDS = 86_400.0
"""Seconds until a proposal expires: 24 hours."""
UNDO_LIFETIME_SECONDS = 7 * 86_400.0
"""Seconds for which what was done can be taken back; then its row images are erased."""
MAX_PROPOSAL_ROWS = 100
"""Rows in one proposal."""
PONTE_PERSON = Person("ponte", "", name="Ponte")
"""The decider where who asked is gone."""
POLICY_PERSON = Person("policy", "", name="policy")
"""The decider where the operator's written policy decides by itself."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


NO_PROPOSAL_SENTENCE = "There is no proposal {id} here."


@dataclass(frozen=True, slots=True)
class RowWrite:
    """One row: `before` is what is compared and given back, `after` what is written.

    A create has no `before` and no `id` until it is done, a delete has no `after`. `mark` is the
    applier's own, so that a created row whose answer was lost can be looked for.
    """

    id: str = ""
    before: Row | None = None
    after: Row | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class TargetView:
    """The parts of a draft's target that Ponte reads; an applier stores them under fixed keys.

    `table_id` is what rules know a table by, beside its title ("" for none). `key` is the field
    with a row's id. Of `links`, fields that hold links, an update's card shows what comes and
    goes; `concealed` are fields that nobody here may know of; `anew` fields that the system fills
    in by itself. `effect` of a run: "spend" changes nothing; `slug` is what runs.
    """

    table_id: str = ""
    key: str = "id"
    link_fields: frozenset[str] = frozenset()
    hidden_fields: frozenset[str] = frozenset()
    system_fields: tuple[str, ...] = ()
    effect: str = "write"
    slug: str = ""

    @classmethod
    def from_target(cls, target: Mapping[str, Any]) -> TargetView:
        """Read them from a stored target. The keys `links`, `concealed` and `anew` are stored
        data, so
        they keep their names."""
        return cls(
            table_id=str(target.get("table_id", "")), key=str(target.get("key", "id")),
            link_fields=frozenset(target.get("links", ())),
            hidden_fields=frozenset(target.get("concealed", ())),
            system_fields=tuple(map(str, target.get("anew", ()))),
            effect=str(target.get("effect", "write")), slug=str(target.get("slug", "")),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """The rows of one table that a write tool proposes to create, update, delete or run.

    `target` is the applier's own way to find the table, of which others read its `view`; `title`
    its name for people, `note` the English source of what a person should know before they
    decide, `by` who asks (set by the ledger's `Change`), for the system's own records.
    """

    applier: str
    kind: WriteKind
    target: Mapping[str, Any]
    title: str
    rows: tuple[RowWrite, ...]
    note: str = ""
    by: str = ""

    @property
    def view(self) -> TargetView:
        return TargetView.from_target(self.target)

    @property
    def row_count(self) -> int:
        """Return how many table rows it affects; several writes may concern the same row."""
        return len({row.id or number for number, row in enumerate(self.rows)})


@dataclass(frozen=True, slots=True)
class RowCheck:
    """How a row stands when it is read: as before the write, as after it, or otherwise.

    `now` is the row as it is, None where there is none; `write` has its id and mark filled in;
    `differs` names the fields that do not hold what was to be written. `failed`: the system took it
    and said later that it came to nothing; `words` say why it is that, or why it is not known.
    """

    state: Literal["before", "after", "other", "failed"]
    write: RowWrite
    current: Row | None = None
    differing_fields: tuple[str, ...] = ()
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class ChangeStep:
    """The progress of one row's write. `now` is the row as read back, `words` explain a failure in
    English."""

    number: int
    write: RowWrite
    state: StepState = "waiting"
    now: Row | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A draft with who asked for it, where and when. `undoes` is the change that it takes back.

    `seq` is the turn that it came up in, (`seq`, `call_id`) is unique: a call that runs again
    after a crash finds its first proposal.
    """

    id: str
    draft: Draft
    asker: Person
    address: Address
    seq: int
    call_id: str
    thread: str
    generation: int
    locale: str
    created: float
    expires: float
    undoes: str = ""
    has_named_approvers: bool = False
    """The operator named who approves it."""
    tool: str = ""
    """What brought it, as models call it."""
    is_decided_by_policy: bool = False
    """Nobody is asked to decide on it: the operator's policy does."""


@dataclass(frozen=True, slots=True)
class Consent:
    """That `person` approved it, where they said so; more than one may be needed."""

    person: Person
    address: Address
    at: float


@dataclass(frozen=True, slots=True)
class Change:
    """A proposal with its decision and the result of each row.

    `claim` is the `seq` of the event that decided: only it may take the write up again.
    `forgotten`, `lapsed`: its row images are erased, by `forget` or because of its age, so that it
    can no longer be undone.
    """

    proposal: Proposal
    state: ChangeState = "open"
    steps: tuple[ChangeStep, ...] = ()
    decider: Person | None = None
    decided_at: float = 0.0
    claim: int = 0
    undone_by: str = ""
    forgotten: bool = False
    lapsed: bool = False
    version: int = 0
    """Counts what people should see of it; a card is drawn anew when it rises."""
    consents: tuple[Consent, ...] = ()
    """Where several must approve it: of those who did, the first first."""

    @property
    def id(self) -> str:
        return self.proposal.id

    @property
    def draft(self) -> Draft:
        asker = self.proposal.asker
        return replace(self.proposal.draft, by=f"{asker.platform}:{asker.id}")

    @property
    def kind(self) -> CardKind:
        decided = self.state not in ("open", "denied", "expired", "withdrawn")
        return "change" if decided else "proposal"

    @property
    def written_steps(self) -> tuple[ChangeStep, ...]:
        return self.steps_in(*WRITTEN_STATES)

    def steps_in(self, *states: StepState) -> tuple[ChangeStep, ...]:
        return tuple(step for step in self.steps if step.state in states)


NoticeStage = Literal["asked", "reminded", "expired"]
"""What people are told of a proposal unasked, in this order."""
NoticeKind = Literal["copy", "reminder", "expired"]


@dataclass(frozen=True, slots=True)
class ApprovalNotice:
    """One post that nobody asked for: a proposal's card in a direct message with one of its
    approvers (`copy`), a `reminder`, or that it has `expired`. There is one for each change, kind
    and person.

    `to`: where it is posted; None until that is known. `text` stands above the card. `drawn`: the
    version of the change that a copy shows.
    """

    change: str
    kind: NoticeKind
    person: Person
    reply_to: ReplyTo | None = None
    locale: str = ""
    text: str = ""
    post: str = ""
    state: Literal["new", "posting", "posted", "removed", "refused"] = "new"
    drawn_version: int = 0

    @property
    def key(self) -> tuple[str, NoticeKind, str]:
        return self.change, self.kind, self.person.key


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """A person's request to approve, deny or undo, with the `seq` of their message or click.

    `doing` shows them how far it is.
    """

    id: str
    seq: int
    person: Person
    address: Address
    locale: str
    clicked: bool = False
    show_progress: Callable[[str], Awaitable[None]] | None = None


def new_change_id() -> str:
    """Return a random id of six characters (`[a-z2-7]{6}`); the ledger keeps ids unique.

    One of them at least is a digit, so that no id is a word (`core.commands.grammar`).
    """
    while True:
        id = "".join(secrets.choice(_ALPHABET) for _ in range(6))
        if not id.isalpha():
            return id
