"""What a quick command is given, as people write it: one grammar for every surface.

After the slug stands free text, or `key=value key2="two words"`, or a JSON object. In quotes a
backslash goes before a quote or a backslash; free text that looks like one of the other two forms
stands in "double quotes" as a whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from core.errors import BadInput
from core.text import clean

Inputs = str | dict[str, Any]
"""Free text, or inputs by name: texts where they were written as key=value, else any JSON."""

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}  # phones write the curly ones
_QUOTED = "|".join(
    rf"{opening}(?:[^{closing}\\]|\\.)*{closing}" for opening, closing in _QUOTES.items()
)
_KEY = re.compile(r"([^\W\d][\w.-]*)=")
_VALUE = re.compile(rf"(?:{_QUOTED}|(?![\"'“‘])\S*)(?=\s|$)", re.DOTALL)
_WHOLE = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\S{1,40}")
_DEEPEST = 32

_NO_OBJECT = (
    "That begins like a JSON object, but is none (line {line}, column {column}). Mend it, "
    'write key=value instead, or put plain text as a whole in "double quotes".'
)
_UNCLOSED = (
    "The quote after {key}= is not closed, or something follows it without a space. "
    "Close it; a quote within needs a backslash before it."
)
_STRAY = (
    "I read key=value here, but {word} is none. Put a value of several words in quotes, "
    'as in key="two words", or plain text as a whole in "double quotes".'
)
_TWICE = "{key} is given twice. Give it once."


def parse_input(text: str) -> Inputs:
    """Free text as it is, else the inputs by name. Raises BadInput with what to mend."""
    text = clean(text).strip()
    if text.startswith("{"):
        return _parse_object(text)
    if _WHOLE.fullmatch(text):
        return _unquote(text)
    return _parse_pairs(text) if _KEY.match(text) else text


def render_input(given: Inputs) -> str:
    """The text that `parse_input` reads as `given`."""
    if isinstance(given, str):
        plain = given == given.strip() and given[:1] not in ("{", '"') and not _KEY.match(given)
        return given if plain else _quote(given)
    texts = all(isinstance(value, str) for value in given.values())
    if given and texts and all(_KEY.fullmatch(f"{key}=") for key in given):
        return " ".join(f"{key}={_quote(value)}" for key, value in given.items())
    return json.dumps(given, ensure_ascii=False)


def _parse_pairs(text: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    place = 0
    while place < len(text):
        key = _KEY.match(text, place)
        if key is None:
            word = _WORD.match(text, place)
            raise BadInput(_STRAY, word=repr(word[0] if word else ""))
        name = key[1]
        value = _VALUE.match(text, key.end())
        if value is None:
            raise BadInput(_UNCLOSED, key=name[:40])
        _add(pairs, name, _unquote(value[0]) if value[0][:1] in _QUOTES else value[0])
        space = _SPACE.match(text, value.end())
        place = space.end() if space else len(text)
    return pairs


def _parse_object(text: str) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(
            text, object_pairs_hook=named_once, parse_float=_finite, parse_constant=_finite
        )
        return {name: _cleaned(value) for name, value in read.items()}
    except json.JSONDecodeError as error:
        raise BadInput(_NO_OBJECT, line=error.lineno, column=error.colno) from None
    except (ValueError, RecursionError):
        raise BadInput(_NO_OBJECT, line=1, column=1) from None


def named_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Raises BadInput where a name comes twice."""
    read: dict[str, Any] = {}
    for name, value in pairs:
        _add(read, clean(name), value)
    return read


def _add(read: dict[str, Any], name: str, value: Any) -> None:
    if name in read:
        raise BadInput(_TWICE, key=name[:40])
    read[name] = value


def _finite(text: str) -> float:
    """JSON has no infinity and no NaN (RFC 8259, section 6), but Python reads and makes them."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _cleaned(value: Any, depth: int = 1) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {name: _cleaned(each, depth + 1) for name, each in value.items()}
    return value


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquote(text: str) -> str:
    closing = re.escape(text[-1])
    return re.sub(rf"\\([\\{closing}])", r"\1", text[1:-1])
