"""Measure which faults the tests find: change a line of the product, run the tests that reach it.

    python -m tests.faults sample --seed 7 --count 60 FAULTS.json   choose the faults
    python -m tests.faults mark FAULTS.json HITS                    put a marker on each chosen line
    … run the whole suite once: the markers write "fault test" lines to HITS …
    git checkout -- adapters bot core                               remove the markers
    python -m tests.faults check FAULTS.json HITS RESULTS.json      apply each fault, run its tests

`make faults` does all of it in a checkout of its own, since the steps edit source files. A fault is
a changed operator, constant or condition, or a deleted statement, inside a function. A test that
never executes a line cannot find its fault, so only the tests that reach the marker run, the most
specific ones first. Log calls and the sentences that people read are left out.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("adapters", "bot", "core")
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
FAULT_TIMEOUT_SECONDS = 900
TEST_TIMEOUT_SECONDS = 120
"""A fault often makes a test wait for ever. Tests with a limit of their own keep it. The whole
process ends then: a task of the test may swallow the exception that a signal raises."""
FIRST_TESTS = 25
"""How many of a fault's tests run before all the others."""
IN_THE_SANDBOX = tuple(
    f"core/tools/code/{name}" for name in ("kernel/", "sandbox/checks.py", "sandbox/inside/")
)
SANDBOX_TESTS = "tests/code"
"""A line that runs inside a sandbox cannot report its test, so all of these tests run for it."""
MARKER = "__import__('builtins').__dict__.get('_ponte_fault_hit', int)({number})"
RECORDER = """\
import builtins, os
_seen = set()
def hit(number):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if (number, test) not in _seen:
        _seen.add((number, test))
        try:
            with open({hits!r}, "a") as file:
                file.write(f"{{number}} {{test}}\\n")
        except OSError:
            pass
builtins._ponte_fault_hit = hit
"""


@dataclass(frozen=True)
class Fault:
    """One change of source text; `start` and `end` are byte offsets within the line."""

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str
    kind: str


def faults_of(path: Path) -> list[Fault]:
    """Every fault that this file can have."""
    source = path.read_text("utf-8")
    lines = source.encode().splitlines()
    matches: list[Fault] = []

    def add(node: ast.expr | ast.stmt, changed: ast.AST | str, kind: str) -> None:
        if node.end_lineno != node.lineno or node.end_col_offset is None:
            return
        before = lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode()
        after = changed if isinstance(changed, str) else ast.unparse(changed)
        if isinstance(node, ast.expr):
            after = f"({after})"
        name = str(path.relative_to(ROOT))
        place = (name, node.lineno, node.col_offset, node.end_col_offset)
        matches.append(Fault(*place, before, after, kind))

    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                for node in _inside(statement):
                    _add_faults(node, add)
    return list(dict.fromkeys(matches))


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement, without annotations, log calls, nested definitions, patterns and
    f-strings. No marker fits into the last two."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "pattern"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(
                child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.JoinedStr
            ):
                continue
            if isinstance(child, ast.AST) and not _is_log(child):
                yield from _inside(child)


def _is_log(node: ast.AST) -> bool:
    return ast.unparse(node).startswith(("log.", "self._log.")) if _is_call(node) else False


