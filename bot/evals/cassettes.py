"""Cassettes: what a model answered in a case, to be replayed without a network.

A cassette is stale if the case has changed, or what the model is told in it: the recorded answers
belong to another question then.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bot.evals.case import Case
from bot.evals.world import ModelRound
from core.domain.messages import Item, Usage
from core.domain.records import Health, ModelEvent, Remote, RoundCompleted, RoundRequest, TextDelta


@dataclass(frozen=True, slots=True)
class RecordedRound:
    """The output of one round of a step."""

    step: int
    number: int
    items: tuple[Item, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Cassette:
    """The rounds of one run of a case. `told` identifies what the model was told."""

    case: str
    model: str
    told: str
    rounds: tuple[RecordedRound, ...]


def fingerprint(case: Case, request: RoundRequest) -> str:
    """Return a hash of the case and of the instructions and tools of its first request."""
    tools = [asdict(tool) for tool in request.tools]
    told = json.dumps([repr(case), request.instructions, tools], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def make_cassette(case: Case, model: str, rounds: Sequence[ModelRound]) -> Cassette | None:
    """Return the cassette of a run; None if the model was not asked."""
    if not rounds:
        return None
    recorded = tuple(
        RecordedRound(each.step, each.request.number, each.completed.items, each.completed.usage)
        for each in rounds
    )
    return Cassette(case.key, model, fingerprint(case, rounds[0].request), recorded)


def write_cassette(cassette: Cassette, folder: Path) -> None:
    """Write the cassette, in place of an earlier one of the case. Raise OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{cassette.case.replace('/', '-')}.json"
    file.write_bytes(_adapter().dump_json(cassette, indent=1, exclude_defaults=True) + b"\n")


def read_cassettes(folder: Path) -> Mapping[str, Cassette]:
    """Return all cassettes of a folder by case. Files that cannot be read are left out. Raise
    OSError."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            cassette = _adapter().validate_json(path.read_bytes())
        except ValidationError:
            continue
        found[cassette.case] = cassette
    return found


@functools.cache
def _adapter() -> TypeAdapter[Cassette]:
    return TypeAdapter(Cassette)


class ReplayedModel:
    """A `Model` that answers as a cassette has it. `is_stale` is known after the first round."""

    level = "responses"

    def __init__(self, case: Case, cassette: Cassette) -> None:
        self.name = cassette.model
        self.is_stale = False
        self._case = case
        self._cassette = cassette
        self._left = list(cassette.rounds)

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        if len(self._left) == len(self._cassette.rounds):
            self.is_stale = fingerprint(self._case, ask) != self._cassette.told
        recorded = self._left.pop(0) if self._left else RecordedRound(0, 0, (), Usage())
        for item in recorded.items:
            if item.role == "assistant":
                yield TextDelta(item.text)
        yield RoundCompleted(recorded.items, recorded.usage)

    async def health(self) -> Health:
        return Health("model", "on", self.name)

    async def erase(self, remote: Remote) -> bool:
        return True

    async def close(self) -> None:
        return None
