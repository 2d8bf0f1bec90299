"""How an attack that ends in its kernel's death did end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from pathlib import Path

from core.tools.code.sandbox.sandbox import Sandbox
from tests.real.sandbox.attacks import endings
from tests.real.sandbox.attacks.endings import ANSWERED, DIED, ENDS, KILLED
from tests.real.sandbox.scenery import Scenery
from tests.real.sandbox.session import LIMITS, Stub

HANGS = 0.4
"""Seconds after which what has neither ended nor answered is taken for hanging."""
DIES = 8.0
"""Seconds that what should end or answer by itself may take."""
KILLS = 2.0
"""Seconds that killing may take, with files to remove, on a busy machine."""


async def end(sandbox: Sandbox, python: Path, name: str, ctx: Scenery) -> str:
    """ "" where it ended as it should, was killed fast, and what should go on went on."""
    limits = dataclasses.replace(LIMITS, cpu=1) if name == "processor_time" else LIMITS
    stub = await Stub.start(sandbox, python, endings, limits)
    try:
        came, patience = "", HANGS if KILLED in ENDS[name] else DIES
        stub.tell({"attack": name, "outside": ctx.what})
        how = await _how(stub, patience)
        if how == ANSWERED and not stub.process.overran:
            came = await _goes_on(stub, name)
        if how not in ENDS[name] and not stub.process.overran:
            came = f"{how}, not {ENDS[name]} {came}"
    finally:
        began = time.monotonic()
        await stub.process.kill()
        took = time.monotonic() - began
    return came or (f"killing it took {took:.1f} s" if took > KILLS else "")


async def _how(stub: Stub, patience: float) -> str:
    try:
        async with asyncio.timeout(patience):
            said = await stub.process.frames.read(1)
            if said:
                return ANSWERED if said == b"{" else KILLED
            await stub.process.wait()
            return DIED
    except TimeoutError:
        return KILLED


async def _goes_on(stub: Stub, name: str) -> str:
    """What it says that it could do, or that the kernel takes no other question.

    What fills a disk can be found out a moment after it has answered.
    """
    came = json.loads(b"{" + await stub.process.frames.readline())["came"]
    if came or name == "deep_folders":
        await asyncio.sleep(3 * HANGS)
    if stub.process.overran:
        return ""
    return str(came) or await stub.ask({"source": ""})
