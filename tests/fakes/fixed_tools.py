"""A tool source that has the same tools for everybody."""

from __future__ import annotations

from collections.abc import Sequence

from core.domain.ports import Tool
from core.domain.records import Health
from core.domain.rights import Viewer


class FixedTools:
    name = "fixed"

    def __init__(self, *tools: Tool) -> None:
        self._tools = tools

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        return self._tools

    async def health(self) -> Health:
        return Health(self.name, "on")

    async def close(self) -> None:
        return None
