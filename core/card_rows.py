"""The rows that a card shows, before and after, from the ledger's steps and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.proposal import Change, Row, Step
from core.text import clean, cut, one_line
from core.withheld import withheld

ROWS = 5
"""Rows shown on a card; all of them stand in the ledger."""
FIELDS = 12
CELL = 200
_NAMES = ("title", "Title", "Name", "name", "display_name", "email")
"""Where a linked row, a file or a user has its name, the best first."""

Cells = dict[str, Any]


def rows_of(change: Change) -> Sequence[Sequence[Step]]:
    """The steps of each row, in their order: several steps may write one row."""
    rows: dict[str, list[Step]] = {}
    for step in change.steps:
        key = step.write.id if change.draft.kind != "create" else ""
        rows.setdefault(key or f"step {step.number}", []).append(step)
    return list(rows.values())


def shown(change: Change) -> tuple[dict[str, Any], ...]:
    """What was and what will be; what stands on both sides names a row that stays.

    `target["key"]` is the field with the id, `target["links"]` has the names of those that hold
    links: in an update these read `+ Order 12, - Order 9`. `target["concealed"]` are fields that
    nobody here may know of.
    """
    target = change.draft.target
    key, links = str(target.get("key", "id")), frozenset(target.get("links", ()))
    concealed = frozenset(target.get("concealed", ()))
    return tuple(_row(steps, key, links, concealed) for steps in rows_of(change)[:ROWS])


def plain(words: str, longest: int = 120) -> str:
    """Somebody's words on one line."""
    return one_line(words, longest)


def _row(
    steps: Sequence[Step], key: str, links: frozenset[str], concealed: frozenset[str]
) -> dict[str, Any]:
    id = steps[0].write.id
    named = {key: id} if id else {}
    before, after = (_joined(steps, side, concealed) for side in ("before", "after"))
    if before is not None and after is not None:
        changed = {name: _moved(before, after, name) for name in links & (before.keys() | after)}
        before = {name: value for name, value in before.items() if name not in links}
        after = {**before, **after, **changed}
    return {
        "before": None if before is None else {**named, **_cells(before)},
        "after": None if after is None else {**named, **_cells(after)},
    }


def _joined(steps: Sequence[Step], side: str, concealed: frozenset[str]) -> Cells | None:
    """One side of all steps of a row; lists of links are put together."""
    joined: Cells = {}
    sides: list[Row | None] = [getattr(step.write, side) for step in steps]
    for values in sides:
        for name, value in (values or {}).items():
            if name in concealed:
                continue
            lists = isinstance(value, list) and isinstance(joined.get(name), list)
            joined[name] = [*joined[name], *value] if lists else value
    return None if all(values is None for values in sides) else joined


def _moved(before: Cells, after: Cells, name: str) -> str:
    """`+` what is linked, `-` what is unlinked."""
    old, new = ({_id(one): _cell(one) for one in row.get(name) or ()} for row in (before, after))
    lines = [f"+ {words}" for id, words in new.items() if id not in old]
    return cut(", ".join(lines + [f"- {old[id]}" for id in old if id not in new]), CELL)


def _id(linked: Any) -> str:
    return str(linked.get("id") if isinstance(linked, dict) else linked)


def _cells(row: Mapping[str, Any]) -> Cells:
    """A row as a card has room for it: no secrets, empty fields last, long texts clipped."""
    filled = sorted(withheld(dict(row)).items(), key=lambda item: item[1] in (None, "", []))
    return {plain(name, 80): _cell(value) for name, value in filled[:FIELDS]}


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return cut(", ".join(str(_cell(each)) for each in value), CELL)
    if isinstance(value, dict):
        named = (value[key] for key in _NAMES if value.get(key) is not None)
        return _cell(next(named, ", ".join(f"{k}: {v}" for k, v in value.items())))
    return cut(clean(str(value)), CELL)
