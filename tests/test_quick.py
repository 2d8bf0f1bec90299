"""The rule of `make test-quick`: a test that it runs starts no process."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import conftest, quick
from tests.fakes import forker


def run_program() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def run_program_on_the_loop() -> None:
    async def start() -> None:
        await (await asyncio.create_subprocess_exec("/bin/true")).wait()

    asyncio.run(start())


def fork() -> None:
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)


def fork_elsewhere() -> None:
    async def start() -> None:
        await (await forker.start("this", stdout=asyncio.subprocess.DEVNULL)).wait()

    asyncio.run(start())


def look_for_program() -> None:
    shutil.which("sh")


@pytest.mark.parametrize(
    "start", [run_program, run_program_on_the_loop, fork, fork_elsewhere, look_for_program]
)
def test_every_start_of_a_process_is_noticed(start: Callable[[], None]) -> None:
    quick.take_started()
    start()
    assert quick.take_started()
    assert quick.take_started() == []


def test_a_quick_test_that_starts_a_process_fails_and_says_why() -> None:
    report = pytest.TestReport("t", ("t", 1, "t"), {}, "passed", None, "teardown")
    conftest.fail_if_started(report, [])
    assert report.passed
    conftest.fail_if_started(report, ["subprocess.Popen bwrap"])
    assert report.failed
    assert "marked quick and used a program: subprocess.Popen bwrap" in report.longreprtext


def test_each_listed_file_exists() -> None:
    for name in (*quick.QUICK, *quick.NOT_QUICK):
        assert (quick.TESTS / name).exists(), name


def test_postgres_is_not_quick(request: pytest.FixtureRequest) -> None:
    assert not [
        item.nodeid
        for item in request.session.items
        if "postgres" in item.name and item.get_closest_marker("quick")
    ]
    assert Path(__file__).parent == quick.TESTS
