"""The measurement of which faults the tests find counts a fault as found only if a test failed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import faults


@pytest.mark.parametrize("code", [1, 2, 4])
def test_a_failed_test_finds_the_fault(code: int) -> None:
    output = "F\nFAILED tests/test_a.py::test_b - assert\n1 failed"
    assert faults.failure_of(code, output) == "FAILED tests/test_a.py::test_b - assert"


def test_a_test_that_hangs_finds_the_fault() -> None:
    """pytest-timeout ends the process without a summary."""
    assert faults.failure_of(1, "++++ Timeout ++++").startswith("exit 1")


@pytest.mark.parametrize("code", [2, 3, 4, 5, -9])
def test_a_run_without_a_failed_test_finds_nothing(code: int) -> None:
    with pytest.raises(faults.NotRun, match=f"exit {code}"):
        faults.failure_of(code, "no tests ran in 2.09s")


def test_a_fault_is_where_a_marker_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "core").mkdir()
    product = tmp_path / "core" / "product.py"
    product.write_text(
        "def f(a):\n"
        "    match a:\n"
        "        case 1:\n"
        "            return f'{a + 2:>{3}}'\n"
        "        case _ if a > 4:\n"
        "            raise ValueError\n"
    )
    monkeypatch.setattr(faults, "ROOT", tmp_path)
    result = faults.faults_of(product)
    assert {(fault.line, fault.before) for fault in result} == {
        (5, "a > 4"),
        (5, "4"),
        (6, "raise ValueError"),
    }
    monkeypatch.setattr("sys.path", [str(tmp_path / "site-packages")])
    (tmp_path / "site-packages").mkdir()
    faults.mark([result[0], result[-1]], tmp_path / "hits")
    compile(product.read_text(), product, "exec")


def test_a_fault_whose_tests_did_not_run_is_not_found_and_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    product, hits, results = (tmp_path / name for name in ("product.py", "hits", "results.json"))
    product.write_text("a = 1\nb = 2\n")
    result = [
        faults.Fault("product.py", line, 4, 5, str(line), "(9)", "constant") for line in (1, 2)
    ]
    hits.write_text("0 test_a.py::test_a\n0 test_a.py::test_of_before\n1 test_a.py::test_a\n")
    codes = iter((0, 5, 1))
    events: list[tuple[str, str]] = []

    def fake_pytest(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "--collect-only" in command:
            return subprocess.CompletedProcess(command, 0, "test_a.py::test_a\n")
        events.append((product.read_text(), (tmp_path / ".faults-tests").read_text()))
        code = next(codes)
        return subprocess.CompletedProcess(command, code, "FAILED test_a\n" if code == 1 else "")

    monkeypatch.setattr(faults, "ROOT", tmp_path)
    monkeypatch.setattr(subprocess, "run", fake_pytest)
    faults.check(result, hits, results, workers=0)
    assert "0 of 2 faults found; the tests of 1 did not run to an end" in capsys.readouterr().out
    faults.check(result, hits, results, workers=0)
    assert "1 of 2 faults found; the tests of 0 did not run to an end" in capsys.readouterr().out
    first, second = ("a = (9)\nb = 2\n", "a = 1\nb = (9)\n")
    assert events == [(text, "test_a.py::test_a") for text in (first, second, second)]
    assert [one["found_by"] for one in json.loads(results.read_text()).values()] == [
        "",
        "FAILED test_a",
    ]
    assert product.read_text() == "a = 1\nb = 2\n"
