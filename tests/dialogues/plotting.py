"""What people bring and ask for in the dialogues about Python on this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.code import sandboxed
from tests.dialogues.whole import Whole, whole
from tests.fakes.openai import FakeOpenAI, Script

SALES = b"month,total\nJan,20\nFeb,22\nMar,31\n"
PLOT = """\
import pandas as pd
import matplotlib.pyplot as plt
sales = pd.read_csv("sales.csv")
sales.plot.bar(x="month", y="total", legend=False)
plt.title("Sales by month")
"""
PNG = b"\x89PNG\r\n\x1a\n"


def calls(code: str) -> Script:
    """The model asks for this code to be run."""
    return Script(calls=(("run_python", json.dumps({"code": code})),))


@asynccontextmanager
async def sandboxed_ponte(folder: Path, fake: FakeOpenAI, **settings: Any) -> AsyncIterator[Whole]:
    """The whole bot with Python in the sandbox of this machine, proved."""
    async with whole(await sandboxed.home(folder), fake, ponte_code="local", **settings) as ponte:
        assert "all checks passed" in (await ponte.ask("status"))["response"]
        yield ponte
