"""How much of a transcript is sent, where the server keeps none: cut at a person's message.

Calls and their outputs stay together that way. Tokens are estimated as characters / 4, which
errs on the safe side for most languages.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from core.messages import CONTEXT, NOTE, Item

PICTURE = 1_500
"""Tokens that a picture or a page is counted as."""


def size(items: Sequence[Item]) -> int:
    """Tokens, estimated."""
    return sum(_size(item) for item in items)


def starts(items: Sequence[Item]) -> list[int]:
    """Where turns begin: a person's messages, each with what is told before it."""
    return [
        index
        for index, item in enumerate(items)
        if _person(item) and not (index and items[index - 1].name in (CONTEXT, NOTE))
    ]


def cut(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """The newest turns that fit `limit` tokens; always the last one, whatever its size."""
    left, chosen = limit, len(items)
    for start in reversed(starts(items)):
        left -= size(items[start:chosen])
        if left < 0 and chosen < len(items):
            break
        chosen = start
    return items[chosen:] if chosen < len(items) else items


def answered(items: Sequence[Item]) -> list[Item]:
    """Without earlier turns that nobody answered: what was refused once is refused again."""
    begins = [*starts(items), len(items)]
    kept = list(items[: begins[0]])
    for begin, end in itertools.pairwise(begins):
        if end == len(items) or any(not _person(item) for item in items[begin:end]):
            kept += items[begin:end]
    return kept


def _person(item: Item) -> bool:
    return item.kind == "message" and item.role == "user"


def _size(item: Item) -> int:
    raw = len(str(item.raw)) if item.raw else 0
    words = len(item.text) + len(item.arguments) + len(item.name) + raw
    return words // 4 + 8 + PICTURE * len(item.files)
