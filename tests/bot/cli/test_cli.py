"""An operator types `ponte …`: what comes out, on which stream, with which exit code."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from bot import app
from bot.cli import command_line
from bot.cli import main as cli
from bot.home import Home
from bot.operations import OPERATIONS
from tests.bot.conftest import RunningPonte, Shell
from tests.fakes.holder import FakeHolder, chat_answer

ROOT = Path(__file__).parents[3]


def test_a_shell_completes_it(tmp_path: Path) -> None:
    completing = {"_PONTE_COMPLETE": "complete_bash", "COMP_WORDS": "ponte threads f"}
    result = subprocess.run(
        [sys.executable, "-c", "from bot.cli.main import main; main()"],
        env=os.environ | completing | {"PYTHONPATH": str(ROOT), "COMP_CWORD": "2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ["forget"]


@pytest.mark.slow
def test_status_fails_if_no_ponte_runs(ponte: Shell) -> None:
    assert ponte("status").code == 1
    assert "on       database   SQLite\n" in ponte.out
    assert ponte.err == f"Ponte isn't running with {ponte.home}. Start it with `ponte run`.\n"


@pytest.mark.parametrize(("state", "code"), [("on", 0), ("off", 0), ("failing", 1)])
def test_status_is_one_line_a_part(
    ponte: Shell, fake_holder: FakeHolder, state: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.home.Home.is_served", lambda _: True)
    parts = [{"name": "slack", "state": state, "words": "Socket Mode"}]
    fake_holder.results["status"] = parts
    assert ponte("status").out == f"{state:<8} slack      Socket Mode\n", ponte.err
    assert ponte.code == code
    assert json.loads(ponte("status", "--json").out) == parts


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Usage: ponte"),
        (["threads"], "Usage: ponte threads"),
        (["xyzzy"], "ponte: No such command 'xyzzy'. Run `ponte --help` for help."),
        (["usage", "now"], "ponte usage: Unexpected arguments: now. Run `ponte usage --help`"),
        (["quick-command"], "ponte quick-command: Missing argument 'slug'."),
        (["threads", "forget", "c"], "Add `--yes` to confirm."),
        (["sample", "reset"], "Add `--yes` to confirm."),
        (["schedules", "delete", "abc234"], "Add `--yes` to confirm."),
    ],
)
def test_wrong_usage_is_2(ponte: Shell, words: list[str], told: str) -> None:
    ponte(*words)
    assert (ponte.code, ponte.out) == (2, "")
    assert told in ponte.err
    assert "Invalid value: Add" not in ponte.err


@pytest.mark.parametrize("command", ["serve", "work", "migrate"])
def test_what_needs_a_database_says_so(ponte: Shell, command: str) -> None:
    ponte(command)
    assert (ponte.code, ponte.out) == (2, "")
    assert "DATABASE_URL" in ponte.err


@pytest.mark.parametrize("command", ["run", "chat", "doctor", "usage"])
def test_wrong_settings_are_2_for_every_command(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("PONTE_GRACE", "soon")
    monkeypatch.setenv("PONTE_LOCALE", "de")
    ponte(command)
    assert (ponte.code, ponte.out) == (2, "")
    assert [line.split(":")[0] for line in ponte.err.splitlines()] == [
        "PONTE_LOCALE",
        "PONTE_GRACE",
    ]
    assert not ponte.home.exists()


IN_TWO_LANGUAGES = [
    (
        "pt-BR",
        "PONTE_GRACE: escreva um número de segundos, de 0 a 3600.\n"
        "PONTE_DAILY_TURNS: escreva dois números inteiros, por pessoa / para todos, por exemplo "
        "50/1000.\n",
        "ponte.toml:2: 'hue': chave desconhecida; use uma destas: ",
    ),
    (
        "fr",
        "PONTE_GRACE\u00a0: écrivez un nombre de secondes, de 0 à 3600.\n"
        "PONTE_DAILY_TURNS\u00a0: écrivez deux nombres entiers, par personne / pour tout le monde, "
        "par exemple 50/1000.\n",
        "ponte.toml:2: 'hue': clé inconnue\u202f; utilisez l’une de celles-ci\u00a0: ",
    ),
]


@pytest.mark.parametrize("source", ["environment", "file", "shell"])
@pytest.mark.parametrize(("locale", "settings", "line"), IN_TWO_LANGUAGES)
def test_faults_are_told_in_the_language_of_the_reader(
    ponte: Shell,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    locale: str,
    settings: str,
    line: str,
    source: str,
) -> None:
    """It is chosen before the settings are read: by the environment, else by `.env`, else by the
    shell."""
    if source == "file":
        (tmp_path / ".env").write_text(f"PONTE_LOCALE={locale}\n")
    else:
        monkeypatch.setenv("PONTE_LOCALE" if source == "environment" else "LC_ALL", locale)
    with monkeypatch.context() as environment:
        environment.setenv("PONTE_GRACE", "soon")
        environment.setenv("PONTE_DAILY_TURNS", "many")
        for command in (["run"], ["doctor"], ["policy", "check", "--person", "slack:U1"]):
            assert ponte(*command).code == 2
            assert sorted(ponte.err.splitlines()) == sorted(settings.splitlines())
    (tmp_path / "ponte.toml").write_text("\nhue = 1\n")
    for command in (["run"], ["doctor"], ["policy", "check", "--person", "slack:U1"]):
        assert ponte(*command).code == 2
        assert line in ponte.err


def test_a_wrong_config_file_is_2(ponte: Shell, tmp_path: Path) -> None:
    (tmp_path / "ponte.toml").write_text("\nhue = 1\n")
    assert ponte("usage").code == 2
    assert ponte.err.startswith("ponte.toml:2: 'hue': unknown key")


def test_a_config_file_that_was_asked_for_must_be_there(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONTE_CONFIG", "other.toml")
    assert ponte("usage").code == 2
    assert ponte.err.startswith("PONTE_CONFIG: file ")
    assert ponte.err.endswith("other.toml not found.\n")


def test_a_held_home_is_1(ponte: Shell, fake_holder: FakeHolder) -> None:
    with Home(ponte.home).take():
        ponte("run")
    assert ponte.code == 1
    assert ponte.err == (
        f"Another Ponte (process {os.getpid()}) is using {ponte.home}. "
        "Stop it, or set PONTE_HOME to another folder.\n"
    )
    assert ponte("run").code == 0
    assert fake_holder.asked == [("run", "gpt-6-luna")]


def test_what_is_written_is_for_this_user_alone(ponte: Shell, fake_holder: FakeHolder) -> None:
    ponte("run")
    (ponte.home / "file").write_text("")
    assert (ponte.home / "file").stat().st_mode & 0o077 == 0


def test_changes_are_asked_of_the_holder(ponte: Shell, fake_holder: FakeHolder) -> None:
    """The answer is drawn as in a chat. The holder learns that a pipe makes no links."""
    _, answer = chat_answer("Latest changes:\n- 3\x1b[31m rows")
    for words in (["list"], ["pending"], ["approve", "abcde2"], ["deny", "ABCDE2"], ["undo", "x"]):
        fake_holder.results[f"changes {words[0]}"] = answer
        assert ponte("changes", *words).code == 0
        assert ponte.out == "Latest changes:\n- 3 rows\n"
        route, body = fake_holder.asked.pop()
        assert route == f"POST /operator/changes/{words[0]}"
        ids = {"id": words[1]} if words[1:] else {}
        reason = {"reason": ""} if words[0] == "deny" else {}
        assert json.loads(body)["arguments"] == ids | reason | {"linked": False}
    fake_holder.results["changes list"] = {**answer, "status": "failed"}
    assert ponte("changes", "list", "--json").code == 1
    assert json.loads(ponte.out)["status"] == "failed"


def test_a_running_ponte_is_asked_although_its_file_has_errors(
    ponte: Shell, fake_holder: FakeHolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only without a running one must the file be right, because the command then reads it."""
    file = tmp_path / "wrong.toml"
    file.write_text("[limits]\nwhat = 3\n")
    monkeypatch.setenv("PONTE_CONFIG", str(file))
    asking = [["turns"], ["people", "add", "ana"], ["person", "list"], ["schedules", "list"]]
    for words in asking:
        fake_holder.asked.clear()
        ponte(*words)
        assert (bool(fake_holder.asked), "wrong.toml" in ponte.err) == (True, False), words
    monkeypatch.undo()
    monkeypatch.setenv("PONTE_CONFIG", str(file))
    monkeypatch.setenv("PONTE_HOME", str(ponte.home))
    for words in (["turns"], ["doctor"]):
        ponte(*words)
        assert (ponte.code, "wrong.toml:2: " in ponte.err) == (2, True), words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sum-up"], "quick-command sum-up"),
        (["sum-up", "the", "day"], "quick-command sum-up the day"),
        (["sum-up", "the  whole day"], "quick-command sum-up the  whole day"),
        (["sum-up", "is", "a=b", "right?"], "quick-command sum-up is a=b right?"),
        (["sum-up", "day=1 b=2"], 'quick-command sum-up day="1 b=2"'),
        (["sum-up", 'day=say "hi"\nand go'], 'quick-command sum-up day="say \\"hi\\"\nand go"'),
        (["sum-up", "day=2026-11-20", "tone=two words"], None),
        (["sum-up", '{"day": 1}'], 'quick-command sum-up {"day": 1}'),
    ],
)
def test_a_quick_command_is_typed_as_in_a_chat(
    ponte: Shell, fake_holder: FakeHolder, words: list[str], message: str | None
) -> None:
    fake_holder.answers["POST /chat"] = chat_answer("Done.")
    assert ponte("quick-command", *words).out == "Done.\n"
    data = json.loads(fake_holder.asked[0][1])["message"]
    assert data == (message or 'quick-command sum-up day="2026-11-20" tone="two words"')


