"""Quick commands that run at once, for the tests of every surface."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.base.errors import NotAllowed, UnknownCommand
from core.domain.messages import Address, Person
from core.domain.records import Outcome, QuickCommand, ToolContext

SUMMARY = QuickCommand(
    slug="daily-summary",
    title="Daily summary",
    description="What happened today",
    inputs={
        "day": {"type": "text", "required": True},
        "tone": {"type": "choice", "choices": ("dry", "warm")},
    },
    translations={"pt-BR": ("Resumo diário", "O que aconteceu hoje")},
    effect="read",
)
CLOSE = QuickCommand("close-day", "Close the day", effect="write")
ECHO = QuickCommand("echo", "Echo", "Says the same again", effect="read")


@dataclass(slots=True)
class RegisteredCommands:
    """The `QuickCommands` port. Those in `elsewhere` are known, but not here; `ran` are all runs.

    `outcome` is what each run ends in, where it is set.
    """

    commands: Sequence[QuickCommand] = (SUMMARY, CLOSE, ECHO)
    elsewhere: frozenset[str] = frozenset()
    outcome: Outcome | None = None
    ran: list[tuple[str, str | Mapping[str, Any]]] = field(default_factory=list)

    @property
    def everybodys(self) -> Sequence[QuickCommand]:
        return self.commands

    def asks_first(self, slug: str) -> bool:
        return not any(one.slug == slug and one.effect == "read" for one in self.commands)

    def connect(self, run: Any) -> None:
        raise NotImplementedError

    async def list_commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return [one for one in self.commands if one.slug not in self.elsewhere]

    async def refuse(self, person: Person, address: Address, slug: str) -> NotAllowed | None:
        words = (
            "`{slug}` can't be run in this channel. Its channels are set in ponte.toml (`where`)."
        )
        return NotAllowed(words, slug=slug) if slug in self.elsewhere else None

    async def find(self, person: Person, address: Address, slug: str) -> QuickCommand:
        commands = {one.slug: one for one in self.commands}
        if refusal := await self.refuse(person, address, slug):
            raise refusal
        if slug in commands:
            return commands[slug]
        near = difflib.get_close_matches(slug, commands, 1) or list(commands)
        raise UnknownCommand(
            "Quick command `{slug}` not found. Did you mean `{near}`?", slug=slug, near=near[0]
        )

    async def run(self, ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        self.ran.append((slug, input))
        await ctx.turn.show_progress("is running the quick command…")
        return self.outcome or Outcome("ok", f"{slug} ran with {input!r}")
