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


def readable(path: Path) -> bool:
    """Whether any user of the machine gets there."""
    real = path.resolve()
    return all(each.stat().st_mode & 0o001 for each in (real, *real.parents))


@functools.cache
def readable_python() -> Path:
    """An interpreter of this version that anybody can run."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [
        Path(sys.executable),
        *(Path(each) / version for each in ("/usr/bin", "/usr/local/bin")),
    ]
    for each in found:
        if each.exists() and (os.geteuid() != 0 or readable(each)):
            return each
    pytest.skip(f"blocked: no {version} here that somebody who is not root can read")


@functools.cache
def sandbox_python() -> Path:
    """An environment with nothing in it but the standard library."""
    folder = Path(tempfile.mkdtemp(prefix="ponte-test-python-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    base = readable_python()
    subprocess.run([str(base), "-m", "venv", "--without-pip", folder / "env"], check=True)
    return folder / "env" / "bin" / "python"
