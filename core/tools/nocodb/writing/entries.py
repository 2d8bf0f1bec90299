"""What stands in a field, in one form: as a model enters it, as NocoDB holds it, as it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, tzinfo
from typing import Any

from core.tools.nocodb import checks
from core.tools.nocodb.schema import Field
from core.tools.same import same

_TIME = re.compile(r"\d{2}:\d{2}:\d{2}")
_FILE = ("path", "url", "title", "mimetype", "size")
_EMPTY: tuple[object, ...] = (None, "", [])


def entered(field: Field, value: object, zone: tzinfo) -> Any:
    """`value` as it is kept in a draft; moments without an offset are in `zone`.

    None clears the field. Raises ToolError, with what would fit as hint.
    """
    if field.type == "Checkbox":
        return checks.truth(field, value)
    if value in _EMPTY:
        return None
    if field.type == "Attachment":
        raise checks.misfit(field, "files cannot be written, only removed with null")
    if field.type == "DateTime":
        return checks.moment(field, value, zone)
    return checks.CHECKS.get(field.type, checks.text)(field, value)


def stored(field: Field, cell: object) -> Any:
    """A cell of NocoDB's in the form of `entered`; without what differs at each reading."""
    if field.type == "Checkbox":
        return bool(cell) and str(cell).lower() not in ("false", "0")
    if cell in _EMPTY:
        return None
    match field.type:
        case "Attachment" if isinstance(cell, list):
            return [{k: one[k] for k in _FILE if k in one} for one in cell if isinstance(one, dict)]
        case "User" if isinstance(cell, list):
            return [str(one.get("email", "")).lower() for one in cell if isinstance(one, dict)]
        case "MultiSelect" if isinstance(cell, str):
            return cell.split(",")
        case "JSON":
            return _json(cell)
        case "Time" if isinstance(cell, str):
            found = _TIME.search(cell)
            return found[0] if found else cell
    return cell


def sent(field: Field, value: Any) -> Any:
    """As NocoDB takes it."""
    if field.type == "User" and isinstance(value, list):
        return ",".join(value)
    return value


def alike(one: Any, other: Any) -> bool:
    """The same entry; in lists the order is nobody's matter."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(_mark, one)) == sorted(map(_mark, other))
    if isinstance(one, str) and isinstance(other, str):
        return one == other or _same_moment(one, other)
    return same(one, other)


def linked_ids(cell: object) -> frozenset[str]:
    """Of a link in a draft: [{"id", "title"}]."""
    each = cell if isinstance(cell, list) else []
    return frozenset(str(one["id"]) for one in each if isinstance(one, dict) and "id" in one)


def _mark(value: Any) -> str:
    if isinstance(value, Mapping) and "id" in value:
        return str(value["id"])
    return json.dumps(value, sort_keys=True)


def here(field: Field, value: Any, zone: tzinfo) -> Any:
    """A moment as it is where somebody reads it; all else as it is."""
    if field.type == "DateTime" and isinstance(value, str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(zone).isoformat(" ") if moment.tzinfo else value
    return value


def _same_moment(one: str, other: str) -> bool:
    with suppress(ValueError):
        moments = datetime.fromisoformat(one), datetime.fromisoformat(other)
        return all(each.tzinfo for each in moments) and moments[0] == moments[1]
    return False


def _json(cell: object) -> str:
    """NocoDB keeps the text as it came."""
    try:
        return checks.ordered(json.loads(cell) if isinstance(cell, str) else cell)
    except (ValueError, RecursionError):
        return str(cell)
