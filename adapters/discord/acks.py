"""Whether an interaction was acked: its answer waits for that, since there is nothing to edit
before."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

MOST = 1000


class Acks:
    """By turn. None for a turn that this process knows nothing of: a restart came between."""

    def __init__(self) -> None:
        self._acked: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()

    def expect(self, turn: str) -> None:
        if turn in self._acked:
            return
        self._acked[turn] = asyncio.get_running_loop().create_future()
        while len(self._acked) > MOST:
            self.settle(next(iter(self._acked)), False)
            self._acked.popitem(last=False)

    def settle(self, turn: str, acked: bool) -> None:
        future = self._acked.get(turn)
        if future is not None and not future.done():
            future.set_result(acked)

    async def of(self, turn: str) -> bool | None:
        future = self._acked.get(turn)
        return None if future is None else await asyncio.shield(future)
