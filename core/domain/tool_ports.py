"""Protocols of the model, of the tools that it calls and of quick commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, Protocol

from core.domain.messages import Address, Person
from core.domain.records import (
    Action,
    Effect,
    Health,
    ModelEvent,
    Outcome,
    QuickCommand,
    Remote,
    RoundRequest,
    ToolContext,
    ToolSpec,
    Viewer,
)

SAMPLE_TABLES_PHRASE = "Ponte's sample base"
"""Part of the description of the tools over the sample tables. The demo model knows them by it."""


class Model(Protocol):
    """Answers one round as a stream of events.

    Raises a ModelError. `RoundCompleted` is always the last event.
    """

    @property
    def name(self) -> str:
        """Return the name of the model, as its server calls it."""

    @property
    def level(self) -> str:
        """The API level: `conversations`, `responses`, `chat` or `demo`."""

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Send one request and yield its events."""

    async def health(self) -> Health:
        """Return the present state of the model's server."""

    async def erase(self, remote: Remote) -> bool:
        """Erase the object on the server. False: it failed, and must be tried again."""

    async def close(self) -> None:
        """Close the connections to the server."""


class Tool(Protocol):
    """A function that the model can call."""

    @property
    def spec(self) -> ToolSpec:
        """Return the name, description and parameters that the model sees."""

    @property
    def effect(self) -> Effect:
        """The smallest effect that any call of the tool has."""

    def effect_of(self, arguments: str) -> Effect:
        """Return the effect that a call with these arguments (JSON text) would have."""

    def only_proposes(self, arguments: str) -> bool:
        """Return True if this call changes nothing before a person approves it.

        Such a call may run again.
        """

    def restrict_to(self, allowed: Collection[Action]) -> Tool | None:
        """Return the tool as offered to people with these rights.

        None: it is not offered to them.
        """

    @property
    def progress_text(self) -> str:
        """English source of what a person sees while it runs: "is looking at the tables…"."""

    @property
    def timeout_seconds(self) -> float:
        """The maximum duration of one call."""

    async def run(self, ctx: ToolContext, arguments: str) -> Outcome:
        """Run the tool. `arguments` is JSON text as the model wrote it. Raises ToolError."""


class ToolSource(Protocol):
    """A system that provides tools. Its tools may change while Ponte runs."""

    @property
    def name(self) -> str:
        """Return the name of the system, for example "nocodb"."""

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        """Return the tools that this person can be offered now."""

    async def health(self) -> Health:
        """Return the present state of the system."""

    async def close(self) -> None:
        """Close the connections to the system."""


class QuickCommands(Protocol):
    """The quick commands of an installation."""

    async def list_commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        """Return the quick commands that this person may run at the address."""

    async def find(self, person: Person, address: Address, slug: str) -> QuickCommand:
        """Return the command with this slug.

        Raises UnknownCommand with the nearest slug, and NotAllowed if the person or place has no
        right to it.
        """

    async def run(self, ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        """Run the command with this slug and return its outcome. Raises ToolError."""
