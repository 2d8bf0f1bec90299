"""kill -9 around the transaction that starts a run: each due time has one run and one post."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import forker
from tests.real.schedule_machine import BEGIN, HOUR, Machine, add_schedules, count_results

SCHEDULES = 5


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_kill_at_any_step_loses_no_run_and_doubles_none(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("migrated_postgres") if engine == "postgres" else ""
    machine = Machine(str(tmp_path), BEGIN + HOUR, url)
    await add_schedules(machine, [f"{number} * * * *" for number in range(SCHEDULES)])
    for dies in ("1:inside", "1:after", ""):
        process = await forker.start(
            "tests.real.schedule_machine", replace(machine, dies=dies).arguments()
        )
        assert await process.wait() == (-signal.SIGKILL if dies else 0), dies
    results = await count_results(machine)
    assert (results["due"], results["done"]) == (SCHEDULES, SCHEDULES), results
    assert results["lost"] + results["doubled"] + results["invented"] == 0, results
