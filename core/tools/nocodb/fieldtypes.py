"""NocoDB's field types, one row of `TYPES` for each: how cells are read, shown, compared, filtered,
summed and written.

NocoDB 0.301.3 checks little, and guesses: "03/04/2026" becomes March 4, "2026-13-40" February 9
of the next year, "25:99" a time on the next day, 9 a rating, "notmail" a mail address. So what is
written is checked here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from core.domain.errors import ToolError
from core.text.text import clean_text, fold_to_letters, redact, to_one_line, truncate
from core.tools.nocodb.api import Record

CELL = 200
"""Characters of one cell that a model reads."""
CUTS = (5, 25)
"""Rows at which a link cell ends without a sign that there are more: at 25 on NocoDB 0.301.3, at 5
on its versions of 2026 (https://github.com/nocodb/nocodb/issues/13616)."""

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?"
)
_TIME = re.compile(r"(?P<hour>\d{2}):(?P<minute>\d{2})(:(?P<second>\d{2}))?")
_STORED_TIME = re.compile(r"\d{2}:\d{2}:\d{2}")
_LENGTH = re.compile(r"(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d)(:(?P<seconds>[0-5]\d))?")
_MAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]+")
_URL = re.compile(r"(https?://)?[^\s/:@][^\s/:@.]*\.[^\s]+|https?://[^\s]+", re.IGNORECASE)
_EXACT = 2**53
"""Whole numbers from here on come back rounded: JSON has doubles."""
_LONGEST = 100_000
_TRUTH = {"true": True, "false": False, "1": True, "0": False}
_EMPTY: tuple[object, ...] = (None, "", [])
_FILE = ("path", "url", "title", "mimetype", "size")
_PERSON = ("display_name", "email")

Kind = Literal["words", "options", "people", "number", "mixed", "day", "moment", "check", "opaque"]
"""How cells are compared. `mixed`: numbers or text, as they come. `opaque`: only empty or not."""
Total = Literal["", "exact", "rounded", "time"]
"""What NocoDB's own aggregates make of a column: nothing, exact sums, floats, first and last."""


@dataclass(frozen=True, slots=True)
class Field:
    """`type` is NocoDB's own word (SingleLineText, Decimal, SingleSelect …).

    `options`: the titles that a select takes (NocoDB compares them with their case). `related`:
    the id of the table that a link leads to, `related_title` its name. `relation` is NocoDB's word
    for it (hm, bt, mm, oo), `one`: the link holds one row at most. `via`: the id of the link that a
    lookup or rollup looks through.
    """

    id: str
    title: str
    type: str
    options: tuple[str, ...] = ()
    related: str = ""
    related_title: str = ""
    one: bool = False
    via: str = ""
    relation: str = ""

    @property
    def of(self) -> FieldType:
        return TYPES.get(self.type, _UNKNOWN)

    @property
    def kind(self) -> Kind:
        return self.of.kind

    @property
    def is_link(self) -> bool:
        return self.of.link

    @property
    def is_time(self) -> bool:
        return self.kind in ("day", "moment")

    @property
    def computed(self) -> bool:
        """NocoDB fills it by itself: it cannot be written. A link is not computed."""
        return self.of.computed


def truth(field: Field, value: object, zone: tzinfo | None = None) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    told = _TRUTH.get(str(value).strip().lower())
    if told is None:
        raise misfit(field, "it is a checkbox: true or false")
    return told


def text(field: Field, value: object, zone: tzinfo | None = None) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise misfit(field, "it holds text")
    told = str(value)
    if len(told) > _LONGEST:
        raise misfit(field, f"at most {_LONGEST:,} characters fit")
    return told


def _number(field: Field, value: object, zone: tzinfo | None = None) -> int | float:
    told = str(value).strip()
    if isinstance(value, bool) or not (isinstance(value, int | float) or _NUMBER.fullmatch(told)):
        raise misfit(field, "it holds numbers, written as 1234.5")
    number = value if isinstance(value, int | float) else float(told) if "." in told else int(told)
    if abs(number) >= _EXACT:
        raise misfit(field, "NocoDB would round so large a number")
    return number


def _percent(field: Field, value: object, zone: tzinfo) -> int | float:
    told = value.strip().removesuffix("%") if isinstance(value, str) else value
    return _number(field, told)


def _whole(field: Field, value: object, zone: tzinfo | None = None) -> int:
    number = _number(field, value)
    if number != int(number):
        raise misfit(field, "it holds whole numbers")
    return int(number)


def _rating(field: Field, value: object, zone: tzinfo) -> int:
    stars = _whole(field, value)
    if not 0 <= stars <= 10:
        raise misfit(field, "it is a rating, from 0 to 10")
    return stars


