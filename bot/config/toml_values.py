"""Values of ponte.toml: the types of its numbers, how its sections are validated, and the line of
each key for error messages.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt

MAX_CALLS_OF_TURN = 1000
"""Largest limit of tool calls in a turn."""
MAX_DAYS = 36_500
MAX_AMOUNT = 10**9
"""Largest number of dollars, tokens or turns."""
STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)
"""Unknown keys are errors, and errors do not repeat values."""


def _check_positive(value: int) -> int:
    if value < 1:
        raise ValueError("write a number that is at least 1")
    return value


def _parse_duration(value: object) -> float:
    """Return the seconds of `4h`, `30m` or `0`."""
    found = re.fullmatch(r"(\d{1,4})([mh])|0", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('write minutes or hours in quotes, as in "30m" or "4h"; "0" turns it off')
    return float(found[1] or 0) * {"m": 60, "h": 3600}.get(found[2], 0)


Dollars = Annotated[float, Field(strict=True, ge=0, le=MAX_AMOUNT, allow_inf_nan=False)]
"""US dollars, a number that is not negative."""
Count = Annotated[StrictInt, Field(ge=0, le=MAX_CALLS_OF_TURN)]
"""A whole number, 0 to 1,000."""
Many = Annotated[StrictInt, Field(ge=0, le=MAX_AMOUNT)]
"""A whole number that is not negative."""
Positive = Annotated[StrictInt, AfterValidator(_check_positive), Field(le=MAX_CALLS_OF_TURN)]
"""A whole number, 1 to 1,000."""
Days = Annotated[StrictInt, Field(ge=0, le=MAX_DAYS)]
"""A whole number of days."""
Duration = Annotated[float, BeforeValidator(_parse_duration)]
"""Minutes or hours, as in `"30m"` or `"4h"`; `"0"` turns it off."""


_AT = re.compile(r"^(.*) \(at line (\d+), column \d+\)$")
KeyPath = tuple[str, ...]


class TomlLines:
    """The line, from 1, of each table and key of a text that tomllib accepts.

    A statement is the shortest run of lines that tomllib parses on its own, so that quotes,
    multi-line strings and arrays need no second parser. All keys of one statement have its first
    line. The tables of an array are counted from 0, as in `rules`, `0`, `who`.
    """

    def __init__(self, text: str = "") -> None:
        self._lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        counted: Counter[KeyPath] = Counter()
        for number, parsed in _statements(text.splitlines()):
            if parsed.is_header:
                table = next(_deepest(parsed.values))
                if parsed.is_array:
                    counted[table] += 1
                    table = (*table, str(counted[table] - 1))
                self._note(table, number)
            else:
                for path in _paths(parsed.values):
                    self._note(table + path, number)

    def of(self, path: Sequence[object]) -> int:
        """Return the line of that key, or of the nearest one around it; 1 if there is none."""
        keys = tuple(str(part) for part in path)
        for length in range(len(keys), 0, -1):
            if keys[:length] in self._lines:
                return self._lines[keys[:length]]
        return 1

    def _note(self, path: KeyPath, number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def describe_toml_error(name: str, text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return tomllib's message with its line."""
    found = _AT.match(str(error))
    line = int(found[2]) if found else max(1, len(text.splitlines()))
    words = found[1] if found else str(error).removesuffix(" (at end of document)")
    return f"{name}:{line}: not TOML: {words}."


class _Statement:
    def __init__(self, text: str) -> None:
        self.values = tomllib.loads(text)
        self.is_header = text.lstrip().startswith("[")
        self.is_array = text.lstrip().startswith("[[")


def _statements(lines: Sequence[str]) -> Iterator[tuple[int, _Statement]]:
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            statement = _Statement("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue  # a string or array that goes on in the next line
        if statement.values:
            yield start + 1, statement
        start = end


def _paths(values: Mapping[str, object]) -> Iterator[KeyPath]:
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            for path in _paths(value):
                yield (key, *path)


def _deepest(values: object) -> Iterator[KeyPath]:
    """Yield the path of a table's header, as tomllib nests it: [[a.b]] is {"a": {"b": [{}]}}."""
    if isinstance(values, dict) and values:
        key, inner = next(iter(values.items()))
        for path in _deepest(inner):
            yield (key, *path)
    else:
        yield ()
