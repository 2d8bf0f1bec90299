"""The real `ponte run`, and the commands that speak with it over the home's socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass
class Machine:
    """A computer with one home; `ponte(…)` types a command there and returns when it ended."""

    folder: Path
    home: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
        given = {"PYTHONPATH": str(ROOT), "PONTE_HOME": str(self.home), "PONTE_WEB_PORT": "0"}
        return subprocess.Popen(
            [sys.executable, "-m", "bot", *words],
            cwd=self.folder,
            env=ours | given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ponte(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(typed, timeout=60)
        return process.returncode, out, err


@pytest.fixture(params=["home", "a-long-name-" * 12])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
    """The second home's path is too long for a Unix socket."""
    return Machine(tmp_path, tmp_path / str(request.param))


@pytest.fixture
def running(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    with machine.start("run") as process:
        assert process.stdout is not None
        said = iter(process.stdout.readline, "")
        assert any(line.startswith("Ponte is ready") for line in said)
        yield process
        process.kill()


def test_it_runs_answers_commands_and_drains(
    machine: Machine, running: subprocess.Popen[str]
) -> None:
    code, out, err = machine.ponte("usage")
    assert (code, out.splitlines()[0], err) == (0, "Used today:", "")
    code, _, err = machine.ponte("run")
    assert (code, err) == (
        1,
        f"Another Ponte (process {running.pid}) already uses {machine.home}. "
        "Stop it, or set PONTE_HOME.\n",
    )
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 0
    assert "Traceback" not in err
    assert not (machine.home / "ponte.sock").exists()


def test_commands_after_a_kill_find_what_was_kept(
    machine: Machine, running: subprocess.Popen[str]
) -> None:
    assert machine.ponte("usage")[0] == 0
    before = json.loads(machine.ponte("threads", "list", "--json")[1])
    running.kill()
    running.wait()
    assert (machine.home / "ponte.sock").exists()
    assert json.loads(machine.ponte("threads", "list", "--json")[1]) == before
    (kept,) = before
    code, out, err = machine.ponte("threads", "forget", kept["conversation"], "--yes")
    assert (code, out[:10], err) == (0, "Forgotten:", "")
    code, _, err = machine.ponte("threads", "show", "terminal:nobody")
    assert (code, err) == (1, "There is no conversation here.\n")


def test_a_pipe_talks_in_the_terminal_with_who_runs_or_alone(
    machine: Machine, running: subprocess.Popen[str]
) -> None:
    for _ in range(2):
        code, out, err = machine.ponte("chat", typed="hello\nsair\nnever said\n")
        assert (code, err) == (0, "")
        assert out.count("I am Ponte's demo model") == 1
        running.kill()
        running.wait()
