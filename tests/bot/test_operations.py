"""Operations of the shell that have no file of their own: webhooks on trial, errors, imports."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import typer

from adapters.web.errors import ServerStopping
from bot import __version__
from bot.cli.command_line import cli
from bot.compose import compose
from bot.config.ponte_toml import Config
from bot.home import Home
from bot.operation_service import OperationService
from bot.settings import Settings
from tests.bot.conftest import RunningPonte, Shell
from tests.fakes.schedules import add_schedule

ROOT = Path(__file__).parents[2]
HOOKS = """
[groups]
shipping = ["slack:U042"]
[[rules]]
who = ["shipping"]
allow = ["read:Invoices"]
[hooks.deploys]
kind = "github"
secret = "DEPLOYS_HOOK_SECRET"
post_to = "slack:T1:C1"
as = "shipping"
template = "{sender.login} pushed: {message}"
[hooks.orders]
kind = "secret"
secret = "ORDERS_HOOK_SECRET"
header = "X-Hook-Secret"
post_to = "slack:U042"
as = "shipping"
instruction = "Say what this order needs."
"""


def test_a_webhook_is_tried_without_a_post(
    ponte: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its secret is not shown, fields of the body are escaped, and nothing is stored."""
    monkeypatch.setenv("DEPLOYS_HOOK_SECRET", "a-secret-of-sixteen")
    (tmp_path / "ponte.toml").write_text(HOOKS)
    body = tmp_path / "body.json"
    body.write_text('{"sender": {"login": "*ana*"}, "message": "one\\ntwo"}')
    assert ponte("hooks", "test", "deploys", "--body", str(body)).code == 0, ponte.err
    place, rights, off, *post = ponte.out.splitlines()
    assert place == "channel: slack:T1:C1"
    assert off.startswith("Ponte can't post now, because Slack isn't connected.")
    assert "read:Invoices (ponte.toml:4)" in rights
    assert "code" not in rights
    assert post == ["Ponte would post:", r"    \*ana\* pushed: one two"]
    foreign = tmp_path / "foreign.json"
    foreign.write_text('{"id": 7}')
    assert ponte("hooks", "test", "deploys", "--body", str(foreign)).code == 0
    assert "would post nothing: the body has none" in ponte.out
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")
    assert ponte("hooks", "test", "deploys").code == 0
    assert "can't post now" not in ponte.out
    monkeypatch.delenv("SLACK_BOT_TOKEN")
    monkeypatch.delenv("SLACK_APP_TOKEN")
    assert ponte("hooks", "test", "orders", "--body", str(body), "--json").code == 0
    data = json.loads(ponte.out)
    assert (data["is_post"], data["text"]) == (False, "Say what this order needs.")
    assert json.loads(data["body"]) == json.loads(body.read_text())
    assert "sixteen" not in ponte.out
    selection = (
        'only = { x_github_event = "push", "sender.login" = ["bia", "leo"] }\n[hooks.orders]'
    )
    (tmp_path / "ponte.toml").write_text(HOOKS.replace("[hooks.orders]", selection))
    assert ponte("hooks", "test", "deploys", "--body", str(body)).code == 0
    assert ponte.out.splitlines()[3:] == [
        "Ponte would ignore this delivery, because of `only` in ponte.toml."
    ]
    body.write_text('{"sender": {"login": "leo"}}')
    assert ponte("hooks", "test", "deploys", "--body", str(body)).code == 0
    assert "Ponte would post:" in ponte.out
    (tmp_path / "ponte.toml").write_text(
        HOOKS.replace("[hooks.orders]", selection.replace('"leo"', "7"))
    )
    assert ponte("hooks", "test", "deploys", "--body", str(body)).code == 2
    assert "ponte.toml:" in ponte.err
    assert "'sender.login': write text in quotes" in ponte.err
    (tmp_path / "ponte.toml").write_text(HOOKS)
    assert ponte("hooks", "test", "other").code == 1
    assert ponte.err == "Webhook other not found in ponte.toml. Check the name.\n"
    assert ponte("hooks", "test", "deploys", "--body", str(tmp_path / "none")).code == 2
    assert "Can't read the file" in ponte.err
    assert not ponte.home.exists()


