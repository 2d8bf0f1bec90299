"""Compile the product and the tests once for all workers of a run.

Without this, the workers of pytest-xdist begin at the same time and each compiles the same 800
files: 10 s of processor time for each worker of a fresh clone.
"""

from __future__ import annotations

import compileall
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

ROOT = Path(__file__).parents[1]
FOLDERS = ("bot", "adapters", "core", "tests")


def compile_all(config: pytest.Config) -> None:
    """Write what is missing in `__pycache__`, with a process for each processor."""
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    count = os.cpu_count() or 1
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=_compile, args=(config, files[start::count])) for start in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _compile(config: pytest.Config, files: Sequence[Path]) -> None:
    for path in files:
        if path.name.startswith("test_") or path.name == "conftest.py":
            _rewrite(config, path)
        else:
            compileall.compile_file(path, quiet=2)


def _rewrite(config: pytest.Config, path: Path) -> None:
    """Do what pytest does when it imports a test: its `assert` explains itself."""
    folder = rewrite.get_cache_dir(path)
    cached = folder / f"{path.stem}{rewrite.PYC_TAIL}"
    if rewrite._read_pyc(path, cached) is None and rewrite.try_makedirs(folder):
        digest, code = rewrite._rewrite_test(path, config)
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, digest, cached)
