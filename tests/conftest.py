"""Rules for every test. With CI=true a skipped test fails, unless its reason begins "blocked: "."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from core.i18n import LANGUAGE
from tests.languages import strict
from tests.real import postgres
from tests.real.nocodb import server
from tests.real.nocodb.seed import Seeded, seeded

CI = os.environ.get("CI") == "true"
strict.install()


def pytest_runtest_setup() -> None:
    LANGUAGE.set("en")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        fail_if_skipped(report)
    if strict.unknown and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = f"said, and in no catalogue: {sorted(strict.unknown)}"
        strict.unknown.clear()
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not CI or report.outcome != "skipped" or not isinstance(report.longrepr, tuple):
        return
    path, line, words = report.longrepr
    if not words.startswith("Skipped: blocked: "):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: a skipped test fails in CI. {words}"


@pytest.fixture(scope="session")
def real_nocodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """One for all tests: who writes does so in a base of its own (`seed.base_with_rows`)."""
    if why := server.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("nocodb")
    with server.nocodb(folder) as url:
        yield seeded(url, folder)


@pytest.fixture(scope="session")
def real_postgres() -> Iterator[postgres.Postgres]:
    """One for all tests: each makes a database of its own in it."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.postgres(postgres.SPEED) as running:
        yield running
