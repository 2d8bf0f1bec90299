"""kill -9 around the transaction that starts a run: each due time has one run and one post."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import forker
from tests.real.schedule_machine import (
    BEGIN,
    HOUR,
    Machine,
    add_alert,
    add_schedules,
    count_posts,
    count_results,
)

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


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_kill_at_any_step_of_a_look_loses_no_edge_and_doubles_none(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A look that died is not made up: the next one, five minutes later, finds the edge. The first
    transaction takes the look, the second stores what it found."""
    url = request.getfixturevalue("migrated_postgres") if engine == "postgres" else ""
    machine = Machine(str(tmp_path), BEGIN, url)
    await add_alert(machine)
    for number, (dies, is_true) in enumerate(
        [
            ("1:after", False),
            ("1:look", False),
            ("1:inside", False),
            ("2:after", True),
            ("", True),
            ("", True),
        ],
        1,
    ):
        machine = replace(machine, until=BEGIN + number * 300, dies=dies)
        process = await forker.start("tests.real.schedule_machine", machine.arguments())
        assert await process.wait() == (-signal.SIGKILL if dies else 0), dies
        assert await count_posts(machine) == (int(not dies), is_true)
