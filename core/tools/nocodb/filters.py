"""A model's filters: checked against the schema and translated to NocoDB's `where`.

NocoDB cannot express every filter exactly. A value may not hold both kinds of quotes or a
backslash. `like` treats % and _ as wildcards. Some databases distinguish É from é. In these cases
Ponte asks for more rows and checks the cells itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from math import prod
from typing import Annotated, Literal
from urllib.parse import quote

import pydantic

from core.base.errors import ToolError
from core.base.text import compose_letters, fold_case, fold_to_letters
from core.base.time_spans import TimeSpan
from core.base.value_formats import parse_typed_truth
from core.tools.nocodb import cells, fieldtypes
from core.tools.nocodb.api import NocoRecord
from core.tools.nocodb.fieldtypes import Field
from core.tools.nocodb.schema import TableDescription

MAX_WHERE_CHARACTERS = 6_000
"""Characters of a filter in an address, percent-encoded.

Node accepts 16 kB of headers by default
(https://nodejs.org/api/cli.html#--max-http-header-sizesize), proxies 8 kB.
"""

_QUOTES = "\"'"
_BARE_VALUE = re.compile(r"(?![ ])[\w\u0300-\u036f .:@+/-]*[\w\u0300-\u036f.]")
"""A value that NocoDB's filters take without quotes."""
_RESERVED = {"null", "empty", "notnull", "notempty", "blank", "notblank", "true", "false"}

_BY_WORD: Mapping[str, str] = {
    "eq": "eq", "neq": "neq", "contains": "like", "not_contains": "nlike", "in": "in",
}  # fmt: skip
_BY_OPTION: Mapping[str, str] = {
    "eq": "anyof", "neq": "nanyof", "contains": "anyof", "not_contains": "nanyof", "in": "anyof",
}  # fmt: skip
_FORMS = (str.casefold, fold_case)
"""The forms in which texts are compared: an accent can be encoded in two ways."""
_INEXACT_CHARACTERS = re.compile(r"[%_\\\"]")
"""Wildcards of `like`, and characters that cannot be quoted."""

MAX_FILTERS = 20
MAX_FILTER_VALUES = 100
MAX_SPELLINGS = 64
"""Forms of one value that are sent. Of a text with more accents, Ponte checks the rows."""
MAX_VALUE_CHARACTERS = 2_000

_BLANK_OPS: tuple[Op, ...] = ("blank", "notblank")
_WORD_OPS: tuple[Op, ...] = ("eq", "neq", "contains", "not_contains", "in", *_BLANK_OPS)
_ORDER_OPS: tuple[Op, ...] = ("eq", "neq", "gt", "gte", "lt", "lte", "between")
"""Operators of numbers and dates. All but the first two need an order."""
_NUMBER_OPS: tuple[Op, ...] = (*_ORDER_OPS, "in", *_BLANK_OPS)
_DATE_OPS: tuple[Op, ...] = (*_ORDER_OPS, *_BLANK_OPS)
_CHECK_OPS: tuple[Op, ...] = ("eq", "neq", *_BLANK_OPS)

_SURROGATE = re.compile(r"[\ud800-\udfff]")

FILTER_GUIDE = (
    "A date compares with a day (2026-11-20), month (2026-11), year, moment (2026-11-20T09:30), "
    "today, yesterday, tomorrow, this_week (last_, next_; month, quarter, year), last_N_days, or "
    "next_N_days (these words, not days, for a time that moves), in the asker's time zone; eq "
    "means within it, between takes [first, last], both included. Links compare with titles of "
    "linked rows, Orders.Placed with their field: one row fits all such filters; with neq, or "
    "Orders blank beside them, none does. contains ignores case; in takes a list; blank "
    "and notblank null"
)
_OPPOSITES: Mapping[Op, Op] = {"neq": "eq", "not_contains": "contains", "blank": "notblank"}
"""Negative operators, with their opposites: of several linked rows, none may fit the opposite."""

Op = Literal[
    "eq",
    "neq",
    "gt",
    "gte",
    "lt",
    "lte",
    "between",
    "contains",
    "not_contains",
    "in",
    "blank",
    "notblank",
]
Value = str | int | float | bool | list[str | int | float] | None
Match = Literal["all", "any"]


@dataclass(frozen=True, slots=True)
class WhereClause:
    """A filter in NocoDB's syntax; an empty one matches every row.

    `v2` is the same filter without quotes, or None if that is impossible. The filter consists of
    field ids and quoted values, and no value can end its own quotation. On NocoDB 0.301.3, v3
    accepts a value between " or ', in which the other quote, commas, parentheses, line breaks and
    words like null or ~and are plain text. A backslash is plain too, unless a quote follows it and
    another one comes later: then the value continues until that one. So no value with a backslash
    is sent. v2 (aggregates) knows no quotes and ignores unknown fields. `~not` before a group is
    ignored too, so it is not used.
    """

    v3: str = ""
    v2: str | None = ""

    @property
    def is_sendable(self) -> bool:
        return len(quote(self.v3)) <= MAX_WHERE_CHARACTERS


Operand = str | bool | Decimal | TimeSpan


@dataclass(frozen=True, slots=True)
class FilterCondition:
    """One condition of a filter, checked against the table.

    `where` finds every matching row, and more rows if it is not `is_exact`; None finds all rows.
    `matches` says whether NocoDB would consider a cell a match. `linked`: conditions on the rows
    that the link `field` leads to; one row fits all of them (`notblank`), or none does (`blank`).
    """

    field: Field
    op: Op
    operands: tuple[Operand, ...]
    where: WhereClause | None
    is_exact: bool
    matches: Callable[[object], bool]
    linked: tuple[FilterCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one field of a table, as the model writes it in a call."""

    field: str
    op: Op
    value: Value


LooseFilters = Annotated[
    Sequence[Filter],
    pydantic.WithJsonSchema(
        {"type": "array", "items": {"type": "object", "additionalProperties": True}}
    ),
]
"""Filters whose form the model reads in `nocodb_query` alone: it is long."""


@dataclass(frozen=True, slots=True)
class Join:
    """The rows that a link leads to, as a question of the model uses them, with those of their
    `fields` that it needs.

    `table` is their table as the asker sees it. `back` is its link to the row that a linked row
    belongs to, if there is just one such link.
    """

    link: Field
    table: TableDescription
    fields: tuple[Field, ...] = ()
    back: Field | None = None


@dataclass(frozen=True, slots=True)
class RowSelection:
    """The rows of `table` that match all or any conditions.

    NocoDB gets `where`. Unless `is_exact`, it returns too many rows, and each must be checked with
    `matches`. A row holds the linked rows of `joins`, as records, under the link's id.
    """

    table: TableDescription
    conditions: tuple[FilterCondition, ...] = ()
    match: Match = "all"
    is_sent: bool = True
    joins: tuple[Join, ...] = ()

    @classmethod
    def of(
        cls,
        table: TableDescription,
        filters: Sequence[Filter],
        match: Match,
        now: datetime,
        is_sent: bool = True,
    ) -> RowSelection:
        """Raise ToolError if there are too many or one does not fit its field, and NocoError
        `unknown_field`.

        `now` is in the asker's zone. `is_sent` is False for a system without filters of its own:
        Ponte then checks all rows.
        """
        if len(filters) > MAX_FILTERS:
            raise ToolError(
                "You used {count} filters. The maximum is {most} per call.",
                code="bad_filter",
                count=len(filters),
                most=MAX_FILTERS,
            )
        conditions, by_link = list[FilterCondition](), dict[Field, list[Filter]]()
        for criterion in filters:
            field = table.field(criterion.field)
            if field.via:  # a field of linked rows, as "Customer.City"; `via` is the link
                by_link.setdefault(field.via, []).append(criterion)
            else:
                conditions.append(build_condition(field, criterion.op, criterion.value, now))
        # "One of these fits" could mean different linked rows, so it is refused.
        if by_link and match == "any" and len(filters) > 1:
            raise filter_error("filters on fields of linked rows need match all")
        for link, linked in by_link.items():
            # `blank` on the link itself beside filters on its rows: no linked row may fit them.
            plain = [
                condition
                for condition in conditions
                if condition.field != link or condition.op != "blank"
            ]
            is_absent = len(plain) < len(conditions)
            conditions = [*plain, _linked_condition(table, link, linked, now, is_absent)]
        return cls(table, tuple(conditions), match, is_sent)

    @property
    def where(self) -> WhereClause:
        """The filter for NocoDB. It is empty, so that all rows are read and checked, if there are
        no filters, if the filter would be too long for an address, or if the system takes no
        filters."""
        whole = self._full_where
        return whole if self.is_sent and whole.is_sendable else WhereClause()

    @property
    def is_exact(self) -> bool:
        """Return True if NocoDB can filter so that it returns exactly the matching rows. Otherwise,
        Ponte checks each row."""
        if not self.is_sent and self.conditions:
            return False
        return all(part.is_exact for part in self.conditions) and self._full_where.is_sendable

    @property
    def checked_fields(self) -> tuple[Field, ...]:
        fields = (part.field for part in self.conditions if not part.linked)
        return () if self.is_exact else tuple(dict.fromkeys(fields))

    def matches(self, row: NocoRecord) -> bool:
        """Return True if NocoDB filters exactly. The row must have the fields in `checked_fields`.
        Raise ToolError."""
        if self.is_exact:
            return True
        checks = (_matches_row(part, row) for part in self.conditions)
        return all(checks) if self.match == "all" else any(checks)

    def linked_condition(self, link: Field) -> FilterCondition | None:
        return next((part for part in self.conditions if part.linked and part.field == link), None)

    @property
    def _full_where(self) -> WhereClause:
        parts = [part.where or WhereClause() for part in self.conditions]
        return all_of(parts) if self.match == "all" else any_of(parts)


def build_clause(field: str, op: str, *values: str, word: str = "") -> WhereClause:
    """Return quoted values for v3 of NocoDB's API, and values without quotes for v2 if they need
    none, else None for v2. `word` comes before the values: for dates, NocoDB wants `exactDate`
    there. Raise ValueError for a value that no quotes can hold."""
    head = [field, op, *([word] if word else [])]
    marks = [_find_quote(value) for value in values]
    if not all(marks):
        raise ValueError("a value that no quotes can hold")
    quoted = [f"{mark}{value}{mark}" for mark, value in zip(marks, values, strict=True)]
    fits_bare = all(_BARE_VALUE.fullmatch(v) and v.lower() not in _RESERVED for v in values)
    bare = f"({','.join([*head, *values])})" if fits_bare else None
    return WhereClause(f"({','.join([*head, *quoted])})", bare)


def all_of(parts: Sequence[WhereClause]) -> WhereClause:
    return _join_clauses(parts, "~and")


def any_of(parts: Sequence[WhereClause]) -> WhereClause:
    """An empty clause matches every row, and so does the result."""
    return _join_clauses(parts, "~or") if all(part.v3 for part in parts) else WhereClause()


def filter_error(why: str) -> ToolError:
    return ToolError("Invalid filter: {why}.", code="bad_filter", why=why)


def date_condition(field: Field, op: Op, terms: Sequence[object], now: datetime) -> FilterCondition:
    """Every date is a span: `gt` a month is after its end, `eq` within it. `between` has two, of
    which the start of the first and the end of the last count."""
    spans = tuple(TimeSpan.of(str(term), now) for term in terms)
    span = TimeSpan(spans[0].start, spans[-1].end)
    if field.kind == "day":  # as NocoDB compares them: plain days, or moments in UTC
        start, end = span.first_day.isoformat(), span.day_after.isoformat()
    else:
        start, end = _format_utc(span.start), _format_utc(span.end)
    before, until = (build_clause(field.id, "lt", at, word="exactDate") for at in (start, end))
    since, after = (build_clause(field.id, "gte", at, word="exactDate") for at in (start, end))
    inside = all_of([since, until])
    outside = any_of([before, after, build_clause(field.id, "blank")])
    wheres = {
        "eq": inside,
        "between": inside,
        "neq": outside,
        "gt": after,
        "gte": since,
        "lt": before,
        "lte": until,
    }

    def holds(cell: object) -> bool:
        """Decide as the filter for NocoDB does. Compare the moment with the span as ISO texts,
        which sort by time."""
        if field.kind == "day":
            day = fieldtypes.parse_day(cell)
            at = day.isoformat() if day else None
        else:
            moment = fieldtypes.parse_moment(cell, UTC)
            at = _format_utc(moment) if moment else None
        if at is None:
            # An empty or unreadable cell differs from every date, as in NocoDB.
            return op == "neq"
        within = start <= at < end
        return {
            "eq": within,
            "between": within,
            "neq": not within,
            "gt": at >= end,
            "gte": at >= start,
            "lt": at < start,
            "lte": at < end,
        }[op]

    return FilterCondition(field, op, spans, wheres[op], True, holds)


def text_condition(field: Field, op: Op, operands: Sequence[object]) -> FilterCondition:
    """Raise ToolError. `where`, the filter for NocoDB, is exact if all values can be quoted; else a
    `like` that finds more rows; else None, which finds all rows. `holds` decides for rows that
    Ponte checks itself."""
    parsed: list[str] = []
    for operand in operands:
        text = str(operand).lower() if isinstance(operand, bool) else compose_letters(str(operand))
        if not text and op != "in":
            raise filter_error(f"`{op}` of nothing fits everything; `blank` finds empty cells")
        # An option may be written in another case or without accents, but `contains` looks for a
        # part of a text.
        of_options = field.kind == "options" or op in ("eq", "neq", "in")
        if field.options and of_options and text not in field.options:
            # Without a single similar option, `parse_option` raises, and names the options.
            alike: list[str] = []
            for form in (fold_case, fold_to_letters):
                key = form(text.strip())
                alike = alike or [option for option in field.options if form(option) == key]
            text = alike[0] if len(alike) == 1 else fieldtypes.parse_option(field, text)
        parsed.append(text)
    values = tuple(parsed)
    composed_values = set(map(compose_letters, values))  # an option may have its accents apart
    # `contains` looks for a part of a text; of options, for a whole one among those of the cell.
    wide = op in ("contains", "not_contains") and field.kind != "options"
    people = field.kind == "people"

    def holds(cell: object) -> bool:
        """Return whether one of a cell's texts contains the value (`wide`), or is one of the
        values; for `neq` and `not_contains`, none may. Raise ToolError if the cell may lack some of
        its values."""
        texts = cells.people_texts(cell) if people else cells.cell_texts(cell)
        if fieldtypes.may_be_incomplete(field, cell):
            raise filter_error(f"rows link to more than I can look through in {field.title}")
        if wide:
            matches = any(form(values[0]) in form(text) for text in texts for form in _FORMS)
        else:
            matches = not composed_values.isdisjoint(texts)
        return matches == (op not in ("neq", "not_contains"))

    # The name of the operator in NocoDB.
    by = _BY_OPTION if field.kind == "options" else _BY_WORD
    # NocoDB puts % around a pattern itself, but not where one stands at either end (0.301.3).
    letters = ("%" if _matches_loosely(c) or not c.isascii() else c for c in values[0])
    pattern = "".join(letters).strip("%")
    where, is_exact = None, False
    is_loose = wide and any(map(_matches_loosely, values[0]))
    # NocoDB compares bytes, and a cell can have its accents composed or apart. Options are its own.
    typed = (operand for operand in operands if isinstance(operand, str))
    forms = values if field.options else _spell_accents([*values, *typed])
    if people:
        where = None  # NocoDB's filters know people by ids, and we by name and address
    elif forms and all(map(_find_quote, values)) and not is_loose:
        if field.options or op == "in":
            where = build_clause(field.id, by[op], *forms)
        else:
            join = all_of if op in ("neq", "not_contains") else any_of
            where = join([build_clause(field.id, by[op], form) for form in forms])
        is_exact = True
    # A value that cannot be sent exactly: `like` finds more rows, which `holds` then checks. Of
    # `neq` and the others, this would find too few.
    elif field.kind != "options" and op in ("eq", "contains") and pattern:
        where = build_clause(field.id, "like", pattern)
    return FilterCondition(field, op, values, where, is_exact, holds)


def build_condition(field: Field, op: Op, value: Value, now: datetime) -> FilterCondition:
    """Return the condition for one filter. `now` is in the asker's zone. Raise ToolError for an
    operator that the type of the field does not have, or for values that do not fit it.

    The kind of the field decides how values are compared: checkboxes first, then `blank`, dates,
    numbers, and texts last."""
    values = [] if value is None else [*value] if isinstance(value, list) else [value]
    if op in _BLANK_OPS:
        values = []  # they need none, so one that is given does no harm
    elif op == "between" and len(values) != 2:
        raise filter_error("`between` takes a list of two values, the first and the last")
    elif op not in ("between", "in") and len(values) != 1:
        raise filter_error(f"`{op}` takes one value; `in` takes a list, `blank` none")
    elif not 0 < len(values) <= MAX_FILTER_VALUES:
        raise filter_error(f"`in` takes a list of 1 to {MAX_FILTER_VALUES} values")
    if any(len(str(value)) > MAX_VALUE_CHARACTERS for value in values):
        raise filter_error(f"a value has more than {MAX_VALUE_CHARACTERS} characters")
    if any(_SURROGATE.search(str(value)) for value in values):
        raise filter_error("a value has half a character in it")
    if field.kind == "check":
        _require_operator(field, op, _CHECK_OPS)
        checked = op == "notblank"  # an empty checkbox is one that is not checked
        if values:
            truth = parse_typed_truth(str(values[0]))
            if truth is None:
                raise filter_error(f"{field.title} is a checkbox: its value is true or false")
            checked = truth == (op == "eq")
        where = build_clause(field.id, "checked" if checked else "notchecked")
        return FilterCondition(
            field, "eq", (checked,), where, True, lambda cell: bool(cell) == checked
        )
    # Equal to the empty text means blank, too.
    if op in _BLANK_OPS or (values == [""] and op in ("eq", "neq")):
        is_wanted = op in ("blank", "eq")
        op = "blank" if is_wanted else "notblank"
        where = build_clause(field.id, op)
        if fieldtypes.counts_rows(field) or field.type == "Rating":  # 0 is not blank in NocoDB
            zero = build_clause(field.id, "eq" if is_wanted else "gt", "0")
            # A rating is blank if it is 0 or empty; a number of linked rows is never empty.
            where = zero if field.is_link or not is_wanted else any_of([where, zero])
        return FilterCondition(
            field, op, (), where, True, lambda cell: fieldtypes.is_blank(field, cell) == is_wanted
        )
    if field.kind == "opaque":
        _require_operator(field, op, _BLANK_OPS)
    if field.is_time:
        return date_condition(field, _require_operator(field, op, _DATE_OPS), values, now)
    # NocoDB does not say whether a formula returns numbers, so the filter decides: "007" is text
    # unless the operator orders values.
    is_number = field.kind == "number"
    if field.kind == "mixed" and all(
        fieldtypes.parse_number(value) is not None for value in values
    ):
        has_texts = any(isinstance(value, str) for value in values)
        # `_ORDER_OPS[2:]` are those that order values: all but eq and neq.
        is_number = op in _ORDER_OPS[2:] or not has_texts or not field.field_type.may_hold_numbers
    if is_number:
        return _number_condition(field, _require_operator(field, op, _NUMBER_OPS), values)
    return text_condition(field, _require_operator(field, op, _WORD_OPS), values)


def _linked_condition(
    table: TableDescription, link: Field, filters: Sequence[Filter], now: datetime, is_absent: bool
) -> FilterCondition:
    """One linked row must fit all of them; if `is_absent`, none may. If the link leads to several
    rows, `neq`, `not_contains` and `blank` mean that no row fits the opposite. Raise ToolError."""
    ops = [criterion.op for criterion in filters]
    if not link.holds_one and not _OPPOSITES.keys().isdisjoint(ops):
        if len(filters) > 1 or is_absent:
            raise filter_error(
                f"of rows in {link.title}, filter what fits with eq, contains and the like; "
                f"{link.title} blank beside these filters means that no such row is linked"
            )
        filters, is_absent = [replace(filters[0], op=_OPPOSITES[ops[0]])], True
    # `in_own_table`: "Customer.City" is "City" in the linked table.
    linked = (
        build_condition(
            table.field(criterion.field).in_own_table, criterion.op, criterion.value, now
        )
        for criterion in filters
    )
    op: Op = "blank" if is_absent else "notblank"
    # NocoDB cannot filter by fields of linked rows: no clause (None), and so not exact (False).
    # `bool` stands for the test of a cell, and is not called: the linked rows are tested by the
    # conditions of `linked` instead (`_matches_row`).
    return FilterCondition(link, op, (), None, False, bool, tuple(linked))


def _matches_row(condition: FilterCondition, row: NocoRecord) -> bool:
    """For a condition on linked rows, the row holds those linked rows that fit under the link's id:
    the reader of rows put them there (`_join_rows`)."""
    field = condition.field
    if not condition.linked:
        return condition.matches(fieldtypes.cell_of(row, field))
    # A row without its one linked row fits what an empty cell fits: "Customer.City isn't Lyon".
    if field.holds_one and fieldtypes.is_blank(field, row.fields.get(field.title)):
        fits = all(part.matches(None) for part in condition.linked)
    else:
        fits = bool(row.fields.get(field.id))  # the linked rows that fit
    return fits == (condition.op == "notblank")


def _join_clauses(parts: Sequence[WhereClause], by: str) -> WhereClause:
    """Versions 2 and 3 of NocoDB's API have a syntax each. A clause that v2 cannot express (None)
    makes the whole inexpressible in v2."""
    clauses = [part for part in parts if part.v3]
    if len(clauses) < 2:
        return clauses[0] if clauses else WhereClause()
    bare = [part.v2 for part in clauses if part.v2 is not None]
    return WhereClause(
        f"({by.join(part.v3 for part in clauses)})",
        f"({by.join(bare)})" if len(bare) == len(clauses) else None,
    )


def _find_quote(value: str) -> str:
    # Return "" if both are, or if the value has a backslash, which would continue it beyond its
    # quote.
    return next((mark for mark in _QUOTES if mark not in value and "\\" not in value), "")


def _spell_accents(texts: Sequence[str]) -> Sequence[str]:
    """Return all forms in which texts may be encoded, also with one of two accents apart
    (Vietnamese on Windows); none if they are more than MAX_SPELLINGS."""
    spelled: list[str] = []
    for text in texts:
        ways = list[dict[str, None]]()
        for letter in text:
            apart = unicodedata.normalize("NFD", letter)
            marks = filter(unicodedata.combining, apart[1:])
            pairs = (compose_letters(apart[0] + m) + apart[1:].replace(m, "") for m in marks)
            ways.append(dict.fromkeys([letter, apart, *pairs]))
        if prod(map(len, ways)) > MAX_SPELLINGS:
            return ()
        spelled += map("".join, product(*ways))
    return list(dict.fromkeys(spelled))


def _format_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ", "seconds")


def _matches_loosely(letter: str) -> bool:
    # SQLite's `like` ignores case only for ASCII letters
    # (https://www.sqlite.org/lang_expr.html#like).
    cased = not letter.isascii() and letter.lower() != letter.upper()
    return cased or bool(_INEXACT_CHARACTERS.match(letter))


def _require_operator(field: Field, op: Op, ops: Sequence[Op]) -> Op:
    """Return the operator if fields of this type have it. The model reads the ToolError, and which
    operators there are."""
    if op in ops:
        return op
    raise ToolError(
        "The field {field} ({type}) can't be filtered with {op}.",
        code="bad_filter",
        hint=f"use one of {', '.join(ops)}",
        field=field.title,
        type=field.type,
        op=op,
    )


def _number_condition(field: Field, op: Op, values: Sequence[object]) -> FilterCondition:
    """Raise ToolError for values that are no numbers, or whose size is 1E+31 or more, or less than
    1E-30 and not 0. `holds` decides for rows that Ponte filters itself."""
    parsed = map(fieldtypes.parse_number, values)
    # 1E+400 is a number too; written out it would be a text of 400 digits.
    numbers = tuple(
        number for number in parsed if number is not None and abs(number.adjusted()) <= 30
    )
    if len(numbers) < len(values):
        raise filter_error(f"{field.title} holds numbers; write one as 1234.5")
    operands = [format(number, "f") for number in numbers]
    if op == "between":
        least, most = operands
        where = all_of([build_clause(field.id, "gte", least), build_clause(field.id, "lte", most)])
    else:
        where = build_clause(field.id, op, *operands)

    def holds(cell: object) -> bool:
        # Only "between" and "in" have several values.
        number, first, last = fieldtypes.parse_number(cell), numbers[0], numbers[-1]
        if number is None:
            # An empty cell differs from every number, as in NocoDB.
            return op == "neq"
        is_member = number in numbers
        return {
            "eq": is_member,
            "in": is_member,
            "neq": not is_member,
            "between": first <= number <= last,
            "gt": number > first,
            "gte": number >= first,
            "lt": number < first,
            "lte": number <= first,
        }[op]

    # True: `where` finds exactly the matching rows.
    return FilterCondition(field, op, numbers, where, True, holds)
