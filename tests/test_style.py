"""The bar for style and types: ruff, mypy --strict, and how long a file or function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400
LONGEST_FUNCTION = 50


def files() -> Iterator[Path]:
    for folder in ("bot", "adapters", "core", "tests", "benchmarks"):
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.timeout(600)  # mypy takes a minute with a cold cache
@pytest.mark.parametrize("tool", ["ruff check --quiet", "ruff format --check --quiet", "mypy"])
def test_the_tools_find_nothing(tool: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *tool.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_long() -> None:
    lengths = {path: path.read_bytes().count(b"\n") for path in files()}
    assert [f"{path}: {n}" for path, n in lengths.items() if n > LONGEST_FILE] == []


def test_no_function_is_too_long() -> None:
    assert [
        f"{path}:{node.lineno} {node.name}"
        for path in files()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= LONGEST_FUNCTION
    ] == []
