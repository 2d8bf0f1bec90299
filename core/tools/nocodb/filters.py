"""Which rows are meant: a model's filters, checked against the schema, as NocoDB's `where`.

NocoDB cannot be asked for everything exactly: no value may hold both quotes or a backslash, `like`
takes % and _ for wildcards, and É and é are two letters to some databases. Then it is asked for
more, and the cells are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import quote

import pydantic

from core.domain.errors import ToolError
from core.text.i18n import say
from core.text.text import fold_case, fold_to_letters, to_one_line
from core.tools.nocodb import fieldtypes
from core.tools.nocodb.api import Record
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.schema import Table

LONGEST_WHERE = 6_000
"""Characters in an address, percent-encoded: Node takes 16 kB of headers by default
(https://nodejs.org/api/cli.html#--max-http-header-sizesize), proxies 8 kB."""

_QUOTES = "\"'"
_BARE = re.compile(r"(?![ ])[\w .:@+/-]*[\w.]")
_RESERVED = {"null", "empty", "notnull", "notempty", "blank", "notblank", "true", "false"}
"""What they mean without quotes is not themselves."""

DATE_WORDS = (
    "today, yesterday, tomorrow, this_week, last_week, next_week, this_month, last_month, "
    "next_month, this_quarter, last_quarter, next_quarter, this_year, last_year, next_year, "
    "last_N_days, next_N_days"
)
_MOST_DAYS = 3660
"""Days of a `last_N_days`."""

_DAY = timedelta(days=1)
_SHIFTS = {"last": -1, "this": 0, "next": 1}
_NEAR = {"yesterday": -1, "today": 0, "tomorrow": 1}
_NAMED = re.compile(r"(last|this|next)_(week|month|quarter|year)")
_DAYS = re.compile(r"(last|next)_(\d{1,5})_days", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII
)

_BY_WORD: Mapping[str, str] = {
    "eq": "eq", "neq": "neq", "contains": "like", "not_contains": "nlike", "in": "in",
}  # fmt: skip
_BY_OPTION: Mapping[str, str] = {
    "eq": "anyof", "neq": "nanyof", "contains": "anyof", "not_contains": "nanyof", "in": "anyof",
}  # fmt: skip
_FORMS = (str.casefold, fold_case)
_UNSAID = re.compile(r"[%_\\\"]")
"""Wildcards of `like`, and what no quotes can hold beside another quote."""

MOST_FILTERS = 20
"""Filters in one call."""
MOST_VALUES = 100
"""Values of one filter."""
LONGEST_VALUE = 2_000
"""Characters."""

_BLANK_OPS: tuple[Op, ...] = ("blank", "notblank")
_WORD_OPS: tuple[Op, ...] = ("eq", "neq", "contains", "not_contains", "in", *_BLANK_OPS)
_ORDER_OPS: tuple[Op, ...] = ("eq", "neq", "gt", "gte", "lt", "lte", "between")
_NUMBER_OPS: tuple[Op, ...] = (*_ORDER_OPS, "in", *_BLANK_OPS)
_DATE_OPS: tuple[Op, ...] = (*_ORDER_OPS, *_BLANK_OPS)
_CHECK_OPS: tuple[Op, ...] = ("eq", "neq", *_BLANK_OPS)

_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_SURROGATE = re.compile(r"[\ud800-\udfff]")

GUIDE = (
    f"On dates a value is a day (2026-11-20), month (2026-11), year, moment (2026-11-20T09:30) or "
    f"one of {DATE_WORDS}; eq means within it, between takes [first, last] and includes both; "
    "weeks begin on Monday; all in the asker's time zone. Links compare with titles of linked "
    "rows. contains ignores case; in takes a list; checkboxes take true or false; blank and "
    "notblank take null."
)
"""What a tool's description says of filters."""

LONGEST_TOLD = 60
"""Characters of a field's name or of a value in words."""
_VALUES_TOLD = 5

_SENTENCES: dict[Op, str] = {
    "eq": "{field} is {value}",
    "neq": "{field} is not {value}",
    "gt": "{field} is more than {value}",
    "gte": "{field} is at least {value}",
    "lt": "{field} is less than {value}",
    "lte": "{field} is at most {value}",
    "between": "{field} is from {value} to {last}",
    "contains": "{field} contains {value}",
    "not_contains": "{field} does not contain {value}",
    "in": "{field} is one of {value}",
    "blank": "{field} is empty",
    "notblank": "{field} is not empty",
}
_DATE_SENTENCES: dict[Op, str] = {
    "eq": "{field} is within {value}",
    "neq": "{field} is not within {value}",
    "gt": "{field} is after {value}",
    "gte": "{field} is within or after {value}",
    "lt": "{field} is before {value}",
    "lte": "{field} is within or before {value}",
}
_CHECKED, _NOT_CHECKED = "{field} is checked", "{field} is not checked"
_AND, _OR = "{one} and {other}", "{one} or {other}"

Op = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "between",
    "contains", "not_contains", "in", "blank", "notblank",
]  # fmt: skip
Value = str | int | float | bool | list[str | int | float] | None
Match = Literal["all", "any"]


