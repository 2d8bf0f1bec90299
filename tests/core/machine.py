"""What the state machines stand on: an engine in a folder and an event loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine

from tests.contract.engines import Embedded

T = TypeVar("T")
MACHINE_SETTINGS = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._loop = asyncio.Runner()
        self._first = self.engine = self.run(Embedded.open(Path(self._folder.name)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    def kill(self) -> None:
        """The process dies; the next one opens the same folder."""
        self.engine = self.run(self.engine.kill())

    def teardown(self) -> None:
        self.run(self._first.close())
        self._loop.close()
        self._folder.cleanup()
