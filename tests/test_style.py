"""The bar for style and types: ruff and mypy --strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(600)  # mypy takes a minute with a cold cache
@pytest.mark.parametrize("tool", ["ruff check --quiet", "ruff format --check --quiet", "mypy"])
def test_the_tools_find_nothing(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *tool.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
