"""All evaluation cases with the three scripted models (docs/dev/evals.md)."""

from __future__ import annotations

import pytest

from bot.evals.case import read_cases
from tests.evals.models import MODELS
from tests.evals.offline import list_faults, run_with


@pytest.mark.parametrize("model", MODELS)
async def test_no_case_has_a_fault(model: str) -> None:
    assert list_faults(model, await run_with(model, read_cases())) == []
