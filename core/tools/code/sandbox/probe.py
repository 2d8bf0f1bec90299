"""Chooses the sandbox of this machine: bubblewrap, else Landlock, else none; never a weaker one.

Each is proven by starting it and trying what it must prevent.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.base.i18n import say
from core.tools.code.sandbox import checks
from core.tools.code.sandbox.bwrap import Bubblewrap
from core.tools.code.sandbox.checks import ANSWER, CHECKS, Outside
from core.tools.code.sandbox.inside import ruleset
from core.tools.code.sandbox.inside.syscalls import ARCHITECTURES
from core.tools.code.sandbox.landlock import Landlock
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.runtime import RuntimeFolder
from core.tools.code.sandbox.sandbox import (
    NO_LANDLOCK,
    NO_TABLE,
    NOT_LINUX,
    PROBE_ESCAPED,
    PROBE_SILENT,
    SandboxFailed,
    SandboxLimits,
    explain_start_failure,
)

PROBE_PROGRAM = Path(checks.__file__)
PROBE_TIMEOUT_SECONDS = 20.0
"""Seconds for all checks, which take about 50 ms."""

BUBBLEWRAP = "bubblewrap: all checks passed"
LANDLOCK = "Landlock {version}: all checks passed (no bubblewrap: {reason})"
NEITHER = "no sandbox is available. bubblewrap: {bubblewrap}. Landlock: {landlock}"


async def prove_sandbox(sandbox: Sandbox, python: Path, limits: SandboxLimits | None = None) -> str:
    """Return why the sandbox must not be used, in English for the operator, or "" if every check
    passed. A machine that lacks it gives a reason, not an exception."""
    limits = limits or SandboxLimits()
    outside = await asyncio.to_thread(_prepare_outside, limits)
    try:
        process = await sandbox.start(PROBE_PROGRAM, python, limits)
    except SandboxFailed as failed:
        return explain_start_failure(failed.cause)
    else:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                process.stdin.write(json.dumps(outside).encode() + b"\n")
                printed = await process.output.readline()
                results = json.loads(await process.frames.readline())
            is_complete = isinstance(results, dict) and results.keys() == CHECKS.keys()
            if printed != f"{ANSWER}\n".encode() or not is_complete:
                return say(PROBE_SILENT, "en")
            escapes = ", ".join(str(what) for what in results.values() if what)
            return say(PROBE_ESCAPED, "en", what=escapes) if escapes else ""
        except (TimeoutError, ValueError, OSError):
            return say(PROBE_SILENT, "en")
        finally:
            await process.kill()
    finally:
        await asyncio.to_thread(shutil.rmtree, outside["folder"], ignore_errors=True)


def _prepare_outside(limits: SandboxLimits) -> Outside:
    """Return a file and a folder that everybody but the sandbox may write to."""
    folder = Path(tempfile.mkdtemp(prefix="ponte-probe-"))
    folder.chmod(0o777)
    file = folder / "file"
    file.write_text("outside")
    file.chmod(0o666)
    return {"file": str(file), "folder": str(folder), "bot": os.getpid(), "memory": limits.memory}


@dataclass(frozen=True, slots=True)
class SandboxChoice:
    """The chosen sandbox, or None. `words` explain the choice for `status` and doctor."""

    sandbox: Sandbox | None
    words: str


async def choose_sandbox(
    python: Path, runtime: RuntimeFolder, limits: SandboxLimits | None = None
) -> SandboxChoice:
    """Prove each sandbox in turn. Takes tens of milliseconds; the result is not cached."""
    if reason := _find_obstacle():
        return SandboxChoice(None, reason)
    bubblewrap = Bubblewrap(runtime)
    reason = await prove_sandbox(bubblewrap, python, limits)
    if not reason:
        return SandboxChoice(bubblewrap, say(BUBBLEWRAP, "en"))
    version, lacks = ruleset.version(), say(NO_LANDLOCK, "en")
    landlock = Landlock(runtime)
    if version and not (lacks := await prove_sandbox(landlock, python, limits)):
        return SandboxChoice(landlock, say(LANDLOCK, "en", version=version, reason=reason))
    return SandboxChoice(None, say(NEITHER, "en", bubblewrap=reason, landlock=lacks))


def _find_obstacle() -> str:
    """Return why this machine cannot have any sandbox, or ""."""
    if sys.platform != "linux":
        return say(NOT_LINUX, "en", system=sys.platform)
    machine = os.uname().machine
    return "" if machine in ARCHITECTURES else say(NO_TABLE, "en", machine=machine)
