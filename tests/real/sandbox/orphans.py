"""A bot that is killed: whether its kernels and its folder outlive it. Prints what is left.

orphans.py BACKEND PYTHON         starts the bot below, kills it, starts another one
orphans.py BACKEND PYTHON bot     starts a kernel that is deaf to signals and waits
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core.tools.code.sandbox.bwrap import Bubblewrap
from core.tools.code.sandbox.landlock import Landlock
from core.tools.code.sandbox.runtime import PREFIX, RuntimeFolder
from core.tools.code.sandbox.sandbox import Sandbox
from tests.real.sandbox.attacks import endings
from tests.real.sandbox.session import STUB, Stub

SECONDS = 5.0


async def bot(backend: str, python: Path) -> None:
    runtime = RuntimeFolder()
    sandbox: Sandbox = (Bubblewrap if backend == "bubblewrap" else Landlock)(runtime)
    stub = await Stub.start(sandbox, python, endings)
    stub.tell({"attack": "loop_deaf_to_signals", "outside": {}})
    print("started", flush=True)
    await stub.process.wait()


def kill(backend: str, python: Path) -> dict[str, str]:
    command = [
        sys.executable,
        "-B",
        "-m",
        "tests.real.sandbox.orphans",
        backend,
        str(python),
        "bot",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"started\n"
        running = len(_others())
        victim.kill()
    until = time.monotonic() + SECONDS
    while _others() and time.monotonic() < until:
        time.sleep(0.01)
    found = {"ran": str(running), "processes": " ".join(_others())}
    before = _folders()
    runtime = RuntimeFolder()
    runtime.program(STUB)
    found["folders"] = " ".join(before & _folders())
    runtime.close()
    return found | {"swept": " ".join(before)}


def _others() -> list[str]:
    kept = {1, os.getpid(), os.getppid()}
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in kept]


def _folders() -> set[str]:
    """Those of this test: of our user, in the folder that the run was given."""
    return {each.name for each in Path(tempfile.gettempdir()).glob(PREFIX + "*")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("backend")
    parser.add_argument("python", type=Path)
    parser.add_argument("role", nargs="?")
    arguments = parser.parse_args()
    if arguments.role == "bot":
        asyncio.run(bot(arguments.backend, arguments.python))
    else:
        print(json.dumps(kill(arguments.backend, arguments.python)))
