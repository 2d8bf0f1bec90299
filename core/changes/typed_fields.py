"""Reads the values that a person types for the fields of a proposal."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from core.base.errors import BadInput, GivenTwice
from core.base.i18n import format_date, format_moment, say
from core.base.markdown import escape_markdown
from core.base.text import clean_text, clip_line, fold_case, fold_to_letters
from core.base.value_formats import (
    decimal_places,
    format_kind,
    format_value,
    parse_typed_day,
    parse_typed_moment,
    parse_typed_number,
    parse_typed_truth,
    refuse_readings,
)
from core.domain.changes import FormField

_NO_VALUES = "Write the new values, one per line: `Field = value`. Fields: {names}."
_NO_FIELD = "Field {field} not found. Write one of these: {names}."
_WRONG_VALUES = {
    "number": "{field}: write a number such as {form} instead of “{value}”.",
    "date": "{field}: write a date such as {form} instead of “{value}”.",
    "moment": "{field}: write a date and time such as {form} instead of “{value}”.",
    "checkbox": "{field}: write {form} instead of “{value}”.",
}
_MAX_LISTED_FIELDS = 12


def match_values(
    fields: Sequence[FormField], values: Mapping[str, Any], now: datetime, locales: Collection[str]
) -> dict[str, str]:
    """Return the new values that a person typed for a proposal, by the keys of the form, as text:
    numbers as in `1234.5`, days and moments in ISO 8601.

    A name without the number of a row is the field of all rows. `locales` are the languages in
    which a value may be written: that of the person and that of the card that they see. Raise
    BadInput for an unknown field, if there is no value, and for a value that cannot be read or that
    two languages read differently.
    """
    names = ", ".join(_show_name(field.key) for field in fields[:_MAX_LISTED_FIELDS])
    if not values:
        raise BadInput(_NO_VALUES, names=names)
    matched: dict[str, str] = {}
    for name, value in values.items():
        if not (named_fields := _find_fields(fields, name)):
            raise BadInput(_NO_FIELD, field=_show_name(name), names=names)
        # `_find_fields` returns one field, or the same field of several rows.
        # A value that is no text came as JSON, which writes numbers the same in all languages.
        text = "" if value is None else json.dumps(value, ensure_ascii=False)
        for field in named_fields:
            # For example, one value is for this field in all rows, and another for one row.
            if field.key in matched:
                raise GivenTwice(key=_show_name(name))
            is_text = isinstance(value, str)
            matched[field.key] = _read_text(field, value, now, locales) if is_text else text
    return matched


def name_field(field: FormField) -> str:
    """The name is untrusted text."""
    if not field.row:
        return field.label
    return say("Row {number}, {field}", number=field.key.partition(".")[0], field=field.label)


def _find_fields(fields: Sequence[FormField], name: str) -> Sequence[FormField]:
    """`name` is compared with keys and labels first as it is written, then without case, then by
    its letters alone, without accents. Several fields with one label are that field in several
    rows. Return () if none matches, or if different labels do."""
    for form in (clean_text, lambda text: fold_case(text.strip()), fold_to_letters):
        for kind in ("key", "label"):
            matching = [field for field in fields if form(getattr(field, kind)) == form(name)]
            if matching:
                return matching if len({field.label for field in matching}) == 1 else ()
    return ()


def _read_text(field: FormField, text: str, now: datetime, locales: Collection[str]) -> str:
    """Return a value that a person typed into `field`, in the form that a draft has. Blank text
    empties the field. Raise BadInput for a text that has no meaning, or two."""
    if not text.strip():
        return text
    if field.options:
        titles = map(str.strip, [text] if field.type == "select" else text.split(","))
        options = {fold_to_letters(option): option for option in field.options}
        # An exact title comes before one that is equal but for case and accents.
        options |= dict(zip(field.options, field.options, strict=True))
        # An option that is not known stays as it is: the table may have got it meanwhile.
        return ", ".join(options.get(t) or options.get(fold_to_letters(t), t) for t in titles)
    values = {_parse_text(field, text, now, locale) for locale in locales} - {None}
    # One reading, or the same one in each language; "01/02/2026" has two.
    if len(values) == 1:
        return str(values.pop())
    if values and field.type != "number":
        raise refuse_readings(_show_name(text), values)
    raise BadInput(
        _WRONG_VALUES[field.type],
        field=_show_name(name_field(field)),
        value=_show_name(text),
        form=_write_example(field, now),
    )


def _parse_text(field: FormField, text: str, now: datetime, locale: str) -> str | None:
    """Return what a person typed into a field in the form that a draft has; None if it is no
    value of the field's type."""
    value: object = text
    match field.type:
        case "number" if ":" not in text:  # `1:30` is a duration, and stays as it is
            value = parse_typed_number(text, field.format, locale)
        case "date":
            value = parse_typed_day(text, now.date(), locale)
        case "moment":
            value = parse_typed_moment(text, now, locale)
        case "checkbox":
            truth = parse_typed_truth(text)
            value = truth if truth is None else str(truth).lower()
    return value if value is None else f"{value}"


def _write_example(field: FormField, now: datetime) -> str:
    """The example is one that no other language reads differently."""
    match field.type:
        case "number":
            # Without a sign between thousands, which languages write differently. A field
            # without a format has the kind "".
            plain = f"plain {decimal_places(field.format)}"
            examples = {"": "5", "duration": "1:30"}
            return examples.get(format_kind(field.format)) or format_value(1234, plain)
        case "date":
            return format_date(now)
        case "moment":
            return format_moment(now)
    return f"{say('Yes')} / {say('No')}"  # a checkbox


def _show_name(name: str) -> str:
    # It is untrusted, so its Markdown is escaped.
    return escape_markdown(clip_line(name))
