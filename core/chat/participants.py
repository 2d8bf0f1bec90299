"""Who takes part in a thread, and which of its messages are for Ponte.

While only one person writes in a thread with Ponte, every message there is for Ponte. As soon as a
second person writes, only mentions are; Ponte says so once. A channel can have other settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from core.domain.messages import Address

MAX_EARLIER_MESSAGES, EARLIER_MESSAGE_CHARACTERS, MAX_CONTEXT_FILES = 30, 500, 10
"""How many earlier messages of a thread a turn reads, characters of each, and newest files."""
CONTEXT_SECONDS = 10.0
"""How long a turn waits for the messages that its own message quotes, and for earlier ones."""
THREAD_UNREAD = "I could not read what was said before in this thread, so I answered without it."


class AddressingSettings(Protocol):
    """The settings of a channel on who is answered where; None means the default."""

    @property
    def strict_mention(self) -> bool | None:
        """Whether only mentions of Ponte are answered."""

    @property
    def answer_everything(self) -> bool | None:
        """Whether every message is answered, except those that mention others and not Ponte."""

    @property
    def threads(self) -> bool | None:
        """Whether an answer opens a thread. False: the channel itself is one conversation, and each
        thread that people open there is another one."""


@dataclass(frozen=True, slots=True)
class FixedAddressingSettings:
    """Addressing settings that do not change; without arguments, the defaults."""

    strict_mention: bool | None = None
    answer_everything: bool | None = None
    threads: bool | None = None


FindAddressingSettings = Callable[[Address], AddressingSettings]
"""Returns the settings of a place. It is called for each message, because the owner of the
installation may change them at any time."""


def find_no_settings(address: Address) -> AddressingSettings:
    return FixedAddressingSettings()


@dataclass(slots=True)
class Participants:
    """`people` by their ids; `told`: that it waits to be mentioned from now on."""

    people: list[str] = field(default_factory=list)
    told: bool = False

    @property
    def several(self) -> bool:
        return len(self.people) > 1

    def join(self, *people: str) -> bool:
        """Whether one of them is new here."""
        new = [person for person in dict.fromkeys(people) if person not in self.people]
        self.people += new
        return bool(new)

    def note_notice_due(self) -> bool:
        """Once, when there are several."""
        due = self.several and not self.told
        self.told = self.told or due
        return due
