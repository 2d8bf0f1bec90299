"""The results of operations that the program reads too. `bot.operation_service` serialises them as
JSON, as which other operations return theirs. Fields have the names of the JSON. Times are in
seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
Rows = Sequence[Json]


@dataclass(frozen=True, slots=True)
class RightVerdict:
    """Tells whether a person has a right, which rule decides, and that rule's text in
    ponte.toml."""

    right: str
    allowed: bool
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class Reload:
    """The file that was read, its changed sections that need a restart (`later`), faults that keep
    nobody from using it (`misspelt`), and names in it that could not be looked up."""

    file: str
    later: Sequence[str]
    misspelt: Sequence[str]
    unchecked: Sequence[str]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The faults of ponte.toml as it is now. `is_in_force`: Ponte uses it as it is."""

    faults: Sequence[str]
    is_in_force: bool


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage since a day. `server_costs` and `unpriced` are models without a price
    (`Budget.models_without_price`)."""

    by: str
    since: str
    rows: Rows
    server_costs: Sequence[str]
    unpriced: Sequence[str]


@dataclass(frozen=True, slots=True)
class UsageOverview(UsageReport):
    """`ponte usage` without arguments: a report, and the state of all limits."""

    limits: Rows


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """A verdict for each right of a person at a place ("" is a direct message), by the rules of a
    file ("" for no file). `has_unknown_names`: the file names something that does not exist."""

    channel: str
    file: str
    notes: Sequence[str]
    lines: Sequence[RightVerdict]
    has_unknown_names: bool


@dataclass(frozen=True, slots=True)
class PersonCounts:
    """A summary of what is stored about a person: key and names, conversations with others
    (`shared`), rows by section of an export, the names of all sections, and what the adapters of
    platforms remember."""

    person: str
    names: Sequence[str]
    shared: Sequence[str]
    counts: Mapping[str, int]
    sections: Sequence[str]
    remembered: Json


@dataclass(frozen=True, slots=True)
class ForgottenPerson:
    """The result of `ponte person forget`: deleted rows by section (`counts`), conversations with
    others that remain (`shared`), rows that arrived meanwhile (`left`), objects on the model's
    server that are not deleted yet (`waiting`), and a sentence about places where data may remain,
    or ""."""

    person: str
    counts: Mapping[str, int]
    shared: Sequence[str]
    left: Mapping[str, int]
    waiting: int
    remains: str
