"""Untrusted JSON: its size, its values, and characters that cannot be stored."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import pydantic_core

T = TypeVar("T")
_WIDE = codecs.lookup("utf-16-le")  # at import time, because the lookup imports a module
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
# A string is one match, even if it never ends: JSON has no two strings without a comma between.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_CLOSING_BRACKETS, _BEFORE_VALUES, _COMMA = b"]}", b"[{,", ord(",")


def in_whole_characters(text: str) -> str:
    """Halves of surrogate pairs become U+FFFD: JSON can escape them (RFC 8259, section 8.2), UTF-8
    cannot encode them."""
    if text.isascii() or not _HALF.search(text):
        return text
    return _WIDE.decode(_WIDE.encode(text, "surrogatepass")[0], "replace")[0]


def make_storable(value: T) -> T:
    """Dicts, lists, tuples and dataclasses are copied at any depth. Raise RecursionError if the
    nesting exceeds Python's stack. `value` itself is returned if it needs no change."""
    # `repr` writes half of a pair as an escape, so most values are copied nowhere.
    return cast(T, _storable(value)) if "\\ud" in repr(value) else value


def check_json(raw: bytes | bytearray, values: int, depth: int) -> str:
    """A small text can make millions of objects, so it is checked before it is parsed. Return
    "many" for more than `values` values, "deep" if nested deeper than `depth`, else ""."""
    # Each match of `_STRUCTURE` is a bracket, a comma, or a whole string.
    value_count = open_brackets = 0
    most = 4 * values + 2
    for number, match in enumerate(_STRUCTURE.finditer(raw)):
        sign = raw[match.start()]
        if sign in _CLOSING_BRACKETS:
            open_brackets -= 1
        elif sign in _BEFORE_VALUES:  # "[", "{" or ",": a value follows
            value_count += 1
            open_brackets += sign != _COMMA
            if open_brackets > depth:
                return "deep"
            if value_count > values:
                return "many"
        # A value has at most a comma or bracket, a name, a string and a closing bracket: more is no
        # JSON. 2 more leave room for the outermost value, which may have no such sign before it.
        if number > most:
            return "many"
    return ""


def is_deeper(raw: bytes, depth: int) -> bool:
    return check_json(raw, len(raw), depth) == "deep"


def parse_json(raw: str | bytes | bytearray, strict: bool = True) -> Any:
    """`strict` refuses line breaks and other control characters in strings, as the standard does.
    Raises ValueError, also if the nesting exceeds Python's stack, and for bytes that are not UTF-8.
    `json.loads` would also accept UTF-16 and UTF-32, in which `check_json` would miscount, because
    it looks at single bytes."""
    # A byte order mark is dropped. Halves of surrogate pairs that are encoded as bytes are kept
    # here, and replaced below.
    text = raw if isinstance(raw, str) else raw.decode("utf-8-sig", "surrogatepass")
    # No database stores halves of surrogate pairs. They are rare, so they are searched for before
    # all values are copied.
    halves = _ESCAPED_HALF.search(text) or (not text.isascii() and _HALF.search(text))
    try:
        parsed = json.loads(text, strict=strict)
        return make_storable(parsed) if halves else parsed
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_arguments(arguments: str) -> Any:
    """Empty text, which some models send, becomes {}. A call's effect, price and run all parse with
    this function. With two parsers, a text that only one of them accepts would run at another
    price. Raise ValueError, also for what other parsers refuse: NaN, numbers beyond a float, and
    halves of surrogate pairs."""
    try:
        value = pydantic_core.from_json(arguments.strip() or "{}", allow_inf_nan=False)
        json.dumps(value, allow_nan=False)  # 1e999 is read as infinity
    except TypeError as error:  # half of a surrogate pair
        raise ValueError(str(error)) from None
    return value


class PieceJoiner:
    """Joins characters that were split over two pieces of a stream: servers may send the two halves
    of an emoji (a surrogate pair in JSON) in two pieces.

    Half of a surrogate pair at the end of a piece waits for the next piece.
    """

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        piece = self._half + piece
        self._half = piece[-1:] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        return in_whole_characters(piece[: len(piece) - len(self._half)])


def to_json_line(value: object) -> str:
    """Some readers break lines at U+0085 and U+2028, and terminals obey U+202E, so these and all
    other characters that are not printed are escaped."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _storable(value: Any) -> Any:
    """Return the value with U+FFFD in place of each half of a surrogate pair, at any depth. No
    database can store such a half."""
    if isinstance(value, str):
        return in_whole_characters(value)
    if isinstance(value, dict):
        return {_storable(name): _storable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_storable(member) for member in value]
    if isinstance(value, tuple):
        return tuple(_storable(member) for member in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: _storable(getattr(value, field.name)) for field in fields(value)}
        return replace(value, **changed)
    return value
