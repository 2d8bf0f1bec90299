"""Figures that NocoDB works out itself, so that no row needs to be read.

Seen on 0.301.3: its aggregates come by title, a second one of the same field as "<id>:1"; the least
of no numbers is 0; its median counts empty cells; one wrong field empties the whole answer, and a
wrong field in `where` is ignored, so the same `where` must be asked of v3 too, which refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal

from core.tools.nocodb import cells
from core.tools.nocodb.filters.filters import Selection
from core.tools.nocodb.reading.figures import Figure, Fn, average, figure
from core.tools.nocodb.rest.api import NocoApi
from core.tools.nocodb.rest.records import Aggregate
from core.tools.nocodb.schema import Field

Wanted = tuple[Field, Fn]

_WHOLE = frozenset({"Number", "Rating", "Year", "Duration", "AutoNumber"})
_PLAIN = frozenset({"Decimal", "Currency", "Percent"})
"""Their sums are floats on some databases."""
_FILLED = "count_filled"
_DIGITS = 15
"""That a float holds for sure (IEEE 754)."""
_PLACES = 2
"""Decimal places of money, where nothing tells them."""


def there(selection: Selection, wanted: Sequence[Wanted], *, exact: bool) -> bool:
    """Whether NocoDB can tell all of it. `exact`: without a float in between."""
    if not selection.exact or selection.where.v2 is None:
        return False
    return all(_there(field, fn, exact) for field, fn in wanted)


async def totals(
    api: NocoApi, selection: Selection, wanted: Sequence[Wanted], zone: tzinfo | None
) -> Sequence[Figure] | None:
    """In the order of `wanted`, each of which must be `there`; None where NocoDB tells nothing."""
    asked = list(dict.fromkeys(each for field, fn in wanted for each in _asked(field, fn)))
    if not asked:
        return []
    told = await api.aggregate(selection.table.at, asked, selection.where.v2 or "")
    found: dict[Aggregate, object] = {}
    titles = {field.id: field.title for field, _ in wanted}
    for each in asked:
        earlier = sum(other.field == each.field for other in found)
        key = f"{each.field}:{earlier}" if earlier else titles[each.field]
        if key not in told:
            return None
        found[each] = told[key]
    return [_figure(field, fn, found, zone) for field, fn in wanted]


def _there(field: Field, fn: Fn, exact: bool) -> bool:
    if field.id == field.title:  # CreatedAt and UpdatedAt, which its aggregates do not know
        return False
    if fn in ("filled", "min", "max"):
        return field.type in _WHOLE | _PLAIN or (field.type in ("Date", "DateTime"))
    return fn in ("sum", "avg") and (field.type in _WHOLE or (not exact and field.type in _PLAIN))


def _asked(field: Field, fn: Fn) -> Sequence[Aggregate]:
    if fn == "filled":
        return [Aggregate(field.id, _FILLED)]
    return [Aggregate(field.id, _type(field, fn)), Aggregate(field.id, _FILLED)]


def _type(field: Field, fn: Fn) -> str:
    if field.type in ("Date", "DateTime"):
        return "earliest_date" if fn == "min" else "latest_date"
    return "sum" if fn == "avg" else fn


def _figure(field: Field, fn: Fn, found: Mapping[Aggregate, object], zone: tzinfo | None) -> Figure:
    filled = cells.number_of(found[Aggregate(field.id, _FILLED)]) or Decimal()
    if fn == "filled":
        return filled
    cell = found[Aggregate(field.id, _type(field, fn))]
    if not filled or field.type in ("Date", "DateTime"):
        return figure(field, fn, [cell] if filled else [], zone)
    number = cells.number_of(cell)
    if number is None:
        return None
    if field.type in _PLAIN and number:
        number = round(number, _DIGITS - 1 - number.adjusted()).normalize()
    places = _PLACES if field.type in _PLAIN else 0
    return average(number, int(filled), places) if fn == "avg" else number
