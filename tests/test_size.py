"""The size of the product has a ceiling: tokens of code and Python files in `bot`, `adapters` and
`core`. Tokens cannot be saved by longer lines. Each change that makes the product smaller may lower
the ceiling; raising it is a decision.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.sources import list_sources, parse, walk_nodes

ROOT = Path(__file__).parents[1]
FOLDERS = ("bot", "adapters", "core")
MAX_TOKENS = 576_850
"""500,655 tokens of 28 November 2026; 10,500 for what was found wrong on that day, and a quarter
more; less what the audit table, the rights to a change, the lists of /admin and the records of
threads saved; 1,100 for how cards, tables and charts look; 2,800 for what newcomers,
attackers and readers of each body found in 0.2.0; 7,000 for requests that were lost beside a card,
sign-in over hours, MCP servers and clients as they are, and long threads."""
MAX_FILES = 280
MAX_PARAMETERS = 8
MAX_FILES_WITH_SETTINGS = 15
MAX_UNFORMATTED = {("bot", "adapters", "core"): 100, ("tests", "benchmarks"): 150}
"""Folders → how many of their statements the formatter leaves alone: tables that it would tear."""
UNFORMATTED = re.compile(r"#\s*fmt:\s*(skip|off)")

NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)


def count_tokens(source: str, nodes: Iterable[ast.AST] = ()) -> int:
    """Return the number of Python's tokens without comments, docstrings, the strings that explain
    fields, line ends and indentation. `nodes` are those of the source, where they are known."""
    texts = list_text_lines(source, nodes)
    return sum(
        token.type not in NO_CODE and token.start[0] not in texts
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
    )


def count_code_lines(source: str, nodes: Iterable[ast.AST] = ()) -> int:
    """Return the number of lines without blank lines, comments, docstrings and the strings that
    explain fields. `nodes` are those of the source, where they are known."""
    texts = list_text_lines(source, nodes)
    return sum(
        number not in texts and line.strip()[:1] not in ("", "#")
        for number, line in enumerate(source.splitlines(), 1)
    )


def list_text_lines(source: str, nodes: Iterable[ast.AST]) -> set[int]:
    """Return the numbers of the lines of docstrings and of the strings that explain fields."""
    texts: set[int] = set()
    for node in nodes or ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for each in node.body:
                if isinstance(each, ast.Expr) and is_text(each.value):
                    texts.update(range(each.lineno, (each.end_lineno or each.lineno) + 1))
    return texts


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def refuse_growth(name: str, count: int, ceiling: int) -> None:
    assert count <= ceiling, (
        f"The product has {count:,} {name}, and {ceiling:,} are allowed. Remove what is not needed "
        "or write it shorter. If the change is worth its size, raise the ceiling in "
        "tests/test_size.py in the same commit and give the reason in its message."
    )


def test_the_product_does_not_grow_past_its_ceiling() -> None:
    files = list_sources()
    tokens = lines = 0
    for path in files:
        source, nodes = path.read_text("utf-8"), walk_nodes(parse(path))
        tokens += count_tokens(source, nodes)
        lines += count_code_lines(source, nodes)
    print(f"{tokens:,} tokens in {lines:,} lines of {len(files)} files")
    refuse_growth("tokens of code", tokens, MAX_TOKENS)
    refuse_growth("Python files", len(files), MAX_FILES)


@pytest.mark.parametrize("folders", MAX_UNFORMATTED)
def test_the_formatter_decides_how_lines_break(folders: tuple[str, ...]) -> None:
    count = sum(
        len(UNFORMATTED.findall(path.read_text("utf-8")))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    )
    assert count <= MAX_UNFORMATTED[folders], "Only a table may keep its own form."


def test_no_constructor_takes_more_than_eight_parameters() -> None:
    """A class that needs more has two subjects, or one of its parameters has no name yet."""
    matches = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in list_sources()
        for node in walk_nodes(parse(path))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        if len(node.args.args) - 1 + len(node.args.kwonlyargs) > MAX_PARAMETERS
    ]
    assert matches == []


def test_few_files_see_the_settings() -> None:
    """Integrations see their own part of them, and all others get plain values or named parts."""
    events = [path.name for path in list_sources() if "import Settings" in path.read_text("utf-8")]
    assert len(events) <= MAX_FILES_WITH_SETTINGS, events


def test_only_code_counts() -> None:
    source = '''"""A module.

On two lines."""

import os  # counts


# A comment.
class Table:
    """A class."""

    rows: int = 0
    """How many
    rows it has."""

    def path(self) -> str:
        """A function."""
        return """a text

        in code"""
'''
    assert count_code_lines(source) == 6
    # import os, class Table:, rows: int = 0, def path(self) -> str:, return and its string
    assert count_tokens(source) == 2 + 3 + 5 + 8 + 2
    assert count_tokens(source.replace("rows: int", "rows  :  int")) == count_tokens(source)


def test_growth_fails_with_what_to_do() -> None:
    refuse_growth("Python files", 3, 3)
    with pytest.raises(AssertionError, match="has 4 Python files, and 3 are allowed"):
        refuse_growth("Python files", 4, 3)
