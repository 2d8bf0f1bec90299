"""All tools of all sources, as one turn may use them."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Collection, Sequence

from core.errors import SettingsError, ToolError
from core.ports import Tool, ToolSource
from core.records import Action, Health

PATIENCE = 10.0
"""Seconds that a source's health check may take."""


class Toolbox:
    """Sources may change what they offer, so tools are gathered anew for each turn."""

    def __init__(self, sources: Sequence[ToolSource] = ()) -> None:
        self._sources = tuple(sources)

    async def tools(self, allowed: Collection[Action]) -> Sequence[Tool]:
        """Those whose effect is among the `allowed` actions, ordered by source.

        Raises SettingsError where two sources bring one name.
        """
        return [tool for tool in (await self._all()).values() if tool.effect in allowed]

    async def find(self, name: str) -> Tool:
        """The tool of that name, whoever may use it. Raises ToolError with the nearest name."""
        tools = await self._all()
        if name in tools:
            return tools[name]
        near = difflib.get_close_matches(name, tools, 1)
        raise ToolError(
            "There is no tool of that name.",
            code="unknown_tool",
            hint=f"did you mean `{near[0]}`?" if near else "",
        )

    async def health(self) -> Sequence[Health]:
        """One for each source; one that breaks or hangs is failing, the others still tell."""
        return await asyncio.gather(*(_health(source) for source in self._sources))

    async def close(self) -> None:
        await asyncio.gather(*(source.close() for source in self._sources))

    async def _all(self) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        for offered in await asyncio.gather(*(source.tools() for source in self._sources)):
            for tool in offered:
                if found.setdefault(tool.spec.name, tool) is not tool:
                    raise SettingsError("Two tools have the name {name!r}.", name=tool.spec.name)
        return found


async def _health(source: ToolSource) -> Health:
    try:
        async with asyncio.timeout(PATIENCE):
            return await source.health()
    except TimeoutError:
        return Health(source.name, "failing", f"no answer within {PATIENCE:.0f} s")
    except Exception as error:
        # Its text may hold an address or a key, so only its kind is told.
        return Health(source.name, "failing", type(error).__name__)
