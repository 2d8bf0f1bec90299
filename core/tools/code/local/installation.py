"""Fills a new environment with the sandbox's libraries, whole or not at all."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import PonteError
from core.proxies import Proxies

LOCK = Path(__file__).parent / "requirements-sandbox.txt"
FIGURES = Path(__file__).parent / "kernel" / "figures.py"
SECONDS = 900.0
"""What the longest step may take: some 100 MB are fetched."""
_TOLD = 300

# Proxies may hold a password, so they go to pip on stdin and not as its arguments.
_PIP = (
    "import json, os, runpy, sys; os.environ.update(json.load(sys.stdin)); "
    "sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
)
_WARM = "import matplotlib.pyplot, openpyxl, pandas, PIL.Image, ponte_figures"

_CAUSES = (
    ("No space left on device", "the disk is full"),
    ("No module named pip", "pip is missing in Ponte's own environment"),
    ("No module named venv", "this Python has no module venv"),
    ("DO NOT MATCH THE HASHES", "a library is not the one that was pinned"),
    ("Permission denied", "its folder cannot be written"),
    ("No matching distribution", "a library cannot be had for this Python from where pip looks"),
    ("HTTPSConnectionPool", "the package index cannot be reached"),
    ("Temporary failure in name resolution", "the package index cannot be reached"),
    ("Connection", "the package index cannot be reached"),
)  # fmt: skip


class InstallationFailed(PonteError):
    code = "installation_failed"
    sentence = "the libraries could not be installed: {cause}"

    def __init__(self, cause: str) -> None:
        super().__init__(cause=cause)
        self.cause = cause


async def bare(base: Path, folder: Path) -> None:
    """An environment without libraries; needs no network. Raises InstallationFailed."""
    await _run([str(base), "-I", "-m", "venv", "--without-pip", str(folder)], _environment(folder))


async def fill(folder: Path, proxies: Proxies) -> None:
    """The pinned libraries, by their hashes, as ready wheels only: nothing of theirs runs."""
    environment = {"HTTPS_PROXY": proxies.https, "HTTP_PROXY": proxies.http, "NO_PROXY": proxies.no}
    told = json.dumps({name: value for name, value in environment.items() if value})
    await _run(
        [
            sys.executable, "-c", _PIP, "--python", str(folder / "bin" / "python"), "install",
            "--quiet", "--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:",
            "--requirement", str(LOCK),
        ],
        None,
        told.encode(),
    )  # fmt: skip
    await asyncio.to_thread(_add_figures, folder)
    # Compiles what is imported first and lists the machine's fonts, once for all kernels.
    await _run([str(folder / "bin" / "python"), "-I", "-c", _WARM], _environment(folder))


def _environment(folder: Path) -> Mapping[str, str]:
    return {
        "HOME": str(folder),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "PATH": "/usr/bin:/bin",
    }


def _add_figures(folder: Path) -> None:
    for library in (folder / "lib").glob("python3*/site-packages"):
        shutil.copyfile(FIGURES, library / "ponte_figures.py")
        (library / "ponte_figures.py").chmod(0o644)


async def _run(
    command: Sequence[str], environment: Mapping[str, str] | None, given: bytes = b""
) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd="/", env=environment, umask=0o022,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            told, _ = await process.communicate(given)
    except TimeoutError:
        raise InstallationFailed(f"it took longer than {SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise InstallationFailed(cause_of(told.decode(errors="replace")))


def cause_of(told: str) -> str:
    known = (words for mark, words in _CAUSES if mark in told)
    lines = told.strip().splitlines()
    return next(known, lines[-1][:_TOLD] if lines else "pip ended without a word")
