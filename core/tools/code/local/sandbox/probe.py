"""Proves that a sandbox holds, by starting the real thing and trying what must not work."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.tools.code.local.sandbox import checks
from core.tools.code.local.sandbox.checks import ANSWER, CHECKS, Outside
from core.tools.code.local.sandbox.reasons import DISHONEST, MUTE, worded
from core.tools.code.local.sandbox.sandbox import Limits, Process, Sandbox, SandboxFailed
from core.words import say

PROGRAM = Path(checks.__file__)
PATIENCE = 20.0
"""Seconds for all checks; they take some 50 ms."""


@dataclass(frozen=True, slots=True)
class Proof:
    """`reason` says why the sandbox must not be used, in English, for the operator."""

    reason: str = ""

    @property
    def holds(self) -> bool:
        return not self.reason


async def prove(sandbox: Sandbox, python: Path, limits: Limits | None = None) -> Proof:
    """Never raises for what the machine lacks: the reason tells it."""
    limits = limits or Limits()
    outside = await asyncio.to_thread(_prepare, limits)
    try:
        process = await sandbox.start(PROGRAM, python, limits)
    except SandboxFailed as failed:
        return Proof(worded(failed.cause))
    else:
        try:
            async with asyncio.timeout(PATIENCE):
                return await _judge(process, outside)
        except (TimeoutError, ValueError, OSError):
            return Proof(say(MUTE))
        finally:
            await process.kill()
    finally:
        await asyncio.to_thread(shutil.rmtree, outside["folder"], ignore_errors=True)


async def _judge(process: Process, outside: Outside) -> Proof:
    process.stdin.write(json.dumps(outside).encode() + b"\n")
    printed = await process.output.readline()
    came = json.loads(await process.frames.readline())
    if (
        printed != f"{ANSWER}\n".encode()
        or not isinstance(came, dict)
        or came.keys() != CHECKS.keys()
    ):
        return Proof(say(MUTE))
    broken = [str(what) for what in came.values() if what]
    return Proof(say(DISHONEST, "en", what=", ".join(broken)) if broken else "")


def _prepare(limits: Limits) -> Outside:
    """A file and a folder that anybody may write to, for a moment, but for the sandbox."""
    folder = Path(tempfile.mkdtemp(prefix="ponte-probe-"))
    folder.chmod(0o777)
    file = folder / "file"
    file.write_text("outside")
    file.chmod(0o666)
    return {
        "file": str(file),
        "folder": str(folder),
        "bot": os.getpid(),
        "memory": limits.memory,
    }