def test_a_quick_commands_result_as_json_and_its_failure(
    ponte: Shell, fake_holder: FakeHolder
) -> None:
    fake_holder.answers["POST /chat"] = chat_answer("It did\n\nnot work.", "failed")
    ponte("quick-command", "sum-up", "--json")
    assert ponte.code == 1
    assert json.loads(ponte.out)["status"] == "failed"
    assert ponte("quick-command", "sum-up").code == 1
    assert (ponte.out, ponte.err) == ("", "It did not work.\n")


def test_a_result_file_that_cannot_be_read_is_told(ponte: Shell, fake_holder: FakeHolder) -> None:
    status, body = chat_answer("It is in the file.")
    file = {"name": "result.csv", "type": "text/csv", "size": 4, "url": "/files/f1/result.csv"}
    fake_holder.answers["POST /chat"] = status, body | {"files": [file]}
    assert ponte("quick-command", "sum-up").code == 1
    assert (ponte.out, ponte.err) == ("", "Can't read the result file (HTTP 404).\n")


def test_a_file_goes_along(ponte: Shell, fake_holder: FakeHolder, tmp_path: Path) -> None:
    fake_holder.answers["POST /chat"] = chat_answer("Read.")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert ponte("quick-command", "sum-up", "--file", "a.csv").out == "Read.\n"
    body = fake_holder.asked[0][1]
    assert 'filename="a.csv"' in body
    assert "x,y\n1,2" in body
    assert ponte("quick-command", "sum-up", "--file", "b.csv").code == 1
    assert ponte.err == "Can't read the file b.csv (No such file or directory).\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        *(
            ([slug], "isn't a valid quick command name")
            for slug in ("Sum Up", "sum up", "../../oidc/x", "", "-")
        ),
        (["sum-up", "day=1", "day=2"], "day appears twice. Use it only once.\n"),
        (["sum-up", "day=two words", "and more"], "`and more` isn't in the form KEY=VALUE.\n"),
    ],
)
def test_a_slug_or_input_that_is_none_is_told_before_anything_is_asked(
    ponte: Shell, fake_holder: FakeHolder, words: list[str], told: str
) -> None:
    assert ponte("quick-command", *words).code == 1
    assert told in ponte.err
    assert ponte.err.count("\n") == 1
    assert fake_holder.asked == []


