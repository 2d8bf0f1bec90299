"""How a row stands to the write that is meant for it: as before it, as after it, or otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from core.proposal import Row, RowWrite, Seen
from core.tools.nocodb.writing.entries import alike, linked_ids
from core.tools.nocodb.writing.images import Image
from core.tools.nocodb.writing.shape import UNSEEN

Links = Mapping[str, bool]
"""The links of a table by title; whether one holds one row at most."""


def of_update(write: RowWrite, now: Image | None, links: Links) -> Seen:
    """A field that reads as it will is no hindrance: the write changes nothing of it.

    Of a link to many rows only those count that come or go.
    """
    if now is None:
        return Seen("other", write)
    before, after = dict(write.before or {}), dict(write.after or {})
    stands = {name: _touched(write, name, now.get(name), links) for name in {**before, **after}}
    missing = tuple(name for name, value in after.items() if not alike(value, stands[name]))
    if not missing:
        return Seen("after", write, now)
    known = all(name in before for name in missing)
    drifted = [
        name
        for name, value in before.items()
        if not alike(value, stands[name]) and (name not in after or name in missing)
    ]
    return Seen("before" if known and not drifted else "other", write, now, missing)


def of_delete(write: RowWrite, now: Image | None) -> Seen:
    """What the image does not know must be empty: nothing goes that could not come back."""
    if now is None:
        return Seen("after", write)
    before = dict(write.before or {})
    drifted = tuple(
        name
        for name, value in now.items()
        if (not alike(before[name], value) if name in before else not _is_empty(value))
    )
    gone = tuple(name for name, value in before.items() if name not in now and not _is_empty(value))
    drifted += gone
    return Seen("other" if drifted else "before", write, now, drifted)


def of_create(write: RowWrite, now: Image | None, unseen: Collection[str] = ()) -> Seen:
    """Of a row whose id is known; what is missing of its links is named, but of `unseen` ones."""
    if now is None:
        return Seen("other", write)
    after = dict(write.after or {})
    missing = {name: value for name, value in after.items() if not alike(value, now.get(name))}
    differs = tuple(
        UNSEEN if name in unseen else _lacking(name, value, now.get(name))
        for name, value in missing.items()
    )
    return Seen("other" if missing else "after", write, now, differs)


def values_alike(wanted: Row, found: Image, links: Collection[str]) -> bool:
    """Whether a row may be the one that was to be created; links come after the row."""
    return all(alike(value, found.get(name)) for name, value in wanted.items() if name not in links)


def _touched(write: RowWrite, name: str, cell: Any, links: Links) -> Any:
    if links.get(name, True):
        return cell
    sides = (write.before or {}).get(name), (write.after or {}).get(name)
    ids = linked_ids(sides[0]) | linked_ids(sides[1])
    return [one for one in cell or () if one["id"] in ids]


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [])


def _lacking(name: str, wanted: Any, found: Any) -> str:
    gone = linked_ids(wanted) - linked_ids(found)
    if not gone:
        return name
    titles = [str(one.get("title") or one["id"]) for one in wanted if one["id"] in gone]
    return f"{name} (without {', '.join(titles[:5])})"
