"""NocoDB's field types, one row of `FIELD_TYPES` each: how cells are read, compared,
filtered, summed and written.

NocoDB 0.301.3 checks little and guesses: "03/04/2026" becomes March 4, "2026-13-40" February 9 of
the next year, "25:99" a time on the next day, 9 a rating, "notmail" a mail address. So Ponte checks
every value that it writes.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from core.base.errors import ToolError
from core.base.i18n import say
from core.base.redaction import NO_SECRET, WITHHELD_MARK, is_secret_name, redact
from core.base.text import fold_to_letters
from core.base.value_formats import parse_number as parse_number
from core.tools.nocodb.api import NocoRecord

MAX_CELL_CHARACTERS = 200
LINK_CELL_LIMITS = (5, 25)
"""Rows at which NocoDB cuts a link cell without a sign: 25 on 0.301.3, 5 on the versions of 2026
(https://github.com/nocodb/nocodb/issues/13616)."""

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
# NocoDB takes year 26 for 2026.
_DAY = re.compile(r"[1-9]\d{3}-\d{2}-\d{2}")
_MOMENT = re.compile(
    r"[1-9]\d{3}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2}(:\d{2})?)?)?"
)
_TIME = re.compile(r"(?P<hour>\d{2}):(?P<minute>\d{2})(:(?P<second>\d{2}))?")
_STORED_TIME = re.compile(r"\d{2}:\d{2}:\d{2}")
_LENGTH = re.compile(r"(?P<hours>\d{1,7}):(?P<minutes>[0-5]\d)(:(?P<seconds>[0-5]\d(\.\d{1,9})?))?")
_MAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]+")
_URL = re.compile(r"(https?://)?[^\s/:@][^\s/:@.]*\.[^\s]+|https?://[^\s]+", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}")
_DURATION_FORMAT = re.compile(r"h:mm(:ss(\.s{1,3})?)?")
_DATE_FORMATS: Mapping[str, str] = {"day": "date", "moment": "moment"}
EXACT = 2**53
"""From here on whole numbers are rounded, because JSON numbers are doubles."""
_LONGEST = 100_000
_TRUTH = {"true": True, "false": False, "1": True, "0": False}
EMPTY_CELLS: tuple[object, ...] = (None, "", [])  # what NocoDB may give for an empty cell
_FILE = ("path", "url", "title", "mimetype", "size", "icon", "width", "height")

Zone = tzinfo | None
Kind = Literal["words", "options", "people", "number", "mixed", "day", "moment", "check", "opaque"]
"""How cells are compared. `mixed`: numbers or text. `opaque`: only empty or not."""
Total = Literal["", "exact", "rounded", "time"]
"""The aggregates that NocoDB computes of a column: none, exact sums, floats, first and last."""


@dataclass(frozen=True, slots=True)
class Field:
    """`type` is NocoDB's name of its type (SingleLineText, Decimal, SingleSelect …).

    `options`: the titles that a select accepts; NocoDB compares them case-sensitively. `related_id`
    and `related_title`: the table that a link leads to. `relation`: NocoDB's name of the relation
    (hm: has many, bt: belongs to, mm: many to many, oo: one to one). `holds_one`: the link holds
    one row at most. `link_id`: the id of the link that a lookup or rollup uses. `sources`: ids or
    titles of the fields that it shows, or that a formula or code reads. `counts`: its value is the
    number of other values. `format`: how values are written (`core/base/value_formats.py`). `via`:
    the link to the field's table, if that is another table; `title` then begins with the link's
    ("Customer.Country"). `shows_secret`: its values come from a secret field. `about`: NocoDB's
    description, as people typed it.
    """

    id: str
    title: str
    type: str
    options: tuple[str, ...] = ()
    related_id: str = ""
    related_title: str = ""
    holds_one: bool = False
    link_id: str = ""
    sources: tuple[str, ...] = ()
    counts: bool = False
    relation: str = ""
    format: str = ""
    via: Field | None = None
    shows_secret: bool = False
    about: str = ""

    @property
    def is_secret(self) -> bool:
        return self.shows_secret or is_secret_name(self.in_own_table.title)

    @property
    def in_own_table(self) -> Field:
        if self.via is None:
            return self
        return replace(self, title=self.title.removeprefix(f"{self.via.title}."), via=None)

    @property
    def path(self) -> str:
        """The id, by which the field is found whatever its title is; of a field of linked rows, the
        id of the link and a dot before it."""
        is_linked = self.via is not None and self.via.id != self.id
        return f"{self.via.id}.{self.id}" if self.via and is_linked else self.id

    @property
    def field_type(self) -> FieldType:
        return FIELD_TYPES.get(self.type, _UNKNOWN)

    @property
    def kind(self) -> Kind:
        return self.field_type.kind

    @property
    def is_link(self) -> bool:
        return self.field_type.link

    @property
    def is_time(self) -> bool:
        return self.kind in ("day", "moment")

    @property
    def is_computed(self) -> bool:
        """A link is not computed."""
        return self.field_type.is_computed


