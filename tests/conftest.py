"""Rules for every test.

- A test skips where a program is missing, with the reason `needs PROGRAM (how to install it)`, or
  where the kernel lacks something, with `blocked: reason`. With CI=true only the latter may skip.
- After the run, one line for each missing program says how many tests it would have run.
- `make test` leaves out the slow tests, `make test-quick` more (tests/tiers.py). A test that is not
  slow and uses a program other than Python fails.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import importlib.metadata
import os
import re
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from core.base.i18n import LANGUAGE, READER_IS_OWNER
from core.tools.code import environment
from core.tools.tool import Parameters
from tests import bytecode, databases, tiers, time_limits
from tests.languages import strict
from tests.time_limits import Limits

if TYPE_CHECKING:
    from tests.real.nocodb.seed import Base, ReusedBase, Seeded
    from tests.real.postgres import Postgres

CI = os.environ.get("CI") == "true"
for name in ("COLUMNS", "LINES"):  # a shell's, or readline's in pytest-xdist's first process
    os.environ.pop(name, None)
DURATIONS = pytest.StashKey[tiers.Durations]()
NEEDS = re.compile(r"needs (.+?) \((.+)\)$")
gc.disable()  # until all is imported and collected: nearly all of that stays
strict.install()
tiers.watch_programs()
# Rich draws every local variable of a traceback, which takes minutes where one is deeply nested.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback


LOOKS_FOR_PROGRAMS = ("code", "pictures", "real/sandbox", "bot/doctor/test_doctor.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-durations", action="store_true", help="write tests/durations.json after the run"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(tiers.Stopwatch())
    config.stash[DURATIONS] = tiers.Durations()
    config.pluginmanager.register(config.stash[DURATIONS])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m quick` does not import the files that it takes nothing from."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if config.getoption("markexpr") == "quick" and is_test:
        return not tiers.is_quick_file(collection_path) or None
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    if not sys.dont_write_bytecode:
        bytecode.compile_all(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if tiers.name_file(item.path).startswith(LOOKS_FOR_PROGRAMS):
            item.add_marker("looks_for_programs")
    tiers.mark_and_sort(items)


def pytest_runtest_setup() -> None:
    LANGUAGE.set("en")
    READER_IS_OWNER.set(False)
    tiers.take_started()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        fail_if_skipped(report)
    english = strict.take_said_in_english()
    if report.failed and english and not CI:
        # What it expects is in a language that these sentences are not translated into yet.
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"Skipped: not translated yet: {english}")
    if report.when == "teardown" and (
        failure := strict.report_untranslated(strict.take_unknown(), "in no catalogue")
    ):
        report.outcome = "failed"
        report.longrepr = failure
    if report.when == "teardown" and not item.get_closest_marker("slow"):
        fail_if_started(report, tiers.take_started() + tiers.list_program_fixtures(item))
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


def fail_if_started(report: pytest.TestReport, started: list[str]) -> None:
    if started:
        report.outcome = "failed"
        report.longrepr = (
            f"This test used a program other than Python: {', '.join(started)}. "
            "Mark it `slow`, or test it without the program."
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record. With BUDGET=1, which CI ignores, a test over its budget fails the run."""
    durations = session.config.stash[DURATIONS]
    if session.config.getoption("--record-durations") and "PYTEST_XDIST_WORKER" not in os.environ:
        tiers.write_record(durations.make_record())
    if os.environ.get("BUDGET") == "1" and not CI and durations.over_budget():
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tests over their budget, and one line for each reason to skip."""
    durations = terminalreporter.config.stash[DURATIONS]
    if lines := tiers.describe_over_budget(durations.over_budget()):
        terminalreporter.section("over the budget", yellow=True)
        for line in lines:
            terminalreporter.line(line)
    counter = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if not counter:
        return
    terminalreporter.section("skipped")
    for reason, count in counter.most_common():
        tests = f"{count} test{'s' * (count > 1)}"
        needs = NEEDS.match(reason)
        terminalreporter.line(
            f"{needs[1]} is missing: {tests} did not run. Install it: {needs[2]}"
            if needs
            else f"{tests}: {reason}"
        )


@pytest.fixture(autouse=True)
def _words_as_before() -> Iterator[None]:
    """What one test typed as a secret is a word like any other for the next."""
    before = set(getattr(sys.modules.get("bot.logs"), "named_secrets", ()))
    yield
    if logs := sys.modules.get("bot.logs"):
        logs.named_secrets.intersection_update(before)
        logs.typed_secrets.clear()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Sets waits and other limits of the product for the test, by name."""
    return Limits(monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def _quick_sqlite() -> Iterator[None]:
    with databases.quick_sqlite():
        yield


@pytest.fixture(scope="session", autouse=True)
def _long_time_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        time_limits.lengthen(patch)
        yield


@pytest.fixture
def durable_sqlite(limits: Limits) -> None:
    """SQLite waits for the disk, as it does for users."""
    limits(SYNCHRONOUS_MODE="FULL")


@pytest.fixture(scope="session")
def commands() -> str:
    """The socket over which `tests.commands` starts `ponte …` quickly."""
    from tests.fakes.forker import fork_server

    return fork_server().address


def pytest_collection_finish() -> None:
    """Keep what collecting made out of every later garbage collection, and collect less often.

    With Python's default of 700 objects, collecting takes 5 % of the tests' processor time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _loggers_ask_for_their_settings() -> Iterator[None]:
    """A logger that kept the settings of an earlier test would write past `capture_logs`."""
    configure = structlog.configure

    def configure_without_cache(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", configure_without_cache)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ask_the_machine_once() -> Iterator[None]:
    """Read once what does not change: the certificates, for which every other HTTP client takes
    25 ms, and the files of all installed packages, for which `ponte doctor` takes 50 ms. Find the
    sandbox's Python once: each search starts up to three processes. Read the parameters of each
    tool once: the tools of NocoDB are made for nearly every test and take 10 ms."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (ssl, "create_default_context"),
            (importlib.metadata, "packages_distributions"),
        ):
            patch.setattr(module, name, functools.cache(getattr(module, name)))
        patch.setattr(environment, "find_base_python", _find_base_python_once())
        patch.setattr(Parameters, "of", _read_parameters_once())
        yield


