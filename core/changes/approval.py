"""Who may decide on a proposal, and where; what the operator's file says of a team's tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.changes.model import Change, Decision, Draft
from core.errors import NotAllowed, ToolError
from core.messages import Address, Person
from core.policy import NO_RIGHTS, PlatformRights
from core.ports import Policy
from core.records import Action
from core.text import normalised

OWN_ROWS = 10
"""Rows up to which the asker approves their own creates and updates."""

_ELSEWHERE = "{id} was proposed somewhere else. Decide on it there, or ask an admin of this bot."
_ADMIN_ROWS = "{id} changes more than {rows} rows, so only an admin of this bot may approve it."
_ADMIN_DELETE = "{id} deletes rows, so only an admin of this bot may approve it."
_NOT_YOURS = "{id} is somebody else's. They may approve it themselves, or an admin of this bot may."
_NOT_NAMED = (
    "{id} is for the people whom the operator named for this table, or for an admin of this bot."
)
_READ_ONLY = "The operator's file says that this table is not changed through me."

Access = Literal["hidden", "read", "ask", "auto"]
"""`hidden`: not even read. `read`: never changed. `ask`: a person approves each change. `auto`: as
`ask`, but one new row at a time needs nobody."""
NamedApprovers = Callable[[Person, Address, frozenset[str]], Awaitable[bool]]
"""Whether one of these names is the person's, or of a group or role of theirs."""


@dataclass(frozen=True, slots=True)
class TableRule:
    """`approvers` are names as in PONTE_ALLOW; where there are any, they and admins decide."""

    access: Access = "ask"
    approvers: frozenset[str] = frozenset()


_DEFAULT = TableRule()


@dataclass(frozen=True, slots=True)
class TableRules:
    """Rules by a table's id or title, in whatever case that is written."""

    tables: Mapping[str, TableRule] = field(default_factory=dict)

    def of(self, *names: str) -> TableRule:
        """The rule of the table that goes by one of these names."""
        rules = {normalised(name): rule for name, rule in self.tables.items()}
        found = (rules.get(normalised(name)) for name in names)
        return next((rule for rule in found if rule), _DEFAULT)

    def of_draft(self, draft: Draft) -> TableRule:
        if draft.kind == "run":
            return _DEFAULT  # whatever it is called, it is no table
        return self.of(draft.view.table_id, draft.title)

    def hides(self, *names: str) -> bool:
        return self.of(*names).access == "hidden"

    def read_only(self, *names: str) -> bool:
        """What is hidden is not to be changed either."""
        return self.of(*names).access in ("hidden", "read")

    def unknown(self, known: set[str]) -> list[str]:
        """Names in the file that no table goes by: a slip of the pen there hides nothing."""
        there = {normalised(name) for name in known}
        return [name for name in self.tables if normalised(name) not in there]


async def _nobody(person: Person, address: Address, names: frozenset[str]) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Approval:
    """`auto_create_rows`: creates of up to so many rows that the operator allows without asking."""

    policy: Policy
    auto_create_rows: int = 0
    rules: TableRules = field(default_factory=TableRules)
    is_named: NamedApprovers = _nobody
    platforms: Mapping[str, PlatformRights] = field(default_factory=dict)

    def sees_all(self, address: Address) -> bool:
        """Whether whoever writes there may see what was changed from anywhere."""
        return self.platforms.get(address.platform, NO_RIGHTS).operator

    def check_draft(self, draft: Draft) -> None:
        """That anybody could approve it. Raises ToolError."""
        if not self._changeable(draft):
            hint = "tell the person; do not look for another way"
            raise ToolError(_READ_ONLY, code="read_only", hint=hint)

    def names_approvers(self, draft: Draft) -> bool:
        """Whether the operator named who approves it."""
        return bool(self.rules.of_draft(draft).approvers)

    async def may_see(self, decision: Decision, change: Change) -> bool:
        """Whether its card is for them: it stands in their conversation, they asked for it, or
        they are an admin or one of those whom the operator named for its table. To everybody else
        it is unknown; its id is no secret."""
        person, address = decision.person, decision.address
        there = change.proposal.address
        if address.conversation == there.conversation or person.key == change.proposal.asker.key:
            return True
        # A button is clicked where the card stands, also by who has a conversation of their own
        # in that channel; its platform vouches for the place.
        if decision.clicked and address.same_channel(there) and address.thread == there.thread:
            return True
        if (await self.policy.may(person, address, "admin")).allowed:
            return True
        approvers = self.rules.of_draft(change.draft).approvers
        return bool(approvers) and await self.is_named(person, address, approvers)

    async def check(self, person: Person, address: Address, change: Change) -> None:
        """That they may approve it, or take it back. Raises NotAllowed."""
        if not self._changeable(change.draft):
            raise NotAllowed(_READ_ONLY)
        await self._check_person(person, address, change)

    async def _check_person(self, person: Person, address: Address, change: Change) -> None:
        if (await self.policy.may(person, address, "admin")).allowed:
            return
        if not _same_place(address, change):
            raise NotAllowed(_ELSEWHERE, id=change.id)
        if approvers := self.rules.of_draft(change.draft).approvers:
            if not await self.is_named(person, address, approvers):
                raise NotAllowed(_NOT_NAMED, id=change.id)
            return
        verdict = await self.policy.may(person, address, right(change.draft))
        if not verdict.allowed:
            raise NotAllowed(verdict.reason)
        if self._one_name(address):
            return
        if person.key != change.proposal.asker.key:
            raise NotAllowed(_NOT_YOURS, id=change.id)
        if self.needs_admin(change):
            many = _ADMIN_DELETE if change.draft.kind == "delete" else _ADMIN_ROWS
            raise NotAllowed(many, id=change.id, rows=OWN_ROWS)

    async def check_denial(self, person: Person, address: Address, change: Change) -> None:
        """Who asked may always think better of it. Raises NotAllowed."""
        if person.key != change.proposal.asker.key or not _same_place(address, change):
            await self._check_person(person, address, change)

    def by_policy(self, draft: Draft) -> bool:
        """Whether the operator's written policy decides this by itself."""
        if draft.kind != "create":
            return False
        rule = self.rules.of_draft(draft)
        # Whoever named approvers for a table did not mean the file's rule for all tables.
        general = 0 if rule.approvers else self.auto_create_rows
        return len(draft.rows) <= max(general, 1 if rule.access == "auto" else 0)

    def needs_admin(self, change: Change) -> bool:
        """Whether the asker cannot approve it themselves."""
        if change.proposal.named or self._one_name(change.proposal.address):
            return False
        return change.draft.kind == "delete" or change.draft.touched > OWN_ROWS

    def _one_name(self, address: Address) -> bool:
        return self.platforms.get(address.platform, NO_RIGHTS).one_name

    def _changeable(self, draft: Draft) -> bool:
        return self.rules.of_draft(draft).access in ("ask", "auto")


def right(draft: Draft) -> Action:
    """What who decides must be allowed to do: a run that changes nothing only spends."""
    spends = draft.kind == "run" and draft.view.effect == "spend"
    return "spend" if spends else "write"


def _same_place(address: Address, change: Change) -> bool:
    """The same surface and workspace."""
    there = change.proposal.address
    return (address.platform, address.workspace) == (there.platform, there.workspace)
