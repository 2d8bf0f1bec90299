"""Every command of docs/guides/operations.md, typed in its order on a machine of our own.

Its folders lie under one of the test's; `systemctl` starts and stops the real `ponte run`; the
program that `pip` installs is the one of this checkout. What installs users, and what leaves the
machine, only takes note (`pg_dump` is run for real in `tests/real/test_pg_dump.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.features.backup.backup import StoredInPostgres
from bot.settings import Settings
from tests.fakes.forker import ForkServer

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "guides" / "operations.md").read_text()
UPGRADE = (ROOT / "docs" / "guides" / "upgrade.md").read_text()
PLACES = ("/opt/ponte", "/etc/ponte", "/etc/s", "/var/lib/ponte", "/tmp/", "/root/")

STUBS = {
    "runuser": 'shift 3; exec "$@"',
    "install": (  # without the user; the nightly backup is the one that was stored elsewhere
        'for one; do shift; case "$one" in -o|-g|ponte) ;; *) set -- "$@" "$one" ;; esac; done; '
        'case "$*" in *"$MACHINE/root/"*) cp "$MACHINE"/var/lib/ponte-backups/ponte-*.tar.gz '
        '"$MACHINE/root/nightly.tar.gz" ;; esac; exec /usr/bin/install "$@"'
    ),
    "scp": 'cp "$1" "$MACHINE/tmp/"',
    "journalctl": 'cat "$MACHINE/log"',
    "systemd-sysusers": 'grep -q "^u ponte " "$MACHINE/etc/sysusers.d/ponte.conf"',
    "pg_dump": "exit 0",
    "pg_restore": "exit 0",
    "python3": 'mkdir -p "$3/bin"; ln -sf "$MACHINE/bin/pip" "$3/bin/pip"',
    "chown": 'test "$1" = ponte:ponte',
    "make": 'test "$1" = wheel',
    "pip": 'cp "$MACHINE/bin/the-program" "$MACHINE/opt/ponte/bin/ponte"',
    "the-program": (
        'cd "$MACHINE"; unset DATABASE_URL; export PYTHONPATH="$CHECKOUT"; '
        'exec "$PYTHON" -I -S "$CHECKOUT/tests/commands.py" "$MACHINE/forker" "$@"'
    ),
    "systemctl": r"""
export PONTE_CONFIG="$MACHINE/etc/ponte/ponte.toml"
start() {
    grep -q '^ExecStart=/opt/ponte/bin/ponte run$' "$MACHINE/etc/systemd/system/ponte.service"
    cat "$MACHINE/log" >>"$MACHINE/logs"; : >"$MACHINE/log"
    PONTE_HOME="$MACHINE/var/lib/ponte" "$MACHINE/opt/ponte/bin/ponte" run >>"$MACHINE/log" 2>&1 &
    echo $! >"$MACHINE/pid"
    grep -q -m1 '^Ponte is ready' < <(tail -f -n +1 --pid=$! "$MACHINE/log")
}
stop() { kill "$(cat "$MACHINE/pid")"; tail -s 0.05 --pid="$(cat "$MACHINE/pid")" -f /dev/null; }
case "$1 $2" in
    "daemon-reload ") ;;
    "list-timers ponte-backup.timer") ;;
    "enable --now") mkdir -p "$MACHINE/var/lib/ponte-backups"; start ;;
    "disable --now") stop ;;
    "start ponte" | "start ponte.service") start ;;
    "stop ponte") stop ;;
    "restart ponte") stop; start ;;
    "reload ponte") PONTE_HOME="$MACHINE/var/lib/ponte" "$MACHINE/opt/ponte/bin/ponte" reload ;;
    *) exit 64 ;;
esac""",
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    for name in ("bin", "root", "tmp", "etc/systemd/system", "var/lib"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "log").touch()
    for name, text in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.write_text(f"#!/bin/bash\nset -e\n{text}\n")
        stub.chmod(0o755)
    with ForkServer(tmp_path, os.environ):
        yield tmp_path
    if (pid := tmp_path / "pid").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), 9)


def read_blocks(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_blocks(machine: Path, blocks: list[str]) -> str:
    """Type the commands of these blocks on this machine, and return what they print."""
    script = "\n".join(blocks)
    script = re.sub(rf"(?<![\w.])({'|'.join(PLACES)})", rf"{machine}\1", script)
    ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    result = subprocess.run(
        ["sh", "-eux", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=ours
        | {
            "MACHINE": str(machine),
            "CHECKOUT": str(ROOT),
            "PYTHON": sys.executable,
            "PATH": f"{machine}/bin:{ours['PATH']}",
            "PONTE_CODE": "off",
            "PONTE_WEB_PORT": "0",
            "DATABASE_URL": "x",
            "RESTORED_URL": "x",
            "LC_ALL": "C",
        },
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_each_command_does_what_is_said_and_the_service_is_upgraded_and_goes_back(
    machine: Path,
) -> None:
    blocks = read_blocks(TEXT)
    assert len(blocks) >= 10
    output = run_blocks(machine, blocks)
    home = machine / "var/lib/ponte"
    assert len(list((machine / "var/lib/ponte-backups").glob("*.tar.gz"))) >= 2
    assert list(home.glob("replaced-*")) == [], "what is said to be deleted is"
    assert "The backup was verified and restored." in output
    assert (home / "ponte.sock").exists(), "it runs in the end"
    program, _, alias = blocks[:3]
    upgrades, returns = [one for one in read_blocks(UPGRADE) if "systemctl" in one]
    (backup,) = re.findall(r"`(ponte backup /\S+)`", UPGRADE)
    before = [alias, backup, program]
    output = run_blocks(machine, [*before, upgrades, "systemctl stop ponte", program, returns])
    assert "The backup was verified and restored." in output
    assert (home / "ponte.sock").exists(), "it runs in the end"
    assert "error" not in (machine / "logs").read_text() + (machine / "log").read_text()


def test_what_is_said_of_postgres_is_what_ponte_says() -> None:
    backup, restore = re.findall(r"`((?:umask|pg_)[^`]+)`", str(StoredInPostgres()))
    umask, dump = backup.split("; ")
    assert re.search(rf"^{umask} .*\n{re.escape(dump)}$", TEXT, re.MULTILINE)
    assert restore.replace("DATABASE_URL", "RESTORED_URL") in TEXT


def test_the_lines_that_are_quoted_are_ours() -> None:
    code = "".join(p.read_text() for top in ("bot", "core") for p in (ROOT / top).rglob("*.py"))
    text = " ".join(f"{TEXT} {UPGRADE}".split())
    for quotations in (
        "saved a database snapshot",
        "could not commit to the database",
        "was written by another version of Ponte",
    ):
        assert quotations in code
        assert quotations in text
