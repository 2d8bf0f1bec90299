"""Looks ten times a second after the limits that the machine does not keep by itself."""

from __future__ import annotations

import asyncio

from core.tools.code.local.sandbox.measure import Meter
from core.tools.code.local.sandbox.process import Running

PAUSE = 0.1
"""Seconds between two looks: 35 MB at the 350 MB/s of a laptop's disk."""


async def watch(running: Running, meter: Meter) -> None:
    while running.returncode is None:
        try:
            if too_much := await asyncio.to_thread(meter.too_much):
                running.overrun(too_much)
                return
        except OSError:  # it has just ended
            return
        await asyncio.sleep(PAUSE)
