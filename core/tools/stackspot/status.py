"""How an execution stands, read leniently: no schema of it is published.

Clients in three languages agree on `{"execution_id", "quick_command_slug", "conversation_id",
"progress": {"status", "execution_percentage", …}, "steps": [{"step_name", "execution_order",
"step_result"}], "result"}`, where `result` is a text and a step's result `{"answer", …}` of a
model's step, `{"status_code", "json_data", "data"}` of a web request's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.text import in_whole_characters, one_line

_FAILED = ("FAILURE", "FAILED")
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Step:
    """`answer` is empty while there is none."""

    name: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is StackSpot's own word, in capitals; one that is not known means: go on waiting.

    `share` is how much is done, 0.0 to 1.0, None where that is not told.
    """

    execution: str
    state: str = ""
    share: float | None = None
    steps: tuple[Step, ...] = ()
    result: str = ""
    slug: str = ""
    conversation: str = ""

    @property
    def completed(self) -> bool:
        return self.state == "COMPLETED"

    @property
    def failed(self) -> bool:
        """No reason is told with it."""
        return self.state in _FAILED

    @property
    def step(self) -> str:
        """The name of the step that runs: the first without an answer, else the last."""
        waiting = [step.name for step in self.steps if not step.answer]
        return next(iter(waiting), self.steps[-1].name if self.steps else "")

    @property
    def answer(self) -> str:
        """The result, else what the last step that answered said."""
        spoken = [step.answer for step in self.steps if step.answer]
        return self.result if self.result.strip() else next(reversed(spoken), "")


def read_status(execution: str, answer: Mapping[str, Any]) -> Status:
    """`answer` as a Status; what is missing or odd in it is left out."""
    progress = _mapping(answer.get("progress"))
    return Status(
        execution=execution,
        state=_text(progress.get("status")).strip().upper(),
        share=_share(progress.get("execution_percentage")),
        steps=_steps(answer.get("steps")),
        result=_text(answer.get("result")),
        slug=_text(answer.get("quick_command_slug")),
        conversation=_text(answer.get("conversation_id")),
    )


def _steps(told: object) -> tuple[Step, ...]:
    steps = [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []
    return tuple(_step(each) for each in sorted(steps, key=_order))


def _step(told: Mapping[str, Any]) -> Step:
    name = one_line(_text(told.get("step_name")), _LONGEST_NAME)
    return Step(name, _step_answer(told.get("step_result")))


def _step_answer(result: object) -> str:
    if not isinstance(result, Mapping):
        return _text(result)
    found = (_text(result.get(name)) for name in ("answer", "json_data", "data"))
    return next(filter(str.strip, found), "")


def _order(step: Mapping[str, Any]) -> float:
    order = step.get("execution_order")
    return order if isinstance(order, int | float) else 0


def _share(told: object) -> float | None:
    """0.0 to 1.0, also where it was written as a percentage."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= 100:
        return None
    return told / 100 if told > 1 else float(told)


def _text(value: object) -> str:
    """A text as it is, None as nothing, all else as JSON."""
    if value is None or isinstance(value, str):
        return in_whole_characters(value or "")
    return in_whole_characters(json.dumps(value, ensure_ascii=False))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
