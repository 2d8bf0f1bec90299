"""Which tests `make test` and `make test-quick` leave out, by what a test uses.

`make test` leaves out the slow ones. A test is slow if

- one of its fixtures starts a program other than Python (`START_A_PROGRAM`),
- or one of its parameters names a real server (`SERVERS`),
- or it has the marker `slow`: it starts such a program by itself, or takes longer than
  `BUDGET_SECONDS` on a quiet machine.

A test that is not slow, and starts another program or looks for one (`shutil.which`), fails. One
that takes longer than its budget only gets a warning, because no verdict depends on a machine's
speed. Servers inside the test's own process, such as the doubles of Slack, are no programs.

`make test-quick` leaves out more: the files that `tests/durations.json` lists with more than
`QUICK_SECONDS` for each test. `make durations` writes this record. It also orders the slow tests.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
RECORD = TESTS / "durations.json"
BUDGET_SECONDS = 1.5
QUICK_SECONDS = 0.03
MIN_SLOW_SECONDS = 5.0
"""Of a file's longest slow test. The order of shorter ones matters little."""
MAX_WARNINGS = 20
ADVICE = (
    "Let it wait for an event instead of a pause, let it share a setup with other tests (in a "
    "fixture of the session), or mark it `slow`."
)
START_A_PROGRAM = frozenset({"browser", "drawings", "real_nocodb", "real_postgres", "own_postgres"})
"""Fixtures. They are found where another fixture needs them, too."""
SERVERS = ("aimock", "postgres", "real")
"""Parts of a parameter's name that say which real server the test starts or uses."""
STARTS = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
        "tests.look_for_program",
    }
)
"""Events that Python's audit hooks get when a program starts (docs.python.org: Audit events table).
The last one is the tests' own: `shutil.which` was called. A fork counts, because nothing tells what
the child executes; the programs of `tests.fakes.forker` are Python and do not count."""

_started: list[str] = []


@functools.cache
def name_file(path: Path) -> str:
    """Return where a file with tests is, for example `core/base/test_text.py`."""
    return path.relative_to(TESTS).as_posix()


@dataclass(frozen=True, slots=True)
class FileDurations:
    """What `make durations` measured of a file. A number that changes no decision is 0."""

    seconds_per_test: float = 0.0
    """Of its tests that are not slow."""
    longest_slow_seconds: float = 0.0


@functools.cache
def read_record() -> dict[str, FileDurations]:
    return {name: FileDurations(*both) for name, both in json.loads(RECORD.read_text()).items()}


def file_durations(path: Path) -> FileDurations:
    return read_record().get(name_file(path), FileDurations())


def is_quick_file(path: Path) -> bool:
    return file_durations(path).seconds_per_test <= QUICK_SECONDS


def is_slow(item: pytest.Item) -> bool:
    parameters = item.name.partition("[")[2]
    return (
        item.get_closest_marker("slow") is not None
        or not START_A_PROGRAM.isdisjoint(getattr(item, "fixturenames", ()))
        or any(server in parameters for server in SERVERS)
    )


def mark_and_sort(items: list[pytest.Item]) -> None:
    """Mark the tests, and put those first that may take longest, so that no worker begins one at
    the end."""
    for item in items:
        if is_slow(item):
            item.add_marker("slow")
        elif is_quick_file(item.path):
            item.add_marker("quick")
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is None,
            -file_durations(item.path).longest_slow_seconds,
        )
    )


def watch_programs() -> None:
    """Record every start of a program, and every search for one, from now on. An audit hook cannot
    be removed again."""
    platform.platform()  # runs `uname` once; the openai package asks for it at its first request
    sys.addaudithook(_record_start)
    which = shutil.which

    @functools.wraps(which)
    def record_and_look(command: str, *options: Any, **more: Any) -> str | None:
        sys.audit("tests.look_for_program", command)
        return which(command, *options, **more)

    shutil.which = record_and_look  # type: ignore[assignment]


def take_started() -> list[str]:
    """Return what was started since the last call."""
    start = _started.copy()
    _started.clear()
    return start


def list_program_fixtures(item: pytest.Item) -> list[str]:
    """Return which fixtures of `START_A_PROGRAM` a test has used, also those that it asked for by
    name while it ran. Such a program may have been started by an earlier test."""
    request = getattr(item, "_request", None)
    return sorted(START_A_PROGRAM.intersection(getattr(request, "_fixture_defs", ())))


def _record_start(event: str, arguments: tuple[Any, ...]) -> None:
    if event in STARTS:
        program = str(arguments[0]) if arguments else ""
        if event == "tests.look_for_program" or not is_python(program):
            _started.append(f"{event} {program}".strip())


def is_python(program: str) -> bool:
    """Return whether this program is the Python that runs the tests, by whatever name."""
    return os.path.realpath(program) == os.path.realpath(sys.executable)


class Stopwatch:
    """Measures each test by itself: without the fixtures that tests share, which the first one of
    them sets up."""

    def __init__(self) -> None:
        self._shared_seconds = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        begin = time.perf_counter()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                self._shared_seconds += time.perf_counter() - begin

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        own_seconds = max(0.0, report.duration - self._shared_seconds)
        report.user_properties.append(("own_seconds", own_seconds))
        self._shared_seconds = 0.0
        return report


class Durations:
    """The durations of all tests of a run."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._slow: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += sum(
            float(str(value)) for name, value in report.user_properties if name == "own_seconds"
        )
        if "slow" in report.keywords:
            self._slow.add(report.nodeid)

    def over_budget(self) -> list[tuple[float, str]]:
        """Return the tests that took longer than they may, the longest first."""
        return sorted(
            (
                (seconds, test)
                for test, seconds in self._seconds.items()
                if test not in self._slow and seconds > BUDGET_SECONDS
            ),
            reverse=True,
        )

    def make_record(self) -> dict[str, list[float]]:
        """Return the contents of `tests/durations.json`, without the files that all are quick."""
        slow: defaultdict[str, list[float]] = defaultdict(list)
        others: defaultdict[str, list[float]] = defaultdict(list)
        for test, seconds in self._seconds.items():
            file = test.partition("::")[0].removeprefix("tests/")
            (slow if test in self._slow else others)[file].append(seconds)
        record = {}
        for file in sorted({*slow, *others}):
            each = sum(others[file]) / max(1, len(others[file]))
            longest = max(slow[file], default=0.0)
            both = [
                round(each, 3) if each > QUICK_SECONDS else 0.0,
                round(longest, 1) if longest > MIN_SLOW_SECONDS else 0.0,
            ]
            if any(both):
                record[file] = both
        return record


def describe_over_budget(tests: Iterable[tuple[float, str]]) -> list[str]:
    tests = list(tests)
    if not tests:
        return []
    lines = [f"{seconds:.1f} s  {test}" for seconds, test in tests[:MAX_WARNINGS]]
    if len(tests) > MAX_WARNINGS:
        lines.append(f"and {len(tests) - MAX_WARNINGS} more")
    return [
        *lines,
        f"Each of these took longer than {BUDGET_SECONDS} s by itself. {ADVICE}",
        "On a busy machine this says little, and no test fails for it.",
    ]


def write_record(record: dict[str, list[float]]) -> None:
    lines = ",\n".join(f"  {json.dumps(file)}: {json.dumps(both)}" for file, both in record.items())
    RECORD.write_text(f"{{\n{lines}\n}}\n")