def build_format(type: str, options: Mapping[str, Any]) -> str:
    """The result is a format of `core/base/value_formats.py`, as `number 2` or `currency BRL 2`; ""
    writes values as they are.

    NocoDB 0.301.3 names a currency `currency_code`, its documentation of v3 `code`. A currency
    without one has no sign. `locale_string` is the option to separate thousands.
    """
    precision = options.get("precision")
    places = f" {precision}" if isinstance(precision, int) and 0 <= precision <= 15 else ""
    match type:
        case "Currency":
            code = str(options.get("currency_code") or options.get("code") or "")
            if not _CURRENCY.fullmatch(code):  # no three letters (ISO 4217)
                return f"number{places or ' 2'}"
            from babel.numbers import get_currency_precision

            return f"currency {code}{places or f' {get_currency_precision(code)}'}"
        case "Number" | "Decimal" | "Rollup":
            has_separators = options.get("locale_string") is not False
            return ("number" if has_separators else "plain") + places
        case "Percent":
            return f"percent{places}"
        case "Duration":
            form = str(options.get("duration_format"))
            return f"duration {form if _DURATION_FORMAT.fullmatch(form) else 'h:mm'}"
    # A day or a moment; values of other types are written as they are.
    return _DATE_FORMATS.get(FIELD_TYPES.get(type, _UNKNOWN).kind, "")


def describe_unit(field: Field) -> str:
    kind, _, rest = field.format.partition(" ")
    return {"currency": rest[:3], "percent": "%", "duration": "seconds"}.get(kind, "")


def parse_checkbox(field: Field, value: object, zone: Zone = None) -> bool:
    """None is false. Raise ToolError."""
    if value is None or isinstance(value, bool):
        return bool(value)
    truth = _TRUTH.get(str(value).strip().lower())
    if truth is None:
        raise value_error(field, "{field}: write true or false.")
    return truth


