"""Scripts of quick command executions: the status that each poll sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What one poll sees. `step` is the name of the step that runs."""

    status: str
    share: float | None = None
    step: str = ""


RUNS = (Look("CREATED"), Look("RUNNING", 0.42, "Summarise"), Look("COMPLETED", 1.0))


@dataclass(frozen=True, slots=True)
class Run:
    """The script of the next execution; its last look is seen for ever.

    `result` None: what the command and its input are. `steps` replaces the steps that are told.
    """

    looks: tuple[Look, ...] = RUNS
    result: str | None = None
    steps: tuple[Json, ...] | None = None

    @classmethod
    def of(cls, *statuses: str, result: str | None = None) -> Run:
        return cls(tuple(Look(status) for status in statuses), result)