def _year(field: Field, value: object, zone: tzinfo) -> int:
    year = _whole(field, value)
    if not 1000 <= year <= 9999:
        raise misfit(field, "it is a year of four digits")
    return year


def _length(field: Field, value: object, zone: tzinfo) -> int | float:
    """Seconds; NocoDB reads 1:30 as hours and minutes."""
    told = _LENGTH.fullmatch(value.strip()) if isinstance(value, str) else None
    if told is None:
        return _number(field, value)
    minutes = int(told["hours"]) * 60 + int(told["minutes"])
    return minutes * 60 + int(told["seconds"] or 0)


def _day(field: Field, value: object, zone: tzinfo) -> str:
    if isinstance(value, str) and _DAY.fullmatch(value.strip()):
        with suppress(ValueError):
            return date.fromisoformat(value.strip()).isoformat()
    raise misfit(field, "it holds days, written as 2026-11-20")


def _moment(field: Field, value: object, zone: tzinfo) -> str:
    if isinstance(value, str) and _MOMENT.fullmatch(value.strip()):
        with suppress(ValueError):
            told = datetime.fromisoformat(value.strip())
            return (told if told.tzinfo else told.replace(tzinfo=zone)).isoformat(" ")
    raise misfit(field, "it holds moments, written as 2026-11-20 14:30")


def _time(field: Field, value: object, zone: tzinfo) -> str:
    told = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if told:
        with suppress(ValueError):
            hour, minute, second = (int(part or 0) for part in told.group(1, 2, "second"))
            return time(hour, minute, second).isoformat()
    raise misfit(field, "it holds times, written as 14:30")


def _mail(field: Field, value: object, zone: tzinfo | None = None) -> str:
    told = text(field, value).strip()
    if not _MAIL.fullmatch(told):
        raise misfit(field, "it holds mail addresses, written as ana@example.com")
    return told


def _url(field: Field, value: object, zone: tzinfo) -> str:
    told = text(field, value).strip()
    if not _URL.fullmatch(told):
        raise misfit(field, "it holds a web address, written as https://example.com/page")
    return told


def option(field: Field, value: object, zone: tzinfo | None = None) -> str:
    told = text(field, value)
    if told in field.options:
        return told
    near = [each for each in field.options if fold_to_letters(each) == fold_to_letters(told)]
    near = near or difflib.get_close_matches(told, field.options, 1)
    meant = " or ".join(repr(each) for each in near[:3])
    raise ToolError(
        "{field} has no option {value!r}.",
        code="unknown_option",
        hint=f"did you mean {meant}?" if near else f"it has {', '.join(field.options[:30])}",
        field=field.title, value=told[:64],
    )  # fmt: skip


def _options(field: Field, value: object, zone: tzinfo) -> list[str]:
    each: Sequence[object] = value if isinstance(value, list) else str(value).split(",")
    stripped = [one.strip() if isinstance(one, str) else one for one in each]
    return list(dict.fromkeys(option(field, one) for one in stripped))


def _people(field: Field, value: object, zone: tzinfo) -> list[str]:
    each: Sequence[object] = value if isinstance(value, list) else str(value).split(",")
    told = [one.get("email") if isinstance(one, Mapping) else one for one in each]
    return list(dict.fromkeys(_mail(field, one).lower() for one in told))


def _json(field: Field, value: object, zone: tzinfo) -> str:
    """The text of it in one form."""
    try:
        return _ordered(value)
    except (ValueError, RecursionError):
        raise misfit(field, "it holds JSON") from None


def _ordered(value: object) -> str:
    told = json.loads(value) if isinstance(value, str) else value
    return json.dumps(told, ensure_ascii=False, sort_keys=True)


def _no_files(field: Field, value: object, zone: tzinfo) -> None:
    raise misfit(field, "files cannot be written, only removed with null")


def misfit(field: Field, why: str) -> ToolError:
    return ToolError(
        "That does not fit the field {field}: {why}.",
        code="bad_value", hint="ask the person where you are not sure",
        field=field.title, why=why,
    )  # fmt: skip


def _as_it_is(cell: Any) -> Any:
    return cell


def _stored_files(cell: Any) -> Any:
    """Without what differs at each reading."""
    if not isinstance(cell, list):
        return cell
    return [{key: one[key] for key in _FILE if key in one} for one in cell if isinstance(one, dict)]


def _stored_people(cell: Any) -> Any:
    if not isinstance(cell, list):
        return cell
    return [str(one.get("email", "")).lower() for one in cell if isinstance(one, dict)]


def _stored_options(cell: Any) -> Any:
    return cell.split(",") if isinstance(cell, str) else cell


