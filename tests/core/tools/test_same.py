"""Whether a table holds what was to be written."""

from __future__ import annotations

from typing import Any

import pytest

from core.tools.nocodb.fieldtypes import same


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a", "a"), (1, 1), ("79", 79), (79, "79.0"), (" 7 ", 7), (1e3, "1000"),
        (None, ""), ("", None), ([], None), (True, 1), ("true", True), (False, "false"),
        ("2026-11-20", "2026-11-20 00:00:00+00:00"), ("2026-11-20", "2026-11-20"),
        ("2026-11-20T10:00:00Z", "2026-11-20 11:00:00+01:00"),
        ("2026-11-20T10:00", "2026-11-20 10:00:00+00:00"),
        ([1, 2], [1, 2]), ({"a": [1]}, {"a": [1]}),
    ],
)  # fmt: skip
def test_values_that_count_as_the_same(wanted: Any, found: Any) -> None:
    assert same(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a", "A"), ("a", None), (0, None), (False, None), (0, ""), (79, 78), ("nan", "nan1"),
        (True, "yes it is"), (True, 2), ("2026-11-20", "2026-11-21"), ("2026-11-20", "20 Nov"),
        ([1], [2]), ({"a": 1}, {}), ({"a": 1}, "a"), (1, [1]), ("1e400", "2e400"),
    ],
)  # fmt: skip
def test_values_that_count_as_different(wanted: Any, found: Any) -> None:
    assert not same(wanted, found)