def _find_base_python_once() -> Callable[[], Awaitable[environment.BasePython]]:
    matches: list[environment.BasePython] = []

    @functools.wraps(environment.find_base_python)
    async def find() -> environment.BasePython:
        if not matches:
            matches.append(await find.__wrapped__())
        return matches[0]

    return find


def _read_parameters_once() -> Callable[[Callable[..., Awaitable[object]]], Parameters]:
    """`Parameters.of` with a memory for methods, whose functions stay for good."""
    read_parameters = Parameters.of
    parameters: dict[object, Parameters] = {}

    def of(function: Callable[..., Awaitable[object]]) -> Parameters:
        method = getattr(function, "__func__", None)
        if method is None:
            return read_parameters(function)
        if method not in parameters:
            parameters[method] = read_parameters(function)
        return parameters[method]

    return of


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def real_nocodb(run_folder: Path) -> Iterator[Seeded]:
    """One server for all tests. A test that writes has `reused_base`, or makes its own base."""
    from tests.real.nocodb import server
    from tests.real.nocodb.shared import shared_nocodb

    if why := server.missing():
        pytest.skip(why)
    with shared_nocodb(run_folder) as seeded:
        yield seeded


@pytest.fixture(scope="session")
def _base_of_this_process(real_nocodb: Seeded) -> ReusedBase:
    from tests.real.nocodb.seed import ReusedBase, base_with_rows

    return ReusedBase(
        real_nocodb, lambda: base_with_rows(real_nocodb.url, real_nocodb.token, "Test")
    )


@pytest.fixture
def reused_base(_base_of_this_process: ReusedBase) -> Base:
    """Customers and Orders in a base where no other test writes meanwhile."""
    return _base_of_this_process.take()


@pytest.fixture(scope="session")
def recorded_today(run_folder: Path) -> dict[str, Any]:
    """A data folder after a power cut, and what people and servers hold of it. One test process
    records it for all (tests/recorded/record.py)."""
    from tests.recorded.recorded_ponte import read_record

    file = run_folder / "recorded.json.gz"
    with (run_folder / "recorded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            subprocess.run(
                [sys.executable, "-m", "tests.recorded.record", str(file)],
                cwd=Path(__file__).parents[1],
                check=True,
                capture_output=True,
                timeout=240,
            )
    return read_record(file)


@pytest.fixture(scope="session")
def real_postgres(run_folder: Path) -> Iterator[Postgres]:
    """One server for all tests. Each test makes a database of its own in it."""
    from tests.real import postgres
    from tests.real.shared_postgres import shared_postgres

    if why := postgres.missing():
        pytest.skip(why)
    with shared_postgres(run_folder) as server:
        yield server


@pytest.fixture
def migrated_postgres(real_postgres: Postgres) -> Iterator[str]:
    """The URL of a database that has Ponte's newest schema and no rows."""
    with real_postgres.migrated_database() as url:
        yield url
