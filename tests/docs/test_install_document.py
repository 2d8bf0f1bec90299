"""docs/guides/install.md, followed: each command is run as written, or is in `ELSEWHERE` with the
reason why it is not run here; each block of another language is run or read by who takes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from bot.cli.command_line import cli
from bot.config.ponte_toml import read_config
from bot.home import Home, Start
from bot.reports import check_rights
from bot.settings import Settings
from tests.docs.conftest import Machine
from tests.installed import ROOT, build

TEXT = (ROOT / "docs" / "guides" / "install.md").read_text("utf-8")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = {
    "apt-get": "changes this machine",
    "make wheel": "installs in .venv; what it does is what `build` does",
    "pipx install": "fetches some 40 packages",
    "uv tool install": "fetches some 40 packages",
    "certbot": "asks an authority for a certificate",
    "nginx -t": "is run on the same file by tests/real/nginx.py",
    "caddy validate": "is run on the same file by tests/test_deploy.py, where there is a Caddy",
    "systemctl": "no systemd runs here",
    "docker": "no engine runs here; its words are looked at",
}
"""What a line begins with → why it is not run."""
SETTINGS = {name.upper() for name in Settings.model_fields}


@dataclass(frozen=True)
class Block:
    section: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line]


def blocks() -> Iterator[Block]:
    for matche in _FENCE.finditer(TEXT):
        sections = re.findall(r"^##+ (.*)$", TEXT[: matche.start()], re.MULTILINE)
        yield Block(sections[-1], matche[1], matche[2])


BLOCKS = list(blocks())


def only(section: str, language: str) -> list[Block]:
    return [one for one in BLOCKS if (one.section, one.language) == (section, language)]


@dataclass
class Reader:
    """Who follows the document: each section in a folder of its own, with what is built in it."""

    machine: Machine
    wheel: Path

    def folder(self, section: str) -> Path:
        folder = self.machine.folder / "reader" / section.replace(" ", "-").lower()
        if not folder.exists():
            (folder / "dist").mkdir(parents=True)
            shutil.copy(self.wheel, folder / "dist")
            shutil.copytree(ROOT / "deploy", folder / "deploy")
            for name in ("nginx/conf.d", "caddy"):
                (folder / "etc" / name).mkdir(parents=True)
        return folder

    def types(self, section: str, line: str) -> str:
        folder = self.folder(section)
        line = line.replace(" /etc/", f" {folder}/etc/")
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=folder,
            check=False,
            env=dict(self.machine.environment),
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def reader(machine: Machine) -> Reader:
    """After `ponte run`, which goes on. (What the wheel installs is run by tests/test_wheel.py.)"""
    assert "ponte run" in only("A command for yourself", "sh")[2].lines
    return Reader(machine, build(machine.folder / "built"))


def reason(line: str) -> str:
    return next((why for words, why in ELSEWHERE.items() if line.startswith(words)), "")


SAID = {
    "ls dist": r"ponte_bot-[\d.]+-py3-none-any\.whl\n",
    "ponte --version": r"[\d.]+( \(.+\))?\n",  # a checkout names its commit
    "ponte doctor": r"ok    ponte: process \d+ is running .*\n(.*\n)*ok    packages: .*\n(.*\n)*",
    "ponte link": r"http://127\.0\.0\.1:\d+/#token=\S{43}\n",
    "echo hello | ponte chat": r"\S.*\n(.*\n)*",
    "ponte status": r"on       database +.*\n(.*\n)*on       model +.*\n(.*\n)*",
    "ponte people add site": r"(.*\n)*.*#token=\S{43}\n",
}
TYPED = [(one.section, line) for one in BLOCKS if one.language == "sh" for line in one.lines]


@pytest.mark.slow
@pytest.mark.parametrize("section", dict.fromkeys(section for section, _ in TYPED))
def test_what_is_typed_does_what_it_says(reader: Reader, section: str) -> None:
    """All lines of a section in one test: another process may run the next test, and a line needs
    the files of those before it."""
    for line in (line for where, line in TYPED if where == section):
        if not reason(line) and line != "ponte run":
            assert re.fullmatch(SAID.get(line, ""), reader.types(section, line)), line


def test_each_exception_names_a_line_of_the_document() -> None:
    lines = [line for _, line in TYPED]
    assert [words for words in ELSEWHERE if not any(one.startswith(words) for one in lines)] == []
    assert set(SAID) <= set(lines)


@pytest.mark.slow
def test_the_wheel_has_the_name_that_is_told(reader: Reader) -> None:
    values = set(re.findall(r"ponte_bot-[\w.-]+?\.whl", TEXT))
    assert values == {reader.wheel.name}
    dry = ["make", "--dry-run", "wheel"]
    stdout = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "hatchling build --target wheel --directory dist" in stdout


@pytest.mark.slow
def test_what_is_written_into_env_is_taken(reader: Reader) -> None:
    """Both sections write it; without the token Ponte would not open its page to others."""
    for section in ("Behind nginx", "Docker"):
        for line in only(section, "sh")[0].lines:
            if not reason(line):
                reader.types(section, line)
        env = reader.folder(section) / ".env"
        assert env.stat().st_mode & 0o777 == 0o600
        variables = dict(line.split("=", 1) for line in env.read_text().splitlines())
        ours = {name.lower(): one for name, one in variables.items() if name != "POSTGRES_PASSWORD"}
        settings = Settings.model_validate({**ours, "ponte_web_host": "0.0.0.0"})
        assert settings.ponte_web_token is not None


@pytest.mark.slow
def test_the_named_host_is_the_only_thing_to_change(reader: Reader) -> None:
    for section, result in (
        ("Behind nginx", "etc/nginx/conf.d/ponte.conf"),
        ("Behind Caddy", "etc/caddy/Caddyfile"),
    ):
        (line,) = (one for one in only(section, "sh")[-1].lines if one.startswith("sed "))
        reader.types(section, line)
        text = (reader.folder(section) / result).read_text()
        assert "ponte.example.com" not in text
        assert "bot.example.net" in text


def test_docker_is_told_what_there_is() -> None:
    text = "\n".join(line for _, line in TYPED if line.startswith("docker"))
    commands = set(typer.main.get_group(cli).list_commands(None))  # type: ignore[arg-type]
    assert set(re.findall(r"docker exec ponte ponte (\S+)", text)) == {"link", "doctor"} <= commands
    assert [name for name in re.findall(r"--file (\S+)", text) if not (ROOT / name).exists()] == []
    image = (ROOT / "Dockerfile").read_text()
    (volume,) = re.findall(r"--volume ponte:(\S+)", text)
    assert f"PONTE_HOME={volume} " in image
    (published,) = re.findall(r"--publish 127\.0\.0\.1:8080:(\d+)", text)
    assert f"EXPOSE {published}\n" in image
    (seconds,) = re.findall(r"docker stop --time (\d+)", text)
    assert int(seconds) > Settings().ponte_grace


def test_the_cells_of_a_notebook(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, which fetches, makes what the reader has already."""
    make, ask = only("A notebook cell", "python")
    folder = reader.folder("A notebook cell")
    results: list[list[str]] = []
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", lambda words, check: results.append(words))
        exec(make.text, {})
    assert results == [
        [sys.executable, "-m", "venv", "ponte"],
        ["ponte/bin/pip", "install", "--quiet", reader.wheel.name],
    ]
    (folder / "ponte").mkdir()
    (folder / "ponte" / "bin").symlink_to(reader.machine.folder / "bin")
    result = subprocess.run(
        [sys.executable, "-c", f"import subprocess\n{ask.text}"],
        cwd=folder,
        env=dict(reader.machine.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout[:15]) == (0, "I'm Ponte's dem"), result.stderr


@pytest.mark.slow
def test_replit_and_railway_are_given_settings_of_ours() -> None:
    (replit,) = only("Replit", "toml")
    data = tomllib.loads(replit.text)
    assert set(data["env"]) <= SETTINGS
    assert data["ports"] == [{"localPort": Settings().ponte_web_port, "externalPort": 80}]
    result = subprocess.run(["bash", "-n", "-c", data["run"]], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert data["run"].endswith("exec env/bin/ponte run")
    (railway,) = only("Railway", "json")
    assert json.loads(railway.text)["deploy"]["healthcheckPath"] == "/healthz"
    (variables,) = only("Railway", "ini")
    variables_by_name = dict(line.split("=", 1) for line in variables.lines)
    assert int(variables_by_name.pop("PORT")) == Settings().ponte_web_port
    assert set(variables_by_name) <= SETTINGS


CALL = """
import page from "./page.mjs";
const env = { PONTE_URL: process.argv[2], PONTE_TOKEN: process.argv[3] };
const shown = await page.fetch(new Request("https://site.example/"), env);
const body = JSON.stringify({ message: "help", conversation: crypto.randomUUID() });
const request = new Request("https://site.example/chat", { method: "POST", body });
const answer = await page.fetch(request, env);
const wrong = await page.fetch(
  new Request("https://site.example/chat", { method: "POST", body: "{}" }), env);
console.log(JSON.stringify([await shown.text(), await answer.json(), await wrong.json()]));
"""


@pytest.mark.slow
def test_the_serverless_page_asks_and_answers(reader: Reader) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs Node.js (apt install nodejs)")
    folder = reader.folder("A serverless page")
    (page,) = only("A serverless page", "js")
    (folder / "page.mjs").write_text(page.text)
    (folder / "call.mjs").write_text(CALL)
    url, _, token = reader.types("x", "ponte people add visitor").split()[-1].partition("/#token=")
    result = subprocess.run(
        ["node", "call.mjs", url, token],
        cwd=folder,
        env=os.environ | {"NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    view, answer, wrong = json.loads(result.stdout)
    assert view.startswith("<!doctype html>")
    assert (answer["status"], answer["response"][:15]) == ("done", "Ask me anything")
    assert wrong["error"]["code"] == "bad_request"


async def test_strangers_on_that_page_talk_and_no_more(tmp_path: Path) -> None:
    (text,) = only("A serverless page", "toml")
    (tmp_path / "ponte.toml").write_text(text.text)
    settings = Settings.model_validate({"ponte_home": tmp_path / "home"})
    start = Start(settings, read_config(tmp_path / "ponte.toml"), Home(tmp_path / "home"))
    match = await check_rights(start, "web:site", "")
    assert {line.right for line in match.lines if line.allowed} == {"chat"}
