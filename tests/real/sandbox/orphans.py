"""A bot that is killed: whether its kernels and its folder outlive it. Prints what is left.

orphans.py BACKEND PYTHON         starts the bot below, kills it, starts another one
orphans.py BACKEND PYTHON bot     starts a kernel that is deaf to signals and waits
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from core.tools.code.sandbox.sandbox import RUNTIME_PREFIX, RuntimeFolder
from tests.real.sandbox.attacks import endings
from tests.real.sandbox.driver import prove
from tests.real.sandbox.session import HANG_SECONDS, STUB, Stub

STARTED, BLOCKED = b"started\n", b"blocked: "


async def bot(backend: str, python: Path) -> None:
    runtime = RuntimeFolder()
    sandbox, failure = await prove(backend, python, runtime)
    if failure:
        print(f"{BLOCKED.decode()}{failure}", flush=True)
        runtime.close()
        return
    stub = await Stub.start(sandbox, python, endings)
    stub.tell({"attack": "loop_deaf_to_signals", "outside": {}})
    print(STARTED.decode(), end="", flush=True)
    await stub.process.wait()


def kill(backend: str, python: Path) -> dict[str, str]:
    start = ("-m", "tests.real.sandbox.start", "tests.real.sandbox.orphans")
    command = [sys.executable, "-B", *start, backend, str(python), "bot"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        line = victim.stdout.readline()
        if line.startswith(BLOCKED):
            return {"blocked": line.removeprefix(BLOCKED).decode().strip()}
        assert line == STARTED
        running = _others()
        processes = [os.pidfd_open(pid) for pid in running]
        victim.kill()
    for each in processes:
        _wait_for_end(each)
    table = {"ran": str(len(running)), "processes": " ".join(map(str, _others()))}
    before = _folders()
    runtime = RuntimeFolder()
    runtime.program(STUB)
    table["folders"] = " ".join(before & _folders())
    runtime.close()
    return table | {"swept": " ".join(before)}


def _wait_for_end(process: int) -> None:
    """A process file descriptor is readable once its process has ended."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(HANG_SECONDS * 1000)
    os.close(process)


def _others() -> list[int]:
    """Every process in this PID namespace that runs, beside this one and its parents."""
    spared = {1, os.getpid(), os.getppid()}
    matches = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    return sorted(pid for pid in matches - spared if _runs(pid))


def _runs(pid: int) -> bool:
    """Whether it has not ended; process 1 may not have collected it yet."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _folders() -> set[str]:
    """Those of this test: of our user, in the folder that the run was given."""
    return {each.name for each in Path(tempfile.gettempdir()).glob(RUNTIME_PREFIX + "*")}


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
