"""A code backend that runs nothing: the test decides its results, and it records each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from core.domain.records import Health, ToolContext
from core.tools.code.port import InputFile, Ran


def print_four(code: str) -> Ran:
    return Ran(value="4")


class FakeBackend:
    """`script` returns each result. `ran` lists the code of all runs; `given` are the last run's
    files."""

    name: Literal["local"] = "local"
    description = "Run Python somewhere."

    def __init__(self, script: Callable[[str], Ran] = print_four, offered: bool = True) -> None:
        self.script = script
        self.ran: list[str] = []
        self.given: dict[str, bytes] = {}
        self.forgotten: list[str] = []
        self._offered = offered

    def start(self) -> None:
        return None

    async def offered(self) -> bool:
        return self._offered

    async def run(self, ctx: ToolContext, code: str, given: Sequence[InputFile]) -> Ran:
        self.ran.append(code)
        self.given = {each.name: await each.read() for each in given}
        return self.script(code)

    async def forget(self, thread: str) -> None:
        self.forgotten.append(thread)

    async def health(self) -> Health:
        return Health("code", "on", "a fake")

    async def close(self) -> None:
        return None
