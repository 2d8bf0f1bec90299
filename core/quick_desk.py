"""Runs a quick command that a person typed: rights, inputs, then the system that knows it."""

from __future__ import annotations

from dataclasses import dataclass

from core import commands
from core.errors import NotAllowed, PonteError
from core.messages import Answer, Person
from core.ports import Budget, Journal, Policy, QuickCommands
from core.records import Action, Call, QuickCommand, Turn
from core.scenes import Scenes, Show
from core.words import say

_RUNNING = "is running the quick command…"
_LOST = (
    "I was interrupted while this ran, so it is not known whether it came to its end. "
    "It is not run again by itself; look first, then ask again if it is needed."
)


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

    async def run(self, turn: Turn, command: commands.Command, locale: str, show: Show) -> Answer:
        """Raises NotAllowed, UnknownCommand, BadInput, OverBudget, QuickCommandFailed."""
        message = turn.message
        found = await self.known.find(message.author, message.address, command.slug)
        await self._check(turn, found)
        given = commands.check_inputs(found, command.input)
        call = Call("quick-command", found.slug, commands.render(command), "spend")
        if turn.calls:
            call = turn.calls[0]
            if not call.handle:
                return Answer(say(_LOST, locale), status="failed", code="unknown")
        await self.budget.reserve(turn)
        await self.journal.call_started(turn, call)
        scene = await self.scenes.for_command(turn, call, locale, show)
        await scene.doing(say(_RUNNING, locale))
        outcome = await self.known.run(scene, found.slug, given)
        if outcome.status != "ok":
            raise QuickCommandFailed(slug=found.slug, words=outcome.text)
        return Answer(outcome.text, files=outcome.files)

    async def _check(self, turn: Turn, found: QuickCommand) -> None:
        """One that is marked as changing data needs that right too. Raises NotAllowed."""
        person: Person = turn.message.author
        needed: tuple[Action, ...] = ("spend", "write") if found.effect == "write" else ("spend",)
        for action in needed:
            verdict = await self.policy.may(person, turn.message.address, action)
            if not verdict.allowed:
                raise NotAllowed(verdict.reason)