async def test_what_is_no_change_is_never_said_to_the_model(running_ponte: RunningPonte) -> None:
    for id in ("abcdef", "abcde2 please", "all of it", ""):
        code, error = await running_ponte.fail("changes", "undo", id)
        assert (code, "`ponte changes list` shows the IDs" in error) == (1, True)
    assert await running_ponte.run("turns") == [
        "No messages are in progress, and none have failed."
    ]
    assert await running_ponte.run("threads", "list") == ["No conversations yet."]


def test_threads_are_listed_shown_and_forgotten(ponte: Shell, fake_holder: FakeHolder) -> None:
    key = "slack:T1:C1:1.2"
    message = {"role": "user", "name": "Ana", "text": "Hi\nyou", "at": 1795000000}
    fake_holder.results = {
        "threads list": [{"conversation": key, "messages": 4, "used_at": 1795000000}],
        "threads show": {"conversation": key, "messages": [message]},
        "threads forget": {"messages": 4, "remains": ""},
    }
    assert ponte("threads", "list").out.split("\n")[:2] == [
        "last used               messages  conversation",
        f"Nov 18, 2026, 11:06\u202fAM         4  {key}",
    ]
    assert ponte("threads", "show", key).out == (
        "Nov 18, 2026, 11:06\u202fAM  Ana\n    Hi\n    you\n"
    )
    assert json.loads(ponte("threads", "list", "--json").out)[0]["conversation"] == key
    assert json.loads(ponte("threads", "show", key, "--json").out)["conversation"] == key
    assert ponte("threads", "forget", key, "--yes").out == "Deleted 4 messages.\n"
    assert json.loads(fake_holder.asked[-1][1])["arguments"] == {"conversation": key}


