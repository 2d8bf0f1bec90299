"""Interpreters that somebody else may read: one for the sandbox, one for the driver."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_FOLDERS = ("/usr/local/bin", "/usr/bin")


def readable(path: Path) -> bool:
    """Whether any user of the machine gets there."""
    real = path.resolve()
    return all(each.stat().st_mode & 0o001 for each in (real, *real.parents))


def driver_python(who: str) -> Path:
    """An interpreter of this version that `who` can run."""
    if who == "root" or os.geteuid() != 0:
        return Path(sys.executable)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return _readable(sys.executable, *(f"{folder}/{version}" for folder in _FOLDERS))


@functools.cache
def sandbox_python() -> Path:
    """An environment with nothing in it but the standard library."""
    own = sys._base_executable  # type: ignore[attr-defined]
    base = _readable(own, *(f"{folder}/python3" for folder in _FOLDERS))
    folder = Path(tempfile.mkdtemp(prefix="ponte-test-python-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    subprocess.run([str(base), "-m", "venv", "--without-pip", folder / "env"], check=True)
    return folder / "env" / "bin" / "python"


def _readable(*candidates: str) -> Path:
    for each in map(Path, candidates):
        if each.exists() and (os.geteuid() != 0 or readable(each)):
            return each
    pytest.skip(f"blocked: somebody who is not root can read none of {', '.join(candidates)}")
