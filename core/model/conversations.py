"""Level 1: Conversations + Responses. The server keeps the history; ours stays the truth."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from core.model.exchange import Exchange
from core.model.server import Server
from core.model.streams import Streams
from core.records import Ask, ModelEvent


class Conversations:
    """One turn at a time in each conversation is the caller's care (the inbox keeps order)."""

    level = "conversations"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._streams = Streams(server.options.silence, server.options.drain)

    def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]:
        return Exchange(self._server, self._streams, ask).events()

    async def given_up(self, conversation: str) -> None:
        """It is to be erased: wait until a stream that was left there has ended."""
        await self._streams.settled(conversation)
        self._streams.tidied(conversation)

    async def close(self) -> None:
        await self._streams.close()
