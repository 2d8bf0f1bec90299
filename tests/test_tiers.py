"""The rules of `make test` and `make test-quick`: which tests they leave out."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import conftest, tiers
from tests.fakes import forker


def run_program() -> None:
    subprocess.run(["/bin/true"], check=True)


def run_program_of_a_shell() -> None:
    os.system("true")


def run_program_on_the_loop() -> None:
    async def start() -> None:
        await (await asyncio.create_subprocess_exec("/bin/true")).wait()

    asyncio.run(start())


def spawn_program() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def fork() -> None:
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)


def look_for_program() -> None:
    shutil.which("sh")


def run_python() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def run_python_by_its_real_name() -> None:
    subprocess.run([os.path.realpath(sys.executable), "-c", ""], check=True)


def fork_elsewhere() -> None:
    async def start() -> None:
        await (await forker.start("this", stdout=asyncio.subprocess.DEVNULL)).wait()

    asyncio.run(start())


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        run_program,
        run_program_of_a_shell,
        run_program_on_the_loop,
        spawn_program,
        fork,
        look_for_program,
    ],
)
def test_every_start_of_a_program_is_noticed(start: Callable[[], None]) -> None:
    tiers.take_started()
    start()
    assert tiers.take_started()
    assert tiers.take_started() == []


@pytest.mark.parametrize("start", [run_python, run_python_by_its_real_name, fork_elsewhere])
def test_python_may_be_started(start: Callable[[], None]) -> None:
    tiers.take_started()
    start()
    assert tiers.take_started() == []


def test_a_test_that_starts_a_program_fails_and_says_why() -> None:
    report = pytest.TestReport("t", ("t", 1, "t"), {}, "passed", None, "teardown")
    conftest.fail_if_started(report, [])
    assert report.passed
    conftest.fail_if_started(report, ["subprocess.Popen bwrap"])
    assert report.failed
    assert "used a program other than Python: subprocess.Popen bwrap" in report.longreprtext
    assert "Mark it `slow`" in report.longreprtext


def test_a_test_over_its_budget_is_named_with_what_to_do() -> None:
    durations = tiers.Durations()
    for name, phase, seconds, words in (
        ("a.py::test_long", "setup", 1.0, {}),
        ("a.py::test_long", "call", 1.0, {}),
        ("a.py::test_short", "call", 1.0, {}),
        ("a.py::test_slow", "call", 9.0, {"slow": 1}),
    ):
        report = pytest.TestReport(name, ("a", 1, "a"), words, "passed", None, phase)  # type: ignore[arg-type]
        report.user_properties.append(("own_seconds", seconds))
        durations.pytest_runtest_logreport(report)
    assert durations.over_budget() == [(2.0, "a.py::test_long")]
    lines = tiers.describe_over_budget(durations.over_budget())
    assert lines[0] == "2.0 s  a.py::test_long"
    assert "wait for an event" in lines[1]
    assert "mark it `slow`" in lines[1]
    assert tiers.describe_over_budget([]) == []
    assert durations.make_record() == {"a.py": [1.5, 9.0]}


def test_the_record_is_of_files_that_exist() -> None:
    for name, both in json.loads(tiers.RECORD.read_text()).items():
        assert (tiers.TESTS / name).exists(), f"{name}: run `make durations`, or delete its line"
        assert len(both) == 2


def test_real_servers_are_slow(request: pytest.FixtureRequest) -> None:
    assert not [
        item.nodeid
        for item in request.session.items
        if "postgres]" in item.name and not item.get_closest_marker("slow")
    ]
    assert Path(__file__).parent == tiers.TESTS
