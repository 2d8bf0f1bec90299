"""Applies approved imports in parts of a few rows: each is a change of its own, with all that a
change promises. A part is recorded before it begins; after a crash the import goes on with it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from core.base.errors import NotFound, Superseded, ToolError
from core.base.i18n import format_number, plural, say
from core.base.spreadsheets import MEDIA_TYPES
from core.changes.apply import ChangeRunner
from core.changes.kinds import Applier, Doing
from core.changes.ledger import SqlLedger
from core.domain.changes import WRITTEN_STATES, Change, ChangeStep, Draft, RowCheck, RowWrite
from core.domain.messages import Address, File, Person
from core.domain.ports import Files
from core.imports.plan import Plan, PlanRow, split_rows

PLAN_MEDIA_TYPE = MEDIA_TYPES["xlsx"]
IMPORT_KIND = IMPORT_APPLIER = "import"
MAX_IMPORT_SECONDS = 12 * 3600.0
PROGRESS_SECONDS = 5.0
"""Between two drawings of the card."""
_GONE = "The plan was deleted, so nothing more was written."
_OTHER_PLAN = "This isn't the plan that was approved, so nothing was written."


@dataclass
class ImportRuns:
    """The applier of imports. `appliers` are those of the tables, by name."""

    ledger: SqlLedger
    runner: ChangeRunner
    appliers: Mapping[str, Applier]
    files: Files
    name: str = IMPORT_APPLIER
    patience: float = MAX_IMPORT_SECONDS
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One part of all imports of this process is written at a time."""

    def batch(self, draft: Draft) -> int:
        return 1

    def open(self, draft: Draft) -> ImportBatch:
        return ImportBatch(self, draft)

    def revert(self, change: Change) -> Draft:
        """The parts are undone one by one, the last first."""
        (step,) = change.steps
        written = sum((step.current or {}).get(state, 0) for state in WRITTEN_STATES)
        if not written:
            raise ToolError("This can't be undone.", code="not_undone")
        target = {**change.draft.target, "planned": written}
        return replace(change.draft, target=target, rows=(RowWrite(after={}),), note="")

    async def run_parts(self, change: Change) -> AsyncIterator[None]:
        """Yield after each part. Raise ToolError, and what the runner raises."""
        drafts = self._undo_parts if change.proposal.undone_change else self._read_parts
        async for number, undone, draft in drafts(change):
            part = await self.ledger.begin_part(change, number, draft, undone)
            if part.state == "applying":
                async with self.gate:
                    await self.runner.run(part)
            yield

    async def _read_parts(self, change: Change) -> AsyncIterator[tuple[int, str, Draft]]:
        applier = str(change.draft.target["applier"])
        lines = (await self._read_lines(change))[1:]
        parts, number = split_rows(lambda: map(PlanRow.decode, lines)), 0
        while part := await asyncio.to_thread(next, parts, None):
            number += 1
            kind, rows = part
            yield number, "", replace(change.draft, applier=applier, kind=kind, rows=rows)

    async def store_plan(self, change: Change, reader: Person, address: Address, name: str) -> File:
        """Raise ToolError if there is no plan any more."""
        key, data = f"plan {change.id} {reader.key}", await self.encode_plan(change)
        return await self.files.put(
            key, f"{name}.xlsx", PLAN_MEDIA_TYPE, data, reader, address.conversation
        )

    async def encode_plan(self, change: Change) -> bytes:
        """Return the plan as an Excel file, with what was not written. Raise ToolError."""
        # Loaded for the first file.
        from core.imports.workbook import NOT_WRITTEN, encode_plan

        lines, left = await self._read_lines(change), list[ChangeStep]()
        plan = await asyncio.to_thread(Plan.decode, lines)
        parts = await self.ledger.list_parts(change.id)
        for id in parts:
            left += (await self.ledger.get(id, change.id)).steps_in(*NOT_WRITTEN)
        if change.state in ("partial", "failed") and not change.proposal.undone_change:
            for _, rows in list(plan.parts())[len(parts) :]:
                left += [ChangeStep(number, row) for number, row in enumerate(rows, 1)]
        return await asyncio.to_thread(encode_plan, plan, change.draft.view.formats, left)

    async def _read_lines(self, change: Change) -> Sequence[bytes]:
        """Raise ToolError unless it is the plan that the change names."""
        target = change.draft.target
        try:
            _, data = await self.files.get(str(target["plan"]))
        except NotFound:
            raise ToolError(_GONE, code="plan_gone") from None
        if hashlib.sha256(data).hexdigest() != target["sha256"]:
            raise ToolError(_OTHER_PLAN, code="plan_changed")
        return data.splitlines()

    async def _undo_parts(self, change: Change) -> AsyncIterator[tuple[int, str, Draft]]:
        parts = await self.ledger.list_parts(change.proposal.undone_change)
        for number, id in enumerate(reversed(parts), 1):
            part = await self.ledger.get(id, change.proposal.undone_change)
            try:
                draft = self.appliers[part.draft.applier].revert(part)
            except (KeyError, ToolError):  # not connected, or nothing is left to be undone
                continue
            yield number, id, draft


async def _ignore(_: str) -> None: ...


class ImportBatch:
    """The one step of an import (the ports `WatchedBatch` and `StoppableBatch`)."""

    def __init__(self, runs: ImportRuns, draft: Draft) -> None:
        self._runs, self._draft = runs, draft

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        """Nothing is written before this id is recorded."""
        return [replace(row, id=self._draft.change_id) for row in rows]

    async def watch(self, rows: Sequence[RowWrite], doing: Doing = _ignore) -> Sequence[RowCheck]:
        if not rows[0].id:
            return [RowCheck("before", row) for row in rows]
        change = await self._runs.ledger.get(self._draft.change_id)
        began = last = time.monotonic()
        total, done_before = count_planned(self._draft), sum((await self._count()).values())
        explanation = ""
        try:
            with suppress(Superseded):  # from then on nothing may be written
                async for _ in self._runs.run_parts(change):
                    if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
                        last, counts = now, await self._count()
                        done = sum(counts.values())
                        speed = (done - done_before) / (now - began)
                        left = (total - done) / speed if speed else 0.0
                        current = {**counts, "seconds_left": round(left)}
                        step = ChangeStep(1, rows[0], "writing", current)
                        await self._runs.ledger.record_progress(change, [step])
                        await doing(describe_progress(current, total))
        except ToolError as error:
            explanation = str(error)
        checks = await self.read_stopped(rows)
        return [replace(check, explanation=explanation) for check in checks]

    check = watch

    async def read_stopped(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        (row,), counts = rows, await self._count()
        if not sum(counts.get(state, 0) for state in WRITTEN_STATES):
            return [RowCheck("failed", row, counts)]
        is_whole = counts.get("done", 0) == count_planned(self._draft)
        return [RowCheck("after" if is_whole else "other", row, counts)]

    async def _count(self) -> Mapping[str, int]:
        return await self._runs.ledger.count_part_rows(self._draft.change_id)


def count_planned(draft: Draft) -> int:
    """Return how many rows an import is to write, or its undo is to take back."""
    return int(draft.target["planned"])


def describe_progress(current: Mapping[str, int], total: int) -> str:
    """`current` has the numbers of rows by state, and the seconds that are left."""
    done = sum(n for state, n in current.items() if state != "seconds_left")
    minutes = max(1, -(-current.get("seconds_left", 0) // 60))
    return say(
        "{done} of {total} rows, {left}",
        done=format_number(done),
        total=format_number(total),
        left=plural("about {count} minute", "about {count} minutes", minutes),
    )