def test_the_holders_refusal_is_told(ponte: Shell, fake_holder: FakeHolder) -> None:
    fixtures = {"error": {"code": "not_found", "message": "Not found: {thread}."}}
    fake_holder.answers["POST /operator/threads/show"] = (404, fixtures)
    assert ponte("threads", "show", "x").code == 1
    assert ponte.err == "Not found: {thread}.\n"


def test_a_holder_that_does_not_answer_is_told(ponte: Shell, fake_holder: FakeHolder) -> None:
    fake_holder.silent = True
    assert ponte("usage").code == 1
    assert ponte.err == (
        f"Ponte (process {os.getpid()}) is using {ponte.home} but doesn't respond. "
        "It may be starting or stopping. Try again in a moment.\n"
    )


@pytest.mark.parametrize(
    ("words", "look"),
    [
        (("changes", "approve", "abcde2"), "ponte changes list"),
        (("schedules", "run", "abcde2"), "ponte schedules show abcde2"),
        (("people", "token", "ana"), "ponte people tokens ana"),
        (("threads", "forget", "web:main", "--yes"), "ponte threads list"),
        (("quick-command", "sum-up"), "ponte threads list"),
    ],
)
def test_a_command_whose_answer_is_lost_says_how_to_check(
    ponte: Shell, fake_holder: FakeHolder, words: tuple[str, ...], look: str
) -> None:
    fake_holder.dies = True
    assert ponte(*words).code == 1
    assert ponte.err == (
        "The answer to this command was lost. The command may have taken effect. Check with "
        f"`{look}` before you try again.\n"
    )
    assert len(fake_holder.asked) == 1, "it isn't sent a second time"


def test_a_list_whose_answer_is_lost_can_be_asked_again(
    ponte: Shell, fake_holder: FakeHolder
) -> None:
    fake_holder.dies = True
    assert ponte("changes", "list").code == 1
    assert ponte.err.endswith(
        "doesn't respond. It may be starting or stopping. Try again in a moment.\n"
    )


def test_every_operation_that_changes_something_says_how_to_check() -> None:
    reading = {"list", "show", "pending", "counts", "rows", "file", "check", "test", "tokens"}
    reading |= {
        "tables",
        "status",
        "turns",
        "doctor",
        "names",
        "usage",
        "limits",
        "audit",
        "link",
        "feedback",
    }
    for one in OPERATIONS.values():
        assert bool(one.shown_by) == (one.name.split()[-1] not in reading), one.name


