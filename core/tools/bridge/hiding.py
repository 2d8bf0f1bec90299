"""Tables that the operator hides, kept out of what the bridge is asked and what it answers.

A bridge often cannot tell a table's title, so a rule by id is the sure one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import ToolError
from core.table_rules import TableRules
from core.tools.bridge.table import BridgeTables


@dataclass(slots=True)
class BridgeHiding:
    rules: TableRules
    tables: BridgeTables
    _titles: dict[str, str] = field(default_factory=dict)

    async def check(self, tool: str, args: Mapping[str, Any]) -> None:
        """Raises ToolError, which does not tell whether there is such a table, and BridgeError."""
        if not any(rule.access == "hidden" for rule in self.rules.tables.values()):
            return
        if table := str(args.get("table_id", "")):
            if table not in self._titles:
                self._titles[table] = (await self.tables.table(table)).title
            if self.rules.hides(table, self._titles[table]):
                raise _hidden()
        if tool == "global_search":
            raise ToolError(
                "Searching all tables at once is off here.",
                code="not_offered",
                hint="ask one table at a time with list_records",
            )

    def shown(self, tool: str, result: Any) -> Any:
        """`result` without hidden tables. Raises ToolError where it is one."""
        if tool == "get_table" and isinstance(result, dict) and self._hides(result):
            raise _hidden()
        if tool != "list_tables":
            return result
        tables = result.get("list") if isinstance(result, dict) else result
        if not isinstance(tables, list):
            return result
        kept = [table for table in tables if not self._hides(table)]
        return {**result, "list": kept} if isinstance(result, dict) else kept

    def _hides(self, table: Any) -> bool:
        if not isinstance(table, dict):
            return False
        id, title = str(table.get("id", "")), str(table.get("title", ""))
        self._titles[id] = title
        return self.rules.hides(id, title)


def _hidden() -> ToolError:
    return ToolError(
        "There is no such table.", code="not_found", hint="find tables with list_tables"
    )
