"""Frozen data of proposed, approved and applied writes.

A write tool makes a `Draft`. The ledger stores it as a `Proposal`, which becomes a `Change` with
the decision; both have the same id. Each row is a `ChangeStep`, journalled before and after it is
written.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, tzinfo
from functools import cached_property
from typing import Any, Literal

from core.domain.messages import (
    PERSON,
    Address,
    Answer,
    Card,
    CardKind,
    MessageOrigin,
    Person,
    ReplyTo,
    make_press_id,
)

Row = Mapping[str, Any]

ChangeState = Literal[
    "open", "denied", "expired", "withdrawn", "applying", "done", "partial", "failed", "undone"
]
"""The state of a proposal until it is decided, then of the change. `failed`: no row was written.
`undone`: the change was taken back."""

StepState = Literal["waiting", "writing", "done", "differs", "changed", "failed", "unknown"]
"""The state of one row's write. `differs`: written, but the row now has other values. `changed`:
not written, because the row has changed since the proposal. `failed`: refused. `unknown`: it may
have been written."""

WRITTEN_STATES: tuple[StepState, ...] = ("done", "differs")
PENDING_STATES: tuple[StepState, ...] = ("waiting", "writing")
PROPOSAL_LIFETIME_SECONDS = 86_400.0
UNDO_LIFETIME_SECONDS = 7 * 86_400.0
"""Seconds for which a change can be undone (7 days); after that its stored rows are erased."""
OWN_ROWS = 10
"""The number of rows up to which askers approve their own creates and updates."""
MAX_AUTO_UPDATES = 5
MAX_REASON_CHARACTERS = 500
MAX_IDENTIFYING_FIELDS = 4
"""The number of fields that identify a row on a card, beside its name and the changed ones."""
MAX_PROPOSAL_ROWS = 100
PONTE_PERSON = Person("ponte", "", name="Ponte")
"""The decider that closes proposals after their asker has left."""
POLICY_PERSON = Person("policy", "", name="policy")
"""The decider of changes that the operator's policy approves."""
SAMPLE_APPLIER = "sample"
"""The applier of changes to the sample tables. Cards say that these rows are no real data."""
FILE_KEY = "file_rows"
"""The key in a draft's target of what its card says of the file that its rows are from. It is
erased with them."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


NO_PROPOSAL_SENTENCE = "Request {id} not found."


@dataclass(frozen=True, slots=True)
class RowWrite:
    """`before` has the values to compare with and to restore; `after` has the values to write.

    A create has no `before`, and no `id` until it is done. A delete has no `after`. `applier_data`
    belongs to the applier, which uses it to find a created row after a lost answer.
    """

    id: str = ""
    before: Row | None = None
    after: Row | None = None
    applier_data: str = ""

    @property
    def changes_nothing(self) -> bool:
        """True for an update of a row that already had the new values when it was proposed."""
        both = self.before is not None and self.after is not None
        return both and {**(self.before or {}), **(self.after or {})} == self.before


@dataclass(frozen=True, slots=True)
class TargetView:
    """The part of a draft's target that Ponte itself reads. An applier stores it under fixed keys.

    - `table_id`: the id by which rules know a table, beside its title; "" for none.
    - `key`: the field with a row's id.
    - `link_fields`: fields that hold links; the card of an update shows added and removed links.
    - `hidden_fields`: fields that nobody here may know of.
    - `system_fields`: fields that the system fills in by itself, with a new value for each row.
    - `display_field`: the field whose value names a row; "" if not known.
    - `formats`: how values are written by field (`core/base/value_formats.py`). A field without an
      entry is not known.
    - `choice_fields`: fields whose type is select, checkbox or date.
    - `linked_tables`: the title and the id of each other table whose rows change because they are
      linked; rules know them by these names.
    - `card_fields`: fields that identify a row on the card of an update, in their order, each with
      the title and the id of the table that it links to, if any.
    - `slug`: the command that runs.
    - `place`: the channel or person of a `post` as rules name it, as in `slack:T1:C1`.
    """

    table_id: str = ""
    key: str = "id"
    link_fields: frozenset[str] = frozenset()
    hidden_fields: frozenset[str] = frozenset()
    system_fields: tuple[str, ...] = ()
    display_field: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    choice_fields: frozenset[str] = frozenset()
    linked_tables: tuple[tuple[str, ...], ...] = ()
    card_fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    slug: str = ""
    place: str = ""

    @classmethod
    def from_target(cls, target: Mapping[str, Any]) -> TargetView:
        """Keys that only the applier reads are ignored."""
        names = [view_field.name for view_field in fields(cls) if view_field.name in target]
        return cls(**{name: _TARGET_READERS.get(name, str)(target[name]) for name in names})


_TARGET_READERS: Mapping[str, Callable[[Any], Any]] = {
    "link_fields": frozenset,
    "hidden_fields": frozenset,
    "choice_fields": frozenset,
    "system_fields": tuple,
    "formats": dict,
    "card_fields": dict,
    "linked_tables": lambda tables: tuple(map(tuple, tables)),
}


@dataclass(frozen=True)
class Draft:
    """A proposal's content, made by a write tool: the writes to rows of a table, for example, or
    a run.

    - `kind`: the name of its kind (`core.changes.kinds`).
    - `target`: tells the applier where to write. Other code reads only its `view`.
    - `title`: the name of the table for people.
    - `note`: the English source of a remark for the people who decide.
    - `asker_key`, `change_id`: the asker and the change, for the system's own records; `Proposal`
      sets them.
    """

    applier: str
    kind: str
    target: Mapping[str, Any]
    title: str
    rows: tuple[RowWrite, ...]
    note: str = ""
    asker_key: str = ""
    change_id: str = ""

    @cached_property
    def view(self) -> TargetView:
        return TargetView.from_target(self.target)

    @property
    def row_count(self) -> int:
        """Several writes may concern one row, which has its id in each of them; a new row has no id
        yet, and counts by itself."""
        return len({row.id or number for number, row in enumerate(self.rows)})

    @property
    def steps(self) -> tuple[ChangeStep, ...]:
        return tuple(ChangeStep(number, row) for number, row in enumerate(self.rows, 1))


@dataclass(frozen=True, slots=True)
class RowCheck:
    """The current state of a row: as before the write, as after it, or otherwise.

    - `failed`: the system accepted the write and reported later that it failed.
    - `write`: the write with its id and mark filled in.
    - `current`: the row as it is now; None if it does not exist.
    - `differing_fields`: fields that do not hold the value to be written.
    - `explanation`: the reason for the state, or why it is not known.
    """

    state: Literal["before", "after", "other", "failed"]
    write: RowWrite
    current: Row | None = None
    differing_fields: tuple[str, ...] = ()
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class ChangeStep:
    """The write of one row of a change, and how far it is. `current` is the row as it was read
    back; `explanation` explains a failure in English."""

    number: int
    write: RowWrite
    state: StepState = "waiting"
    current: Row | None = None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """`undone_change` is the id of the change that it takes back.

    `seq` is the turn that made it. (`seq`, `call_id`) is unique, so that a call that runs again
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
    created_at: float
    expires_at: float
    undone_change: str = ""
    has_named_approvers: bool = False
    """True if the operator named approvers for it."""
    tool: str = ""
    is_decided_by_policy: bool = False
    origin: MessageOrigin = PERSON
    """Where the message comes from whose turn proposed it."""
    revision: int = 1
    """An approval counts for one revision only."""
    revision_seqs: str = ""
    """The `seq` of each event that changed the draft, as ` 12 15 `, so that a repeat changes
    nothing."""
    part_of: str = ""
    """The id of the change whose rows these are some of, such as an import; "" for none. A part has
    no card."""
    first_asker: str = ""
    """The key of the person who asked for revision 1, once the draft was changed. They may still
    deny it, and have no other right to it."""

    def is_revised_by(self, seq: int) -> bool:
        return f" {seq} " in self.revision_seqs

    def __post_init__(self) -> None:
        key = f"{self.asker.platform}:{self.asker.id}"
        object.__setattr__(self, "draft", replace(self.draft, asker_key=key, change_id=self.id))


