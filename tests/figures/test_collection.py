"""How often the checker cries wolf, and how many wrong figures it finds, over answers of models.

`first_half.jsonl` was read while it was built; the others were written by people who had not seen
it, and measured before it was changed for them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.figures.collection import check, load, plant_faults


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "alarms", "named", "digits", "totals"),
    [
        ("first_half", 1, 5, 87, 44),
        ("second_half", 0, 2, 34, 30),
        ("third_part", 1, 11, 79, 69),
        ("fourth_part", 2, 35, 15, 46),
    ],
)
def test_it_hardly_cries_wolf_and_finds_wrong_figures(
    part: str, alarms: int, named: int, digits: int, totals: int
) -> None:
    """The sign ⚠️ is an alarm; that the model worked a figure out is none."""
    cases = load(part)
    assert len(cases) == 100
    assert sum(bool(check(case).slips) for case in cases) <= alarms
    assert sum(bool(check(case).missing) for case in cases) <= named
    found = Counter[str]()
    for case in cases:
        right = check(case).missing
        found.update(kind for kind, faulty in plant_faults(case) if {*faulty.missing} - {*right})
    assert found["digit"] >= digits
    assert found["total"] >= totals
