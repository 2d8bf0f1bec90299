"""Doubles that the Slack tests play with: a model that speaks on cue, an inbox that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from core.base.errors import NotStored
from core.domain.messages import Card, Item, Message, Post
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.ports import NO_STEP, Inbox, TransactionStep
from core.domain.records import Health, QuickCommand, Receipt, Remote
from tests.fakes.choices import EmptyStatusBoard


class Speaker:
    """Says its pieces one at a time, each when `go` is called; `finish` says all the rest."""

    name = "speaker"
    level = "demo"

    def __init__(self, *pieces: str) -> None:
        self.pieces = list(pieces)
        self.asks: list[RoundRequest] = []
        self._cues = asyncio.Semaphore(0)
        self._rest = asyncio.Event()

    def go(self, pieces: int = 1) -> None:
        for _ in range(pieces):
            self._cues.release()

    def finish(self) -> None:
        self._rest.set()
        self.go(100 * (len(self.pieces) + 1))

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        self.asks.append(ask)
        for piece in self.pieces:
            if not self._rest.is_set():
                await self._cues.acquire()
            yield TextDelta(piece)
        if not self._rest.is_set():
            await self._cues.acquire()
        yield RoundCompleted((Item(kind="message", role="assistant", text="".join(self.pieces)),))

    async def health(self) -> Health:
        return Health("model", "on", "speaker")

    async def erase(self, remote: Remote) -> bool:
        return True

    async def close(self) -> None:
        return None


class Says(Speaker):
    """Says one text, at once."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.finish()


class WatchedInbox:
    """Refuses to store the next `times` messages; all else is the real inbox's. `messages` are
    those that were stored."""

    def __init__(self, times: int = 0) -> None:
        self.times = times
        self.refused = 0
        self.messages: list[Message] = []

    def over(self, inbox: Inbox) -> Inbox:
        """For `Setting.inbox`; also after a restart."""
        self._inbox = inbox
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inbox, name)

    async def accept(self, message: Message, also: TransactionStep = NO_STEP) -> Receipt:
        if self.refused < self.times:
            self.refused += 1
            raise NotStored
        receipt = await self._inbox.accept(message, also)
        self.messages.append(message)
        return receipt


class Board(EmptyStatusBoard):
    """Knows quick commands and changes."""

    def __init__(self, known: Sequence[QuickCommand] = (), changed: Sequence[Card] = ()) -> None:
        self._known = known
        self._changed = changed

    async def commands(self, *_: object) -> Sequence[QuickCommand]:
        return self._known

    async def changes(self, conversation: str) -> Sequence[Card]:
        return self._changed


class NoPosts:
    """A journal for a reply that a test makes by hand: it remembers nothing."""

    is_resumed = False

    def check_ownership(self) -> None: ...

    async def list_posts(self) -> Sequence[Post]:
        return ()

    async def record_posting(self, number: int, key: str) -> None: ...

    async def record_posted(self, number: int, post: str, last: bool = False) -> None: ...

    async def record_removed(self, number: int) -> None: ...
