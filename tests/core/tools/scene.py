"""A scene for tools to run in."""

from __future__ import annotations

from core.domain.messages import Address, Person
from core.domain.records import Thread, ToolContext

ADA = Person("terminal", "ada", name="Ada")


class Seen:
    """What the person was shown while a tool ran."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def doing(self, text: str) -> None:
        self.texts.append(text)


def ctx(seen: Seen | None = None) -> ToolContext:
    address = Address("terminal", "c1")
    thread = Thread(address.conversation, "t1")
    return ToolContext(ADA, address, "turn1", 1, "call1", thread, (seen or Seen()).doing)
