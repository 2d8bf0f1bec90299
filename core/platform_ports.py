"""What the composition root starts and stops: the adapters, as it sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from core.messages import Attachment, File, Message, Person, ReplyTo
from core.ports import Posts, Reply
from core.records import Health


class Platform(Protocol):
    """An adapter: connects, turns events into messages, and builds replies."""

    @property
    def name(self) -> str: ...

    def reply(self, to: ReplyTo, posts: Posts) -> Reply: ...

    async def start(self) -> None:
        """Connect; returns when events may come in. Raises SettingsError for a refused token."""

    async def health(self) -> Health: ...

    async def stop_intake(self) -> None: ...

    async def close(self) -> None: ...


class ChatPlatform(Platform, Protocol):
    """One of a company's: its files come as references, and it knows groups of people."""

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """The `Fetch` of this platform."""

    async def membership(self, person: Person) -> frozenset[str]:
        """The `Membership` of this platform."""

    async def http(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request to this platform's route on our server, which it verifies itself."""
