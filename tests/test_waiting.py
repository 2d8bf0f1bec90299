"""No test depends on the machine's speed: each place that waits or reads a clock has a reason here.

Instead of sleeping, await an event, or skip timers with `tests.fakes.loop_clock`. Instead of
measuring seconds, count calls, steps or bytes, or compare two costs within one process.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from tests import time_limits

TESTS = Path(__file__).parent
LEAST_TIMEOUT_SECONDS = 10
CLOCKS = ("monotonic", "perf_counter", "process_time", "thread_time")
WORDS = re.compile("|".join([r"\bsleep", r"\.timeout\(", "wait_for", *CLOCKS]))
ALLOWED = {
    "bot/test_operators.py": "looks until a process has reached a moment, without a limit",
    "contract/test_processes.py": "a database that takes a while, on the loop's clock",
    "dialogues/test_loop.py": "CPU time of the thread, in a ratio",
    "real/schedule_machine.py": "polls a database that a killed process left, without a limit",
    "fakes/models.py": "EchoModel's delay lets turns overlap; their order must not depend on it",
    "fakes/openai/chat.py": "Script.seconds, for people who look at an answer that grows",
    "fakes/openai/hostile.py": "a server that keeps a connection alive says something now and then",
    "fakes/openai/responses.py": "Script.seconds, for people who look at an answer that grows",
    "fakes/slack/delivery.py": "Slack's own pauses between retries; tests choose them",
    "fakes/stackspot_parts.py": "the pause between two polls; tests wait for the polls themselves",
    "fakes/uvicorn_pauses.py": "a pause of uvicorn's, made shorter",
    "model/test_hostile.py": "a server that keeps a stream open; the loop's clock is skipped",
    "real/cluster_storm.py": "people and faults at random moments, among several processes",
    "real/wait_storm.py": "kills at random moments while rows are written slowly",
    "real/sandbox/attacks/endings.py": "an attack that never ends",
    "real/sandbox/attacks/talk.py": "an attack that writes late; either order must be harmless",
    "slack/victim.py": "a model that says its words one by one, to be killed at any of them",
    "test_linear.py": "CPU time of the thread, in a ratio",
}
"""File → why nothing in it depends on how long that takes."""


def waits_of(source: str, *, is_test: bool = True) -> list[str]:
    """Return each sleep and small timeout, and in a test each reading of a clock, as `line: code`.
    A double may read clocks: it keeps the rate limits of its service."""
    if not WORDS.search(source):  # parsing takes long
        return []
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and (is_wait(node) or (is_test and reads_clock(node)))
    ]


def is_wait(call: ast.Call) -> bool:
    owner, name = name_of(call)
    if (owner, name) in (("asyncio", "sleep"), ("time", "sleep")):
        return not is_zero(call.args[0])
    if owner == "asyncio" and name in ("timeout", "wait_for"):
        return is_small(call.args[-1])
    return False


def reads_clock(call: ast.Call) -> bool:
    owner, name = name_of(call)
    return owner == "time" and name in CLOCKS


def name_of(call: ast.Call) -> tuple[str, str]:
    """Return the module and the function of `module.function(…)`."""
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        return call.func.value.id, call.func.attr
    return "", ""


def is_zero(seconds: ast.expr) -> bool:
    return isinstance(seconds, ast.Constant) and seconds.value == 0


def is_small(seconds: ast.expr) -> bool:
    return (
        isinstance(seconds, ast.Constant)
        and isinstance(seconds.value, int | float)
        and seconds.value < LEAST_TIMEOUT_SECONDS
    )


def test_each_wait_has_a_reason() -> None:
    match = Counter[str]()
    unknown = []
    for path in sorted(TESTS.rglob("*.py")):
        place = path.relative_to(TESTS).as_posix()
        for wait in waits_of(path.read_text("utf-8"), is_test=path.name.startswith("test_")):
            match[place] += 1
            if place not in ALLOWED:
                unknown.append(f"{place}:{wait}")
    assert unknown == [], "Wait for an event, or give the reason in ALLOWED."
    assert [place for place in ALLOWED if not match[place]] == [], "nothing waits there any more"


@pytest.mark.parametrize("module", time_limits.LIMITS)
def test_time_limits_of_the_product_are_long_in_tests(module: str) -> None:
    importlib.import_module(module)
    with pytest.MonkeyPatch.context() as patch:
        time_limits.lengthen(patch)
        assert list(time_limits.read(module)) == [time_limits.SECONDS] * len(
            time_limits.LIMITS[module]
        )


def test_sleeps_and_small_timeouts_count_as_waits() -> None:
    waits = "asyncio.sleep(0.1)", "time.sleep(x)", "time.monotonic()", "asyncio.timeout(5)"
    assert [len(waits_of(wait)) for wait in waits] == [1] * len(waits)
    fine = "asyncio.sleep(0)", "asyncio.timeout(30)", "time.time()", "clock.monotonic()"
    assert [waits_of(each) for each in fine] == [[]] * len(fine)
