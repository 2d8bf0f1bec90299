"""A table in memory: the `Applier` port and the tools that propose, failing when told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from core.base.errors import ToolError, WriteUnsure
from core.changes.kinds import Changer
from core.domain.changes import Change, Draft, RowCheck, RowWrite
from core.domain.ports import Tool
from core.domain.records import Health, Outcome, ToolContext
from core.domain.rights import Viewer
from core.tools.tool import FunctionTool

Values = dict[str, Any]


@dataclass(slots=True)
class Faults:
    """How the next calls fail."""

    refuse: int = 0
    lose: list[Literal["before", "after"]] = field(default_factory=list)
    unread: int = 0
    breaks: int = 0


@dataclass(frozen=True, slots=True)
class MemoryBatch:
    """The `Batch` port over a table in memory."""

    table: MemoryTable
    draft: Draft

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        return await self.table.verify(self.draft, rows)

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        return await self.table.apply(self.draft, rows)


class MemoryTable:
    """`rows` by id. A field outside `fields` is ignored without a word, as NocoDB does."""

    name = "memory"
    patience = 60.0

    def __init__(self, rows: dict[str, Values] | None = None, batch: int = 2) -> None:
        self.rows = rows if rows is not None else {}
        self.fields = {"Name", "Status", "Value"}
        self.target: Values = {}
        """The target of the drafts."""
        self.faults = Faults()
        self.applied: list[tuple[str, int]] = []
        """Each call that came in: its kind and how many rows."""
        self.is_editable = False
        """Whether people can change what was proposed."""
        self.gate: asyncio.Event | None = None
        """When set, a call waits for it before it writes; `reached` is set meanwhile."""
        self.reached = asyncio.Event()
        self._batch = batch
        self._last = 0
        """The highest id that was ever given: none is given twice."""

    # The Applier port.

    def batch(self, draft: Draft) -> int:
        return self._batch

    def open(self, draft: Draft) -> MemoryBatch:
        return MemoryBatch(self, draft)

    async def verify(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        if self.faults.unread:
            self.faults.unread -= 1
            raise ToolError("The table does not answer.")
        if draft.kind == "create":
            names: set[str] = set()
            return [self._check_created_row(row, names) for row in rows]
        return [self._check_row(draft.kind, row) for row in rows]

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        self.applied.append((draft.kind, len(rows)))
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.faults.breaks:
            self.faults.breaks -= 1
            raise RuntimeError("a bug")
        if self.faults.refuse:
            self.faults.refuse -= 1
            raise ToolError("The table refuses.")
        fault = self.faults.lose.pop(0) if self.faults.lose else ""
        if fault == "before":
            raise WriteUnsure("The connection broke.")
        lines = [self.write(draft.kind, row) for row in rows]
        if fault == "after":
            raise WriteUnsure("The connection broke.")
        return lines

    def revert(self, change: Change) -> Draft:
        draft, written_steps = change.draft, change.written_steps
        match draft.kind:
            case "create":
                rows = [
                    RowWrite(s.write.id, before=s.current or s.write.after) for s in written_steps
                ]
                return replace(draft, kind="delete", rows=tuple(rows))
            case "update":
                rows = [RowWrite(s.write.id, s.write.after, s.write.before) for s in written_steps]
                return replace(draft, rows=tuple(rows))
            case "delete":
                rows = [RowWrite(after=s.write.before) for s in written_steps]
                return replace(draft, kind="create", rows=tuple(rows))
        raise ToolError("The table runs nothing.")

    # The ToolSource port.

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        writers = (self.table_create, self.table_update, self.table_delete)
        return [
            FunctionTool(self.table_read, effect="read", doing="is reading…"),
            *(
                FunctionTool(each, effect="write", doing="is proposing…", strict=False)
                for each in writers
            ),
        ]

    async def health(self) -> Health:
        return Health(self.name, "on")

    async def close(self) -> None:
        return None

    async def table_read(self) -> str:
        """All rows."""
        return json.dumps(self.rows)

    async def table_create(self, ctx: ToolContext, rows: list[Values]) -> Outcome:
        """Propose new rows.

        Args:
            rows: their values
        """
        return await self._propose(ctx, "create", [RowWrite(after=row) for row in rows])

    async def table_update(self, ctx: ToolContext, rows: dict[str, Values]) -> Outcome:
        """Propose new values.

        Args:
            rows: new values by the row's id
        """
        writes = [
            RowWrite(id, {name: self.rows[id].get(name) for name in values}, values)
            for id, values in rows.items()
        ]
        return await self._propose(ctx, "update", writes)

    async def table_delete(self, ctx: ToolContext, ids: list[str]) -> Outcome:
        """Propose to delete rows.

        Args:
            ids: theirs
        """
        writes = [RowWrite(id, before=dict(self.rows[id])) for id in ids]
        return await self._propose(ctx, "delete", writes)

    async def _propose(self, ctx: ToolContext, kind: str, rows: list[RowWrite]) -> Outcome:
        inputs = {name: ["text", []] for row in rows for name in row.after or ()}
        target = {**self.target, **({"inputs": inputs} if self.is_editable else {})}
        return await ctx.turn.propose(Draft(self.name, kind, target, "People", tuple(rows)))

    # The EditableApplier port.

    async def revise(self, change: Change, values: Mapping[str, str], changer: Changer) -> Draft:
        rows = []
        for number, row in enumerate(change.draft.rows, 1):
            if row.before is not None and row.id not in self.rows:
                raise ToolError("There is no row {id}.", id=row.id)
            after = dict(row.after or {})
            for name in after:
                key = name if len(change.draft.rows) == 1 else f"{number}.{name}"
                after[name] = values.get(key, after[name])
                if after[name] == "wrong":
                    raise ToolError("{name} takes no such value.", name=name)
            before = None
            if row.before is not None:
                before = {name: self.rows.get(row.id, {}).get(name) for name in row.before}
            rows.append(replace(row, before=before, after=after))
        return replace(change.draft, rows=tuple(rows))

    def write(self, kind: str, row: RowWrite) -> RowWrite:
        if kind == "delete":
            self.rows.pop(row.id, None)
            return row
        values = {k: v for k, v in (row.after or {}).items() if k in self.fields}
        self._last = max([self._last, *(int(rows) for rows in self.rows)])
        self._last += not row.id
        id = row.id or str(self._last)
        self.rows[id] = {**self.rows.get(id, {}), **values}
        return replace(row, id=id)

    def _check_created_row(self, row: RowWrite, taken: set[str]) -> RowCheck:
        after = dict(row.after or {})
        if row.id:
            now = self.rows.get(row.id)
            standing: Literal["after", "other"] = "after" if now == after else "other"
            return RowCheck(standing, row, dict(now) if now else None, _differing(after, now))
        alike = [id for id, values in self.rows.items() if values == after]
        if not row.applier_data:
            return RowCheck("before", replace(row, applier_data=json.dumps(alike)))
        come = [id for id in alike if id not in (*json.loads(row.applier_data), *taken)]
        if not come:
            return RowCheck("before", row)
        taken.add(come[0])
        return RowCheck("after", replace(row, id=come[0]), dict(self.rows[come[0]]))

    def _check_row(self, kind: str, row: RowWrite) -> RowCheck:
        now = self.rows.get(row.id)
        if now is None:
            return RowCheck("after" if kind == "delete" else "other", row)
        before, after = dict(row.before or {}), dict(row.after or {})
        unchanged = all(now.get(name) == value for name, value in before.items())
        if kind == "update" and not _differing(after, now):
            return RowCheck("after", row, dict(now))
        differs = _differing(after, now)
        return RowCheck("before" if unchanged else "other", row, dict(now), differs)


def _differing(after: Values, now: Values | None) -> tuple[str, ...]:
    return tuple(name for name, value in after.items() if (now or {}).get(name) != value)
