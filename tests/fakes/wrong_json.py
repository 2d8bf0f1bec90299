"""Real events with one field missing, null or of another type."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

MISSING = object()
_OTHERS: tuple[Any, ...] = ("x", -1, [], {}, [None], True, "2026-13-40T00:00:00", {"id": None})
WRONG: tuple[Any, ...] = (MISSING, None, *_OTHERS)
Path = tuple[Any, ...]


def wrong_versions(value: Any, most: int, seed: int = 0) -> list[Any]:
    """Return copies of a JSON value with one field wrong: each field once as null and once missing,
    then others, at most `most`."""
    paths = list(_paths(value))
    cases = [(path, wrong) for wrong in WRONG for path in paths]
    first, rest = cases[: 2 * len(paths)], cases[2 * len(paths) :]
    random.Random(seed).shuffle(rest)
    return [_replace_at(value, path, wrong) for path, wrong in [*first, *rest][:most]]


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    inner = value.items() if isinstance(value, dict) else ()
    for key, each in enumerate(value) if isinstance(value, list) else inner:
        yield (*path, key)
        yield from _paths(each, (*path, key))


def _replace_at(value: Any, path: Path, wrong: Any) -> Any:
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if len(path) > 1:
        copy[path[0]] = _replace_at(copy[path[0]], path[1:], wrong)
    elif wrong is MISSING:
        del copy[path[0]]
    else:
        copy[path[0]] = wrong
    return copy