def test_a_fault_of_our_own_is_one_line_without_a_secret(
    ponte: Shell, fake_holder: FakeHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(*_: object, **__: object) -> None:
        raise RuntimeError("no luck with \x1b[2Jhunter2-hunter2\nat all")

    monkeypatch.setenv("OPENAI_API_KEY", "hunter2-hunter2")
    monkeypatch.setattr(sys.modules["bot.app"], "local", raise_error)
    monkeypatch.setattr("bot.app.local", raise_error)
    assert ponte("usage").code == 1
    assert ponte.err.startswith(
        "Ponte stopped because of an internal error (RuntimeError: no luck with [secret] at all)."
    )
    assert ponte.err.count("\n") == 1
    monkeypatch.setenv("PONTE_LOG_LEVEL", "debug")
    ponte("usage")
    assert "Traceback (most recent call last)" in ponte.err
    assert "hunter2" not in ponte.err


def test_who_reads_us_may_hang_up(tmp_path: Path) -> None:
    reader, write = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "bot", "version"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_standard_stream(tmp_path: Path, closed: str) -> None:
    """SQLite would write the database into it, and a library its errors into the database."""
    code = (
        "import os, sys; from bot.cli.main import main\n"
        "code = main(['version']); place = os.open('opened', os.O_CREAT | os.O_RDWR)\n"
        "sys.stderr.write('x'); sys.stderr.flush(); sys.exit(code or place <= 2)"
    )
    result = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert result.returncode == 0
    assert (tmp_path / "opened").read_bytes() == b""


def test_an_encoding_that_lacks_a_character_costs_only_that_character(
    ponte: Shell, fake_holder: FakeHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.home.Home.is_served", lambda _: True)
    fake_holder.results["status"] = [{"name": "slack", "state": "on", "words": "conexão – ok"}]
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding="latin-1"))
    assert cli.main(["status"]) == 0
    assert output.getvalue() == "on       slack      conexão ? ok\n".encode("latin-1")


