"""What an operator is told is true of the Ponte that runs: its configuration, store and end."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from bot.cli import client
from bot.home import Home
from bot.ponte import Ponte
from bot.stores import SCHEMA
from core.base.http import HttpAnswer
from core.commands.grammar import render_change
from core.store.database import SqliteDatabase
from tests.bot.cli.test_client import PROGRESS, Server, run_over
from tests.bot.conftest import Shell
from tests.bot.doctor.test_doctor import doctor
from tests.bot.test_process import Machine
from tests.fakes.holder import FakeHolder, chat_answer
from tests.time_limits import Limits

RULES = '[[rules]]\nwho = ["everybody"]\ndeny = ["code"]\n'
CARD = {
    "id": "abcde2",
    "kind": "change",
    "title": "Change a row",
    "text": "Approved.",
    "rows": [],
    "actions": ["undo"],
    "state": "done",
    "expires_at": None,
}


def test_commands_judge_the_running_ponte_wherever_they_are_typed(
    tmp_path: Path, commands: str
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    file = there / "ponte.toml"
    file.write_text(RULES)
    (here / "ponte.toml").write_text("nonsense = 1\n")
    questions = ("policy", "check", "--person", "web:owner", "--right", "code")
    with Machine(there, tmp_path / "home", commands).running() as (process, lines):
        assert f"  on     config     {file}\n" in lines
        operator = Machine(here, tmp_path / "home", commands)
        code, out, err = operator.ponte("doctor")
        assert (code, err) == (0, "")
        assert out.startswith(f"ok    ponte: process {process.pid} is running with ")
        assert f"ok    config: {file}\n" in out
        code, out, err = operator.ponte(*questions)
        assert (code, err) == (0, "")
        assert out.splitlines()[0].endswith(f"Rules: {file}. Settings of the running Ponte:")
        assert "code  no   ponte.toml:1" in out
        assert operator.ponte("reload") == (0, f"Reloaded {file}.\n", "")
        _, out, _ = operator.ponte("status")
        assert f"on       config     {file}\n" in out
        token = (tmp_path / "home" / "web-token").read_text().strip()
        bearer = {"Authorization": f"Bearer {token}"}
        page = httpx.get(f"{lines[-1].split()[-1]}/admin", headers=bearer).text
        assert str(file) in page

        file.write_text(RULES + "more = 1\n")
        assert operator.ponte("reload")[0] == 2, "its own file has the error"

        file.unlink()
        code, out, err = operator.ponte("reload")
        assert (code, out, err) == (2, "", f"PONTE_CONFIG: file {file} not found.\n")
        code, out, _ = operator.ponte("status")
        assert (code, f"failing  config     {file} no longer exists." in out) == (1, True)
        code, out, _ = operator.ponte("doctor")
        assert (code, f"FAIL  config: {file} no longer exists." in out) == (1, True)
        assert operator.ponte(*questions) == (1, "", f"PONTE_CONFIG: file {file} not found.\n")
        page = httpx.get(f"{lines[-1].split()[-1]}/admin", headers=bearer).text
        assert f"{file} no longer exists" in page
        ready = httpx.get(f"{lines[-1].split()[-1]}/readyz")
        assert ready.status_code == 200, "it answers, by the rules that it has read"


@pytest.mark.usefixtures("without_a_sandbox")
def test_without_a_running_ponte_they_say_whose_settings_they_judge(ponte: Shell) -> None:
    ponte.home.mkdir(mode=0o700)
    Path("ponte.toml").write_text(RULES)
    assert ponte("doctor").out.startswith(f"off   ponte: not running with {ponte.home}; ")
    assert f"ok    config: {Path.cwd()}/ponte.toml\n" in ponte.out
    ponte("policy", "check", "--person", "web:owner")
    assert ponte.out.splitlines()[0].endswith("Settings of this folder (Ponte isn't running):")
    assert (ponte("reload").code, ponte.out) == (1, "")
    assert "isn't running" in ponte.err


async def test_a_ponte_that_does_not_respond_is_a_failure_and_the_rest_is_checked(
    tmp_path: Path, limits: Limits
) -> None:
    limits(SILENCE_SECONDS=0.1)
    home = Home(tmp_path)
    with home.take(), home.listen():
        report = await doctor(tmp_path)
    assert report.code == 1
    assert report.parts["ponte"].startswith("FAIL  ponte: process ")
    assert report.parts["home"].startswith("ok    home: ")


def is_loading(pid: int) -> bool:
    """Whether the process has begun to load the modules of Ponte, which takes a second."""
    return "pydantic_core" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("moment", ["loading", "ponte.lock", "threads.db"])
def test_a_stop_before_ponte_is_ready_is_no_failure(
    tmp_path: Path, commands: str, moment: str
) -> None:
    home = tmp_path / "home"
    is_own_python = moment == "loading"
    machine = Machine(tmp_path, home, "" if is_own_python else commands, {"PONTE_CODE": "off"})
    with machine.start("run") as process:
        while not (is_loading(process.pid) if is_own_python else (home / moment).exists()):
            time.sleep(0.001)
        process.terminate()
        _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


def test_a_stop_does_not_wait_for_a_platform_that_hangs(tmp_path: Path, commands: str) -> None:
    """Slack accepts the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api/"
        slack = {"SLACK_API_URL": url, "SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
        process = Machine(tmp_path, tmp_path / "home", commands, slack).start("run")
        with process, silent.accept()[0]:
            process.terminate()
            _, err = process.communicate()
    assert (process.returncode, "Traceback" in err) == (0, False)


def test_every_line_of_a_log_in_json_is_json(tmp_path: Path, commands: str) -> None:
    """In a Python of its own, as an operator starts it. A start that fails is told so too."""
    settings = {"PONTE_LOG": "json", "PONTE_CODE": "off"}
    file = tmp_path / "ponte.toml"
    file.write_text(RULES)
    with Machine(tmp_path, tmp_path / "home", "", settings).start("run") as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(json.loads(line))
            if lines[-1].get("name") == "web":
                break
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, out) == (0, "")
    lines += [json.loads(line) for line in err.splitlines()]
    (start_line,) = [line for line in lines if line["event"] == "started"]
    assert start_line["config"] == str(file)
    assert start_line["address"].startswith("http://127.0.0.1:")
    assert start_line["version"]
    assert lines[-1]["event"] == "Ponte stopped"
    file.write_text("[rules")
    code, out, err = Machine(tmp_path, tmp_path / "home", commands, settings).ponte("run")
    (line,) = [json.loads(line) for line in err.splitlines()]
    assert (code, out, line["event"]) == (2, "", "failed")
    assert line["words"].startswith("ponte.toml:1")


