"""The functions of each platform that turns use."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from core.base.errors import PonteError
from core.domain.changes import DisplayName
from core.domain.conversation_ports import FetchAttachment, LoadContext, ReplyFactory
from core.domain.platform import ChatPlatform, Messenger

LABELS_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Platforms:
    """The functions of each platform, by its name. All are added before turns run."""

    replies: dict[str, ReplyFactory] = field(default_factory=dict)
    fetch: dict[str, FetchAttachment] = field(default_factory=dict)
    look_up: dict[str, LoadContext] = field(default_factory=dict)
    messengers: dict[str, Messenger] = field(default_factory=dict)

    def add(self, chat: ChatPlatform) -> None:
        """Fetch files, look up context and send cards through this platform."""
        self.fetch[chat.name] = chat.fetch
        self.look_up[chat.name] = chat.look_up
        self.messengers[chat.name] = chat

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        """Return display names for cards. A platform that does not answer in time delays
        no card."""
        found: dict[str, DisplayName] = {}
        for platform, messenger in self.messengers.items():
            if own := [name for name in names if name.startswith(f"{platform}:")]:
                with suppress(TimeoutError, PonteError):
                    async with asyncio.timeout(LABELS_TIMEOUT_SECONDS):
                        found |= await messenger.labels(own)
        return found
