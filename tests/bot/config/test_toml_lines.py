"""Each key of a TOML text is found in its line."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.toml_values import TomlLines

TEXT = '''\
top = 1

[a."b.c"]  # a comment with = and [
x = """
[not.a.table]
y = 2
"""
list = [
  1,  # ]
  { z = 3 },
]
inner = { deep = { key = 1 } }
p.q = \'\'\'one\'\'\'

  [[rows]]
  id = 1
[[rows]]
id = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["top"], 1),
        (["a"], 3),
        (["a", "b.c"], 3),
        (["a", "b.c", "x"], 4),
        (["a", "b.c", "y"], 3),
        (["a", "b.c", "list"], 8),
        (["a", "b.c", "list", 1, "z"], 8),
        (["a", "b.c", "inner", "deep", "key"], 12),
        (["a", "b.c", "p", "q"], 13),
        (["rows", 0, "id"], 16),
        (["rows", 1, "id"], 18),
        (["rows", 1], 17),
        (["nowhere"], 1),
    ],
)
def test_the_line_of_a_key_is_found(path: list[object], line: int) -> None:
    tomllib.loads(TEXT)
    assert TomlLines(TEXT).of(path) == line


@given(st.lists(st.sampled_from(["{} = 1", '{} = """\n"""', "{} = [\n[],\n]", "[{}]", "# {}", ""])))
def test_every_key_is_found_where_it_was_written(statements: list[str]) -> None:
    text, expected = "", {}
    table: tuple[str, ...] = ()
    for index, statement in enumerate(statements):
        key = f"k{index}"
        table = (key,) if statement == "[{}]" else table
        if statement and not statement.startswith("#"):
            path = table if statement == "[{}]" else (*table, key)
            expected[path] = text.count("\n") + 1
        text += statement.format(key) + "\n"
    lines = TomlLines(text)
    assert {path: lines.of(path) for path in expected} == expected
