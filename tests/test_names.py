"""Names follow the rules of CONTRIBUTING.md (Style) that a program can check.

`python -m tests.names FOLDER` prints what a folder breaks. An exception needs a reason here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache

from tests.names import (
    EVERYTHING,
    Definition,
    find_docstring_problems,
    find_in_scope,
    find_participles,
    find_repeated,
    find_unknown_names,
    is_participle,
    read_definitions,
)
from tests.sources import PRODUCT

PARTICIPLE_EXCEPTIONS: Mapping[tuple[str, str], str] = {}
"""(path, function) → the reason for its name."""
CLASS_EXCEPTIONS: Mapping[str, str] = {}
"""Name of a class → the reason why two modules define it."""


@cache
def definitions() -> tuple[Definition, ...]:
    return tuple(read_definitions(EVERYTHING))


def repeated_in_product(kind: str) -> dict[str, list[str]]:
    """Return each repeated name of the product with its places."""
    product = [each for each in definitions() if each.path.startswith(PRODUCT)]
    return {
        name: [f"{each.path}:{each.line}" for each in places]
        for name, places in find_repeated(product, kind).items()
    }


def test_no_function_is_named_by_a_participle_alone() -> None:
    matches = {(each.path, each.name) for each in find_participles(definitions())}
    assert matches - PARTICIPLE_EXCEPTIONS.keys() == set()


def test_each_public_class_of_the_product_has_a_name_of_its_own() -> None:
    repeated = repeated_in_product("class")
    assert {name: repeated[name] for name in repeated.keys() - CLASS_EXCEPTIONS.keys()} == {}


def test_each_public_class_and_longer_function_has_a_docstring_that_stands_alone() -> None:
    assert [str(each) for each in find_docstring_problems()] == []


def test_docstrings_name_only_what_exists() -> None:
    """In backticks, and after "Raise"."""
    assert find_unknown_names() == []


def test_each_exception_is_still_needed() -> None:
    places = {(each.path, each.name) for each in find_participles(definitions())}
    assert PARTICIPLE_EXCEPTIONS.keys() <= places
    assert CLASS_EXCEPTIONS.keys() <= repeated_in_product("class").keys()


def test_a_bare_participle_is_found_and_other_names_are_none() -> None:
    assert all(map(is_participle, ("told", "_told", "replaced", "kept", "counted")))
    others = ("is_told", "on_posted", "feed", "red", "find_post", "stored_rows")
    assert not any(map(is_participle, others))


def test_a_function_of_five_lines_needs_no_docstring() -> None:
    def find(body_lines: int) -> list[str]:
        tree = ast.parse("def find_post() -> None:\n" + "    pass\n" * body_lines)
        return [finding.problem for finding in find_in_scope("posts.py", tree, "", {})]

    assert find(5) == []
    assert find(6) == ["no docstring"]