@dataclass(frozen=True, slots=True)
class Consent:
    """The approval of one of several people who must approve a change, with the place and the time
    at which they gave it."""

    person: Person
    address: Address
    approved_at: float


@dataclass(frozen=True)
class Change:
    """A proposal with its decision and the result of each row.

    `decision_seq` is the `seq` of the event that decided. After a crash, only that event may
    continue the write. `is_forgotten` and `has_lapsed`: the stored rows were erased, by `forget` or
    because of their age, so that the change cannot be undone any more.
    """

    proposal: Proposal
    state: ChangeState = "open"
    steps: tuple[ChangeStep, ...] = ()
    decider: Person | None = None
    decided_at: float = 0.0
    decision_seq: int = 0
    undone_by: str = ""
    is_forgotten: bool = False
    has_lapsed: bool = False
    version: int = 0
    """Increases whenever the visible state changes; the card is then redrawn."""
    consents: tuple[Consent, ...] = ()
    """The approvals so far, in their order, if several people must approve."""
    denial_reason: str = ""
    """Why the decider denied it, on one line. It is untrusted text; "" for none."""
    repeated_by: str = ""
    """The id of the proposal that its asker made of it once more; "" for none."""
    copy_recipients: frozenset[str] = frozenset()
    """The keys of the people to whom a copy of its card was posted, or may have been."""

    @cached_property
    def id(self) -> str:
        return self.proposal.id

    @cached_property
    def draft(self) -> Draft:
        return self.proposal.draft

    @cached_property
    def kind(self) -> CardKind:
        decided = self.state not in ("open", "denied", "expired", "withdrawn")
        return "change" if decided else "proposal"

    @property
    def is_erased(self) -> bool:
        return self.is_forgotten or self.has_lapsed

    @property
    def is_untouched(self) -> bool:
        return self.state == "applying" and all(step.state == "waiting" for step in self.steps)

    @property
    def approver_keys(self) -> Sequence[str]:
        return [consent.person.key for consent in self.consents]

    @property
    def written_steps(self) -> tuple[ChangeStep, ...]:
        return self.steps_in(*WRITTEN_STATES)

    @property
    def rows(self) -> Sequence[Sequence[ChangeStep]]:
        """Several steps may write one row; a new row has no id yet, so that its step is a group of
        its own."""
        rows: dict[str, list[ChangeStep]] = {}
        for step in self.steps:
            rows.setdefault(step.write.id or f"step {step.number}", []).append(step)
        return list(rows.values())

    def steps_in(self, *states: StepState) -> tuple[ChangeStep, ...]:
        return tuple(step for step in self.steps if step.state in states)