@dataclass(frozen=True, slots=True)
class Where:
    """`v2` says the same without quotes; None where that cannot be. Empty: every row.

    It is made of field ids and quoted values, and no value can end its own quotation. As seen on
    NocoDB 0.301.3, v3 takes a value between " or ', in which the other quote, commas, parentheses,
    line breaks and words as null or ~and are plain text. A backslash is as well, unless a quote
    follows it and another one comes later: then the value goes on until that one. So no value with
    a backslash is sent. v2 (aggregates) knows no quotes, and ignores a field that it does not know
    without a word. `~not` before a group is ignored too, so it is not used.
    """

    v3: str = ""
    v2: str | None = ""

    @property
    def fits(self) -> bool:
        return len(quote(self.v3)) <= LONGEST_WHERE


@dataclass(frozen=True, slots=True)
class Span:
    """From `start`, included, to `end`, not included; both aware, in the zone of who asks."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, text: str, now: datetime) -> Span:
        """`now` is aware and in the zone of who asks. Weeks begin on Monday (ISO 8601).

        `text` is one of `DATE_WORDS`, or a year, month, day or moment as ISO 8601 writes them; one
        without an offset is in that zone. `last_7_days` ends with today. Raises ToolError.
        """
        try:
            span = _span(text.strip(), now)
        except (ValueError, OverflowError):
            span = None
        if span is None or not 1 < span.start.year < span.end.year + 1 < 9999:
            raise ToolError(
                "{text!r} is not a date that I know.",
                code="bad_date",
                hint=f"write 2026-11-20, 2026-11, 2026, 2026-11-20T09:30, or one of: {DATE_WORDS}",
                text=text[:64],
            )
        return span

    def __str__(self) -> str:
        """Its year, month, day or minute, else its first and last day."""
        if self.start.time() != time() or self.end.time() != time():
            return self.start.isoformat(" ", "minutes")[: len("2026-11-20 09:30")]
        first, after = self.first_day, self.day_after
        for length, of in ((4, year_of), (7, month_of)):
            if (first, after) == (of(first), of(first, 1)):
                return first.isoformat()[:length]
        last = (after - _DAY).isoformat()
        return last if after - first == _DAY else f"{first.isoformat()} – {last}"

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def day_after(self) -> date:
        """The first day that is not in it."""
        return (self.end - timedelta(microseconds=1)).date() + _DAY


Operand = str | bool | Decimal | Span


@dataclass(frozen=True, slots=True)
class Condition:
    """`where` asks for every row that fits, and where it is not `exact` for more; None: for all.

    `holds` says of a cell what NocoDB would.
    """

    field: Field
    op: Op
    operands: tuple[Operand, ...]
    where: Where | None
    exact: bool
    holds: Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one field."""

    field: Annotated[str, pydantic.Field(description="the field's name")]
    op: Op
    value: Annotated[Value, pydantic.Field(description="null for blank and notblank")]


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of `table` that fit. NocoDB is asked for `where`; unless `exact`, that is more than
    is meant, and each row must be checked with `holds`."""

    table: Table
    conditions: tuple[Condition, ...] = ()
    match: Match = "all"

    @classmethod
    def of(cls, table: Table, filters: Sequence[Filter], match: Match, now: datetime) -> Selection:
        """`now` is in the zone of who asks. Raises ToolError, NocoError `unknown_field`."""
        if len(filters) > MOST_FILTERS:
            raise ToolError(
                "Those are {count} filters; at most {most} fit in one call.",
                code="bad_filter", count=len(filters), most=MOST_FILTERS,
            )  # fmt: skip
        made = [condition(table.field(each.field), each.op, each.value, now) for each in filters]
        return cls(table, tuple(made), match)

    @property
    def where(self) -> Where:
        """Empty where there is no filter, and where it would be too long to send."""
        whole = self._whole
        return whole if whole.fits else Where()

    @property
    def exact(self) -> bool:
        return all(each.exact for each in self.conditions) and self._whole.fits

    @property
    def checked(self) -> tuple[Field, ...]:
        """The fields that `holds` looks at."""
        return () if self.exact else tuple(dict.fromkeys(each.field for each in self.conditions))

    def holds(self, row: Record) -> bool:
        """Of a row that has the fields in `checked`. Raises ToolError where it cannot be said."""
        if self.exact:
            return True
        checks = (  # v3 tells a row's id beside its fields
            each.holds(row.id if each.field.type == "ID" else row.fields.get(each.field.title))
            for each in self.conditions
        )
        return all(checks) if self.match == "all" else any(checks)

    @property
    def _whole(self) -> Where:
        parts = [each.where or Where() for each in self.conditions]
        return every(parts) if self.match == "all" else either(parts)


def clause(field: str, op: str, *values: str, word: str = "") -> Where:
    """`field` is an id; `word` stands before the values, as exactDate.

    Raises ValueError for a value that is not `sayable`.
    """
    head = [field, op, *([word] if word else [])]
    sayable_bare = all(
        _BARE.fullmatch(value) and value.lower() not in _RESERVED for value in values
    )
    bare = f"({','.join([*head, *values])})" if sayable_bare else None
    return Where(f"({','.join([*head, *map(_quoted, values)])})", bare)


def sayable(values: Sequence[str]) -> bool:
    """Whether each of them lacks one of the two quotes, and backslashes."""
    return all(_mark(value) for value in values)


def every(parts: Sequence[Where]) -> Where:
    return _joined(parts, "~and")


def either(parts: Sequence[Where]) -> Where:
    """Empty when one of them is, which every row fits."""
    return _joined(parts, "~or") if all(part.v3 for part in parts) else Where()


def month_of(day: date, later: int = 0) -> date:
    """The first day of its month, or of the one so many months later."""
    return _month(day.year, day.month + later)


def year_of(day: date, later: int = 0) -> date:
    return _month(day.year + later, 1)


_BEGINNINGS: dict[str, Callable[[date, int], date]] = {
    "week": lambda day, later: day - timedelta(days=day.weekday(), weeks=-later),
    "month": month_of,
    "quarter": lambda day, later: _month(day.year, (day.month - 1) // 3 * 3 + 1 + 3 * later),
    "year": year_of,
}


def misfit(why: str) -> ToolError:
    return ToolError("That filter does not fit: {why}.", code="bad_filter", why=why)


def of_dates(field: Field, op: Op, given: Sequence[object], now: datetime) -> Condition:
    """Every date is a stretch of time: `gt` a month is after its end, `eq` is within it."""
    spans = tuple(Span.of(str(each), now) for each in given)
    span = Span(spans[0].start, spans[-1].end)
    if field.kind == "day":  # as NocoDB compares them: plain days, or moments in UTC
        start, end = span.first_day.isoformat(), span.day_after.isoformat()
    else:
        start, end = _utc(span.start), _utc(span.end)
    before, until = (clause(field.id, "lt", at, word="exactDate") for at in (start, end))
    since, after = (clause(field.id, "gte", at, word="exactDate") for at in (start, end))
    inside = every([since, until])
    outside = either([before, after, clause(field.id, "blank")])
    wheres = {
        "eq": inside, "between": inside, "neq": outside,
        "gt": after, "gte": since, "lt": before, "lte": until,
    }  # fmt: skip

    def holds(cell: object) -> bool:
        at = _sortable(field, cell)
        if at is None:
            return op == "neq"
        within = start <= at < end
        return {
            "eq": within, "between": within, "neq": not within,
            "gt": at >= end, "gte": at >= start, "lt": at < start, "lte": at < end,
        }[op]  # fmt: skip

    return Condition(field, op, spans, wheres[op], True, holds)


def of_words(field: Field, op: Op, given: Sequence[object]) -> Condition:
    values = tuple(_word(field, op, each) for each in given)
    wide = op in ("contains", "not_contains") and field.kind != "options"
    people = field.kind == "people"

    def holds(cell: object) -> bool:
        texts = fieldtypes.people_of(cell) if people else fieldtypes.texts_of(cell)
        if fieldtypes.may_lack(field, cell):
            raise misfit(f"rows link to more than I can look through in {field.title}")
        if wide:
            found = any(form(values[0]) in form(text) for text in texts for form in _FORMS)
        else:
            found = any(text in values for text in texts)
        return found == (op not in ("neq", "not_contains"))

    where, exact = _words_where(field, op, values, wide)
    return Condition(field, op, values, where, exact, holds)


def condition(field: Field, op: Op, value: Value, now: datetime) -> Condition:
    """`now` is in the zone of who asks: days and months begin there.

    Raises ToolError where the field cannot be asked that, or the value does not fit it.
    """
    given = _given(op, value)
    if field.kind == "check":
        return _of_check(field, _fitting(field, op, _CHECK_OPS), given)
    if op in _BLANK_OPS or (given == [""] and op in ("eq", "neq")):
        return _of_blank(field, op in ("blank", "eq"))
    if field.kind == "opaque":
        _fitting(field, op, _BLANK_OPS)
    if field.is_time:
        return of_dates(field, _fitting(field, op, _DATE_OPS), given, now)
    if field.kind == "number" or _as_number(field, op, given):
        return _of_number(field, _fitting(field, op, _NUMBER_OPS), given)
    return of_words(field, _fitting(field, op, _WORD_OPS), given)


def words(selection: Selection, locale: str) -> str:
    """ "" where every row is meant. Names and values stand in it as they are, on one line."""
    joined = _AND if selection.match == "all" else _OR
    told = ""
    for each in selection.conditions:
        one = _in_words(each, locale)
        told = say(joined, locale, one=told, other=one) if told else one
    return told


def _joined(parts: Sequence[Where], by: str) -> Where:
    said = [part for part in parts if part.v3]
    if len(said) < 2:
        return said[0] if said else Where()
    bare = [part.v2 for part in said if part.v2 is not None]
    return Where(
        f"({by.join(part.v3 for part in said)})",
        f"({by.join(bare)})" if len(bare) == len(said) else None,
    )


def _quoted(value: str) -> str:
    mark = _mark(value)
    if not mark:
        raise ValueError("a value that no quotes can hold")
    return f"{mark}{value}{mark}"


def _mark(value: str) -> str:
    """The quote that can hold it, "" for none."""
    return next((mark for mark in _QUOTES if mark not in value and "\\" not in value), "")


def _span(text: str, now: datetime) -> Span | None:
    today, zone = now.date(), now.tzinfo
    if text in _NEAR:
        day = today + _NEAR[text] * _DAY
        return _days(day, day + _DAY, zone)
    if found := _NAMED.fullmatch(text):
        shift, begin = _SHIFTS[found[1]], _BEGINNINGS[found[2]]
        return _days(begin(today, shift), begin(today, shift + 1), zone)
    if found := _DAYS.fullmatch(text):
        count = int(found[2]) * _DAY
        if not _DAY <= count <= _MOST_DAYS * _DAY:
            return None
        if found[1] == "last":
            return _days(today + _DAY - count, today + _DAY, zone)
        return _days(today, today + count, zone)
    if found := _DATE.fullmatch(text):
        year, month, nth = (int(part) if part else 0 for part in found.groups())
        first = date(year, month or 1, nth or 1)
        after = first + _DAY if nth else month_of(first, 1) if month else year_of(first, 1)
        return _days(first, after, zone)
    if found := _MOMENT.fullmatch(text):
        moment = datetime.fromisoformat(text)
        start = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
        start = start.replace(microsecond=0)
        return Span(start, start + timedelta(seconds=1 if found[1] else 60))
    return None


def _days(first: date, after: date, zone: tzinfo | None) -> Span:
    start, end = (datetime.combine(day, time(), zone) for day in (first, after))
    return Span(start, end)


def _month(year: int, month: int) -> date:
    """Months before the first and after the twelfth belong to the years beside."""
    return date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1)


def _sortable(field: Field, cell: object) -> str | None:
    """A cell in the form that NocoDB compares, in which texts sort as times do."""
    if field.kind == "day":
        day = fieldtypes.day_of(cell)
        return day.isoformat() if day else None
    moment = fieldtypes.moment_of(cell, UTC)
    return _utc(moment) if moment else None


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ", "seconds")


def _words_where(
    field: Field, op: Op, values: Sequence[str], wide: bool
) -> tuple[Where | None, bool]:
    """And whether it is exact."""
    if field.kind == "people":  # NocoDB knows them by ids there, we by name and address
        return None, False
    by = _BY_OPTION if field.kind == "options" else _BY_WORD
    if sayable(values) and not (wide and any(map(_is_loose, values[0]))):
        return clause(field.id, by[op], *values), True
    # NocoDB puts % around a pattern itself, but not where one stands at either end (0.301.3).
    pattern = "".join("%" if _is_loose(each) else each for each in values[0]).strip("%")
    if field.kind == "options" or op not in ("eq", "contains") or not pattern:
        return None, False
    return clause(field.id, "like", pattern), False


def _is_loose(letter: str) -> bool:
    """What `like` may take otherwise than we: SQLite knows the case of ASCII's letters alone
    (https://www.sqlite.org/lang_expr.html#like)."""
    cased = not letter.isascii() and letter.lower() != letter.upper()
    return cased or bool(_UNSAID.match(letter))


def _word(field: Field, op: Op, value: object) -> str:
    """The value as text; for a select one of its options, whatever the case it was written in."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text and op != "in":
        raise misfit(f"`{op}` of nothing fits everything; `blank` finds empty cells")
    of_options = field.kind == "options" or op in ("eq", "neq", "in")
    if not field.options or not of_options or text in field.options:
        return text
    for form in (fold_case, fold_to_letters):
        alike = [each for each in field.options if form(each) == form(text.strip())]
        if alike:
            break
    return alike[0] if len(alike) == 1 else str(fieldtypes.option(field, text))


def _given(op: Op, value: Value) -> list[str | int | float | bool]:
    """As many values as the operator takes."""
    given = [] if value is None else [*value] if isinstance(value, list) else [value]
    if op in _BLANK_OPS:
        return []
    if op == "between" and len(given) != 2:
        raise misfit("`between` takes a list of two values, the first and the last")
    if op not in ("between", "in") and len(given) != 1:
        raise misfit(f"`{op}` takes one value; `in` takes a list, `blank` none")
    if not 0 < len(given) <= MOST_VALUES:
        raise misfit(f"`in` takes a list of 1 to {MOST_VALUES} values")
    if any(len(str(each)) > LONGEST_VALUE for each in given):
        raise misfit(f"a value has more than {LONGEST_VALUE} characters")
    if any(_SURROGATE.search(str(each)) for each in given):
        raise misfit("a value has half a character in it")
    return given


def _fitting(field: Field, op: Op, ops: Sequence[Op]) -> Op:
    if op in ops:
        return op
    raise ToolError(
        "The field {field} ({type}) cannot be filtered by {op}.",
        code="bad_filter", hint=f"use one of {', '.join(ops)}",
        field=field.title, type=field.type, op=op,
    )  # fmt: skip


def _of_blank(field: Field, blank: bool) -> Condition:
    op: Op = "blank" if blank else "notblank"
    where = clause(field.id, op)
    if fieldtypes.counts_rows(field):  # it is a number there, and never blank
        where = clause(field.id, "eq" if blank else "gt", "0")
    return Condition(
        field, op, (), where, True, lambda cell: fieldtypes.is_blank(field, cell) == blank
    )


def _of_check(field: Field, op: Op, given: Sequence[object]) -> Condition:
    if op in _BLANK_OPS:
        checked = op == "notblank"
    else:
        truth = _TRUTH.get(str(given[0]).strip().lower())
        if truth is None:
            raise misfit(f"{field.title} is a checkbox: its value is true or false")
        checked = truth == (op == "eq")
    where = clause(field.id, "checked" if checked else "notchecked")
    return Condition(field, "eq", (checked,), where, True, lambda cell: bool(cell) == checked)


def _of_number(field: Field, op: Op, given: Sequence[object]) -> Condition:
    found = [fieldtypes.number_of(each) for each in given]
    numbers = tuple(each for each in found if each is not None and abs(each.adjusted()) <= 30)
    if len(numbers) < len(given):
        raise misfit(f"{field.title} holds numbers; write one as 1234.5")
    said = [format(each, "f") for each in numbers]
    if op == "between":
        where = every([clause(field.id, "gte", said[0]), clause(field.id, "lte", said[1])])
    else:
        where = clause(field.id, op, *said)

    def holds(cell: object) -> bool:
        number, first, last = fieldtypes.number_of(cell), numbers[0], numbers[-1]
        if number is None:
            return op == "neq"
        one = number in numbers
        return {
            "eq": one, "in": one, "neq": not one, "between": first <= number <= last,
            "gt": number > first, "gte": number >= first,
            "lt": number < first, "lte": number <= first,
        }[op]  # fmt: skip

    return Condition(field, op, numbers, where, True, holds)


def _as_number(field: Field, op: Op, given: Sequence[object]) -> bool:
    """What NocoDB does not tell of its formulas, whether they give numbers, the filter tells: "007"
    is text unless it is to be compared."""
    if field.kind != "mixed" or any(fieldtypes.number_of(each) is None for each in given):
        return False
    texts = any(isinstance(each, str) for each in given)
    return not field.of.figures or op in _ORDER_OPS[2:] or not texts


def _in_words(condition: Condition, locale: str) -> str:
    field, operands = to_one_line(condition.field.title, LONGEST_TOLD), condition.operands
    if not operands:
        return say(_SENTENCES[condition.op], locale, field=field)
    if isinstance(operands[0], bool):
        return say(_CHECKED if operands[0] else _NOT_CHECKED, locale, field=field)
    dates = isinstance(operands[0], Span) and condition.op in _DATE_SENTENCES
    sentence = (_DATE_SENTENCES if dates else _SENTENCES)[condition.op]
    shown = [_operand_in_words(each) for each in operands[:_VALUES_TOLD]]
    if condition.op == "between":
        return say(sentence, locale, field=field, value=shown[0], last=shown[1])
    more = ["…"] if len(operands) > _VALUES_TOLD else []
    return say(sentence, locale, field=field, value=", ".join([*shown, *more]))


def _operand_in_words(operand: Operand) -> str:
    if isinstance(operand, Span):
        return str(operand)
    if isinstance(operand, Decimal):
        return format(operand, "f")
    return f'"{to_one_line(str(operand), LONGEST_TOLD)}"'