def parse_text(field: Field, value: object, zone: Zone = None) -> str:
    """A number is accepted. Raise ToolError for other types, and for too long a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise value_error(field, "{field}: write text.")
    text = str(value)
    if len(text) > _LONGEST:
        raise value_error(field, "{field}: write at most {count} characters.", count=_LONGEST)
    return text


def _parse_number(field: Field, value: object, zone: Zone = None, unit: str = "") -> int | float:
    text = str(value).strip().removesuffix(unit).rstrip()
    if isinstance(value, bool) or not (isinstance(value, int | float) or _NUMBER.fullmatch(text)):
        raise value_error(field, "{field}: write a number, such as 1250.50.")
    number = value if isinstance(value, int | float) else float(text) if "." in text else int(text)
    if abs(number) >= EXACT:
        raise value_error(field, "{field}: write a smaller number. NocoDB would round this one.")
    return number


def _parse_whole(
    field: Field, value: object, zone: Zone = None, *, among: range | None = None, rule: str = ""
) -> int:
    """`among`: the numbers that the field holds; `rule` is the sentence for others. Raise
    ToolError."""
    number = _parse_number(field, value)
    if number != int(number):
        raise value_error(field, "{field}: write a whole number, such as 12.")
    if among is not None and int(number) not in among:
        raise value_error(field, rule)
    return int(number)


_parse_percent = partial(_parse_number, unit="%")
_parse_rating = partial(
    _parse_whole, among=range(11), rule="{field}: write a whole number from 0 to 10."
)
_parse_year = partial(
    _parse_whole, among=range(1000, 10_000), rule="{field}: write a four-digit year, such as 2026."
)


def _parse_duration(field: Field, value: object, zone: tzinfo) -> int | float:
    """Return a duration in seconds, from a number or from a text such as 1:30, which NocoDB reads
    as hours and minutes."""
    match = _LENGTH.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        if (seconds := _parse_number(field, value)) < 0:
            raise value_error(field, "{field}: write a duration that isn't negative, such as 1:30.")
        return seconds
    minutes = int(match["hours"]) * 60 + int(match["minutes"])
    return _parse_number(field, str(minutes * 60 + Decimal(match["seconds"] or 0)))


def _parse_day(field: Field, value: object, zone: tzinfo) -> str:
    if isinstance(value, str) and _DAY.fullmatch(value.strip()):
        with suppress(ValueError):
            return date.fromisoformat(value.strip()).isoformat()
    raise value_error(field, "{field}: write a date, such as 2026-11-20.")


def _parse_moment(field: Field, value: object, zone: tzinfo) -> str:
    """A moment without an offset is in `zone`. Raise ToolError."""
    if isinstance(value, str) and _MOMENT.fullmatch(value.strip()):
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(value.strip()).replace(microsecond=0)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            # NocoDB stores whole seconds of years up to 9999 in UTC, and reads no offset with
            # seconds, as zones had them before 1914 and later.
            in_utc, offset = moment.astimezone(UTC), moment.utcoffset() or timedelta()
            return (in_utc if offset.seconds % 60 else moment).isoformat(" ")
    raise value_error(field, "{field}: write a date and time, such as 2026-11-20 14:30.")


def _parse_time(field: Field, value: object, zone: tzinfo) -> str:
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        with suppress(ValueError):
            hour, minute, second = (int(part or 0) for part in match.group(1, 2, "second"))
            return time(hour, minute, second).isoformat()
    raise value_error(field, "{field}: write a time, such as 14:30.")


def _parse_address(
    field: Field, value: object, zone: Zone = None, *, form: re.Pattern[str], rule: str
) -> str:
    address = parse_text(field, value).strip()
    if not form.fullmatch(address):
        raise value_error(field, rule)
    return address


_parse_mail = partial(
    _parse_address, form=_MAIL, rule="{field}: write an email address, such as ana@example.com."
)
_parse_url = partial(
    _parse_address, form=_URL, rule="{field}: write a web address, such as https://example.com."
)


def parse_option(field: Field, value: object, zone: Zone = None) -> str:
    """`value` must be written exactly as the option. Raise ToolError with the most similar options
    as hint: those that differ only in case and accents, else one."""
    # `zone` is not used: the parsers of all field types (`FieldType.parse`) get it.
    text = parse_text(field, value)
    if text in field.options:
        return text
    near = [option for option in field.options if fold_to_letters(option) == fold_to_letters(text)]
    near = near or difflib.get_close_matches(text, field.options, 1)
    guesses, options = " or ".join(map(repr, near[:3])), ", ".join(field.options[:30])
    raise ToolError(
        "{field}: `{value}` isn't an option. Write one of these: {options}.",
        code="unknown_option",
        hint=f"did you mean {guesses}?" if near else f"it has {options}",
        field=field.title,
        value=text[:64],
        options=options,
    )


def _parse_options(field: Field, value: object, zone: tzinfo) -> list[str]:
    texts: Sequence[object] = value if isinstance(value, list) else str(value).split(",")
    stripped = [text.strip() if isinstance(text, str) else text for text in texts]
    return list(dict.fromkeys(parse_option(field, text) for text in stripped))


def _parse_people(field: Field, value: object, zone: tzinfo) -> list[str]:
    people: Sequence[object] = value if isinstance(value, list) else str(value).split(",")
    addresses = [
        person.get("email") if isinstance(person, Mapping) else person for person in people
    ]
    return list(dict.fromkeys(_parse_mail(field, address).lower() for address in addresses))


def _parse_json(field: Field, value: object, zone: tzinfo) -> str:
    try:
        return _sort_json(value)
    except (ValueError, RecursionError):
        raise value_error(field, "{field}: write JSON, such as [1, 2].") from None


def _sort_json(value: object) -> str:
    content = json.loads(value) if isinstance(value, str) else value
    return json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _parse_files(field: Field, value: object, zone: tzinfo) -> list[Any]:
    if not isinstance(value, list):
        raise value_error(field, "{field}: write the names of files in this conversation.")
    return list(filter(is_new_file, value))


def value_error(field: Field, sentence: str, **values: object) -> ToolError:
    """`sentence` says what to write instead; its `{field}` becomes the field's title."""
    hint = "ask the person where you are not sure"
    return ToolError(sentence, code="bad_value", hint=hint, field=field.title, **values)


