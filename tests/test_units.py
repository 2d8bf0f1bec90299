"""The units of systemd under `deploy/`: known to systemd, and true of the program that they run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
import typer.main

from bot.cli.command_line import cli
from bot.settings import Settings
from core.journal.turn_runner import CANCELLED_TURN_SECONDS
from tests.code.sandboxed import require

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = sorted(path.name for path in DEPLOY.iterdir() if path.suffix in (".service", ".timer"))
COMMANDS = typer.main.get_group(cli).commands
NEEDED = {
    "mount",
    "umount2",
    "pivot_root",
    "unshare",
    "clone",
    "clone3",
    "setns",
    "sethostname",
    "seccomp",
    "prctl",
    "pidfd_open",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
}
"""System calls of bubblewrap and of our own sandbox."""


class _Many(dict[str, str]):
    """A key may stand several times; its values add up."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and key in self and isinstance(self[key], list):
            self[key].extend(value)  # type: ignore[attr-defined]
        else:
            super().__setitem__(key, value)  # type: ignore[assignment]


def unit(name: str) -> dict[str, dict[str, str]]:
    parser = RawConfigParser(dict_type=_Many, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / name)
    return {section: dict(parser.items(section)) for section in parser.sections()}


SERVICE, BACKUP = unit("ponte.service")["Service"], unit("ponte-backup.service")["Service"]


def systemd_analyze(*words: str, folder: Path) -> str:
    if not shutil.which("systemd-analyze"):
        pytest.skip("blocked: no systemd-analyze here (apt install systemd)")
    result = subprocess.run(
        ["systemd-analyze", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture
def installed_units(tmp_path: Path) -> Path:
    """The units, for a program that is there."""
    program = tmp_path / "ponte"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in UNITS:
        text = (DEPLOY / name).read_text().replace("/opt/ponte/bin/ponte", str(program))
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow
def test_systemd_knows_every_line(installed_units: Path) -> None:
    words = [f"./{name}" for name in UNITS]
    text = systemd_analyze("verify", "--recursive-errors=one", *words, folder=installed_units)
    assert "ponte" not in text, text


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("ponte.service", 35), ("ponte-backup.service", 10)])
def test_units_stay_below_their_exposure(installed_units: Path, name: str, most: int) -> None:
    """In tenths of systemd's measure of exposure, of which ten is no wall at all."""
    security = ("security", "--offline=yes", f"--threshold={most}")
    assert "Overall exposure level" in systemd_analyze(
        *security, f"./{name}", folder=installed_units
    )


def test_what_they_run_is_there() -> None:
    for line in (SERVICE["ExecStart"], SERVICE["ExecReload"], BACKUP["ExecStart"]):
        program, command, *words = line.split()
        assert program == "/opt/ponte/bin/ponte"
        options = {one for p in COMMANDS[command].params for one in p.opts}
        assert {word for word in words if word.startswith("--")} <= options
    for service in (SERVICE, BACKUP):
        environment = dict(pair.split("=") for pair in service["Environment"].split())
        assert {*environment} <= {name.upper() for name in Settings.model_fields}
        assert environment["PONTE_HOME"] == "/var/lib/ponte"
        assert "ponte" in service["StateDirectory"].split()


def test_a_stop_has_the_time_that_ponte_takes() -> None:
    grace = Settings.model_fields["ponte_grace"].default
    assert int(SERVICE["TimeoutStopSec"]) >= grace + CANCELLED_TURN_SECONDS + 10
    assert SERVICE["KillMode"] == "mixed", "what Ponte started it ends itself"
    assert SERVICE["RestartPreventExitStatus"] == "2", "wrong settings stay wrong"


@pytest.mark.slow
def test_the_sandbox_finds_what_it_needs() -> None:
    allowed = SERVICE["SystemCallFilter"].split()
    text = systemd_analyze("--no-pager", "syscall-filter", folder=DEPLOY)
    groups = {
        block.split("\n")[0]: re.findall(r"^    ([@\w]+)$", block, re.MULTILINE)
        for block in re.split(r"\n(?=@)", text)
    }

    def calls(names: list[str]) -> set[str]:
        return {
            call
            for name in names
            for call in (calls(groups.get(name, [])) if name.startswith("@") else [name])
        }

    assert calls(allowed) >= NEEDED
    restrictions = {"RestrictNamespaces", "ProtectHostname", "ProtectKernelTunables", "ProtectProc"}
    assert not restrictions & SERVICE.keys()
    assert "AF_NETLINK" in SERVICE["RestrictAddressFamilies"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="blocked: only root can build these walls")
@pytest.mark.parametrize(("wall", "holds"), [("true", True), ("/proc/sys", False)])
def test_which_walls_bubblewrap_stands_behind(wall: str, holds: bool) -> None:
    """Those of the unit, by hand: no capabilities, nothing to gain, all read only. A wall before a
    part of /proc, as ProtectKernelTunables builds it, is the one that it cannot stand behind."""
    require("bubblewrap")
    secret = "true" if holds else f"mount --bind {wall} {wall} && mount -o remount,ro,bind {wall}"
    inner = "bwrap --unshare-all --unshare-user --disable-userns --hostname sandbox --ro-bind / / "
    script = (
        "mount -o remount,ro,bind / 2>/dev/null; "
        f"{secret} && exec setpriv --reuid nobody --clear-groups --bounding-set=-all"
        f" --inh-caps=-all --no-new-privs {inner} --proc /proc --dev /dev /bin/true"
    )
    result = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    if holds and result.returncode:
        pytest.skip(f"blocked: this machine lets nobody make namespaces ({result.stderr.strip()})")
    assert (result.returncode == 0) is holds, result.stderr
