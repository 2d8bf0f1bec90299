"""What a field takes, by its type: each check gives the value in the form that drafts keep.

NocoDB 0.301.3 checks little, and guesses: "03/04/2026" becomes March 4, "2026-13-40" February 9
of the next year, "25:99" a time on the next day, 9 a rating, "notmail" a mail address.

What stands in a cell, as NocoDB's JSON tells it: its number, its moment, its words.

Cells as a model reads them and as a spreadsheet holds them: no addresses, no secrets.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from core.errors import ToolError
from core.redaction import withheld
from core.text import clean, cut, one_line, plain
from core.tools.nocodb.rest import Record
from core.tools.nocodb.schema import Field

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?"
)
_TIME = re.compile(r"(?P<hour>\d{2}):(?P<minute>\d{2})(:(?P<second>\d{2}))?")
_LENGTH = re.compile(r"(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d)(:(?P<seconds>[0-5]\d))?")
_MAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]+")
_URL = re.compile(r"(https?://)?[^\s/:@]+\.[^\s]+|https?://[^\s]+", re.IGNORECASE)
_EXACT = 2**53
"""Whole numbers from here on come back rounded: JSON has doubles."""
_LONGEST = 100_000
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def truth(field: Field, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    told = _TRUTH.get(str(value).strip().lower())
    if told is None:
        raise misfit(field, "it is a checkbox: true or false")
    return told


def text(field: Field, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise misfit(field, "it holds text")
    told = str(value)
    if len(told) > _LONGEST:
        raise misfit(field, f"at most {_LONGEST:,} characters fit")
    return told


def _number(field: Field, value: object) -> int | float:
    told = str(value).strip().removesuffix("%" if field.type == "Percent" else "").strip()
    if isinstance(value, bool) or not (isinstance(value, int | float) or _NUMBER.fullmatch(told)):
        raise misfit(field, "it holds numbers, written as 1234.5")
    number = value if isinstance(value, int | float) else float(told) if "." in told else int(told)
    if abs(number) >= _EXACT:
        raise misfit(field, "NocoDB would round so large a number")
    return number


def _whole(field: Field, value: object) -> int:
    number = _number(field, value)
    if number != int(number):
        raise misfit(field, "it holds whole numbers")
    return int(number)


def _rating(field: Field, value: object) -> int:
    stars = _whole(field, value)
    if not 0 <= stars <= 10:
        raise misfit(field, "it is a rating, from 0 to 10")
    return stars


def _year(field: Field, value: object) -> int:
    year = _whole(field, value)
    if not 1000 <= year <= 9999:
        raise misfit(field, "it is a year of four digits")
    return year


def _length(field: Field, value: object) -> int | float:
    """Seconds; NocoDB reads 1:30 as hours and minutes."""
    told = _LENGTH.fullmatch(value.strip()) if isinstance(value, str) else None
    if told is None:
        return _number(field, value)
    minutes = int(told["hours"]) * 60 + int(told["minutes"])
    return minutes * 60 + int(told["seconds"] or 0)


def _day(field: Field, value: object) -> str:
    if isinstance(value, str) and _DAY.fullmatch(value.strip()):
        with suppress(ValueError):
            return date.fromisoformat(value.strip()).isoformat()
    raise misfit(field, "it holds days, written as 2026-11-20")


def moment(field: Field, value: object, zone: tzinfo) -> str:
    if isinstance(value, str) and _MOMENT.fullmatch(value.strip()):
        with suppress(ValueError):
            told = datetime.fromisoformat(value.strip())
            return (told if told.tzinfo else told.replace(tzinfo=zone)).isoformat(" ")
    raise misfit(field, "it holds moments, written as 2026-11-20 14:30")


def _time(field: Field, value: object) -> str:
    told = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if told:
        with suppress(ValueError):
            hour, minute, second = (int(part or 0) for part in told.group(1, 2, "second"))
            return time(hour, minute, second).isoformat()
    raise misfit(field, "it holds times, written as 14:30")


def _mail(field: Field, value: object) -> str:
    told = text(field, value).strip()
    if not _MAIL.fullmatch(told):
        raise misfit(field, "it holds mail addresses, written as ana@example.com")
    return told


def _url(field: Field, value: object) -> str:
    told = text(field, value).strip()
    if not _URL.fullmatch(told):
        raise misfit(field, "it holds a web address, written as https://example.com/page")
    return told


def _option(field: Field, value: object) -> str:
    told = text(field, value)
    if told in field.options:
        return told
    near = [each for each in field.options if plain(each) == plain(told)]
    near = near or difflib.get_close_matches(told, field.options, 1)
    meant = " or ".join(repr(each) for each in near[:3])
    raise ToolError(
        "{field} has no option {value!r}.",
        code="unknown_option",
        hint=f"did you mean {meant}?" if near else f"it has {', '.join(field.options[:30])}",
        field=field.title, value=told[:64],
    )  # fmt: skip


def _options(field: Field, value: object) -> list[str]:
    each: Sequence[object] = value if isinstance(value, list) else str(value).split(",")
    stripped = [one.strip() if isinstance(one, str) else one for one in each]
    return list(dict.fromkeys(_option(field, one) for one in stripped))


def _people(field: Field, value: object) -> list[str]:
    each: Sequence[object] = value if isinstance(value, list) else str(value).split(",")
    told = [one.get("email") if isinstance(one, Mapping) else one for one in each]
    return list(dict.fromkeys(_mail(field, one).lower() for one in told))


def _json(field: Field, value: object) -> str:
    """The text of it in one form."""
    try:
        return ordered(json.loads(value) if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        raise misfit(field, "it holds JSON") from None


def ordered(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


CHECKS: Mapping[str, Callable[[Field, object], Any]] = {
    "Number": _whole, "Decimal": _number, "Currency": _number, "Percent": _number,
    "Duration": _length, "Rating": _rating, "Year": _year, "Date": _day, "Time": _time,
    "Email": _mail, "URL": _url, "SingleSelect": _option, "MultiSelect": _options,
    "User": _people, "JSON": _json,
}  # fmt: skip
"""By NocoDB's type; `text` for all others that can be written."""


