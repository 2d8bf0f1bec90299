"""What the operator's file says of a team's tables: who sees them, and who approves changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.folding import folded
from core.proposal import Draft

Access = Literal["hidden", "read", "ask", "auto"]
"""`hidden`: not even read. `read`: never changed. `ask`: a person approves each change. `auto`: as
`ask`, but one new row at a time needs nobody."""


@dataclass(frozen=True, slots=True)
class TableRule:
    """`approvers` are names as in PONTE_ALLOW; where there are any, they and admins decide."""

    access: Access = "ask"
    approvers: frozenset[str] = frozenset()


_DEFAULT = TableRule()


@dataclass(frozen=True, slots=True)
class TableRules:
    """Rules by a table's id or title, in whatever case that is written."""

    tables: Mapping[str, TableRule] = field(default_factory=dict)

    def of(self, *names: str) -> TableRule:
        """The rule of the table that goes by one of these names."""
        rules = {folded(name): rule for name, rule in self.tables.items()}
        found = (rules.get(folded(name)) for name in names)
        return next((rule for rule in found if rule), _DEFAULT)

    def of_draft(self, draft: Draft) -> TableRule:
        if draft.kind == "run":
            return _DEFAULT  # whatever it is called, it is no table
        return self.of(str(draft.target.get("table_id", "")), draft.title)

    def hides(self, *names: str) -> bool:
        return self.of(*names).access == "hidden"

    def read_only(self, *names: str) -> bool:
        """What is hidden is not to be changed either."""
        return self.of(*names).access in ("hidden", "read")

    def unknown(self, known: set[str]) -> list[str]:
        """Names in the file that no table goes by: a slip of the pen there hides nothing."""
        there = {folded(name) for name in known}
        return [name for name in self.tables if folded(name) not in there]
