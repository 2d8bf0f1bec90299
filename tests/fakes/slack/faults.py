"""Faults that a test asks for: the next calls of a method go wrong."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Literal

How = Literal["lost", "cut", "500", "503", "403", "429", "html"] | str
"""`lost`: done, but the answer never arrives. `cut`: the connection drops before it is done.
Any other word is the `error` of a refusal, which must be one that the method is known to say; with
a `?` before it, it is one that nobody has heard of."""


@dataclass
class Fault:
    how: str
    retry_after: int = 1

    @property
    def unheard_of(self) -> bool:
        return self.how.startswith("?")

    @property
    def error(self) -> str:
        return self.how.removeprefix("?")


class Faults:
    def __init__(self) -> None:
        self._next: dict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}

    def add(self, method: str, how: str, times: int, retry_after: int = 1) -> None:
        """`times` below 1: from now on, always."""
        fault = Fault(how, retry_after)
        if times < 1:
            self._always[method] = fault
        else:
            self._next[method].extend([fault] * times)

    def end(self, method: str) -> None:
        self._always.pop(method, None)
        self._next.pop(method, None)

    def take(self, method: str) -> Fault | None:
        waiting = self._next.get(method)
        return waiting.popleft() if waiting else self._always.get(method)
