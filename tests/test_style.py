"""The bar for style and types: ruff and mypy --strict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.style]


MYPY_CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-tests" / "mypy"
)
"""What mypy found out in the latest checkout. It compares the digest of each file with its source,
so another checkout can begin with it: 1 s of processor time in place of 25."""


@pytest.mark.parametrize("tool", ["ruff check --quiet", "ruff format --check --quiet"])
def test_the_tools_find_nothing(tool: str) -> None:
    run(tool)


@pytest.mark.timeout(600)  # mypy takes a minute with a cold cache
def test_mypy_finds_nothing() -> None:
    own = ROOT / ".mypy_cache"
    is_new = not own.exists()
    if is_new:
        copy_folder(MYPY_CACHE, own)
    run("mypy")
    if is_new:
        keep_cache(own)


def keep_cache(own: Path) -> None:
    """Replace the cache of all checkouts. Two runs that do so at once leave a whole one."""
    with suppress(OSError):
        MYPY_CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=MYPY_CACHE.parent) as folder:
            new = Path(folder, "new")
            copy_folder(own, new)
            with suppress(FileNotFoundError):
                MYPY_CACHE.rename(Path(folder, "old"))
            new.rename(MYPY_CACHE)


def copy_folder(source: Path, target: Path) -> None:
    """Copy all of it or nothing: another run may be replacing it, or the disk be full."""
    try:
        shutil.copytree(source, target)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)


def run(tool: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *tool.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
