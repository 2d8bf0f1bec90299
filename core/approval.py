"""Who may decide on a proposal, and where."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import NotAllowed
from core.messages import Address, Person
from core.ports import Policy
from core.proposal import Change, Draft

OWN_ROWS = 10
"""Rows up to which the asker approves their own creates and updates."""
_ONE_PERSON = ("web", "terminal")
"""Surfaces where whoever is there may decide."""

_ELSEWHERE = "{id} was proposed somewhere else. Decide on it there, or ask an admin of this bot."
_ADMIN_ROWS = "{id} changes more than {rows} rows, so only an admin of this bot may approve it."
_ADMIN_DELETE = "{id} deletes rows, so only an admin of this bot may approve it."
_NOT_YOURS = "{id} is somebody else's. They may approve it themselves, or an admin of this bot may."


@dataclass(frozen=True, slots=True)
class Approval:
    """`auto_create_rows`: creates of up to so many rows that the operator allows without asking."""

    policy: Policy
    auto_create_rows: int = 0

    async def check(self, person: Person, address: Address, change: Change) -> None:
        """That they may approve it, or take it back. Raises NotAllowed."""
        if (await self.policy.may(person, address, "admin")).allowed:
            return
        self._check_place(address, change)
        verdict = await self.policy.may(person, address, "write")
        if not verdict.allowed:
            raise NotAllowed(verdict.reason)
        if address.platform in _ONE_PERSON:
            return
        if person.key != change.proposal.asker.key:
            raise NotAllowed(_NOT_YOURS, id=change.id)
        if needs_admin(change):
            many = _ADMIN_DELETE if change.draft.kind == "delete" else _ADMIN_ROWS
            raise NotAllowed(many, id=change.id, rows=OWN_ROWS)

    async def check_denial(self, person: Person, address: Address, change: Change) -> None:
        """Who asked may always think better of it. Raises NotAllowed."""
        if person.key != change.proposal.asker.key or not _same_place(address, change):
            await self.check(person, address, change)

    def by_policy(self, draft: Draft) -> bool:
        """Whether the operator's written policy decides this by itself."""
        return draft.kind == "create" and len(draft.rows) <= self.auto_create_rows

    def _check_place(self, address: Address, change: Change) -> None:
        if not _same_place(address, change):
            raise NotAllowed(_ELSEWHERE, id=change.id)


def needs_admin(change: Change) -> bool:
    """Whether the asker cannot approve it themselves."""
    if change.proposal.address.platform in _ONE_PERSON:
        return False
    return change.draft.kind == "delete" or change.draft.touched > OWN_ROWS


def _same_place(address: Address, change: Change) -> bool:
    """The same surface and workspace."""
    there = change.proposal.address
    return (address.platform, address.workspace) == (there.platform, there.workspace)
