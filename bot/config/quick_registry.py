"""The quick commands in `ponte.toml`: which exist, for whom and where."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bot.config.ponte_toml import QuickCommandConfig, in_language
from core.base.errors import NotAllowed, StatusUnknown, ToolError, UnknownCommand
from core.base.i18n import LOCALES
from core.commands.grammar import check_slug
from core.domain.messages import Address, Person
from core.domain.records import Outcome, QuickCommand, ToolContext
from core.domain.rights import Verdict
from core.integrations import OperatorConfig
from core.people.policy import Policy

IsNamed = Callable[[Person, Address, frozenset[str]], Awaitable[bool]]
"""Returns whether one of these names is the person's, or of a group or role of theirs. Raises
StatusUnknown."""
RunQuickCommand = Callable[[ToolContext, str, str | Mapping[str, Any]], Awaitable[Outcome]]

_UNKNOWN = "Quick command `{slug}` not found. Did you mean `{near}`?"
_NO_SUCH = "Quick command `{slug}` not found. You can run these here: {known}."
_NONE_HERE = "Quick command `{slug}` not found. You can't run any here."
_NOT_HERE = "`{slug}` can't be run in this channel. Its channels are set in ponte.toml (`where`)."
_NOT_YOU = (
    "You don't have permission to run `{slug}`. Ask an admin to add you to `by` in ponte.toml."
)


@dataclass
class QuickCommandRegistry:
    """The quick commands of ponte.toml: who may run which, and where (the port `QuickCommands`).
    `run_command` runs one at StackSpot; without it, none can be run.

    Without any quick command in the file, any well-formed slug may be run. Its effect is unknown
    then, so the model asks a person first.
    """

    config: OperatorConfig
    is_named: IsNamed
    run_command: RunQuickCommand | None = None
    policy: Policy | None = None

    def connect(self, run: RunQuickCommand | None) -> None:
        """`run` is None if StackSpot is not connected."""
        self.run_command = run

    @property
    def everybodys(self) -> list[QuickCommand]:
        """The quick commands limited to no place and no person, which a model may know whoever
        asks."""
        named = self.config.quick_commands.items()
        return [
            _public_record(slug, each) for slug, each in named if not each.where and not each.by
        ]

    def asks_first(self, slug: str) -> bool:
        """Return whether a call by the model needs a person's approval: the command may change data
        or cost money, or its effect is not known."""
        command = self.config.quick_commands.get(slug)
        return command is None or command.effect != "read"

    async def list_commands(self, person: Person, address: Address) -> list[QuickCommand]:
        """Return the quick commands that this person may run here: their own entry allows place and
        person, and the person has the right."""
        commands = []
        for slug, command in self.config.quick_commands.items():
            if not _may_run_here(command, address):
                continue
            try:
                is_theirs = await self._is_theirs(command, person, address)
            except StatusUnknown:  # the person's groups are unknown: a denial
                continue
            if is_theirs and (await self._judge_right(person, address, slug)).allowed:
                commands.append(_public_record(slug, command))
        return commands

    async def find(self, person: Person, address: Address, slug: str) -> QuickCommand:
        """Return the quick command of this slug. Raises UnknownCommand with the most similar slug
        or those that the person may run, NotAllowed, and StatusUnknown.

        Two things can deny a command: its own entry in ponte.toml (`refuse`: `by`, `where`), and
        the rules about rights (`_judge_right`: the right `command:SLUG`).

        Without any command in ponte.toml, each slug may be one of StackSpot's. Its run may cost
        money, so it needs the right to spend.
        """
        check_slug(slug)  # a model may have made it up
        command = self.config.quick_commands.get(slug)
        if command is None and not self.config.quick_commands:
            (await self._judge_right(person, address, slug)).raise_if_denied()
            return QuickCommand(slug, slug, effect="spend")
        if command is None:
            slugs = [command.slug for command in await self.list_commands(person, address)]
            if near := difflib.get_close_matches(slug, slugs, 1):
                raise UnknownCommand(_UNKNOWN, slug=slug, near=near[0])
            if slugs:
                raise UnknownCommand(_NO_SUCH, slug=slug, known=", ".join(slugs[:10]))
            raise UnknownCommand(_NONE_HERE, slug=slug)
        if refusal := await self.refuse(person, address, slug):
            raise refusal
        (await self._judge_right(person, address, slug)).raise_if_denied()
        return _public_record(slug, command)

    async def refuse(self, person: Person, address: Address, slug: str) -> NotAllowed | None:
        """Return the error if the command's own entry keeps this person or this place from running
        it (`by`, `where`). An unknown slug is not refused here."""
        command = self.config.quick_commands.get(slug)
        if command is None:
            return None
        if not _may_run_here(command, address):
            return NotAllowed(_NOT_HERE, slug=slug, right=f"command:{slug}", rule="where")
        if not await self._is_theirs(command, person, address):
            return NotAllowed(_NOT_YOU, slug=slug, right=f"command:{slug}", rule="by")
        return None

    async def run(self, ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        if self.run_command is not None:
            return await self.run_command(ctx, slug, input)
        raise ToolError(
            "Quick commands aren't set up. The person who runs Ponte must set "
            "STACKSPOT_CLIENT_ID and STACKSPOT_CLIENT_SECRET.",
            code="not_configured",
        )

    async def _judge_right(self, person: Person, address: Address, slug: str) -> Verdict:
        if self.policy is None:
            return Verdict(True)
        return await self.policy.may(person, address, "command", slug)

    async def _is_theirs(
        self, command: QuickCommandConfig, person: Person, address: Address
    ) -> bool:
        return not command.by or await self.is_named(person, address, frozenset(command.by))


def _may_run_here(command: QuickCommandConfig, address: Address) -> bool:
    surface = (address.platform, address.workspace, address.channel)
    places = {":".join(surface[:length]) for length in (1, 2, 3)}
    return not command.where or bool(places & set(command.where))


def _public_record(slug: str, command: QuickCommandConfig) -> QuickCommand:
    """Return a command of ponte.toml as people, models and the page see it. Title and description
    are in English; `translations` has both for each language in which the file has one of them."""
    title, description = command.title, command.description
    return QuickCommand(
        slug=slug,
        title=in_language(title, "en") or slug,
        description=in_language(description, "en"),
        inputs={name: asdict(declared) for name, declared in command.inputs.items()},
        translations={
            locale: (in_language(title, locale) or slug, in_language(description, locale))
            for locale in LOCALES
            if locale in title or locale in description
        },
        effect=command.effect,
    )
