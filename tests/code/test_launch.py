"""A program that is ended before it was fenced: nothing that it began is left."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from core.tools.code.sandbox.process import Ends, launch

BEGINS = """
import os, sys, time
if os.fork() == 0:  # holds the pipes, as bubblewrap's child does before it watches its parent
    with open(sys.argv[1], "w") as told:
        told.write(str(os.getpid()))
time.sleep(600)
"""


def ended(process: str) -> bool:
    """Whether it has, collected or not yet."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


async def test_what_it_began_ends_with_it(tmp_path: Path) -> None:
    told = tmp_path / "child"
    os.mkfifo(told)

    def command(ends: Ends) -> list[str]:
        return [sys.executable, "-c", BEGINS, str(told)]

    starting = asyncio.create_task(
        launch(command, environment={}, folder=tmp_path, user=None), name="launch"
    )
    child = await asyncio.to_thread(told.read_text)
    starting.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert ended(child)