@dataclass(frozen=True, slots=True)
class FormField:
    """One input of a form. `label` and `row` are untrusted text in one that changes a proposal.

    - `key`: the field's title; where the proposal has several rows, the row's number on the card
      comes first: `2.Status`.
    - `value`: the proposed value as a person types it: `2026-11-20`, `true`; a number as the card
      shows it, in the language of the current task; several options or links as `A, B`; "" for
      none.
    - `options`: those of a select, shown as `labels` if there are any. A multi select, a link and a
      person are `text`.
    - `row`: the row's number and name; "" where the proposal has one row.
    - `format`: how a number is written (`core/base/value_formats.py`).
    - `max_characters`: 0 for the platform's own limit.
    """

    key: str
    label: str
    type: Literal["text", "lines", "number", "date", "moment", "select", "checkbox"]
    value: str = ""
    options: tuple[str, ...] = ()
    row: str = ""
    format: str = ""
    hint: str = ""
    is_required: bool = False
    max_characters: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeForm:
    """`revision` is the one that the form shows, `title` the title of the card."""

    id: str
    revision: int
    title: str
    fields: tuple[FormField, ...]

    @property
    def press_id(self) -> str:
        return make_press_id(self.id, self.revision)


@dataclass(frozen=True, slots=True)
class DisplayName:
    """The name that people see for a person, or, if `is_group`, for a group or role of people."""

    name: str
    is_group: bool = False