def _keep_value(cell: Any) -> Any:
    return cell


def _stored_files(cell: Any) -> Any:
    if not isinstance(cell, list):
        return cell
    return [normalise_file(file) for file in cell if isinstance(file, dict)]


def normalise_file(file: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what differs at each reading, such as signed addresses, so that two readings can be
    compared."""
    return {key: file[key] for key in _FILE if key in file}


def _stored_people(cell: Any) -> Any:
    if not isinstance(cell, list):
        return cell
    return [str(person.get("email", "")).lower() for person in cell if isinstance(person, dict)]


def _stored_options(cell: Any) -> Any:
    return cell.split(",") if isinstance(cell, str) else cell


def _stored_json(cell: Any) -> Any:
    # NocoDB stores the text as it was written, drafts have sorted keys.
    try:
        return _sort_json(cell)
    except (ValueError, RecursionError):
        return str(cell)


def stored_time(cell: Any) -> Any:
    match = _STORED_TIME.search(cell) if isinstance(cell, str) else None
    return match[0] if match else cell


def _sent_people(value: Any) -> Any:
    return ",".join(value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class FieldType:
    """The properties of one NocoDB field type.

    `word` names it in a table's outline; "" means NocoDB's name in lower case. `parse` checks a
    value to write and returns the form that drafts store. `normalise` converts a cell of NocoDB's
    to that form, `to_nocodb` converts back. `is_computed`: NocoDB fills the field.
    `differs_by_row`: it does so with a new value for each row. `may_hold_numbers`: it can be summed
    though it may hold text.
    """

    word: str = ""
    kind: Kind = "words"
    parse: Callable[[Field, object, tzinfo], Any] = parse_text
    normalise: Callable[[Any], Any] = _keep_value
    to_nocodb: Callable[[Any], Any] = _keep_value
    total: Total = ""
    link: bool = False
    file: bool = False
    is_computed: bool = False
    differs_by_row: bool = False
    hidden: bool = False
    may_hold_numbers: bool = False


def _computed_type(kind: Kind = "words", word: str = "", **options: Any) -> FieldType:
    return FieldType(word, kind, is_computed=True, **options)


_UNKNOWN = FieldType()
FIELD_TYPES: Mapping[str, FieldType] = {
    "SingleLineText": FieldType("text"),
    "LongText": FieldType("longtext"),
    "PhoneNumber": FieldType("phone"),
    "Email": FieldType(parse=_parse_mail),
    "URL": FieldType(parse=_parse_url),
    "JSON": FieldType(parse=_parse_json, normalise=_stored_json),
    "SingleSelect": FieldType("select", parse=parse_option),
    "MultiSelect": FieldType("multiselect", "options", _parse_options, _stored_options),
    "User": FieldType("", "people", _parse_people, _stored_people, _sent_people),
    "Collaborator": FieldType(kind="people"),
    "Checkbox": FieldType(kind="check", parse=parse_checkbox),
    "Number": FieldType(kind="number", parse=_parse_whole, total="exact"),
    "Rating": FieldType(kind="number", parse=_parse_rating, total="exact"),
    "Year": FieldType(kind="number", parse=_parse_year, total="exact"),
    "Duration": FieldType(kind="number", parse=_parse_duration, total="rounded"),
    "Decimal": FieldType(kind="number", parse=_parse_number, total="rounded"),
    "Currency": FieldType(kind="number", parse=_parse_number, total="rounded"),
    "Percent": FieldType(kind="number", parse=_parse_percent, total="rounded"),
    "Date": FieldType(kind="day", parse=_parse_day, total="time"),
    "DateTime": FieldType("datetime", "moment", _parse_moment, total="time"),
    "Time": FieldType(kind="opaque", parse=_parse_time, normalise=stored_time),
    "GeoData": FieldType(kind="opaque"),
    "Geometry": FieldType(kind="opaque"),
    "Attachment": FieldType("files", "opaque", _parse_files, _stored_files, file=True),
    # A cell of the first holds rows, of the second how many they are.
    "LinkToAnotherRecord": FieldType(link=True),
    "Links": FieldType(kind="number", link=True),
    # NocoDB fills these itself (https://nocodb.com/docs/product-docs/fields).
    "ID": _computed_type("mixed", differs_by_row=True),
    "UUID": _computed_type(differs_by_row=True),
    "AutoNumber": _computed_type("number", differs_by_row=True, total="exact"),
    "CreatedTime": _computed_type("moment", "datetime", differs_by_row=True),
    "LastModifiedTime": _computed_type("moment", "datetime", differs_by_row=True),
    "CreatedBy": _computed_type("people", differs_by_row=True),
    "LastModifiedBy": _computed_type("people", differs_by_row=True),
    "Formula": _computed_type("mixed", may_hold_numbers=True),
    "Rollup": _computed_type("number"),
    "Count": _computed_type("number"),
    "Lookup": _computed_type(),
    "QrCode": _computed_type("opaque"),
    "Barcode": _computed_type("opaque"),
    "Button": _computed_type("opaque"),
    "Order": _computed_type(hidden=True),
    "ForeignKey": _computed_type(hidden=True),
    "Deleted": _computed_type(hidden=True),
}
"""Field types by NocoDB's name. A type that is not listed is text."""


def parse_value(field: Field, value: object, zone: tzinfo) -> Any:
    """Return the form that drafts store. Moments without an offset are in `zone`.

    None clears the field. Raise ToolError with an acceptable form as hint.
    """
    if value in EMPTY_CELLS and field.kind != "check":
        return None
    return field.field_type.parse(field, value, zone)


def normalise_cell(field: Field, cell: object) -> Any:
    """Return the cell in the form in which `parse_value` returns a value to write, so that both can
    be compared: without what differs at each reading, such as signed addresses."""
    if field.kind == "check":
        return bool(cell) and str(cell).lower() not in ("false", "0")
    return None if cell in EMPTY_CELLS else field.field_type.normalise(cell)


def in_time_zone(field: Field, value: Any, zone: tzinfo) -> Any:
    if field.kind == "moment" and isinstance(value, str):
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(zone).isoformat(" ") if moment.tzinfo else value
    return value


def is_same_value(expected: Any, actual: Any) -> bool:
    """A table may return "79" as 79, a day as a moment, or a checkbox as 1 or "true". `expected` is
    what was written, and `actual` what the table returns."""
    if bool(expected == actual) or (expected in EMPTY_CELLS and actual in EMPTY_CELLS):
        return True
    if isinstance(expected, bool) or isinstance(actual, bool):
        # A checkbox may come back as 1 or as "true".
        texts = str(expected).lower(), str(actual).lower()
        expected_text, other = (_TRUTH.get(text, text) for text in texts)
        return expected_text == other
    if not isinstance(expected, str | int | float) or not isinstance(actual, str | int | float):
        return False
    # Compared as decimals: "79.0" is 79.
    numbers = parse_number(expected), parse_number(actual)
    if None not in numbers:
        return numbers[0] == numbers[1]
    with suppress(ValueError):
        stands = datetime.fromisoformat(str(actual))
        if len(str(expected)) == len("2026-11-20"):  # a day alone is the same as any time on it
            return stands.date() == date.fromisoformat(str(expected))
        return _in_utc(datetime.fromisoformat(str(expected))) == _in_utc(stands)
    return False


def is_same_entry(value: Any, other: Any) -> bool:
    """Lists (options, people, links, files) are compared without order. Two texts are also equal if
    they are one moment in different time zones."""
    if isinstance(value, list) and isinstance(other, list):
        key = _find_entry_key([*value, *other])
        return sorted(map(key, value)) == sorted(map(key, other))
    if isinstance(value, str) and isinstance(other, str):
        if value == other:
            return True
        with suppress(ValueError):
            moments = datetime.fromisoformat(value), datetime.fromisoformat(other)
            return all(moment.tzinfo for moment in moments) and moments[0] == moments[1]
        return False
    return is_same_value(value, other)


def is_new_file(value: object) -> bool:
    """Only such a file has a digest; one that NocoDB stores has a path or an address."""
    return isinstance(value, Mapping) and "sha256" in value


def holds_files(value: object) -> bool:
    files = value if isinstance(value, list) else []
    return any(isinstance(file, dict) and {"path", "url", "sha256"} & file.keys() for file in files)


def subtract_files(files: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """A file that is there twice is removed once for each time that it is among them."""
    key, rest = _find_entry_key([*files, *others]), list[Any]()
    counts = Counter(map(key, others))
    for file in files:
        counts[key(file)] -= 1
        if counts[key(file)] < 0:
            rest.append(file)
    return rest


def _find_entry_key(entries: Sequence[Any]) -> Callable[[Any], str]:
    if any(map(is_new_file, entries)):  # a new file has no path before it is uploaded
        return lambda file: repr([file.get(name) for name in ("title", "mimetype", "size")])
    return lambda value: (
        str(value["id"])
        if isinstance(value, Mapping) and "id" in value
        else json.dumps(value, sort_keys=True)
    )


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in EMPTY_CELLS}


def cell_of(record: NocoRecord, field: Field) -> object:
    """The id of a row is no field in v3 of NocoDB's API, but beside them."""
    return record.id if field.type == "ID" else record.fields.get(field.title)


def open_cell(record: NocoRecord, field: Field) -> object:
    cell = record.fields.get(field.title)
    is_withheld = cell not in NO_SECRET and field.is_secret
    return say(WITHHELD_MARK) if is_withheld else redact(cell)


def lists_linked_rows(cell: object) -> bool:
    """Some versions of NocoDB put the number or titles of rows into a link's cell, or so many that
    some may be missing."""
    rows = cell if isinstance(cell, list) else [cell]
    has_all = len(rows) < min(LINK_CELL_LIMITS)
    return has_all and all(isinstance(row, Mapping) and "id" in row for row in rows)


def linked_ids(cell: object) -> frozenset[str]:
    """A link to one row may be an object instead of a list."""
    rows = cell if isinstance(cell, list) else [cell]
    return frozenset(str(row["id"]) for row in rows if isinstance(row, Mapping) and "id" in row)


def is_blank(field: Field, cell: object) -> bool:
    """A link whose cell is the number of its rows is blank at 0. So is a rating of 0, which NocoDB
    leaves out of its own figures."""
    return cell in (*EMPTY_CELLS, {}) or (cell == 0 and (field.is_link or field.type == "Rating"))


def counts_rows(field: Field) -> bool:
    return field.is_link and field.kind == "number"


def may_be_incomplete(field: Field, cell: object) -> bool:
    """NocoDB cuts a link or lookup at these lengths without a sign."""
    is_cut_there = field.is_link or field.type == "Lookup"
    return is_cut_there and isinstance(cell, list) and len(cell) in LINK_CELL_LIMITS


def parse_moment(cell: object, zone: Zone) -> datetime | None:
    """NocoDB returns UTC; a moment that is in no year of `zone` stays in UTC."""
    if not isinstance(cell, str):
        return None
    try:
        moment = _in_utc(datetime.fromisoformat(cell))
    except ValueError:
        return None
    with suppress(OverflowError):  # such as 9999-12-31 23:59, which often means never
        return moment.astimezone(zone)
    return moment


def parse_day(cell: object) -> date | None:
    """A date has no time zone."""
    try:
        return date.fromisoformat(cell[:10]) if isinstance(cell, str) else None
    except ValueError:
        return None
