"""Lists the notices to people that answer no message and wait on the page.

People of chat platforms get theirs in a direct message, which `core.chat.approval_notices` sends.
People of the page and the terminal see theirs on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.changes.ports import Outbox
from core.domain.messages import Person
from core.domain.notices import ACCESS_REMOVED, SENTENCES, PersonNotice


class PersonNoticeService:
    """The `PersonNotices` port. `canonical_person` returns the key under which a person is one on
    several surfaces. `wake` makes the sender look for new notices."""

    def __init__(
        self, outbox: Outbox, canonical_person: Callable[[str], str], wake: Callable[[], None]
    ) -> None:
        self._outbox = outbox
        self._canonical_person = canonical_person
        self.wake = wake

    async def list_waiting(self, person: Person) -> Sequence[PersonNotice]:
        """Return the notices that this person has not closed yet, oldest first. A later person of
        the same name does not get the notice that an earlier account was removed."""
        waiting = await self._outbox.list_person_notices(self._canonical_person(person.key))
        return [one for one in waiting if one.kind in SENTENCES and one.kind != ACCESS_REMOVED]

    async def dismiss(self, person: Person, id: str) -> bool:
        """Delete a notice that the person closed. Return False if it is not theirs."""
        return await self._outbox.remove_person_notice(self._canonical_person(person.key), id)
