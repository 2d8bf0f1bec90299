"""All evaluation cases with the three scripted models (docs/dev/evals.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evals.case import BadCase, read_cases
from tests.evals.models import MODELS
from tests.evals.offline import list_faults, run_with
from tests.evals.told import FILE, read_requests, render


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
async def test_no_case_has_a_fault(model: str) -> None:
    """`make evals` runs each case with each model. A model that is not ideal does here what it may
    not where there is something to lose, which is nearly the same in all cases of other areas."""
    cases = [case for case in read_cases() if model == "ideal" or case.area not in HARMLESS_AREAS]
    if model == "wilful":  # its moods do not depend on the case
        cases = cases[::2]
    assert list_faults(model, await run_with(model, cases)) == []


HARMLESS_AREAS = ("languages", "no_tool", "tables")


async def test_what_the_model_is_told_changes_only_in_a_review() -> None:
    requests = await read_requests()
    assert FILE.read_text(encoding="utf-8") == render(requests), "run make reference"


def test_a_wrong_case_is_named(tmp_path: Path) -> None:
    for text, words in {
        '[[case]]\nname = "a"\nsay = "x"\nhass = ["y"]': "odd.toml: a: hass",
        '[[case]]\nname = "a"\nsay = "x"\nwho = "nobody"': "nobody is called nobody",
        '[[case]]\nname = "a"\nsay = "x"\n[[case]]\nname = "a"\nsay = "y"': "two cases",
        "[[case": "odd.toml",
    }.items():
        (tmp_path / "odd.toml").write_text(text)
        with pytest.raises(BadCase, match=words):
            read_cases(tmp_path)
