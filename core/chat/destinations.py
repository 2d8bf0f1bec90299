"""Finds where Ponte answers messages that other programs send: webhooks and MCP clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.base.errors import Undeliverable
from core.domain.messages import Address, Person, ReplyTo
from core.domain.ports import Messenger


@dataclass(slots=True)
class Destinations:
    """Finds the place of a chat platform that ponte.toml names, such as `slack:T1:C1`, so that
    Ponte can post there. `messengers` are the chat platforms by name."""

    messengers: Mapping[str, Messenger]
    _direct: dict[str, Address] = field(default_factory=dict, init=False)
    """The addresses of direct messages that were opened already."""

    async def find(self, place: str, asker: Person, turn: str, origin: str) -> ReplyTo:
        """Return where to answer a turn: in a channel (`slack:T1:C1`), or in a direct message to a
        person (`slack:U1`). `asker` is the author of the message, such as a webhook.

        Each turn has a conversation of its own there, named by its `origin`, so that none waits for
        another. Raises Undeliverable if the platform is off, and the errors of
        `Messenger.open_direct_message`.
        """
        platform, *ids = place.split(":")
        messenger = self.messengers.get(platform)
        if messenger is None:
            raise Undeliverable(reason=f"{platform} is off")
        if len(ids) == 2:
            address = Address(platform, ids[1], ids[0], is_shared=True)
        else:
            # Opening a direct message is a call to the platform.
            if place not in self._direct:
                to, _ = await messenger.open_direct_message(Person(platform, ids[0]))
                self._direct[place] = to.address
            address = self._direct[place]
        # A "person" in the address makes a conversation that only this turn has.
        address = replace(address, thread="", person=f"{origin}-{turn}")
        return replace(messenger.destination_in(address, asker), turn=turn)