async def test_a_home_that_cannot_be_used_is_not_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "ponte.db").write_bytes(b"no database" * 100)
    assert "file is not a database" in (await doctor(home)).parts["home"]
    (home / "ponte.db").unlink()
    database = await SqliteDatabase.open(home / "ponte.db", SCHEMA)
    await database.write(
        lambda c: c.execute("UPDATE database_schema SET fingerprint = 'newer'").close()
    )
    await database.close()
    assert "was written by another version of Ponte" in (await doctor(home)).parts["home"]
    (home / "ponte.db").unlink()
    (home / "ponte.lock").symlink_to("/dev/null")
    assert (await doctor(home)).parts["home"].startswith("FAIL")
    (home / "ponte.lock").unlink()
    assert (await doctor(home)).parts["home"].startswith("ok")
    mine = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: mine + 1)
    assert "belongs to another user" in (await doctor(home)).parts["home"]
    assert (await doctor(Path("/tmp"))).parts["home"].startswith("FAIL")
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    assert (await doctor(dangling)).parts["home"].startswith("FAIL")


@pytest.mark.usefixtures("without_a_sandbox")
def test_doctor_names_the_extra_of_a_driver_that_is_missing(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ponte:hunter22@db.example.com/ponte")
    monkeypatch.setitem(sys.modules, "core.store.postgres", None)
    ponte("doctor")
    (line,) = [line for line in ponte.out.splitlines() if "database: " in line]
    assert line.startswith("FAIL  database: DATABASE_URL needs the ")
    assert "`postgres` extra" in line
    assert "bug in Ponte" not in ponte.out


def test_cards_are_printed_once_and_answers_without_markdown(
    ponte: Shell, fake_holder: FakeHolder
) -> None:
    _, body = chat_answer("Approved by ana\\_b. _Done._ 3 \\< 4 (`abcde2`)")
    for words in (("pending",), ("approve", "abcde2"), ("undo", "abcde2")):
        fake_holder.results[f"changes {words[0]}"] = {**body, "cards": [CARD]}
        assert ponte("changes", *words).out.splitlines() == [
            "Approved by ana_b. Done. 3 < 4 (abcde2)",
            "  # Change a row · ✓ done",
            "    Approved.",
            "    (abcde2)",
            "    Type: ponte changes undo abcde2",
        ]


async def test_a_request_is_changed_in_the_shell() -> None:
    """Each value is a line of the command. A new version is a success, and nothing else is."""
    inputs: list[str] = []
    for revision, status in ((2, "done"), (1, "failed")):
        states = [
            SimpleNamespace(
                state="open",
                consents=(),
                denial_reason="",
                repeated_by="",
                proposal=SimpleNamespace(revision=number),
            )
            for number in (1, revision)
        ]

        async def get(id: str, states: list[Any] = states) -> Any:
            return states.pop(0)

        async def run_command(text: str, linked: bool) -> dict[str, str]:
            inputs.append(text)
            return {"status": "done"}

        changes = SimpleNamespace(ledger=SimpleNamespace(get=get))
        ponte: Any = SimpleNamespace(
            engine=SimpleNamespace(changes=changes), run_command=run_command
        )
        values = ("Status = Paid", "1.Due=2026-11-20")
        assert (await Ponte.decide(ponte, "change", "abc234", True, values=values))[
            "status"
        ] == status
    expected = {"Status": "Paid", "1.Due": "2026-11-20"}
    assert inputs == [render_change("abc234", expected)] * 2


@pytest.mark.parametrize(
    ("accounts", "status"), [(("terminal:owner",), "failed"), (("web:ana",), "done")]
)
async def test_an_approval_with_a_second_account_decides_nothing(
    accounts: tuple[str, ...], status: str
) -> None:
    """The owner of the page is the owner at the terminal, too."""
    approvers = [("web:owner",), ("web:owner", *accounts)]

    async def get(id: str) -> Any:
        keys = approvers.pop(0)
        return SimpleNamespace(
            state="open",
            consents=[SimpleNamespace(person=SimpleNamespace(key=key)) for key in keys],
            denial_reason="",
            repeated_by="",
            proposal=SimpleNamespace(revision=1),
        )

    async def run_command(text: str, linked: bool) -> dict[str, str]:
        return {"status": "done"}

    changes = SimpleNamespace(ledger=SimpleNamespace(get=get))
    ponte: Any = SimpleNamespace(engine=SimpleNamespace(changes=changes), run_command=run_command)
    assert (await Ponte.decide(ponte, "approve", "abc234", True))["status"] == status


def test_a_decision_that_changes_nothing_ends_with_1(tmp_path: Path, commands: str) -> None:
    machine = Machine(tmp_path, tmp_path / "home", commands)
    wish = "Which invoices are overdue?\nMark the oldest overdue invoice as paid\n"
    with machine.running():
        approval, denial = (
            machine.ponte("chat", typed=wish)[1].split("ponte changes approve ")[1][:6]
            for _ in range(2)
        )
        for action, id, code, words in [
            ("approve", approval, 0, "Done."), ("approve", approval, 1, "Done."),
            ("deny", approval, 1, "Done."), ("undo", approval, 0, "Undone"),
            ("undo", approval, 1, "already undone"), ("approve", approval, 1, "undone"),
            ("deny", denial, 0, "Denied"), ("deny", denial, 1, "Denied"),
            ("approve", denial, 1, "Denied"), ("undo", denial, 1, "nothing to undo"),
        ]:  # fmt: skip
            shell = machine.ponte("changes", action, id)
            assert (shell[0], words in shell[1]) == (code, True), (action, shell)
            if action == "approve" and not code:
                assert (shell[1].count("# Change a row"), shell[2]) == (1, "")
                assert shell[1].count(f"undo {id}") == shell[1].count(f"ponte changes undo {id}")
                assert shell[1].count(f"undo {id}") == 1, "the way back is a command of the shell"
            if code:
                code, out, _ = machine.ponte("changes", action, id, "--json")
                assert (code, json.loads(out)["status"]) == (1, "failed")
                assert words in json.loads(out)["response"]


async def test_a_prompt_that_was_not_saved_is_not_called_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(HttpAnswer):
        await run_over(Server(503, 503, 503, 503), monkeypatch).run("hello", [], "ask")
    with pytest.raises(client.HolderLost):
        await run_over(Server([PROGRESS], 503, 503, 503, 503), monkeypatch).run("hello", [], "ask")


def test_a_check_of_rules_does_not_contradict_itself(ponte: Shell) -> None:
    Path("ponte.toml").write_text('[[rules]]\nwho = ["everybody"]\ndeny = ["chat"]\n')
    words = ("--person", "discord:1", "--channel", "discord:2:3")
    lines = ponte("policy", "check", *words).out.splitlines()[1:]
    denials = [line for line in lines if "  no " in line]
    assert denials
    assert not [line for line in denials if "You can chat" in line]
    assert not [line for line in denials if "admin" not in line and "ponte.toml:" not in line]
