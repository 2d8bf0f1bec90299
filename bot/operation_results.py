"""The results of operations, which `bot.operation_service` serialises as JSON.

Fields have the names of the JSON. Times are in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from core.domain.records import ApiToken

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
    """The file that was read, its changed sections that need a restart, and its misspelt names."""

    file: str
    later: Sequence[str]
    misspelt: Sequence[str]


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request that waits for a decision. `asker` is a person's key."""

    id: str
    title: str
    asker: str
    place: str
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit and what is used of it now. `name` is a person's or place's key, or words for all;
    `person` is a key. `share` is 1.0 if all is used. `limit`, `used` and `until` are words."""

    name: str
    person: str
    limit: str
    used: str
    share: float
    until: str
    source: str


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage since a day, in rows. `server_costs` are models whose cost their server reports."""

    by: str
    since: str
    rows: Rows
    server_costs: Sequence[str]


@dataclass(frozen=True, slots=True)
class UsageOverview(UsageReport):
    """A report with all limits."""

    limits: Sequence[Limit]


@dataclass(frozen=True, slots=True)
class AuditEntries:
    """Lines of the audit log, oldest first. `next` is where the following page begins, "" at the
    end."""

    lines: Rows
    next: str


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """A verdict for each right at a place ("" is a direct message), by a file ("" is none)."""

    channel: str
    file: str
    misspelt: Sequence[str]
    lines: Sequence[RightVerdict]


@dataclass(frozen=True, slots=True)
class HookPreview:
    """A delivery: the post (`is_post`) or the instruction to the model, the quoted `body`, and the
    rights with their rules."""

    name: str
    post_to: str
    is_post: bool
    text: str
    body: str
    rights: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SampleReset:
    """The number of open requests that were withdrawn."""

    withdrawn: int


@dataclass(frozen=True, slots=True)
class ListedThread:
    """A conversation (its key), its thread, its last use, and the number of its messages."""

    conversation: str
    thread: str
    used_at: float
    messages: int


@dataclass(frozen=True, slots=True)
class ThreadMessage:
    """A message of a conversation."""

    role: Literal["user", "assistant"]
    name: str
    text: str
    at: float
    turn: str


@dataclass(frozen=True, slots=True)
class SentMessage(ThreadMessage):
    """A person's message, with the state of its turn."""

    state: str


@dataclass(frozen=True, slots=True)
class ShownThread:
    """A conversation (its key) with its messages, oldest first."""

    conversation: str
    messages: Sequence[ThreadMessage]


@dataclass(frozen=True, slots=True)
class ForgottenThread:
    """The number of deleted messages, and a sentence about where data may remain, or ""."""

    messages: int
    remains: str


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A new sign-in token of a person, and the page's link with it, or "". `conversations` is how
    many an earlier person of that name left. `person` is a key."""

    name: str
    person: str
    token: str
    link: str
    conversations: int = 0


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """A person who can sign in: when they were added, and the day of their last visit, or ""."""

    name: str
    added: float
    seen: str


@dataclass(frozen=True, slots=True)
class NewApiToken:
    """A new API token and the address of the API, or ""."""

    id: str
    name: str
    token: str
    url: str


@dataclass(frozen=True, slots=True)
class ListedApiToken:
    """An API token as people may see it. `expires` is 0 for never, and `seen` a day or ""."""

    id: str
    person: str
    name: str
    added: float
    expires: float
    seen: str

    @classmethod
    def of(cls, one: ApiToken) -> ListedApiToken:
        """Return it without the hash."""
        person = one.person.partition(":")[2]
        return cls(one.id, person, one.name, one.added_at, one.expires_at, one.last_use)


@dataclass(frozen=True, slots=True)
class RemovedPerson:
    """A person's name and key."""

    name: str
    person: str


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


@dataclass(frozen=True, slots=True)
class OwnerLink:
    """The page's address with its token; "" if no page is served."""

    link: str