@dataclass(frozen=True, slots=True)
class PendingRequests:
    """All changes that wait for the approval of one person, oldest first, and the cards of the
    oldest of them, as that person sees them. `askers` are their names, "" for the person. Of a
    change that they asked for by its id, `refusal` says why they cannot approve it."""

    changes: Sequence[Change] = ()
    cards: Sequence[Card] = ()
    askers: Sequence[str] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """A schedule of a person (a message that Ponte handles at certain times) as one line of
    Markdown, for a list."""

    id: str
    text: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """The requests, schedules and allowances of one person, as they may read them at one place.

    `waiting` are the requests that they can decide on, `asked` their own requests that wait for
    somebody else. `schedules` are those that they own. `remaining` are phrases that say how much is
    left of each allowance.
    """

    waiting: PendingRequests = PendingRequests()
    asked: Sequence[Card] = ()
    schedules: Sequence[ScheduleLine] = ()
    remaining: Sequence[str] = ()


NoticeStage = Literal["asked", "reminded", "escalated", "last_hour", "expired"]
NoticeKind = Literal["copy", "reminder", "last_hour", "expired", "denied", "person", "list"]


@dataclass(frozen=True, slots=True)
class ApprovalNotice:
    """One post that nobody asked for. There is one for each change, kind and person.

    - `kind`: `copy` is the card in a direct message with an approver, `reminder` and `last_hour`
      are reminders of the open proposal, `expired` the notice that it has expired, `denied` the
      reason why somebody denied it. `person` is a notice that is about no change
      (`core.people.notices`); `change` is then its own id. `list` is the card in the newest answer
      to the person's command `approvals`; `text` is then the `seq` of that turn.
    - `reply_to`: where it is posted; None until that is known.
    - `text`: the text above the card.
    - `drawn_version`: the version of the change that a copy or a list shows.
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
    """`seq` is that of the message or click. `show_progress` shows the person a few words while it
    is carried out."""

    id: str
    seq: int
    person: Person
    address: Address
    is_click: bool = False
    code: str = ""
    """The digits after the id that the person typed. See `confirmation_code`."""
    revision: int = 0
    """The revision that the card showed under whose button this is; 0 where a person typed."""
    reason: str = ""
    """Why the person denies it, on one line of at most MAX_REASON_CHARACTERS."""
    show_progress: Callable[[str], Awaitable[None]] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    zone: tzinfo = UTC


def new_change_id() -> str:
    """The ledger ensures that ids are unique.

    At least one character is a digit, so that no id is a word (`core.commands.grammar`).
    """
    while True:
        id = "".join(secrets.choice(_ALPHABET) for _ in range(6))
        if not id.isalpha():
            return id


def confirmation_code(id: str, person: Person, created_at: float, revision: int = 1) -> str:
    """A person types these digits after the id of a change to approve it. Ponte shows them below
    the full text of the change, so they prove that the person could read it.

    Nobody can know the digits before: they depend on `created_at` (with microseconds), which Ponte
    never shows.
    """
    text = f"{id}.{revision} {person.key} {created_at!r}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return str(1000 + int.from_bytes(digest) % 9000)


SHOWS_CHANGES_SQL = (
    "(answer LIKE '%\"cards\":%' OR answer LIKE '% ______-____`%' OR answer LIKE '%- `______`%')"
)
"""The condition for the answers that may show or list changes. An index has these answers."""
_SHOWN_ID = re.compile(r'"id": ?"(.{6})"| (.{6})-\d{4}`|- `(.{6})`')


def find_possible_changes(answer: str) -> set[str]:
    """Finds each id that the answer has, and perhaps more. To decode all answers would take much
    longer."""
    return {id for ids in _SHOWN_ID.findall(answer) for id in ids if id}


def find_shown_changes(answer: Answer) -> tuple[set[str], set[str]]:
    """Return the ids of the changes on the answer's cards, and of those that its text shows in full
    to a person who typed `approve`, in any language."""
    # Such a text ends in the words to type, as in "`approve abc234-1234`"; the verb is translated.
    read_out = re.findall(r"`\w+ ([a-z2-7]{6})-\d{4}`", answer.text)
    return {card.id for card in answer.cards}, set(read_out)
