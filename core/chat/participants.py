"""Who takes part in a platform's thread, and how much of it a turn is told.

While one person talks with Ponte in a thread of theirs, each of their messages there is for it.
From a second one on only a mention is, and they are told so once. A channel may have it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from core.domain.messages import Address

MAX_EARLIER_MESSAGES, EARLIER_MESSAGE_CHARACTERS, MAX_CONTEXT_FILES = 30, 500, 10
"""Earlier messages of a thread that a turn is told, characters of each, and their newest files."""
CONTEXT_SECONDS = 10.0
"""Seconds that a turn waits for what its message points at, and for what was said before it."""
THREAD_UNREAD = "I could not read what was said before in this thread, so I answered without it."


class AddressingSettings(Protocol):
    """How a channel has it; None is as everywhere."""

    @property
    def strict_mention(self) -> bool | None:
        """Only what mentions Ponte is for it."""

    @property
    def answer_everything(self) -> bool | None:
        """All that people say is for it, but what names others and not Ponte."""

    @property
    def threads(self) -> bool | None:
        """Whether a message gets a thread. False: answers stand in the channel itself, which is one
        conversation; what is said in a thread all the same is answered there, as another one."""


@dataclass(frozen=True, slots=True)
class FixedAddressingSettings:
    strict_mention: bool | None = None
    answer_everything: bool | None = None
    threads: bool | None = None


FindAddressingSettings = Callable[[Address], AddressingSettings]
"""By where something is said; asked each time, since the operator may change it."""


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
