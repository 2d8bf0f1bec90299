"""The operations of the operator's page over nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.domain.messages import Person
from core.domain.records import ListTable
from core.people.audit import OPERATOR


class MemoryOperator:
    """The `Operator` port of a Ponte in which nothing has happened."""

    async def run(self, name: str, arguments: Mapping[str, Any], actor: Person = OPERATOR) -> Any:
        usage = {"by": arguments.get("by"), "since": arguments.get("since") or "2026-11-01"}
        results: Mapping[str, Any] = {
            "usage": {**usage, "rows": [], "server_costs": [], "unpriced": []},
            "audit": {"lines": [], "next": ""},
            "names": {},
            "config check": {"faults": [], "is_in_force": True},
        }
        return results.get(name, [])

    async def describe(
        self,
        name: str,
        arguments: Mapping[str, Any],
        actor: Person = OPERATOR,
        *,
        as_json: bool = False,
    ) -> Mapping[str, Any]:
        raise AssertionError("no form of this page is sent")

    async def tabulate(
        self, name: str, rows: Sequence[Mapping[str, Any]], reader: Person
    ) -> ListTable:
        assert not rows
        return ListTable([], [], [], (), "")

    def list_forms(self) -> Sequence[Mapping[str, Any]]:
        return []
