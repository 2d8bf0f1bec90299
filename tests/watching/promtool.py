"""Prometheus' own checker: on the PATH, or where `.ci/run` put it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-ci"


def missing() -> str:
    """Why it cannot be asked here, or ""."""
    return "" if _program() else "needs promtool (apt install prometheus)"


def ask(*words: str, given: str = "") -> str:
    """What it says; raises AssertionError where it objects."""
    result = subprocess.run(
        [str(_program()), *words], input=given, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def _program() -> str | None:
    program = CACHE / "promtool"
    return str(program) if program.exists() else shutil.which("promtool")
