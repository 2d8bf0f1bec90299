"""NocoDB's filters as v3 reads them: `(Field,op,"value")`, joined by ~and and ~or, in groups.

Of its operators those that are known to do the same on 0.301.3; anything else is refused, so that
no test comes to stand on a guess. `~not` is: before a group NocoDB passes over it without a word.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.fakes.nocodb.answers import NocoDBErrorResponse, unprocessable
from tests.fakes.nocodb.tables import FakeField, FakeTable
from tests.fakes.nocodb.values import NUMBERS

Fits = Callable[[int], bool]
"""Whether the row of that id is meant."""

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda cell, value: cell > value,
    "gte": lambda cell, value: cell >= value,
    "lt": lambda cell, value: cell < value,
    "lte": lambda cell, value: cell <= value,
}
_SETS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "anyof": lambda cell, values: bool(cell & values),
    "nanyof": lambda cell, values: not cell & values,
    "allof": lambda cell, values: values <= cell,
    "nallof": lambda cell, values: not values <= cell,
}
_BARE = ("blank", "notblank", "checked", "notchecked")
_PLAIN = re.compile(r"[^,()]*")
# A quote after a backslash belongs to the value, where another one comes later.
_QUOTED = re.compile(r"""'(?:\\'|[^'])*'|"(?:\\"|[^"])*\"""")


def parse_filter(where: str, table: FakeTable) -> Fits:
    """Raises NocoDBErrorResponse."""
    reading = _FilterParser(where, table)
    fits = reading.parse_any()
    if reading.rest:
        raise _wrong(f"Redundant input, expecting EOF but found: {reading.rest[0]}")
    return fits


class _FilterParser:
    def __init__(self, where: str, table: FakeTable) -> None:
        self.rest = where
        self._table = table

    def parse_any(self) -> Fits:
        """~and binds closer than ~or."""
        anyone = [self._parse_all()]
        while self._skip("~or"):
            anyone.append(self._parse_all())
        return lambda id: any(fits(id) for fits in anyone)

    def _parse_all(self) -> Fits:
        each = [self._parse_one()]
        while self._skip("~and"):
            each.append(self._parse_one())
        return lambda id: all(fits(id) for fits in each)

    def _parse_one(self) -> Fits:
        if not self._skip("("):
            raise _wrong(f"expected an opening parenthesis, but found '{self.rest[:1]}'")
        if self.rest.startswith("("):
            fits = self.parse_any()
        else:
            words = [self._parse_value()]
            while self._skip(","):
                words.append(self._parse_value())
            fits = _condition(self._table, words)
        if not self._skip(")"):
            missing = f"expected a closing parentheses ')', but found '{self.rest[:1]}'"
            raise _wrong(f"Invalid filter syntax: {missing}")
        return fits

    def _parse_value(self) -> str:
        if quotation := _QUOTED.match(self.rest):
            self.rest = self.rest[quotation.end() :]
            return quotation[0][1:-1]
        match = _PLAIN.match(self.rest)
        assert match is not None
        self.rest = self.rest[match.end() :]
        return match[0]

    def _skip(self, mark: str) -> bool:
        if not self.rest.startswith(mark):
            return False
        self.rest = self.rest.removeprefix(mark)
        return True


def _condition(table: FakeTable, words: Sequence[str]) -> Fits:
    name, op, values = words[0], "".join(words[1:2]), list(words[2:])
    field = table.find(name) or _time(name)
    if field is None:
        raise _wrong(f"Invalid filter field '{name}' not found")
    if values[:1] == ["exactDate"]:
        values = values[1:]
    test = _test(field, op, values)
    return lambda id: test(_cell(table, field, id))


def _time(name: str) -> FakeField | None:
    return FakeField("", name, "DateTime") if name in ("CreatedAt", "UpdatedAt") else None


def _cell(table: FakeTable, field: FakeField, id: int) -> Any:
    cell = table.cell(field, id)
    if (
        field.id in table.relations and field.type != "Links"
    ):  # a link compares by what its rows are called
        rows = cell if isinstance(cell, list) else [cell] if cell else []
        return [str(next(iter(row["fields"].values()))) for row in rows]
    return cell


def _test(field: FakeField, op: str, values: Sequence[str]) -> Callable[[Any], bool]:
    if op in _BARE:
        return _bare(op)
    if op in _SETS:
        target = set(values)
        return lambda cell: _SETS[op](set(map(str, _each(cell))), target)
    if op in ("like", "nlike"):
        open_ended = "%" in (values[0][:1], values[0][-1:])
        pattern = _glob(values[0]) if open_ended else f"*{_glob(values[0])}*"
        return lambda cell: _any_like(cell, pattern) == (op == "like")
    if op not in ("eq", "neq", "in", *_COMPARED):
        words = "Please use a valid comparison or logical operator"
        raise _wrong(f"Invalid filter expression: '{op}' is not a recognized operator. {words}")
    values_of_field = [_read(field, value) for value in values]
    if op in _COMPARED:
        return lambda cell: cell is not None and _COMPARED[op](cell, values_of_field[0])
    return lambda cell: any(each in values_of_field for each in _each(cell)) == (op != "neq")


def _bare(op: str) -> Callable[[Any], bool]:
    if op in ("checked", "notchecked"):
        return lambda cell: bool(cell) == (op == "checked")
    return lambda cell: (cell in (None, "", [])) == (op == "blank")


def _read(field: FakeField, value: str) -> Any:
    if field.type not in (*NUMBERS, "ID", "Rollup", "Links"):
        return value
    try:
        return float(value)
    except ValueError:
        words = f"Value {value} is not supported for type {field.type} on column {field.title}"
        raise unprocessable(
            "ERR_FILTER_VERIFICATION_FAILED", f"Filter verification failed: {words}"
        ) from None


def _each(cell: Any) -> list[Any]:
    return cell if isinstance(cell, list) else [] if cell is None else [cell]


def _any_like(cell: Any, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(_lower(str(each)), pattern) for each in _each(cell))


def _glob(value: str) -> str:
    """SQL's wildcards % and _ as a glob's; a glob's own as themselves."""
    plain = re.sub(r"[\[?*]", lambda found: f"[{found[0]}]", _lower(value))
    return plain.replace("%", "*").replace("_", "?")


def _lower(text: str) -> str:
    """As SQLite does it: ASCII's letters alone."""
    return re.sub("[A-Z]", lambda found: found[0].lower(), text)


def _wrong(words: str) -> NocoDBErrorResponse:
    return unprocessable("ERR_INVALID_FILTER", words)
