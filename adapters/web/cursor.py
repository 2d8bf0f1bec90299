"""How far a tab has read: what `id:` of an event says and `Last-Event-ID` gives back.

`12+14` means: every turn up to seq 12 that had an answer, and 14 too (13 still runs; a decision
overtakes the turn before it). It holds no secret and works in any process, also after a restart.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"\d{1,18}(\+\d{1,18}){0,200}")


class Cursor:
    def __init__(self, base: int = 0, beyond: frozenset[int] = frozenset()) -> None:
        self._base = base
        self._ended = set(beyond)
        self._open: set[int] = set()

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """None for what is no cursor of ours."""
        if not _FORM.fullmatch(text):
            return None
        base, *beyond = (int(number) for number in text.split("+"))
        return cls(base, frozenset(beyond))

    def ended(self, seq: int) -> bool:
        """Whether this turn's end was shown."""
        return seq in self._ended or (seq <= self._base and seq not in self._open)

    def open(self, seq: int) -> None:
        if not self.ended(seq):
            self._open.add(seq)

    def end(self, seq: int) -> None:
        self._open.discard(seq)
        self._ended.add(seq)

    def __str__(self) -> str:
        highest = max(self._ended, default=0)
        base = min(self._open) - 1 if self._open else max(self._base, highest)
        beyond = sorted(seq for seq in self._ended if seq > base)
        return "+".join(map(str, [base, *beyond[-200:]]))
