"""Processes of one Ponte that notify each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from core.journal.jobs import Alone


class ConnectedPeers(Alone):
    """The `Peers` of one of several processes. A notification reaches all others at once."""

    def __init__(self) -> None:
        super().__init__()
        self._others: Sequence[ConnectedPeers] = ()
        self._listeners: dict[str, Callable[[str], Awaitable[None]]] = {}

    @classmethod
    def make(cls, count: int) -> Sequence[ConnectedPeers]:
        """Return the peers of so many processes."""
        results = [cls() for _ in range(count)]
        for each in results:
            each._others = [other for other in results if other is not each]
        return results

    def on(self, word: str, act: Callable[[str], Awaitable[None]]) -> None:
        """Let `act` handle the notifications `word` of the other processes."""
        self._listeners[word] = act

    async def notify(self, word: str, id: str) -> None:
        """Run what the other processes do about it."""
        for other in self._others:
            if word in other._listeners:
                await other._listeners[word](id)
