"""A model without a server: it answers at once, after a while, or when a gate opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from core.domain.messages import Item
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.records import Health, Remote

Gate = Callable[[RoundRequest], Awaitable[None]]


class EchoModel:
    """Answers with the text that it was asked. A text of `call NAME {json}` calls that tool first.

    `gate` is awaited before each round; `asked` counts the calls under way and the most at once.
    """

    name = "echo"
    level = "demo"

    def __init__(self, delay: float = 0.0, gate: Gate | None = None) -> None:
        self.delay = delay
        self.gate = gate
        self.asks: list[RoundRequest] = []
        self.under_way = 0
        self.most = 0
        self.came = asyncio.Condition()

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        async with self.came:
            self.asks.append(ask)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.came.notify_all()
        try:
            if self.gate:
                await self.gate(ask)
            if self.delay:
                await asyncio.sleep(self.delay)
            last = ask.input[-1]
            if last.kind == "message" and last.text.startswith("call "):
                yield RoundCompleted(self._calls(ask, last.text))
                return
            text = f"You said: {last.text}"
            yield TextDelta(text)
            yield RoundCompleted((Item(kind="message", role="assistant", text=text),))
        finally:
            self.under_way -= 1

    async def until(self, under_way: int) -> None:
        """Wait until that many calls are in flight at once."""
        async with self.came:
            await self.came.wait_for(lambda: self.under_way >= under_way)

    async def health(self) -> Health:
        return Health("model", "on", "echo")

    async def erase(self, remote: Remote) -> bool:
        return True

    async def close(self) -> None:
        return None

    def _calls(self, ask: RoundRequest, text: str) -> tuple[Item, ...]:
        """One call a line: `call NAME {json}`."""
        calls = []
        for number, line in enumerate(text.splitlines()):
            _, name, arguments = line.split(" ", 2)
            call_id = f"{ask.turn}-{ask.number}-{number}"
            calls.append(Item(kind="call", call_id=call_id, name=name, arguments=arguments))
        return tuple(calls)
