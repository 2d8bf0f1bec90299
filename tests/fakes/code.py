"""A place where Python seems to run: it does what the test says, and remembers what was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from core.domain.records import Health, ToolContext
from core.tools.code.port import InputFile, Ran


def says_four(code: str) -> Ran:
    return Ran(value="4")


class FakeBackend:
    """`script` answers; `ran` holds each code, `given` what lay beside the last."""

    name: Literal["local"] = "local"
    description = "Run Python somewhere."

    def __init__(self, script: Callable[[str], Ran] = says_four, offered: bool = True) -> None:
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
