"""A new start with other settings: the real `ponte run`, its socket, its process and its turns."""

from __future__ import annotations

import html
import json
import re
import subprocess
import weakref
from pathlib import Path

import httpx
import pytest

from bot.home import Home
from bot.setup.stored import StoredSettings
from tests.bot.test_process import Machine, Process

pytestmark = pytest.mark.slow
NEW_MODEL = "name-of-the-new-model"


class Owner:
    """The owner's browser at a running `ponte run`."""

    def __init__(self, address: str, home: Path) -> None:
        self.http = httpx.Client(base_url=address, timeout=120)
        weakref.finalize(self, self.http.close)
        token = (home / "web-token").read_text().strip()
        assert self.http.post("/login", json={"token": token}).status_code == 200

    def send(self, do: str, **fields: str) -> httpx.Response:
        page = self.http.get("/admin/setup")
        match = re.search(r'name="form" value="([^"]+)"', page.text)
        assert match is not None, page.text
        data = {"form": html.unescape(match[1]), "do": do, **fields}
        return self.http.post("/admin/setup", data=data)

    def save_model(self, name: str = NEW_MODEL) -> None:
        page = self.send("save", card="model", **{"value-ponte_model": name})
        assert "Saved: Model. Restart Ponte to apply the change." in page.text


def address_of(lines: list[str]) -> str:
    match = re.search(r"http://[\d.]+:\d+", lines[-1])
    assert match is not None
    return match[0]


def next_start(process: Process) -> list[str]:
    """Return the lines of the next start screen of this process."""
    assert process.stdout
    lines: list[str] = []
    while not lines or not lines[-1].startswith("Ponte is ready."):
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, tmp_path / "home", "", {"PONTE_CODE": "off", "PONTE_GRACE": "1"})


def test_a_new_start_keeps_process_socket_and_session(machine: Machine) -> None:
    with machine.running() as (process, lines):
        owner = Owner(address_of(lines), machine.home)
        owner.save_model()
        page = owner.send("apply")
        assert page.headers["refresh"] == "1; url=/admin/setup"
        assert page.headers["connection"] == "close"
        # It waits in the socket's queue until the new start serves it, in the same session.
        page = owner.http.get("/admin/setup?card=model")
        assert NEW_MODEL in page.text
        assert "take effect" not in page.text
        assert address_of(next_start(process)) == str(owner.http.base_url).rstrip("/")
        assert isinstance(process, subprocess.Popen)
        assert process.poll() is None
        assert Home(machine.home).holder() == str(process.pid)
        assert StoredSettings(Home(machine.home)).trial is None
        events = [one["event"] for one in _audit(machine)]
        assert events[:2] == ["setup-applied", "setup-saved"]


def test_settings_that_do_not_start_change_nothing(machine: Machine) -> None:
    """The check in a child process finds it, and this process goes on."""
    with machine.running() as (process, lines):
        owner = Owner(address_of(lines), machine.home)
        owner.save_model()
        (machine.folder / "ponte.toml").write_text("[nonsense\n")
        page = owner.send("apply")
        assert page.status_code == 400
        assert "ponte.toml" in page.text
        assert owner.http.get("/healthz").status_code == 200
        assert isinstance(process, subprocess.Popen)
        assert process.poll() is None


def test_a_start_that_fails_is_followed_by_one_with_the_settings_before(
    machine: Machine,
) -> None:
    """As when a value is refused that was good when it was saved."""
    with machine.running() as (process, lines):
        owner = Owner(address_of(lines), machine.home)
        owner.save_model()
        process.terminate()
        assert process.wait() == 0
    stored = machine.home / "settings.env"
    stored.write_text(stored.read_text() + "PONTE_CODE='nowhere'\n")
    machine.settings = {"PONTE_GRACE": "1"}
    with machine.running() as (process, _):
        assert process.stderr
        assert "can't start with the new settings (PONTE_CODE" in process.stderr.readline()
        assert "nowhere" not in stored.read_text()
        shown = machine.ponte("setup", "show")[1]
        assert "didn't start with Model (“Where Python runs”" in shown


def test_a_start_that_was_killed_is_followed_by_one_with_the_settings_before(
    machine: Machine,
) -> None:
    machine.home.mkdir(mode=0o700)
    stored = StoredSettings(Home(machine.home))
    stored.write({"PONTE_MODEL": NEW_MODEL})
    assert stored.begin_trial()  # and then nothing more is heard of that process
    with machine.running():
        assert stored.read() == {}
        assert "ended while it was starting" in machine.ponte("setup", "show")[1]


def test_setup_undo_returns_to_the_settings_before(machine: Machine) -> None:
    with machine.running() as (_, lines):
        Owner(address_of(lines), machine.home).save_model()
        code, out, _ = machine.ponte("setup", "undo")
        assert (code, out) == (
            0,
            "Undid these changes, which belong to the same restart: PONTE_MODEL. The earlier "
            "values take effect when Ponte restarts.\n",
        )
        assert machine.ponte("setup", "undo")[1] == "There is nothing to undo.\n"
    assert StoredSettings(Home(machine.home)).read() in ({}, {"PONTE_MODEL": NEW_MODEL})


def _audit(machine: Machine) -> list[dict[str, str]]:
    return [json.loads(line) for line in machine.ponte("audit", "--json")[1].splitlines()]
