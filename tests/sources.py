"""The product's source files, each parsed once for all tests of a process."""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("adapters", "bot", "core")


@functools.cache
def list_sources() -> Sequence[Path]:
    """Return all Python files of the product."""
    return sorted(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file. Nobody may change it."""
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def walk_nodes(node: ast.AST) -> Sequence[ast.AST]:
    """Return what `ast.walk` yields. The same trees are walked about twenty times."""
    return list(ast.walk(node))
