"""Quick commands while StackSpot is not set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import ToolError
from core.messages import Address, Person
from core.records import Outcome, QuickCommand, Scene


class NotSetUp:
    """The `QuickCommands` port with nothing behind it."""

    async def known(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return ()

    async def run(self, scene: Scene, slug: str, input: str | Mapping[str, Any]) -> Outcome:
        raise ToolError(
            "Quick commands are not set up: the operator must set STACKSPOT_CLIENT_ID and "
            "STACKSPOT_CLIENT_SECRET.",
            code="not_configured",
        )
