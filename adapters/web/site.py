"""What the routes of one door stand on: the ports, and the callables that the operator reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.web.door import Door
from adapters.web.hub import Hub
from core.ports import Files, Inbox, StatusBoard
from core.records import Health, Shown

Json = dict[str, Any]


class Transcripts(Protocol):
    """What is read of the journal."""

    async def shown(self, conversation: str, thread: str = "") -> Sequence[Shown]: ...

    async def turn_of(self, turn: str) -> Shown: ...


class Operator(Protocol):
    """What only the Unix socket may ask; all JSON."""

    async def threads(self) -> Sequence[Mapping[str, Any]]: ...

    async def thread(self, conversation: str) -> Mapping[str, Any]:
        """Raises NotFound."""
        ...

    def link(self) -> str:
        """The page's address with its token; "" where this process serves no page."""
        ...

    async def forget(self, *, conversation: str = "", person: str = "") -> Mapping[str, Any]:
        """One of the two, by key. Raises NotFound."""
        ...


@dataclass(slots=True)
class Site:
    """`taking` is False once intake has stopped: what comes in now is refused, not lost."""

    door: Door
    hub: Hub
    inbox: Inbox
    journal: Transcripts
    files: Files
    board: StatusBoard
    readiness: Callable[[], Awaitable[Sequence[Health]]]
    metrics: Callable[[], str] | None = None
    operator: Operator | None = None
    locale: str = "en"
    time_zone: str = "UTC"
    taking: bool = True

    def key(self, conversation: str) -> str:
        """The conversation key of what this door calls `conversation`."""
        return f"{self.door.platform}:{conversation}"
