"""How an attack that ends in its kernel's death did end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

from core.tools.code.sandbox.process import Sandbox
from tests.real.sandbox.attacks import endings
from tests.real.sandbox.attacks.endings import ANSWERED, DIED, ENDS, KILLED
from tests.real.sandbox.scenery import Scenery
from tests.real.sandbox.session import HANG_SECONDS, LIMITS, Stub

ENDLESS_RUN_SECONDS = 0.1
"""For so long runs an attack that never ends before it is killed."""


async def end(sandbox: Sandbox, python: Path, name: str, ctx: Scenery) -> str:
    """Return "" where the attack ended as it should, could be killed, and did not harm what
    should go on."""
    limits = dataclasses.replace(LIMITS, cpu=1) if name == "processor_time" else LIMITS
    stub = await Stub.start(sandbox, python, endings, limits)
    try:
        await stub.begin(name, ctx.what)
        return await _judge(stub, name)
    finally:
        async with asyncio.timeout(HANG_SECONDS):
            await stub.process.kill()


async def _judge(stub: Stub, name: str) -> str:
    came = ""
    how = await _wait_for_end(stub, ENDLESS_RUN_SECONDS if KILLED in ENDS[name] else HANG_SECONDS)
    if how == ANSWERED and not stub.process.overran:
        came = await _go_on(stub)
    if stub.process.overran:
        return ""
    return came if how in ENDS[name] else f"{how}, not {ENDS[name]} {came}"


async def _wait_for_end(stub: Stub, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            content = await stub.process.frames.read(1)
            if content:
                return ANSWERED if content == b"{" else KILLED
            await stub.process.wait()
            return DIED
    except TimeoutError:
        return KILLED


async def _go_on(stub: Stub) -> str:
    """Return what the attack could do, or that the kernel takes no other question.

    The sandbox may count what fills a disk only after the answer, and then ends the kernel.
    """
    came = str(json.loads(b"{" + await stub.process.frames.readline())["came"])
    try:
        if came:
            async with asyncio.timeout(HANG_SECONDS):
                await stub.process.wait()
            return came
        return await stub.ask({"source": ""})
    except TimeoutError:
        return came or "no answer to another question"
    except EOFError:
        await stub.process.wait()
        return "it ended after its answer"
