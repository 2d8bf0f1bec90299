"""A running Ponte with nothing set, for what the documents show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import Command
from tests.fakes.forker import fork_server

ROOT = Path(__file__).parents[2]
_PONTE = '#!/bin/sh\nexec {python} -I -S {root}/tests/commands.py {forker} "$@"\n'
_CURL = '#!/bin/sh\nexec /usr/bin/curl --silent --show-error --fail-with-body "$@"\n'


@dataclass(frozen=True, slots=True)
class Machine:
    """A user's home folder with a Ponte that runs; `port` is the page's."""

    folder: Path
    port: int
    environment: Mapping[str, str]

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """As from a shell of that user, where any command that fails ends it."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("8080", str(self.port))],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def running_machine(folder: Path, **settings: str) -> Iterator[Machine]:
    """Run Ponte in a user's home folder with these settings in the environment."""
    programs = folder / "bin"
    programs.mkdir()
    forker = fork_server().address
    ponte = _PONTE.format(python=sys.executable, root=ROOT, forker=forker)
    for name, text in (("ponte", ponte), ("curl", _CURL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {
        "HOME": str(folder),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "PONTE_WEB_PORT": "0",
        "PONTE_CODE": "off",
        **settings,
        # The default. The process that forks has found its own user's folder.
        "PONTE_HOME": f"{folder}/.local/share/ponte",
    }
    with Command(forker, ["run"], environment, folder) as process:
        try:
            assert process.stdout
            ready = (line for line in process.stdout if line.startswith("Ponte is ready."))
            port = int(next(ready).rpartition(":")[2].partition("/")[0])
            yield Machine(folder, port, environment)
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with running_machine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine
