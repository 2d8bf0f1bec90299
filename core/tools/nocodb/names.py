"""How a name that a model writes becomes a table or a field, and what it may have meant if not.

A model repeats names as it was shown them, on one line and cut (`core.tools.nocodb.outline`), and
as people write them, without accents or in another case.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from core.folding import folded, plain
from core.graphemes import whole
from core.text import clean

CUT = "…"
LONGEST = 60
"""Characters of a name that a model is shown."""
_NAMES = 30


class _Titled(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def title(self) -> str: ...


T = TypeVar("T", bound=_Titled)


def resolved(name: str, among: Sequence[T]) -> T | None:
    """The one whose id or title is `name`, else the only one whose title reads like it."""
    exact = name.strip()
    for each in among:
        if exact in (each.id, each.title):
            return each
    for form in (folded, plain):
        wanted = form(exact)
        alike = [each for each in among if wanted and form(each.title.strip()) == wanted]
        if alike:
            return alike[0] if len(alike) == 1 else None
    return _begun(plain(exact), among)


def _begun(name: str, among: Sequence[T]) -> T | None:
    """The only one whose title begins with a name that was cut."""
    start = name.removesuffix(CUT)
    begun = [
        each for each in among if start not in ("", name) and plain(each.title).startswith(start)
    ]
    return begun[0] if len(begun) == 1 else None


def nearest(name: str, among: Iterable[_Titled]) -> str:
    """A hint: the titles that `name` may have meant, else all of them."""
    titles = [each.title for each in among]
    wanted = plain(name)
    near = [title for title in titles if plain(title) == wanted]
    near = near or _close(wanted, titles)
    if near:
        return f"did you mean {' or '.join(repr(shown(title)) for title in near)}?"
    rest = len(titles) - _NAMES
    told = ", ".join(map(shown, titles[:_NAMES]))
    return told + (f" and {rest} more" if rest > 0 else "")


def _close(name: str, titles: Sequence[str]) -> list[str]:
    plains = {plain(title): title for title in titles}
    return [plains[each] for each in difflib.get_close_matches(name, plains, 3)]


def shown(title: str) -> str:
    """A title on one line."""
    told = " ".join(clean(title).split())
    return told if len(told) <= LONGEST else told[: whole(told, LONGEST - 1)] + CUT
