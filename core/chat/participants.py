"""Tracks who writes in a thread, and which of its messages are for Ponte.

While only one person writes in a thread with Ponte, every message there is for Ponte. Once a second
person writes, only mentions are, and Ponte announces that once. A channel can have other settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.domain.messages import Address

MAX_EARLIER_MESSAGES, EARLIER_MESSAGE_CHARACTERS, MAX_CONTEXT_FILES = 30, 500, 10
"""Limits of a turn's context: earlier messages of the thread, characters of each of them, and the
newest files."""
CONTEXT_SECONDS = 10.0
"""Seconds that a turn waits for the messages that its own message quotes, and for earlier ones."""
THREAD_UNREAD = "I couldn't read the earlier messages in this thread, so I answered without them."


class AddressingSettings(Protocol):
    """The settings of a channel on who is answered where; None means the default."""

    @property
    def strict_mention(self) -> bool | None:
        """True if only mentions of Ponte are answered."""

    @property
    def answer_everything(self) -> bool | None:
        """True if every message is answered, except those that mention others and not Ponte."""

    @property
    def threads(self) -> bool | None:
        """True if an answer opens a thread. False: the channel itself is one conversation, and each
        thread that people open there is another one."""


class ConfiguredPlaces(Protocol):
    """The places with settings of their own. They are read for each message, because the owner of
    the installation may change them at any time."""

    @property
    def channels(self) -> Mapping[str, AddressingSettings]:
        """The settings of places, by their names in ponte.toml."""

    def channel(self, address: Address) -> AddressingSettings:
        """Return the settings of a place."""


def list_answer_all_places(places: ConfiguredPlaces, platform: str) -> Sequence[str]:
    """Return the platform's places with `answer_everything`, by their names in ponte.toml."""
    return [
        place
        for place, own in places.channels.items()
        if own.answer_everything and place.partition(":")[0] == platform
    ]


@dataclass(slots=True)
class Participants:
    """The people who write in a thread. `people` are their ids. `is_announced`: Ponte has
    announced that it now answers only mentions."""

    people: list[str] = field(default_factory=list)
    is_announced: bool = False

    @property
    def several(self) -> bool:
        """True if more than one person writes in the thread."""
        return len(self.people) > 1

    def join(self, *people: str) -> bool:
        """Add people, and return whether one of them is new in the thread."""
        new = [person for person in dict.fromkeys(people) if person not in self.people]
        self.people += new
        return bool(new)

    def note_notice_due(self) -> bool:
        """Return True once, as soon as several people write: Ponte must then announce that it
        answers only mentions. Later calls return False."""
        due = self.several and not self.is_announced
        self.is_announced = self.is_announced or due
        return due
