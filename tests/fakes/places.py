"""Settings of places that a test chooses, in place of those of ponte.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.domain.messages import Address


@dataclass(frozen=True, slots=True)
class FixedAddressingSettings:
    """Addressing settings that do not change; without arguments, the defaults."""

    strict_mention: bool | None = None
    answer_everything: bool | None = None
    threads: bool | None = None


@dataclass
class FixedPlaces:
    """The `ConfiguredPlaces` with the settings of channels by their ids, which a test may change
    while the bot runs. `otherwise` are those of all other places."""

    otherwise: FixedAddressingSettings = FixedAddressingSettings()
    by_id: dict[str, FixedAddressingSettings] = field(default_factory=dict)
    prefix: str = "slack:T1:"

    @property
    def channels(self) -> Mapping[str, FixedAddressingSettings]:
        return {self.prefix + id: own for id, own in self.by_id.items()}

    def channel(self, address: Address) -> FixedAddressingSettings:
        return self.by_id.get(address.channel, self.otherwise)
