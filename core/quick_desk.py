"""Runs a quick command that a person typed: rights, inputs, then the system that knows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from core import commands, given
from core.errors import NotAllowed, PonteError
from core.inputs import Inputs
from core.messages import Answer, Person
from core.ports import Budget, Journal, Policy, QuickCommands
from core.records import Action, Call, QuickCommand, Scene, Turn
from core.results import Results
from core.scenes import Scenes, Show, TurnFiles
from core.words import say

_RUNNING = "is running the quick command…"
_LOST = (
    "I was interrupted while this ran, so it is not known whether it came to its end. "
    "It is not run again by itself; look first, then ask again if it is needed."
)
_LEFT = "_Stopped: I no longer wait for `{slug}`. StackSpot has begun it, and may still finish it._"
_PERHAPS = "_Stopped, while `{slug}` was being begun: StackSpot may run it all the same._"


class QuickCommandFailed(PonteError):
    """`words` are the system's own; they are not translated."""

    code = "tool"
    sentence = "The quick command `{slug}` failed: {words}"


@dataclass(frozen=True, slots=True)
class QuickDesk:
    journal: Journal
    policy: Policy
    budget: Budget
    known: QuickCommands
    scenes: Scenes
    results: Results = field(default_factory=Results)

    async def run(self, turn: Turn, command: commands.Command, locale: str, show: Show) -> Answer:
        """Raises NotAllowed, UnknownCommand, BadInput, OverBudget, QuickCommandFailed."""
        message = turn.message
        found = await self.known.find(message.author, message.address, command.slug)
        await self._check(turn, found)
        call = Call("quick-command", found.slug, commands.render(command), "spend")
        if turn.calls:
            call = turn.calls[0]
            if not call.handle:
                return Answer(say(_LOST, locale), status="failed", code="unknown")
        scene = await self.scenes.for_command(turn, call, locale, show)
        inputs = await self._inputs(turn, scene, found, command.input)
        await self.budget.reserve(turn)
        await self.journal.call_started(turn, call)
        await scene.doing(say(_RUNNING, locale))
        return await self._run(turn, scene, found.slug, inputs)

    async def _run(self, turn: Turn, scene: Scene, slug: str, inputs: Inputs) -> Answer:
        begun = asyncio.Event()
        if scene.handle:
            begun.set()
        try:
            outcome = await self.known.run(_noting(scene, begun), slug, inputs)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not scene.stopped() or task is None:
                raise
            task.uncancel()
            left = _LEFT if begun.is_set() else _PERHAPS
            return Answer(say(left, scene.locale, slug=slug), status="stopped")
        if outcome.status != "ok":
            raise QuickCommandFailed(slug=slug, words=outcome.text)
        answer = Answer("", files=outcome.files)
        return await self.with_result(turn, answer, outcome.text, slug, scene.locale)

    async def with_result(
        self, turn: Turn, answer: Answer, result: str, name: str, locale: str
    ) -> Answer:
        """`answer` and under it what a command gave; a long result is a file called `name`."""
        keep = TurnFiles(turn, turn.thread, self.scenes).keep
        shown = await self.results.shown(result, name, locale, keep)
        text = f"{answer.text}\n\n{shown.text}".strip()
        return replace(answer, text=text, files=(*answer.files, *shown.files))

    async def _inputs(self, turn: Turn, scene: Scene, found: QuickCommand, typed: Inputs) -> Inputs:
        if scene.handle or scene.files is None:  # with a handle, it has begun with its inputs
            return typed
        attached = await self.scenes.attached(turn.message)
        whole = await given.given(found, typed, turn.message, attached, scene.files.read)
        return commands.check_inputs(found, whole)

    async def _check(self, turn: Turn, found: QuickCommand) -> None:
        """One that is marked as changing data needs that right too. Raises NotAllowed."""
        person: Person = turn.message.author
        needed: tuple[Action, ...] = ("spend", "write") if found.effect == "write" else ("spend",)
        for action in needed:
            verdict = await self.policy.may(person, turn.message.address, action)
            if not verdict.allowed:
                raise NotAllowed(verdict.reason)


def _noting(scene: Scene, begun: asyncio.Event) -> Scene:
    """The same scene; `begun` is set once the other system has named the run."""

    async def known_as(handle: str) -> None:
        await scene.known_as(handle)
        begun.set()

    return replace(scene, known_as=known_as)
