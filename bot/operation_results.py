"""The results of operations that the program reads too. `bot.operation_service` serialises them as
JSON, as which other operations return theirs.

Fields have the names of the JSON. Times are in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
Rows = Sequence[Json]


@dataclass(frozen=True, slots=True)
class RightVerdict:
    """One right, whether the person has it, which rule decides, and how that rule reads."""

    right: str
    allowed: bool
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class Reload:
    """The result of `ponte reload`: the file that was read, its changed sections that need a
    restart, and names in it that nothing has."""

    file: str
    later: Sequence[str]
    misspelt: Sequence[str]


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage since a day, in rows. `server_costs` and `unpriced` are models without a price
    (`Budget.models_without_price`)."""

    by: str
    since: str
    rows: Rows
    server_costs: Sequence[str]
    unpriced: Sequence[str]


@dataclass(frozen=True, slots=True)
class UsageOverview(UsageReport):
    """A report of usage together with all limits."""

    limits: Rows


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """The result of `ponte policy check`: a verdict for each right of a person at a place ("" is a
    direct message), by the rules of a file ("" for no file)."""

    channel: str
    file: str
    notes: Sequence[str]
    lines: Sequence[RightVerdict]


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A new sign-in token of a person, and the link to the page that contains it ("" without a
    page). `conversations` is the number of conversations of an earlier person of that name.
    `person` is the person's key."""

    name: str
    person: str
    token: str
    link: str
    conversations: int = 0


@dataclass(frozen=True, slots=True)
class PersonCounts:
    """A person by key, how many rows each section has, all sections, the keys of conversations that
    they share with others, and what platforms remember of them."""

    person: str
    names: Sequence[str]
    shared: Sequence[str]
    counts: Mapping[str, int]
    sections: Sequence[str]
    remembered: Json


@dataclass(frozen=True, slots=True)
class ForgottenPerson:
    """The rows that were deleted, and what is left: rows that arrived meanwhile, items that wait on
    the model's server, and a sentence about places where data may remain, or ""."""

    person: str
    counts: Mapping[str, int]
    shared: Sequence[str]
    left: Mapping[str, int]
    waiting: int
    remains: str