def test_who_reads_a_list_may_hang_up(
    ponte: Shell, fake_holder: FakeHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `ponte status | head`. Short output is written at the end of the command."""
    monkeypatch.setattr("bot.home.Home.is_served", lambda _: True)
    parts = [{"name": "slack", "state": "on", "words": ""}]
    fake_holder.results["status"] = parts
    reader, write = os.pipe()
    os.close(reader)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert cli.main(["status"]) == 1
        pipe.flush()  # as Python does when it ends
    monkeypatch.undo()
    assert ponte.capture.readouterr().err == ""


@pytest.mark.parametrize(
    ("is_terminal", "is_running", "words"),
    [(True, False, "Starting Ponte…\n"), (True, True, ""), (False, False, "")],
)
def test_a_chat_says_that_it_starts_ponte_only_where_none_runs(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, is_running: bool, words: str
) -> None:
    @asynccontextmanager
    async def local(*_: object, **__: object) -> AsyncIterator[Path]:
        yield Path("ponte.sock")

    async def converse(*_: object) -> int:
        return 0

    monkeypatch.setattr("bot.app.local", local)
    monkeypatch.setattr("adapters.terminal.chat.chat", converse)
    monkeypatch.setattr("bot.home.Home.is_served", lambda _: is_running)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: is_terminal, raising=False)
    assert (ponte("chat").out, ponte.code) == (words, 0)


def test_a_terminal_gets_no_xlsx(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.cli.commands.ask", lambda *_: 0)
    for is_terminal, code in ((True, 2), (False, 0)):
        monkeypatch.setattr("sys.stdout.isatty", lambda said=is_terminal: said, raising=False)
        assert ponte("ask", "list", "--format", "xlsx").code == code
        assert ("Add `--output FILE`" in ponte.err) == is_terminal
        assert ponte("ask", "list", "--format", "xlsx", "--output", "x.xlsx").code == 0


def test_the_slack_manifest_is_json_to_paste(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ponte("slack-manifest")
    assert json.loads(ponte.out)["settings"]["socket_mode_enabled"] is True
    ponte("slack-manifest", "--link")
    assert ponte.out.startswith("https://api.slack.com/apps?new_app=1&manifest_json=%7B")
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "hush")
    ponte("slack-manifest")
    assert (ponte.code, "PONTE_WEB_URL" in ponte.err) == (2, True)
    monkeypatch.setenv("PONTE_WEB_URL", "https://ponte.example.com")
    monkeypatch.setenv("PONTE_WEB_TOKEN", "a-long-random-text-2")
    ponte("slack-manifest")
    url = json.loads(ponte.out)["settings"]["event_subscriptions"]["request_url"]
    assert url == "https://ponte.example.com/slack/events"


async def test_the_slack_manifest_has_the_addresses_of_the_running_ponte(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under systemd, the settings are in a file that the shell does not read."""
    monkeypatch.setenv("PONTE_CODE", "off")
    monkeypatch.setenv("PONTE_WEB_URL", "https://ponte.example.com")
    monkeypatch.setenv("PONTE_WEB_TOKEN", "a-long-random-text-2")
    async with app.local(app.start(quiet=True)):
        for name in ("PONTE_WEB_URL", "PONTE_WEB_TOKEN"):
            monkeypatch.delenv(name)
        await asyncio.to_thread(ponte, "slack-manifest")
    assert (ponte.code, ponte.err) == (0, "")
    (redirect,) = json.loads(ponte.out)["oauth_config"]["redirect_urls"]
    assert redirect.startswith("https://ponte.example.com/")
    await asyncio.to_thread(ponte, "slack-manifest")
    assert "redirect_urls" not in json.loads(ponte.out)["oauth_config"]
    assert "the manifest has no address for sign-in with Slack" in ponte.err


TOKEN = "a-long-random-text-2"


def test_the_page_s_link_is_asked_of_who_serves_it(ponte: Shell) -> None:
    """Whatever token that process was given, and at whatever port it listens."""
    with serving(ponte.home, {"link": "http://127.0.0.1:4711/#token=its-own"}) as question:
        ponte("link")
    assert (ponte.code, ponte.out, ponte.err) == (0, "http://127.0.0.1:4711/#token=its-own\n", "")
    assert question == ["POST /operator/link"]


def test_the_page_s_link_while_nobody_serves_it(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    ponte("link")
    assert (ponte.code, ponte.err) == (
        1,
        "The page isn't running yet. Start it with `ponte run`.\n",
    )
    assert not ponte.home.exists()
    with Home(ponte.home).take():
        token = Home(ponte.home).web_token()
    assert ponte("link").out == f"http://127.0.0.1:8080/#token={token}\n"
    assert (ponte.code, ponte.err[:28]) == (0, "The page isn't running. Star")
    monkeypatch.setenv("PONTE_WEB_TOKEN", f"{TOKEN}&+/")
    monkeypatch.setenv("PONTE_WEB_HOST", "0.0.0.0")
    assert ponte("link").out == f"http://127.0.0.1:8080/#token={TOKEN}%26%2B%2F\n"
    monkeypatch.setenv("PONTE_WEB_URL", "https://ponte.example.com")
    assert ponte("link").out.startswith("https://ponte.example.com/#token=")
    monkeypatch.setenv("PONTE_WEB", "off")
    assert (ponte("link").code, ponte.err) == (
        1,
        "The page is turned off. Set PONTE_WEB=on to use it.\n",
    )


def test_a_short_token_is_wrong_settings(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ponte.home.mkdir(mode=0o700)
    (ponte.home / "web-token").write_text("short")
    for words in ("link", "run"):
        assert ponte(words).code == 2
        assert "web-token: write at least 20 random letters and digits" in ponte.err
    monkeypatch.setenv("PONTE_WEB_TOKEN", "short")
    assert (ponte("run").code, ponte.err.count("\n")) == (2, 1)
    assert ponte.err.startswith("PONTE_WEB_TOKEN: write at least 20 random letters and digits")


@contextmanager
def serving(home: Path, answer: Any) -> Iterator[list[str]]:
    """A process that holds the home and gives this answer once; what it was asked for."""
    questions: list[str] = []
    body = json.dumps(answer).encode()

    def serve(listening: socket.socket) -> None:
        while True:
            service, _ = listening.accept()
            with service:
                head = service.recv(65_536).decode()
                if not head:
                    continue  # whoever looked whether we are here
                questions.append(head.split(" HTTP/")[0])
                service.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                return

    with Home(home).take(), Home(home).listen() as listening:
        listening.setblocking(True)
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        yield questions
        thread.join()


def test_help_has_sections_with_every_command_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["--help"]) == 0
    output = capsys.readouterr().out
    assert re.findall(r"^(\w[\w ]*):$", output, re.M) == ["Options", "Talk", "Set up", "Operate"]
    assert "..." not in output.replace("[ARGS]...", "")
    values = set(re.findall(r"^  ([a-z][a-z-]*)  ", output, re.M))
    group = typer.main.get_command(command_line.cli)
    assert values == set(getattr(group, "commands", {}))
