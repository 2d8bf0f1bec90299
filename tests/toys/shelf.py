"""A tool source that nobody has: a shelf of things, whose changes people approve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from core.base.errors import ToolError
from core.domain.changes import Draft, RowWrite
from core.domain.ports import QuickCommands, Tool
from core.domain.records import Health, Outcome, ToolContext
from core.domain.rights import Viewer
from core.integrations import (
    IntegrationDependencies,
    OperatorConfig,
    RuleNames,
    SettingsPart,
    SharedSettings,
    Switch,
    ToolBundle,
    ToolIntegration,
    setting,
)
from core.tools.tool import FunctionTool
from tests.fakes.memory_table import MemoryTable


class ShelfSource(MemoryTable):
    name = "shelf"

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        return [
            FunctionTool(self.shelf_find, effect="read", doing="is looking at the shelf…"),
            FunctionTool(
                self.shelf_add, effect="write", doing="is proposing a change…", strict=False
            ),
        ]

    async def shelf_find(self, name: str) -> str:
        """What of this name lies on the shelf.

        Args:
            name: the thing's, or a part of it
        """
        if not name:
            raise ToolError("Say what to look for.", code="bad_arguments", hint="name: a text")
        return json.dumps([row for row in self.rows.values() if name in str(row["Name"])])

    async def shelf_add(self, ctx: ToolContext, things: list[dict[str, Any]]) -> Outcome:
        """Propose to put things on the shelf.

        Args:
            things: each with its Name
        """
        rows = tuple(RowWrite(after=thing) for thing in things)
        return await ctx.turn.propose(Draft(self.name, "create", {}, "Shelf", rows))


class ShelfSettings(SettingsPart):
    shelf: Switch = setting("off", "the shelf: on, off")


class Shelf(ToolIntegration[ShelfSettings]):
    name = "shelf"
    settings = ShelfSettings

    def __init__(self, source: ShelfSource) -> None:
        self.source = source

    def summary(self, own: ShelfSettings, shared: SharedSettings) -> Health:
        return (
            Health("shelf", "on", "at the wall")
            if own.shelf == "on"
            else Health("shelf", "off", "set SHELF")
        )

    def build(
        self, deps: IntegrationDependencies[ShelfSettings], quick: QuickCommands
    ) -> ToolBundle:
        return ToolBundle(self.source, [self.source])

    def rule_names(self, own: ShelfSettings, config: OperatorConfig) -> RuleNames:
        return {"tool": ("shelf_find", "shelf_add")}

    async def check(self, deps: IntegrationDependencies[ShelfSettings]) -> Sequence[Health]:
        return [Health("shelf", "on", f"{len(self.source.rows)} things")]