def misfit(field: Field, why: str) -> ToolError:
    return ToolError(
        "That does not fit the field {field}: {why}.",
        code="bad_value", hint="ask the person where you are not sure",
        field=field.title, why=why,
    )  # fmt: skip


CUTS = (5, 25)
"""Rows at which a link cell ends without a sign that there are more: at 25 on NocoDB 0.301.3, at 5
on its versions of 2026 (https://github.com/nocodb/nocodb/issues/13616)."""

NUMBERS = frozenset(
    {*("Number", "Decimal", "Currency", "Percent", "Rating", "Duration", "Year"),
     *("AutoNumber", "Rollup", "Count", "Links")}
)  # fmt: skip
TIMES = frozenset({"DateTime", "CreatedTime", "LastModifiedTime"})
_PERSON = ("display_name", "email")
PEOPLE = frozenset({"User", "CreatedBy", "LastModifiedBy", "Collaborator"})


def is_blank(field: Field, cell: object) -> bool:
    """As NocoDB sees it; a link that only counts its rows is blank at none."""
    return cell is None or cell in ("", [], {}) or (field.type == "Links" and cell == 0)


def may_lack(field: Field, cell: object) -> bool:
    """Whether the row may link to more rows than a link cell of NocoDB's, a list, tells."""
    return field.is_link and isinstance(cell, list) and len(cell) in CUTS


def number_of(cell: object) -> Decimal | None:
    """Exactly as it was written: a float's shortest form is what the table shows."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        number = Decimal(str(cell).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def moment_of(cell: object, zone: tzinfo | None) -> datetime | None:
    """A date-time in `zone`; NocoDB tells them in UTC."""
    if not isinstance(cell, str):
        return None
    try:
        told = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(zone)


def day_of(cell: object) -> date | None:
    """A plain date, which belongs to no zone."""
    try:
        return date.fromisoformat(cell[:10]) if isinstance(cell, str) else None
    except ValueError:
        return None


def texts_of(cell: object) -> tuple[str, ...]:
    """Every word that stands for the cell: its text, the titles of links, files, people."""
    if cell is None:
        return ()
    if isinstance(cell, list | tuple):
        return tuple(text for each in cell for text in texts_of(each))
    if isinstance(cell, Mapping):
        return (title_of(cell),)
    if isinstance(cell, bool):
        return ("true" if cell else "false",)
    return (str(cell),)


def title_of(cell: Mapping[str, object]) -> str:
    """Of a linked row ({"id", "fields": {display: value}}), a file, a person; never an address."""
    fields = cell.get("fields")
    if isinstance(fields, Mapping):
        named = next((text for value in fields.values() for text in texts_of(value)), "")
        return named or str(cell.get("id", ""))
    for key in ("title", "display_name", "email", "name", "Title", "Name"):
        if isinstance(told := cell.get(key), str) and told:
            return told
    return str(cell.get("id", ""))


def people_of(cell: object) -> tuple[str, ...]:
    """Names and mail addresses: {"id", "email", "display_name"}, or a list of them."""
    each = cell if isinstance(cell, list) else [cell]
    told = [one.get(key) for one in each if isinstance(one, Mapping) for key in _PERSON]
    return tuple(text for text in told if isinstance(text, str) and text)


CELL = 200
"""Characters of one cell that a model reads."""

_AS_IT_IS = {"JSON"}


def shown(
    record: Record, fields: Iterable[Field], zone: tzinfo | None, longest: int = CELL
) -> dict[str, Any]:
    """A row for a model: its id, then each field that is not empty.

    A field that is itself called "id" goes by "id (field)".
    """
    row: dict[str, Any] = {"id": record.id}
    told = withheld(dict(record.fields))
    for field in fields:
        cell = told.get(field.title)
        if field.type != "ID" and not is_blank(field, cell):
            title = line(field.title)
            row["id (field)" if title == "id" else title] = _short(field, cell, zone, longest)
    return row


def written(record: Record, fields: Sequence[Field], zone: tzinfo | None) -> list[str]:
    """A row for a spreadsheet: whole cells, as text."""
    told = withheld(dict(record.fields))
    return [
        record.id if field.type == "ID" else _text(field, told.get(field.title), zone)
        for field in fields
    ]


def line(text: str, longest: int = CELL) -> str:
    """A name or a label."""
    return one_line(text, longest)


def told(moment: datetime) -> str:
    """Without its zone, which stands beside."""
    return moment.isoformat(" ", "seconds")[: len("2026-11-20 09:30:00")]


def _short(field: Field, cell: object, zone: tzinfo | None, longest: int) -> object:
    if isinstance(cell, bool | int | float):
        return cell
    return cut(_text(field, cell, zone), longest)


def _text(field: Field, cell: object, zone: tzinfo | None) -> str:
    """Links, files and people by their titles; moments in the zone of who reads.

    Links end in "…" where NocoDB may have left some out.
    """
    if field.type in TIMES and (moment := moment_of(cell, zone)):
        return told(moment)
    if field.type in _AS_IT_IS and isinstance(cell, str):
        return clean(cell)
    return clean(", ".join(texts_of(cell))) + (" …" if may_lack(field, cell) else "")
