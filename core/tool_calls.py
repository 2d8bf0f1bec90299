"""The tool calls of one turn, each journalled before and after it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import structlog

from core import metrics, text
from core.errors import Draining, NotStored, PostRemoved, Superseded, ToolError
from core.messages import Item
from core.ports import Journal, Tool
from core.records import Call, Effect, Outcome, Scene
from core.stage import Stage
from core.together import together
from core.tools.outcome import capped, outcome_of_error
from core.words import say

log = structlog.get_logger("turn")
AT_ONCE = 8
"""Tool calls of one round that run side by side, at most."""
REPEATABLE: tuple[Effect, ...] = ("read", "write")
"""Effects whose interrupted call may simply run again: a write only proposes, once for a call.
So may any other call that only proposes."""
COSTLY: tuple[Effect, ...] = ("spend", "code")
LOST = "error: interrupted, it is unknown whether this happened; do not repeat it, tell the person"
_NO_MORE = (
    "error: not run. This turn has used up its {count} tool calls{costly}; none of {what} runs "
    "any more in it. Answer now with what you have, and tell the person what is still to be done"
)
USED_UP = "I stopped here after {count} tool calls, which is what one answer may use."
USED_UP_COSTLY = (
    "I stopped here after {count} tool calls that cost (quick commands, agents, code), which is "
    "what one answer may use."
)


class ToolCalls:
    """`outcomes` by call id. `scene_of` sets the scene of a call, `show` tells what it does."""

    def __init__(
        self,
        stage: Stage,
        journal: Journal,
        scene_of: Callable[[Call], Scene],
        show: Callable[[str], Awaitable[None]],
    ) -> None:
        self._stage = stage
        self._journal = journal
        self._scene_of = scene_of
        self._show = show
        self._known = {call.call_id: call for call in stage.turn.calls}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._elsewhere: set[str] = set()
        self._leaving = False
        self._total: dict[str, int] = {}
        self._costly: dict[str, int] = {}
        for item in stage.turn.items:
            if item.kind == "call":
                self._count(item)
        self.outcomes = {c.call_id: c.outcome for c in stage.turn.calls if c.outcome}

    @property
    def go_on_elsewhere(self) -> bool:
        """Whether another system may still finish what was called here, though nobody waits."""
        return any(call not in self.outcomes for call in self._elsewhere)

    @property
    def used_up(self) -> str:
        """What the person is told where this turn wanted more calls than it may make; else ""."""
        limits, locale = self._stage.limits, self._stage.locale
        if len(self._costly) > limits.costly:
            return say(USED_UP_COSTLY, locale, count=limits.costly)
        if len(self._total) > limits.total:
            return say(USED_UP, locale, count=limits.total)
        return ""

    async def run(self, calls: Sequence[Item]) -> Sequence[Outcome]:
        """All calls of one round, side by side; their outcomes in the calls' order."""
        for item in calls:
            self._count(item)
        return await together(*(self._run_one(call) for call in calls))

    async def _run_one(self, item: Item) -> Outcome:
        """A write or a spend runs to its record, even when the turn is stopped; one that goes on
        elsewhere has its record as soon as its handle is kept."""
        tool = self._stage.tools.get(item.name)
        task = asyncio.create_task(self._recorded(item, tool))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._leaving = True
            effect = tool.effect_of(item.arguments) if tool else "read"
            if effect not in ("write", "spend") or item.call_id in self._elsewhere:
                task.cancel()
            while not task.done():  # whoever cancels us again waits for it too
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            raise

    async def _recorded(self, item: Item, tool: Tool | None) -> Outcome:
        turn, known = self._stage.turn, self._known.get(item.call_id)
        interrupted = known is not None and known.outcome is None and not known.handle
        proposes = tool is not None and tool.only_proposes(item.arguments)
        if interrupted and known and known.effect not in REPEATABLE and not proposes:
            outcome = Outcome("unknown", LOST)
        else:
            effect = tool.effect_of(item.arguments) if tool else "read"
            handle = known.handle if known else ""
            call = Call(item.call_id, item.name, item.arguments, effect, handle=handle)
            async with self._gate:
                await self._journal.call_started(turn, call)
                outcome = await self._checked(tool, call)
        await self._journal.call_ended(turn, item.call_id, outcome)
        self.outcomes[item.call_id] = outcome
        name = item.name if tool else "unknown"
        metrics.tool_calls.labels(name, outcome.status).inc()
        log.info("tool call", tool=name, status=outcome.status)
        return outcome

    def _count(self, item: Item) -> None:
        """In the order of the calls, so that after a crash each is counted as before."""
        self._total.setdefault(item.call_id, len(self._total) + 1)
        tool, asked = self._stage.tools.get(item.name), item.arguments
        if tool and tool.effect_of(asked) in COSTLY and not tool.only_proposes(asked):
            self._costly.setdefault(item.call_id, len(self._costly) + 1)

    def _too_many(self, call: Call) -> str:
        limits = self._stage.limits
        if self._costly.get(call.call_id, 0) > limits.costly:
            return _NO_MORE.format(count=limits.costly, costly=" that cost", what="those")
        if self._total.get(call.call_id, 0) > limits.total:
            return _NO_MORE.format(count=limits.total, costly="", what="them")
        return ""

    async def _checked(self, tool: Tool | None, call: Call) -> Outcome:
        if too_many := self._too_many(call):
            return Outcome("error", too_many)
        if tool is None:
            return Outcome("error", f"error: there is no tool {text.clip(call.name, 64)!r} here")
        if self._stage.may and not (verdict := await self._stage.may(call.effect)).allowed:
            return Outcome("error", f"error: {say(verdict.reason)}")
        return await self._attempt(tool, call)

    async def _attempt(self, tool: Tool, call: Call) -> Outcome:
        if tool.doing:
            await self._show(say(tool.doing, self._stage.locale))
        try:
            async with asyncio.timeout(tool.patience):
                return capped(await tool.run(self._scene(call), call.arguments))
        except TimeoutError:
            status: Literal["error", "unknown"] = "error" if call.effect == "read" else "unknown"
            return Outcome(status, f"error: no answer within {tool.patience:.0f} s")
        except ToolError as error:
            log.info("tool refused", tool=call.name, code=error.code)
            return capped(outcome_of_error(error))
        except (Draining, NotStored, PostRemoved, Superseded):
            raise
        except Exception:
            log.exception("tool broke", tool=call.name)
            return Outcome("error", "error: the tool broke; this is a fault of mine")

    def _scene(self, call: Call) -> Scene:
        scene = self._scene_of(call)

        async def known_as(handle: str) -> None:
            await scene.known_as(handle)
            self._elsewhere.add(call.call_id)
            if self._leaving:
                raise asyncio.CancelledError

        return replace(scene, known_as=known_as)
