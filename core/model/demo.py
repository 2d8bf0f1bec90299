"""The demo model: no key, no network, no intelligence. It says so.

A small parser on the model port that drives the same rounds and tools as a real one. It keeps
nothing: each round is decided from the thread alone, so that it goes on after a crash.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence

from core.messages import Item
from core.model.demo_mind import Mind
from core.model.demo_story import Exchange, exchanges
from core.model.demo_tables import Use
from core.records import Ask, Completed, Delta, Health, ModelEvent, Remote


class DemoModel:
    """A `Model` that can always be had."""

    name = "demo"
    level = "demo"

    async def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]:
        *earlier, now = exchanges([*await ask.history(), *ask.input]) or [Exchange("", "")]
        decision = Mind(ask, earlier, now).decide()
        if isinstance(decision, list):
            yield Completed(tuple(_calls(ask, decision)))
            return
        for piece in re.findall(r"\s*\S+\s*", decision):
            yield Delta(piece)
            await asyncio.sleep(0)
        yield Completed((Item(kind="message", role="assistant", text=decision),))

    async def health(self) -> Health:
        return Health("model", "on", "the demo model; OPENAI_API_KEY in .env adds a real one")

    async def erase(self, remote: Remote) -> bool:
        """Nothing of ours is kept anywhere; what another model left is not ours to erase."""
        return False

    async def close(self) -> None:
        return None


def _calls(ask: Ask, uses: Sequence[Use]) -> list[Item]:
    """Their ids are the same when the same round is asked again."""
    properties = {tool.name: tool.parameters.get("properties", {}) for tool in ask.tools}
    items = []
    for number, use in enumerate(uses, 1):
        known = properties[use.tool]
        args = {name: value for name, value in use.args.items() if name in known or not known}
        items.append(
            Item(
                kind="call",
                call_id=f"demo-{ask.turn}-{ask.number}-{number}",
                name=use.tool,
                arguments=json.dumps(args, ensure_ascii=False),
            )
        )
    return items