def test_names_of_webhooks_are_a_menu_where_a_webhook_is_named_alone() -> None:
    ponte: Any = Mock()
    ponte.live.current.section = {"hooks": {"deploys": None}}.get
    options = {
        (form["name"], parameter["name"]): parameter["options"]
        for form in OperationService(ponte).list_forms()
        for parameter in form["fields"]
        if parameter["options"]
    }
    assert options == {("hooks test", "name"): ["deploys"]}


async def test_a_running_ponte_tries_its_own_webhooks(
    running_ponte: RunningPonte, tmp_path: Path
) -> None:
    (tmp_path / "ponte.toml").write_text(HOOKS)
    await running_ponte.run("reload")
    result = await running_ponte.run("hooks", "test", "deploys")
    assert [line.strip() for line in result[3:]] == ["Ponte would post:", "pushed:"]


def test_errors_are_in_the_reader_s_language(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_LOCALE", "fr")
    assert ponte("people", "renew", "zoe").code == 1
    assert ponte.err.startswith("Aucune personne nommée zoe n’est invitée sur la page.")
    assert ponte("link").code == 1
    assert not ponte.err.startswith("The page"), ponte.err
    assert ponte("people", "token", "ana", "--days", "x").code == 2
    assert ponte.err.startswith(
        "ponte people token: Valeur non valide pour '--days'\u00a0: indiquez"
    )
    assert ponte("usage", "--nope").code == 2
    assert ponte.err.startswith(
        "ponte usage: Option introuvable\u00a0: --nope. Exécutez `ponte usage"
    )


def test_version_and_help_import_no_feature() -> None:
    script = (
        "import sys; from bot.cli.main import main\n"
        "for words in ['version'], ['--help'], ['schedules', 'pause', '--help']:\n"
        "    try: main(words)\n    except SystemExit: pass\n"
        "    own = [n for n in sys.modules if n.split('.')[0] in ('bot', 'core', 'adapters')]\n"
        "    print('loaded:', *sorted(own))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "LANG": "C"},
    )
    data = [line.split()[1:] for line in result.stdout.splitlines() if line[:8] == "loaded: "]
    assert len(data) == 3
    for modules in data:
        operations = [name for name in modules if name.startswith("bot.features.")]
        ends = {name.partition(".features.")[2].partition(".")[2] for name in operations}
        assert ends == {"", "operations", "commands"}
        assert {*modules} - {*operations} - {"core", "core.base", "core.base.i18n"} == {
            "bot",
            "bot.cli",
            "bot.cli.main",
            "bot.cli.command_line",
            "bot.features",
            "bot.operation_results",
            "bot.operations",
        }


WITHOUT_JSON = {
    "run",
    "serve",
    "work",
    "chat",
    "ask",
    "migrate",
    "backup",
    "restore",
    "sandbox",
    "version",
    "slack-manifest",
    "person export",
}
"""Commands that run on, talk, or print JSON or a single word anyway."""


def test_every_command_has_an_example_and_json() -> None:
    def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        if under := getattr(command, "commands", {}):
            for name, each in under.items():
                yield from commands(each, f"{path} {name}".strip())
        else:
            yield path, command

    for name, command in commands(typer.main.get_command(cli)):
        options = {option for each in command.params for option in each.opts}
        assert ("--json" in options) is (name not in WITHOUT_JSON), name
        assert f"ponte {name}" in (command.epilog or ""), name


async def test_the_table_writes_the_audit_lines(running_ponte: RunningPonte, ponte: Shell) -> None:
    """Each has the facts of the result, and nothing of a secret."""
    add_schedule(running_ponte.home)
    for words in (
        ["people", "add", "ana"], ["people", "renew", "ana"], ["people", "remove", "ana", "--yes"],
        ["schedules", "pause", "ABC234"], ["schedules", "resume", "abc234"],
        ["schedules", "run", "abc234"], ["schedules", "delete", "abc234", "--yes"],
    ):  # fmt: skip
        assert (await asyncio.to_thread(ponte, *words)).code == 0
    lines = [json.loads(line) for line in await running_ponte.run("audit", "--json")][::-1]
    events = [line["event"] for line in lines]
    people = ["person-added", "person-link-renewed", "person-removed"]
    schedules = ["paused", "resumed", "run-requested", "deleted"]
    assert events == [*people, *(f"schedule-{event}" for event in schedules)]
    assert {line["asker"] for line in lines} == {"operator"}
    assert {line["person"] for line in lines[:3]} == {"web:ana"}
    assert {(line["schedule"], line["place"]) for line in lines[3:]} == {("abc234", "web:direct")}
    assert {key for line in lines for key in line} == {
        "at",
        "event",
        "asker",
        "person",
        "schedule",
        "place",
    }


async def test_json_of_commands_that_had_none(running_ponte: RunningPonte) -> None:
    """They print the result of the operation, or what the chat answered."""
    (line,) = await running_ponte.run("changes", "pending", "--json")
    assert json.loads(line)["status"] == "done"
    add_schedule(running_ponte.home)
    (line,) = await running_ponte.run("schedules", "pause", "abc234", "--json")
    assert json.loads(line)["state"] == "paused"
    (line,) = await running_ponte.run("sample", "reset", "--yes", "--json")
    assert json.loads(line) == {"withdrawn": 0}
    (line,) = await running_ponte.run("audit", "--event", "sample-reset", "--json")
    assert json.loads(line)["asker"] == "operator"
    (line, *_) = await running_ponte.run("person", "list", "--json")
    key = json.loads(line)[0]["person"]
    (line,) = await running_ponte.run("person", "forget", key, "--yes", "--json")
    assert json.loads(line)["person"] == key


async def test_a_ponte_that_stops_stores_no_command(tmp_path: Path) -> None:
    """It would be carried out at the next start, although nobody was told so."""
    settings = Settings(ponte_home=tmp_path / "home", ponte_web="off", ponte_code="off")
    home = Home(settings.ponte_home)
    with home.take():
        ponte = await compose(settings, Config(), home, surfaces=False)
        await ponte.start(prepares=False)
        await ponte.surfaces.stop_intake()
        with pytest.raises(ServerStopping):
            await ponte.run_command("changes", linked=False)
        assert await ponte.engine.conversations.journal.list_recent_turns() == []
        await ponte.stop()


@pytest.mark.slow
def test_the_version_names_the_commit_of_a_checkout(ponte: Shell) -> None:
    git = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    for words in (["version"], ["--version"]):
        assert ponte(*words).code == 0
        number, _, commit = ponte.out.strip().partition(" ")
        assert number == __version__
        assert f'\nversion = "{number}"\n' in (ROOT / "pyproject.toml").read_text()
        if git.returncode == 0:
            assert git.stdout.startswith(commit.strip("()").removesuffix("-dirty"))


async def test_checks_beside_a_running_ponte_read_the_file_as_it_is_now(
    running_ponte: RunningPonte, tmp_path: Path
) -> None:
    file = tmp_path / "ponte.toml"
    file.write_text(HOOKS)
    await running_ponte.run("reload")
    newer = "ponte.toml is newer than the version in use. Run `ponte reload` to apply it."
    policy = ("policy", "check", "--person", "slack:T1:U1", "--right", "chat")
    assert newer not in (await running_ponte.check(*policy))[2]
    file.write_text(
        HOOKS.replace("pushed:", "sent:") + '\n[[rules]]\nwho = ["slack:U1"]\ndeny = ["chat"]\n'
    )
    for words, expected in ((policy, "deny chat"), (("hooks", "test", "deploys"), "sent:")):
        code, view, notes = await running_ponte.check(*words)
        assert (code, expected in view, newer in notes) == (0, True, True), view
    assert newer in "\n".join(await running_ponte.run("status"))
    socket = httpx.AsyncHTTPTransport(uds=str(running_ponte.home / "ponte.sock"))
    async with httpx.AsyncClient(
        transport=socket, base_url="http://ponte", headers={"X-Ponte-Typed": "true"}, timeout=20
    ) as chat:
        for is_newer in (True, False):
            answer = (await chat.post("/chat", json={"message": "why read"})).json()["response"]
            assert ("allowed" in answer, newer in answer) == (True, is_newer)
            await running_ponte.run("reload")
    assert newer not in (await running_ponte.check(*policy))[2]
    broken_line = len(HOOKS.splitlines()) + 1
    file.write_text(f"{HOOKS}nonsense\n")
    for words in (policy, ("hooks", "test", "deploys")):
        code, view, notes = await running_ponte.check(*words)
        assert (code, view, f"ponte.toml:{broken_line}" in notes) == (1, "", True), notes
