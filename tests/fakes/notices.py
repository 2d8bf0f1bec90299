"""A notice to a person that answers no message, as stores write it with what it is about."""

from __future__ import annotations

from bot.engine import Engine
from core.domain.messages import Person
from core.people.notices import PersonNotice, put_person_notice


async def notify(engine: Engine, person: Person, kind: str, **values: str) -> None:
    """Store a notice and have it sent. A second one of the same kind replaces it."""
    notice = PersonNotice.new(kind, kind, **values)
    await engine.stores.database.write(lambda c: put_person_notice(c, person, notice))
    engine.notices.wake()
