"""Who may do what, as the ports pass it to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from core.base.errors import NotAllowed, StatusUnknown
from core.base.i18n import say

Need = tuple[str, ...]
"""A right, and the names of the thing that it is about: ("read", "Orders", "m1")."""


Effect = Literal["read", "write", "spend", "code", "chat"]


Action = Literal["chat", "read", "propose", "spend", "code", "approve", "administer"]

RIGHT_OF_EFFECT: Mapping[Effect, Action] = {
    "read": "read", "write": "propose", "spend": "spend", "code": "code", "chat": "chat"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlatformMember:
    """A person as their platform describes them. `scope` is "" for the person as such, or the place
    that the record applies to (a server, or the platform's groups). `belongs_to`: ids of the
    person's workspaces, groups or roles in that scope. `confirmed_at`: when the platform reported
    this, in seconds since 1970."""

    id: str
    scope: str = ""
    person: str = ""
    name: str = ""
    locale: str = ""
    time_zone: str = ""
    is_guest: bool = False
    is_bot: bool = False
    belongs_to: frozenset[str] = frozenset()
    confirmed_at: float = 0.0
    aliases: str = ""
    """Full name, handle and e-mail address, as far as they differ from `name`."""

    @property
    def key(self) -> MemberKey:
        return self.scope, self.id


MemberKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """- `reason`: the English source of the refusal; its placeholder `{right}` is the requested
      right.
    - `rule`: the rule that decided; "" if none did.
    - `is_unknown`: not a refusal: the platform has not identified the person yet.
    - `may_be_denied`: no rule gives the right `approve`, but one may deny it, because the platform
      did not tell the groups of the person.
    """

    allowed: bool
    reason: str = ""
    rule: str = ""
    right: str = ""
    is_unknown: bool = False
    may_be_denied: bool = False

    @property
    def is_denied(self) -> bool:
        """True if a rule denies the right, or may deny it, or that is not known. False if only no
        rule gives it: a person may approve their own changes unless a rule denies it."""
        by_rule = bool(self.rule) and not self.allowed
        return by_rule or self.is_unknown or self.may_be_denied

    def words(self) -> str:
        return say(self.reason, right=self.right)

    def raise_if_denied(self) -> None:
        if self.is_unknown:
            raise StatusUnknown
        if not self.allowed:
            raise NotAllowed(self.reason, right=self.right, rule=self.rule)


class PlaceRights(Protocol):
    """The rights of one person in one place, decided without further I/O."""

    def may(self, right: str, *names: str) -> Verdict:
        """Return whether the person has the right, and why not.

        `names` identify the thing that the right is about: for a table its title and its id.
        """

    def depends_on_name(self, right: str) -> bool:
        """Return True if the right can differ between two things of its kind: for example, if a
        rule names some of the tables that people may read."""

    def may_know(self, right: str, *names: str) -> bool:
        """Return True if the person may read a result that somebody got by this right, such as the
        rows of a table. `names` identify the table or command."""

    @property
    def is_owner(self) -> bool:
        """True if the person runs this Ponte, and acts on their page or terminal."""

    @property
    def is_invited(self) -> bool:
        """True for people with an account on the page, and for people of chat platforms that
        PONTE_ADMINS or PONTE_ALLOW names."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """`rights` decide what exists for them; None: everything, because no person asks. `needs`
    collects the rights that somebody needs to read the result."""

    rights: PlaceRights | None = None
    needs: set[Need] = field(default_factory=set)

    def may(self, right: str, *names: str) -> bool:
        return self.rights is None or self.rights.may(right, *names).allowed

    def note_need(self, right: str, *names: str) -> None:
        self.needs.add((right, *names))
