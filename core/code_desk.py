"""Runs Python that a person typed as a code block: rights, budget, then the sandbox."""

from __future__ import annotations

from dataclasses import dataclass

from core import text
from core.errors import NotAllowed, NotFound
from core.messages import Answer
from core.ports import Budget, Journal, Policy
from core.records import Call, Outcome, Turn
from core.scenes import Scenes, Show
from core.tools.code.report import for_person
from core.tools.code.runner import Runner
from core.tools.code.source import DOING, NAME
from core.tools.outcome import compact
from core.words import say

_NOWHERE = (
    "I cannot run code here: no sandbox is ready. `status` says why, and what the operator can "
    "do about it."
)
_LOST = (
    "I was interrupted while this ran, so it is not known what it did. It is not run again by "
    "itself; send it once more if it is needed."
)


@dataclass(frozen=True, slots=True)
class CodeDesk:
    """`runner` is None where no backend is set up."""

    journal: Journal
    policy: Policy
    budget: Budget
    scenes: Scenes
    runner: Runner | None = None

    async def run(self, turn: Turn, code: str, locale: str, show: Show) -> Answer:
        """Raises NotAllowed, NotFound, OverBudget, ToolError."""
        message = turn.message
        verdict = await self.policy.may(message.author, message.address, "code")
        if not verdict.allowed:
            raise NotAllowed(verdict.reason)
        call = turn.calls[0] if turn.calls else Call(NAME, NAME, compact({"code": code}), "code")
        if call.outcome:
            return _answer(call.outcome)
        if turn.calls and not call.handle:
            return Answer(say(_LOST, locale), status="failed", code="unknown")
        if self.runner is None or not await self.runner.backend.offered():
            raise NotFound(_NOWHERE)
        await self.budget.reserve(turn)
        await self.journal.call_started(turn, call)
        outcome = await self._ran(self.runner, turn, call, code, locale, show)
        await self.journal.call_ended(turn, call.call_id, outcome)
        return _answer(outcome)

    async def forget(self, thread: str) -> None:
        """Drop the state and the files of a thread, by its id."""
        if self.runner:
            await self.runner.backend.forget(thread)

    async def _ran(
        self, runner: Runner, turn: Turn, call: Call, code: str, locale: str, show: Show
    ) -> Outcome:
        scene = await self.scenes.for_command(turn, call, locale, show)
        await scene.doing(say(DOING, locale))
        run = await runner.run(scene, code)
        told = await text.aside(lambda _: for_person(run.ran, run.files, locale), run.ran.printed)
        failed = run.ran.error or run.ran.fault
        files = (*run.files, run.code) if run.ran.changed and run.code else run.files
        return Outcome("error" if failed else "ok", told, files, usage=run.ran.usage)


def _answer(outcome: Outcome) -> Answer:
    return Answer(outcome.text, files=outcome.files)
