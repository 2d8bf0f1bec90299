"""Runs a quick command that a person typed: rights, inputs, then the system that knows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core import commands
from core.errors import NotAllowed, PonteError
from core.messages import Answer, Person, Progress
from core.ports import Budget, Journal, Policy, QuickCommands
from core.records import Action, Call, QuickCommand, Scene, Turn
from core.words import say

Show = Callable[[Progress], Awaitable[None]]

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

    async def run(self, turn: Turn, command: commands.Command, locale: str, show: Show) -> Answer:
        """Raises NotAllowed, UnknownCommand, BadInput, OverBudget, QuickCommandFailed."""
        message = turn.message
        found = await self.known.find(message.author, message.address, command.slug)
        await self._check(turn, found)
        given = commands.check_inputs(found, command.input)
        if turn.calls:
            return Answer(say(_LOST, locale), status="failed", code="unknown")
        await self.budget.reserve(turn)
        call = Call("quick-command", found.slug, commands.render(command), "spend")
        await self.journal.call_started(turn, call)
        scene = await self._scene(turn, locale, show)
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

    async def _scene(self, turn: Turn, locale: str, show: Show) -> Scene:
        message = turn.message

        async def doing(words: str) -> None:
            await show(Progress(doing=words))

        return Scene(
            asker=message.author, address=message.address, turn=turn.id, seq=turn.seq,
            call_id="quick-command", locale=locale, doing=doing,
            thread=await self.journal.thread(message.address.conversation),
        )  # fmt: skip