def _is_call(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else node
    return isinstance(value.value if isinstance(value, ast.Await) else value, ast.Call)


def _add_faults(node: ast.AST, add: object) -> None:
    assert callable(add)
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            change = copy.deepcopy(node)
            change.ops = [COMPARISONS[type(op)]()]
            add(node, change, "operator")
        case ast.BoolOp():
            flipped = copy.deepcopy(node)
            flipped.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            add(node, flipped, "operator")
        case ast.UnaryOp(op=ast.Not()):
            add(node, node.operand, "operator")
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            turned = copy.deepcopy(node)
            turned.op = ARITHMETIC[type(op)]()
            add(node, turned, "operator")
        case ast.Constant(value=bool(value)):
            add(node, repr(not value), "constant")
        case ast.Constant(value=int(value)):
            add(node, repr(value + 1), "constant")
    match node:
        case ast.If() | ast.While() | ast.IfExp():
            add(node.test, ast.UnaryOp(ast.Not(), node.test), "condition")
        case ast.Expr() if _is_call(node) and not _is_log(node):
            add(node, "pass", "deleted")
        case ast.AugAssign() | ast.Raise():
            add(node, "pass", "deleted")


def sample(seed: int, count: int) -> list[Fault]:
    """Choose faults, each on a line of its own, every line with the same chance."""
    by_line: dict[tuple[str, int], list[Fault]] = {}
    for path in sorted(p for top in PRODUCT for p in (ROOT / top).rglob("*.py")):
        for fault in faults_of(path):
            by_line.setdefault((fault.path, fault.line), []).append(fault)
    chance = random.Random(seed)
    choice = chance.sample(sorted(by_line), count)
    return [chance.choice(by_line[line]) for line in choice]


def splice(fault: Fault, text: str) -> None:
    """Put `text` where the fault's expression or statement is."""
    path = ROOT / fault.path
    lines = path.read_bytes().splitlines(keepends=True)
    line = lines[fault.line - 1]
    assert line[fault.start : fault.end].decode() == fault.before, fault
    lines[fault.line - 1] = line[: fault.start] + text.encode() + line[fault.end :]
    path.write_bytes(b"".join(lines))


def mark(faults: list[Fault], hits: Path) -> None:
    """Make each chosen line report the test that runs it, also in a child process."""
    for number in sorted(range(len(faults)), key=lambda n: (faults[n].line, faults[n].start))[::-1]:
        fault, marker = faults[number], MARKER.format(number=number)
        statement = fault.kind == "deleted"
        text = f"{marker}; {fault.before}" if statement else f"({marker}, {fault.before})[1]"
        splice(fault, text)
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    (site / "ponte_fault_hits.py").write_text(RECORDER.format(hits=str(hits.absolute())))
    (site / "ponte_fault_hits.pth").write_text("import ponte_fault_hits\n")
    hits.write_text("")
    hits.chmod(0o666)


def tests_of(hits: Path) -> dict[int, list[str]]:
    """Fault → its tests; those that reach few faults, and so are specific, come first."""
    targets: dict[int, set[str]] = {}
    for line in hits.read_text().splitlines():
        number, _, test = line.partition(" ")
        targets.setdefault(int(number), set()).add(test)
    common = Counter(test for tests in targets.values() for test in tests)
    return {n: sorted(filter(None, t), key=lambda x: (common[x], x)) for n, t in targets.items()}


class NotRun(Exception):
    """The tests of a fault did not run to an end, so nothing is known about it."""


def check(faults: list[Fault], hits: Path, results: Path, workers: int) -> None:
    """Apply each fault, run its tests and write what happened.

    Start again to go on: only a fault whose tests did not run is repeated.
    """
    value = tests_of(hits)
    files = {test.partition("::")[0] for tests in value.values() for test in tests}
    code = {str(file.relative_to(ROOT)) for file in (ROOT / SANDBOX_TESTS).glob("test_*.py")}
    there = collect_tests(files | code)
    sandboxed = sorted(test for test in there if test.partition("::")[0] in code)
    outcome = json.loads(results.read_text()) if results.exists() else {}
    for number, fault in enumerate(faults):
        if outcome.get(str(number), {"not_run": "yet"})["not_run"] == "":
            continue
        original = (ROOT / fault.path).read_bytes()
        start = time.monotonic()
        is_sandboxed = fault.path.startswith(IN_THE_SANDBOX)
        target = value.get(number) or (sandboxed if is_sandboxed else [])
        tests = find_tests(target, there)
        found_by = not_run = ""
        splice(fault, fault.after)
        try:
            found_by = run(tests[:FIRST_TESTS], 0) or run(tests[FIRST_TESTS:], workers)
        except NotRun as error:
            not_run = str(error)
        finally:
            (ROOT / fault.path).write_bytes(original)
        verdict = {"found_by": found_by, "not_run": not_run, "tests": len(tests), **asdict(fault)}
        outcome[str(number)] = verdict
        results.write_text(json.dumps(outcome, indent=1))
        took = time.monotonic() - start
        what = f"{fault.before!r} -> {fault.after!r}"
        state = f"found by {found_by}" if found_by else f"NOT FOUND {not_run}"
        print(
            f"{number} {fault.path}:{fault.line} {what}: {state} ({len(tests)} tests, {took:.0f} s)"
        )
        sys.stdout.flush()
    total = sum(bool(one["found_by"]) for one in outcome.values())
    unknown = sum(bool(one["not_run"]) for one in outcome.values())
    print(f"{total} of {len(outcome)} faults found; the tests of {unknown} did not run to an end")


def collect_tests(files: set[str]) -> set[str]:
    """Return the ids of all tests in these files."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    there = sorted(file for file in files if (ROOT / file).is_file())
    result = subprocess.run(
        [*command, *there], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {line for line in result.stdout.splitlines() if "::" in line}


def find_tests(tests: list[str], there: set[str]) -> list[str]:
    """Return the tests to run. pytest runs none at all if it does not know one of them.

    pytest orders the parameters in an id by the order in which it loaded the conftest.py files.
    That depends on its arguments, so an unknown id stands for all tests of its function.
    """
    functions = {test.partition("[")[0] for test in there}
    values = [test if test in there else test.partition("[")[0] for test in tests]
    return [test for test in dict.fromkeys(values) if test in there or test in functions]


def run(tests: list[str], workers: int) -> str:
    """Return the first test that fails, or "" if all pass; raise NotRun if they do not all run."""
    if not tests:
        return ""
    side = ["-n", str(workers)] if workers and len(tests) > 100 else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        f"--timeout={TEST_TIMEOUT_SECONDS}",
        "-o",
        "timeout_method=thread",
        *side,
    ]
    listing = ROOT / ".faults-tests"
    listing.write_text("\n".join(tests))
    try:
        result = subprocess.run(
            [*command, f"@{listing}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=FAULT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotRun(f"within {FAULT_TIMEOUT_SECONDS} seconds") from None
    finally:
        listing.unlink()
    return failure_of(result.returncode, result.stdout)


def failure_of(code: int, output: str) -> str:
    """Return the test that failed, or "" if all passed, from pytest's exit code and its output.

    pytest ends with 5 if it ran no test, and with 4 if it does not know one of them.
    """
    if code == pytest.ExitCode.OK:
        return ""
    failures = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if failures:
        return failures[0]
    if code == pytest.ExitCode.TESTS_FAILED:  # also the exit code of a test that hangs
        return f"exit {code}: {output[-300:]}"
    raise NotRun(f"exit {code}: {output[-300:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["sample", "mark", "check"])
    parser.add_argument("faults", type=Path)
    parser.add_argument("hits", type=Path, nargs="?")
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--workers", type=int, default=0, help="pytest-xdist workers")
    arguments = parser.parse_args()
    if arguments.action == "sample":
        choices = [asdict(fault) for fault in sample(arguments.seed, arguments.count)]
        arguments.faults.write_text(json.dumps(choices, indent=1))
        return
    faults = [Fault(**one) for one in json.loads(arguments.faults.read_text())]
    if arguments.action == "mark":
        mark(faults, arguments.hits)
    else:
        check(faults, arguments.hits, arguments.results, arguments.workers)


if __name__ == "__main__":
    main()
