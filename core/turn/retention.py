"""How long unused conversations are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from core.domain.messages import ONE_REQUEST_PREFIX, Address
from core.domain.records import ConversationArea
from core.people.rules import place_names

ONCE_DAYS = 1
"""Days after its last use until the conversation of a single request is forgotten."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Days after which unused conversations are forgotten; 0 for never.

    `places` are the places with a value of their own, by `platform`, `platform:WORKSPACE` or
    `platform:WORKSPACE:CHANNEL`; the narrowest applies. `audit`: days after which lines of the
    audit log are removed.
    """

    everywhere: int = 0
    places: Mapping[str, int] = field(default_factory=dict)
    audit: int = 0

    def of(self, address: Address) -> int:
        """Return the number of days for the conversations of this place."""
        if address.channel.startswith(ONE_REQUEST_PREFIX):
            return ONCE_DAYS
        own = self.places
        return next((own[p] for p in reversed(place_names(address)) if p in own), self.everywhere)

    def areas(self) -> Iterator[tuple[ConversationArea, int]]:
        """Yield areas of conversations, each with the number of days after which it is
        forgotten."""
        yield ConversationArea(is_one_request=True), ONCE_DAYS
        own = self.places
        for place, days in {"": self.everywhere, **own}.items():
            if days:
                wide = place and f"{place}:"
                inner = (each for each in own if each != place and f"{each}:".startswith(wide))
                yield ConversationArea(place, tuple(inner)), days