def _stored_json(cell: Any) -> Any:
    """NocoDB keeps the text as it came."""
    try:
        return _ordered(cell)
    except (ValueError, RecursionError):
        return str(cell)


def _stored_time(cell: Any) -> Any:
    found = _STORED_TIME.search(cell) if isinstance(cell, str) else None
    return found[0] if found else cell


def _sent_people(value: Any) -> Any:
    return ",".join(value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class FieldType:
    """One of NocoDB's types of columns.

    `word` names it in a table's outline ("": NocoDB's own word in small letters). `enter` checks a
    value that is to be written and gives the form that drafts keep, `stored` gives a cell of
    NocoDB's in that form, `sent` turns it into what NocoDB takes. `computed`: NocoDB fills it by
    itself, `anew`: differently for each row. `figures`: it is summed though it may hold text.
    """

    word: str = ""
    kind: Kind = "words"
    enter: Callable[[Field, object, tzinfo], Any] = text
    stored: Callable[[Any], Any] = _as_it_is
    sent: Callable[[Any], Any] = _as_it_is
    total: Total = ""
    link: bool = False
    file: bool = False
    computed: bool = False
    anew: bool = False
    hidden: bool = False
    figures: bool = False


def _filled_in(kind: Kind = "words", word: str = "", **more: Any) -> FieldType:
    return FieldType(word, kind, computed=True, **more)


_UNKNOWN = FieldType()
TYPES: Mapping[str, FieldType] = {
    "SingleLineText": FieldType("text"),
    "LongText": FieldType("longtext"),
    "PhoneNumber": FieldType("phone"),
    "Email": FieldType(enter=_mail),
    "URL": FieldType(enter=_url),
    "JSON": FieldType(enter=_json, stored=_stored_json),
    "SingleSelect": FieldType("select", enter=option),
    "MultiSelect": FieldType("multiselect", "options", _options, _stored_options),
    "User": FieldType("", "people", _people, _stored_people, _sent_people),
    "Collaborator": FieldType(kind="people"),
    "Checkbox": FieldType(kind="check", enter=truth),
    "Number": FieldType(kind="number", enter=_whole, total="exact"),
    "Rating": FieldType(kind="number", enter=_rating, total="exact"),
    "Year": FieldType(kind="number", enter=_year, total="exact"),
    "Duration": FieldType(kind="number", enter=_length, total="exact"),
    "Decimal": FieldType(kind="number", enter=_number, total="rounded"),
    "Currency": FieldType(kind="number", enter=_number, total="rounded"),
    "Percent": FieldType(kind="number", enter=_percent, total="rounded"),
    "Date": FieldType(kind="day", enter=_day, total="time"),
    "DateTime": FieldType("datetime", "moment", _moment, total="time"),
    "Time": FieldType(kind="opaque", enter=_time, stored=_stored_time),
    "GeoData": FieldType(kind="opaque"),
    "Geometry": FieldType(kind="opaque"),
    "Attachment": FieldType("files", "opaque", _no_files, _stored_files, file=True),
    # A cell of the first holds rows, of the second how many they are; both are read and written by
    # `NocoApi.links`, `link`, `unlink`.
    "LinkToAnotherRecord": FieldType(link=True),
    "Links": FieldType(kind="number", link=True),
    # NocoDB fills these itself (https://nocodb.com/docs/product-docs/fields).
    "ID": _filled_in("mixed", anew=True),
    "UUID": _filled_in(anew=True),
    "AutoNumber": _filled_in("number", anew=True, total="exact"),
    "CreatedTime": _filled_in("moment", "datetime", anew=True),
    "LastModifiedTime": _filled_in("moment", "datetime", anew=True),
    "CreatedBy": _filled_in("people", anew=True),
    "LastModifiedBy": _filled_in("people", anew=True),
    "Formula": _filled_in("mixed", figures=True),
    "Rollup": _filled_in("number"),
    "Count": _filled_in("number"),
    "Lookup": _filled_in(),
    "QrCode": _filled_in("opaque"),
    "Barcode": _filled_in("opaque"),
    "Button": _filled_in("opaque"),
    "Order": _filled_in(hidden=True),
    "ForeignKey": _filled_in(hidden=True),
    "Deleted": _filled_in(hidden=True),
}
"""By NocoDB's word for it; what is not here is text."""


def entered(field: Field, value: object, zone: tzinfo) -> Any:
    """`value` as it is kept in a draft; moments without an offset are in `zone`.

    None clears the field. Raises ToolError, with what would fit as hint.
    """
    if value in _EMPTY and field.kind != "check":
        return None
    return field.of.enter(field, value, zone)


def stored(field: Field, cell: object) -> Any:
    """A cell of NocoDB's in the form of `entered`; without what differs at each reading."""
    if field.kind == "check":
        return bool(cell) and str(cell).lower() not in ("false", "0")
    return None if cell in _EMPTY else field.of.stored(cell)


def here(field: Field, value: Any, zone: tzinfo) -> Any:
    """A moment as it is where somebody reads it; all else as it is."""
    if field.kind == "moment" and isinstance(value, str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(zone).isoformat(" ") if moment.tzinfo else value
    return value


def same(wanted: Any, found: Any) -> bool:
    """Equal as JSON, or as the number, truth or moment that both of them write: a table may read
    "79" as 79, or a day as a moment."""
    if bool(wanted == found) or (wanted in _EMPTY and found in _EMPTY):
        return True
    if isinstance(wanted, bool) or isinstance(found, bool):
        one, other = (_TRUTH.get(str(each).lower(), str(each).lower()) for each in (wanted, found))
        return one == other
    if not isinstance(wanted, str | int | float) or not isinstance(found, str | int | float):
        return False
    numbers = number_of(wanted), number_of(found)
    if None not in numbers:
        return numbers[0] == numbers[1]
    with suppress(ValueError):
        stands = datetime.fromisoformat(str(found))
        if len(str(wanted)) == len("2026-11-20"):  # a day alone is the same as any time on it
            return stands.date() == date.fromisoformat(str(wanted))
        return _in_utc(datetime.fromisoformat(str(wanted))) == _in_utc(stands)
    return False


def alike(one: Any, other: Any) -> bool:
    """The same entry, both in the form of `entered`; in lists the order is nobody's matter."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(_mark, one)) == sorted(map(_mark, other))
    if isinstance(one, str) and isinstance(other, str):
        if one == other:
            return True
        with suppress(ValueError):
            moments = datetime.fromisoformat(one), datetime.fromisoformat(other)
            return all(each.tzinfo for each in moments) and moments[0] == moments[1]
        return False
    return same(one, other)


def _mark(value: Any) -> str:
    if isinstance(value, Mapping) and "id" in value:
        return str(value["id"])
    return json.dumps(value, sort_keys=True)


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {name: value for name, value in values.items() if value not in _EMPTY}


def linked_ids(cell: object) -> frozenset[str]:
    """Of a link in a draft: [{"id", "title"}]."""
    each = cell if isinstance(cell, list) else []
    return frozenset(str(one["id"]) for one in each if isinstance(one, dict) and "id" in one)


def is_blank(field: Field, cell: object) -> bool:
    """As NocoDB sees it; a link that only counts its rows is blank at none."""
    return cell in (*_EMPTY, {}) or (counts_rows(field) and cell == 0)


def counts_rows(field: Field) -> bool:
    """A link whose cell is a number."""
    return field.is_link and field.kind == "number"


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
        return _in_utc(datetime.fromisoformat(cell)).astimezone(zone)
    except ValueError:
        return None


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
    return (str(cell).lower() if isinstance(cell, bool) else str(cell),)


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


def shown(
    record: Record, fields: Iterable[Field], zone: tzinfo | None, longest: int = CELL
) -> dict[str, Any]:
    """A row for a model: its id, then each field that is not empty; no addresses, no secrets.

    A field that is itself called "id" goes by "id (field)".
    """
    row: dict[str, Any] = {"id": record.id}
    open_cells = redact(dict(record.fields))
    for field in fields:
        cell = open_cells.get(field.title)
        if field.type != "ID" and not is_blank(field, cell):
            title = line(field.title)
            plain_cell = isinstance(cell, bool | int | float)
            row["id (field)" if title == "id" else title] = (
                cell if plain_cell else truncate(_text(field, cell, zone), longest)
            )
    return row


def written(record: Record, fields: Sequence[Field], zone: tzinfo | None) -> list[str]:
    """A row for a spreadsheet: whole cells, as text."""
    open_cells = redact(dict(record.fields))
    return [
        record.id if field.type == "ID" else _text(field, open_cells.get(field.title), zone)
        for field in fields
    ]


def line(text: str, longest: int = CELL) -> str:
    """A name or a label."""
    return to_one_line(text, longest)


def told(moment: datetime) -> str:
    """Without its zone, which stands beside."""
    return moment.isoformat(" ", "seconds")[: len("2026-11-20 09:30:00")]


def _text(field: Field, cell: object, zone: tzinfo | None) -> str:
    """Links, files and people by their titles; moments in the zone of who reads.

    Links end in "…" where NocoDB may have left some out.
    """
    if field.kind == "moment" and (moment := moment_of(cell, zone)):
        return told(moment)
    return clean_text(", ".join(texts_of(cell))) + (" …" if may_lack(field, cell) else "")
