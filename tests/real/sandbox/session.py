"""A kernel with the stub in it, as attacks need it."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Self

from core.tools.code.sandbox.process import RunningProgram, Sandbox
from core.tools.code.sandbox.sandbox import MiB, SandboxLimits
from tests.real.sandbox.outside import Outside

STUB = Path(__file__).parent / "stub.py"
LIMITS = SandboxLimits(memory=256 * MiB, work=32 * MiB, temporary=16 * MiB, entries=2_000)
HANG_SECONDS = 60.0
"""No answer for so long counts as a hang, even on a busy machine."""


class Stub:
    def __init__(self, process: RunningProgram) -> None:
        self.process = process

    @classmethod
    async def start(
        cls, sandbox: Sandbox, python: Path, module: ModuleType, limits: SandboxLimits = LIMITS
    ) -> Self:
        stub = cls(await sandbox.start(STUB, python, limits))
        await stub.ask({"source": inspect.getsource(module)})
        return stub

    async def attack(self, name: str, outside: Outside) -> str:
        """What it could do; raises EOFError where the kernel ended, TimeoutError where it hangs."""
        return await self.ask({"attack": name, "outside": outside})

    async def begin(self, name: str, outside: Outside) -> None:
        """Return when the attack begins."""
        self.tell({"attack": name, "outside": outside, "announced": True})
        if await self._read_line() != b"begins\n":
            raise EOFError(str(self.process.returncode))

    async def ask(self, request: dict[str, object]) -> str:
        self.tell(request)
        return str(json.loads(await self._read_line())["came"])

    async def _read_line(self) -> bytes:
        async with asyncio.timeout(HANG_SECONDS):
            line = await self.process.frames.readline()
        if not line:
            raise EOFError(str(self.process.returncode))
        return line

    def tell(self, request: dict[str, object]) -> None:
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
