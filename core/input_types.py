"""Inputs against what the registry says of a quick command: names, what is required, types.

The registry's types are text, number, boolean and choice (with `choices`). What came as key=value
is text, so "12.5" is a number and "yes" a boolean here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from core.errors import BadInput
from core.inputs import Inputs
from core.records import QuickCommand

_NUMBER = re.compile(r"[+-]?\d{1,300}(?P<fraction>(\.\d{1,300})?([eE][+-]?\d{1,3})?)")
_WORDS = {"true": True, "yes": True, "false": False, "no": False}

_Reader = Callable[[Any], str | int | float | bool | None]

_TAKES = "`{slug}` takes these inputs: {names}. Write them as in {example}."
_MISSING = "`{slug}` also needs {names}. Write it as in {example}."
_UNKNOWN = "`{slug}` has no input {name}. It takes these: {names}."
_WRONG = {
    "number": "{name} must be a number, as in {name}=12.5.",
    "boolean": "{name} must be true or false, as in {name}=true.",
    "choice": "{name} must be one of these: {choices}.",
    "text": 'Write {name} as a text, as in {name}="some words".',
}


def check_inputs(command: QuickCommand, given: Inputs) -> Inputs:
    """`given` as `command` takes it: free text under its only name, numbers as numbers.

    A command without declared inputs takes anything. Raises BadInput with what to mend.
    """
    if not command.inputs:
        return given
    named = _by_name(command, given)
    _check_names(command, named)
    return {name: _checked(name, command.inputs[name], value) for name, value in named.items()}


def _by_name(command: QuickCommand, given: Inputs) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    if not given.strip():
        return {}
    names = list(command.inputs)
    required = _required(command)
    if len(names) == 1 or len(required) == 1:
        return {(names if len(names) == 1 else required)[0]: given}
    example = _example(command.slug, required or names)
    raise BadInput(_TAKES, slug=command.slug, names=", ".join(names), example=example)


def _check_names(command: QuickCommand, named: Mapping[str, Any]) -> None:
    slug = command.slug
    for name in named:
        if name not in command.inputs:
            known = ", ".join(command.inputs)
            raise BadInput(_UNKNOWN, slug=slug, name=repr(name[:40]), names=known)
    missing = [name for name in _required(command) if named.get(name) in (None, "")]
    if missing:
        example = _example(slug, missing)
        raise BadInput(_MISSING, slug=slug, names=", ".join(missing), example=example)


def _required(command: QuickCommand) -> list[str]:
    return [name for name, declared in command.inputs.items() if declared.get("required")]


def _example(slug: str, names: list[str]) -> str:
    pairs = " ".join(f'{name}="…"' for name in names)
    return f"`quick-command {slug} {pairs}`"


def _checked(name: str, declared: Mapping[str, Any], value: Any) -> Any:
    kind = str(declared.get("type", "text"))
    choices = [str(choice) for choice in declared.get("choices", ())]
    reader = _READERS.get(kind, _text)
    checked = reader(value) if kind != "choice" else value if value in choices else None
    if checked is None:
        raise BadInput(_WRONG.get(kind, _WRONG["text"]), name=name, choices=", ".join(choices))
    return checked


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | float | None:
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value.strip())
        value = (float(value) if match["fraction"] else int(value)) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else _WORDS.get(str(value).strip().lower())


_READERS: dict[str, _Reader] = {"text": _text, "number": _number, "boolean": _boolean}
