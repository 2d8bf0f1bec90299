"""Protocols of the model, of the tools that it calls and of quick commands."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Collection,
    Mapping,
    Sequence,
)
from typing import Any, Protocol

from core.domain.messages import (
    Address,
    Person,
)
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
)


class Model(Protocol):
    """Answers one round as a stream. Raises a ModelError; `Completed` is always the last event."""

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> str:
        """`conversations`, `responses`, `chat` or `demo`."""

    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]: ...

    async def health(self) -> Health: ...

    async def erase(self, remote: Remote) -> bool:
        """Erase it on the server; False when it could not be, and must be tried again."""

    async def close(self) -> None: ...


class Tool(Protocol):
    @property
    def spec(self) -> ToolSpec: ...

    @property
    def effect(self) -> Effect:
        """The least that a call of it does."""

    def effect_of(self, arguments: str) -> Effect:
        """What this call would do."""

    def only_proposes(self, arguments: str) -> bool:
        """Whether this call does nothing before a person approves it: it may be run again."""

    def restrict_to(self, allowed: Collection[Action]) -> Tool | None:
        """As it is offered to who may do these things; None for not at all."""

    @property
    def progress_text(self) -> str:
        """English source of what a person sees while it runs: "is looking at the tables…"."""

    @property
    def timeout_seconds(self) -> float:
        """Seconds that one call may take."""

    async def run(self, ctx: ToolContext, arguments: str) -> Outcome:
        """`arguments` is JSON text as the model wrote it. Raises ToolError."""


class ToolSource(Protocol):
    """A system that brings tools: what it offers may change while Ponte runs."""

    @property
    def name(self) -> str: ...

    async def tools(self) -> Sequence[Tool]: ...

    async def health(self) -> Health: ...

    async def close(self) -> None: ...


class QuickCommands(Protocol):
    async def list_commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        """Those that this person may run here."""

    async def find(self, person: Person, address: Address, slug: str) -> QuickCommand:
        """Raises UnknownCommand with the nearest slug, NotAllowed for who or where it is not."""

    async def run(self, ctx: ToolContext, slug: str, input: str | Mapping[str, Any]) -> Outcome: ...
