"""The real `ponte run`, and the commands that speak with it over the home's socket."""

from __future__ import annotations

import itertools
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from bot.settings import Settings
from tests.commands import Command

ROOT = Path(__file__).parents[2]
OWN_PYTHON = "own-python"
"""The name of a home whose commands are started as users start them."""
TOO_LONG_NAME = "a-long-name-" * 12
"""A home whose path is too long for a Unix socket."""
Process = subprocess.Popen[str] | Command


@dataclass
class Machine:
    """A computer with one home. `ponte(…)` runs a command there and returns when it has ended.

    `commands` is the fork server's socket. "" starts a Python for each command, which also
    proves its sandbox.
    """

    folder: Path
    home: Path
    commands: str
    settings: Mapping[str, str] = field(default_factory=dict)
    module: str = "bot"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands, without settings of the machine of the tests."""
        ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
        options = {"PYTHONPATH": str(ROOT), "PONTE_HOME": str(self.home), "PONTE_WEB_PORT": "0"}
        return {**ours, **options, **self.settings}

    def start(self, *words: str, stdout: int | None = None) -> Process:
        if self.commands:
            environment = self.environment | {"PONTE_CODE": "off"}
            return Command(self.commands, words, environment, self.folder, stdout)
        return subprocess.Popen(
            [sys.executable, "-m", self.module, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ponte(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(typed)
            return process.wait(), out, err

    @contextmanager
    def running(self) -> Iterator[tuple[Process, list[str]]]:
        """Yield a ready `ponte run` and the lines of its start screen. It is killed at the end."""
        with self.start("run") as process:
            assert process.stdout is not None
            try:
                lines: list[str] = []
                while not lines or not lines[-1].startswith("Ponte is ready"):
                    lines.append(process.stdout.readline())
                    assert lines[-1], lines
                yield process, lines
            finally:
                process.kill()

    @contextmanager
    def at_a_terminal(self) -> Iterator[Iterator[str]]:
        """`ponte run` as a person types it; the lines that they read."""
        ours, theirs = pty.openpty()
        with self.start("run", stdout=theirs) as process, open(ours, encoding="utf-8") as screen:
            os.close(theirs)
            try:
                yield iter(screen.readline, "")
                process.send_signal(signal.SIGTERM)
                assert process.wait() == 0
            finally:
                process.kill()


@pytest.mark.slow
def test_it_runs_although_its_start_screen_cannot_be_written(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path / "home", "", {"PONTE_CODE": "off"})
    with open("/dev/full", "w") as full, machine.start("run", stdout=full.fileno()) as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            assert "could not write the start screen" in line
            assert "No space left on device" in line
            assert machine.ponte("status")[0] == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        finally:
            process.kill()


@pytest.mark.slow
def test_status_says_first_that_nothing_runs(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path / "home", "", {"PONTE_CODE": "off"})
    with open(tmp_path / "both", "w+") as both:
        with machine.start("status", stdout=both.fileno()) as process:
            assert process.stderr
            assert process.stderr.readline().startswith("Ponte isn't running")
            assert process.wait() == 1
        assert "database" in (tmp_path / "both").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", [OWN_PYTHON, TOO_LONG_NAME])
def test_it_runs_answers_commands_and_drains(tmp_path: Path, commands: str, name: str) -> None:
    """What it prints and logs never holds the token."""
    machine = Machine(tmp_path, tmp_path / name, "" if name == OWN_PYTHON else commands)
    with machine.running() as (process, output):
        token = (machine.home / "web-token").read_text().strip()
        code, out, err = machine.ponte("changes", "list")
        assert (code, out, err) == (0, "No changes yet.\n", "")
        code, _, err = machine.ponte("run")
        assert (code, err) == (
            1,
            f"Another Ponte (process {process.pid}) is using {machine.home}. "
            "Stop it, or set PONTE_HOME to another folder.\n",
        )
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        assert process.returncode == 0
    assert "Traceback" not in err
    assert not (machine.home / "ponte.sock").exists()
    assert token not in "".join([*output, out, err])
    assert "`ponte link` prints the page's link with its token.\n" in output
    assert output[-1].split()[-1].startswith("http://127.0.0.1:")


@pytest.mark.slow
def test_commands_are_answered_by_who_runs_and_alone_after_a_kill(
    tmp_path: Path, commands: str
) -> None:
    machine = Machine(tmp_path, tmp_path / TOO_LONG_NAME, commands)
    with machine.running() as (process, _):
        assert machine.ponte("changes", "list")[0] == 0
        talk_through_pipes(machine)
        before = json.loads(machine.ponte("threads", "list", "--json")[1])
        process.kill()
        process.wait()
    assert (machine.home / "ponte.sock").exists()
    assert json.loads(machine.ponte("threads", "list", "--json")[1]) == before
    talk_through_pipes(machine)
    conversation = before[0]["conversation"]
    code, out, err = machine.ponte("threads", "forget", conversation, "--yes")
    assert (code, out[:8], err) == (0, "Deleted ", "")
    code, _, err = machine.ponte("threads", "show", "terminal:nobody")
    assert (code, err) == (1, "Not found: conversation.\n")


def talk_through_pipes(machine: Machine) -> None:
    """A reader of an answer may leave."""
    code, out, err = machine.ponte("chat", typed="hello\nsair\nnever said\n")
    assert (code, out.count("I'm Ponte's demo model"), err) == (0, 1, "")
    code, out, err = machine.ponte("ask", "hello", typed="and this")
    assert (code, out.count("I'm Ponte's demo model"), err) == (0, 1, "")
    reading, writing = os.pipe()
    os.close(reading)
    with machine.start("ask", "help", stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate("")
        assert (process.wait(), err) == (1, "")


def test_a_person_at_a_terminal_reads_where_settings_come_from_and_the_address_with_its_token(
    tmp_path: Path, commands: str
) -> None:
    machine = Machine(tmp_path, tmp_path / "home", commands)
    (tmp_path / ".env").write_text("PONTE_MODEL_API=demo\n")
    with machine.at_a_terminal() as lines:
        first = next(line for line in lines if line.startswith("Settings: "))
        assert first == f"Settings: environment and {tmp_path / '.env'}\n"
        view = next(line.split()[-1] for line in lines if line.startswith("Ponte is ready"))
        token = (machine.home / "web-token").read_text().strip()
        assert view.endswith(f"/#token={token}")
        code, out, err = machine.ponte("link")
        assert (code, out, err) == (0, f"{view}\n", "")
        origin = view.partition("/#")[0]
        assert httpx.get(f"{origin}/status").status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{origin}/status", headers=bearer).status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="blocked: only root can give a file away")
def test_another_users_settings_are_not_read_by_the_real_process(
    tmp_path: Path, commands: str
) -> None:
    machine = Machine(tmp_path, tmp_path / "home", commands)
    env = tmp_path / ".env"
    env.write_text("PONTE_MODEL_API=demo\nPONTE_WEB=off\n")
    os.chown(env, 12_345, -1)
    with machine.at_a_terminal() as lines:
        values = list(
            itertools.takewhile(lambda line: not line.startswith("Ponte is ready"), lines)
        )
    assert any(f"{env} isn't used (it belongs to another user (uid 12345)" in one for one in values)
    assert any("http://127.0.0.1:" in one for one in values), "the page is on, whatever it says"
    code, out, err = machine.ponte("changes", "list")
    assert (code, out[:10], err.count("\n")) == (0, "No changes", 1)
    assert err.startswith(f"{env} isn't used (it belongs to another user (uid 12345)")


def test_a_command_prints_its_result_or_one_line_and_logs_only_where_that_is_wanted(
    tmp_path: Path, commands: str
) -> None:
    """Each waits some seconds for a model's server that is not there, so they run together."""
    dead = "OPENAI_API_KEY=sk-none\nOPENAI_BASE_URL=http://127.0.0.1:9/v1\n"
    silent, logging = dead, f"{dead}PONTE_LOG_LEVEL=info\n"

    def start(env: str, *words: str, home: str = "") -> Process:
        machine = Machine(tmp_path / words[0] / home, tmp_path / words[0] / home, commands)
        machine.home.mkdir(parents=True)
        (machine.folder / ".env").write_text(env)
        return machine.start(*words)

    starts = [
        start(silent, "usage"),
        start(silent, "quick-command", "sum-up", "two words"),
        start(silent, "doctor"),
        start(logging, "changes", "list", home="logging"),
    ]
    ends = []
    for process in starts:
        with process:
            out, err = process.communicate()
        ends.append((process.returncode, out, err))
    usage, quick, doctor, log = ends
    code, out, err = usage
    assert (code, out.startswith("Usage since "), err) == (0, True, "")
    code, out, err = quick
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert err.startswith("Quick commands aren't set up")
    code, out, err = doctor
    assert (code, "FAIL  model" in out, err) == (1, True, "")
    code, out, err = log
    assert (code, "info" in err) == (0, True)
    machine = Machine(tmp_path, tmp_path / "quick-command", commands)
    code, out, err = machine.ponte("threads", "list")
    assert (code, out.count("\n"), err) == (0, 2, ""), "a heading and one line"


