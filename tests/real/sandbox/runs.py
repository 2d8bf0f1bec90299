"""Starts the driver where what gets loose can harm nothing but itself, once for each way."""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.code.sandboxed import require, skip_blocked
from tests.real.sandbox.pythons import ROOT, driver_python, sandbox_python
from tests.real.sandbox.scenery import SECRET

NOBODY = "65534"
_ALONE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
# The shell is process 1, as in a container with an init: it collects orphans.
_FIRST = ("sh", "-c", '"$@"; exit $?', "sh")
_AS_NOBODY = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups")
_MAPPED = ("--user", "--map-current-user")


def results(backend: str, who: str) -> dict[str, str]:
    """What each attack could do, by its title. Skips the test where this machine cannot say."""
    require(backend)
    return drive("tests.real.sandbox.driver", who, backend, str(sandbox_python()))


def run_without_sandbox() -> dict[str, str]:
    """What the harmless attacks can do where there is no sandbox."""
    return drive("tests.real.sandbox.unfenced", "somebody", str(sandbox_python()))


def drive(module: str, who: str, *arguments: str, under: tuple[str, ...] = ()) -> dict[str, str]:
    """Run a module in a PID namespace of its own, as "root" or "somebody"; what it printed.

    `under` is a command that takes the module's as its arguments.
    """
    python = (str(driver_python(who)), "-B", "-m", "tests.real.sandbox.start")
    outcome = _ran((*alone(who), *under, *python, module, *arguments))
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    answer: dict[str, str] = json.loads(outcome.stdout.splitlines()[-1])
    if "blocked" in answer:
        skip_blocked(answer["blocked"])
    return answer


@functools.cache
def _ran(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Each command once, however many tests ask for what it printed."""
    packages = (each for each in sys.path if "site-packages" in each)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/",
        SECRET: secrets.token_hex(16),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *packages]),
    }
    with tempfile.TemporaryDirectory(prefix="ponte-test-") as folder:
        Path(folder).chmod(0o1777)
        environment["TMPDIR"] = folder
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )


@functools.cache
def alone(who: str) -> tuple[str, ...]:
    """The command that others run under. Skips where no PID namespace is to be had."""
    root = os.geteuid() == 0
    if who == "root" and not root:
        pytest.skip("blocked: the tests do not run as root")
    command = [
        *_ALONE,
        *(() if root else _MAPPED),
        *_FIRST,
        *(_AS_NOBODY if root and who != "root" else ()),
    ]
    if not all(shutil.which(program) for program in ("unshare", "setpriv")):
        pytest.skip("needs unshare and setpriv (apt install util-linux)")
    result = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"blocked: no PID namespace is to be had here: {result.stderr.strip()}")
    return tuple(command)
