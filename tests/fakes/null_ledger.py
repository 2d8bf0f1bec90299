"""A ledger that stores nothing: it returns each change as `ChangeRunner` ended it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from core.domain.changes import Change, ChangeState, ChangeStep


class NullLedger:
    """The part of `SqlLedger` that `ChangeRunner` uses."""

    def __init__(self, *changes: Change) -> None:
        self._changes = {change.id: change for change in changes}

    async def record(self, id: str, seq: int, steps: Sequence[ChangeStep]) -> None:
        await asyncio.sleep(0)
        values = {step.number: step for step in (*self._changes[id].steps, *steps)}
        self._changes[id] = replace(self._changes[id], steps=tuple(values.values()))

    async def finish(
        self,
        id: str,
        seq: int,
        state: ChangeState,
        note: str,
        now: float,
        steps: Sequence[ChangeStep] = (),
    ) -> Change:
        await self.record(id, seq, steps)
        return replace(self._changes[id], state=state)