def test_the_operators_file_is_taken_over_without_a_restart(tmp_path: Path, commands: str) -> None:
    machine = Machine(tmp_path, tmp_path / "home", commands)
    file = tmp_path / "ponte.toml"
    with machine.running() as (process, _):
        file.write_text('[[rules]]\nwho = ["terminal"]\ndeny = ["chat"]\n')
        assert machine.ponte("reload") == (0, f"Reloaded {file}.\n", "")
        code, _, err = machine.ponte("changes", "list")
        assert (code, "I can't chat with you here" in err) == (1, True)
        file.write_text('[[rules]]\nwho = ["terminal"]\ndeny = ["chatter"]\n')
        code, out, err = machine.ponte("reload")
        assert (code, out) == (2, "")
        assert err.startswith("ponte.toml:3: 'deny': write `chat`, `read`, ")
        assert process.stderr is not None
        log = iter(process.stderr.readline, "")
        process.send_signal(signal.SIGHUP)
        assert any("config is invalid" in line for line in log), "those of before stand"
        file.write_text("")
        process.send_signal(signal.SIGHUP)
        assert any("config reloaded" in line for line in log)
        assert machine.ponte("changes", "list")[0] == 0
        file.write_text(
            '[[allowances]]\nof = "everybody"\nturns = 7\n[slack]\nbots = ["B0123456789"]\n'
        )
        sentence = f"Reloaded {file}.\nRestart Ponte to apply: [slack].\n"
        assert machine.ponte("reload") == (0, sentence, "")
        _, out, _ = machine.ponte("usage")
        line = next(one for one in out.splitlines() if one.startswith("everyone in total"))
        assert line.split("  ")[1:3] == ["7 messages a day", "0 messages"]
        code, out, err = machine.ponte("usage", "--by", "person", "--json")
        assert (code, json.loads(out)["rows"]) == (0, []), err
        code, out, err = machine.ponte("usage", "--by", "week")
        assert (code, out) == (2, "")
        assert err.startswith("Can't group by week. Choose one of: person, channel, ")
