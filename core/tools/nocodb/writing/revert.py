"""The draft that takes a change back: cell by cell, so that others' later work is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.errors import ToolError
from core.proposal import Change, Draft, Row, RowWrite, Step
from core.tools.nocodb.writing.entries import alike

RECREATED = (
    "When this is undone, the rows come back with new ids, with their links and files; "
    "NocoDB then fills these in anew: {names}."
)
REFILLED = (
    "NocoDB filled these in anew: {names}. Comments on the old rows and their history "
    "did not come back."
)
APART = "apart"
"""In a draft's target: each field is for itself, and those that are no longer so are left."""
_NOTHING = "What was in those rows is not known, so they cannot be brought back."
_OTHERWISE = "Nothing of what was written there can be taken back."


def reverted(change: Change) -> Draft:
    """Raises ToolError where nothing can be.

    A table that was changed meanwhile does not keep it from what can still be taken back.
    """
    steps = change.written
    draft = replace(change.draft, target={**change.draft.target, APART: True})
    match draft.kind:
        case "create":
            rows = [RowWrite(step.write.id, before=step.now or step.write.after) for step in steps]
            return replace(draft, kind="delete", rows=tuple(rows), note=RECREATED)
        case "update":
            cells = [cell for step in reversed(steps) for cell in _given_back(step)]
            if not cells:
                raise ToolError(_OTHERWISE, code="not_undone")
            return replace(draft, rows=tuple(cells), note="")
        case "delete":
            rows = [RowWrite(after=_filled(step.write.before)) for step in steps]
            if not any(row.after for row in rows):
                raise ToolError(_NOTHING, code="not_undone")
            return replace(draft, kind="create", rows=tuple(rows), note=REFILLED)
        case "run":
            raise ToolError(_OTHERWISE, code="not_undone")


def _given_back(step: Step) -> Sequence[RowWrite]:
    """The last first: where a linked row changed its owner, it is given up before it is given
    back."""
    before, after, now = (dict(side or {}) for side in
                          (step.write.before, step.write.after, step.now))  # fmt: skip
    links = {name for name, value in after.items() if _is_link(value) or _is_link(before.get(name))}
    stands = {name: now.get(name, new) for name, new in after.items() if name not in links}
    ours = {name: value for name, value in stands.items() if alike(value, after[name])}
    ours |= {name: after[name] for name in links}
    return [
        RowWrite(step.write.id, before={name: value}, after={name: before[name]})
        for name, value in ours.items()
        if name in before and not alike(value, before[name])
    ]


def _filled(row: Row | None) -> Row:
    return {name: value for name, value in (row or {}).items() if value not in (None, [], "")}


def _is_link(value: Any) -> bool:
    each = value if isinstance(value, list) else []
    return any(isinstance(one, dict) and one.keys() == {"id", "title"} for one in each)
