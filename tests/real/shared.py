"""One server for all test processes of a run (pytest-xdist).

The first process that needs it starts it. It reads a named pipe that each of these processes holds
open for writing, and ends when the last of them has closed it or has died.
"""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def share_server(folder: Path, name: str, start: Callable[[int], str]) -> Iterator[str]:
    """Yield the description of the server that all processes with this `folder` and `name` share.

    `start` starts it as a process that outlives this one and ends at the end of the pipe, whose
    descriptor it gets. It returns the description.
    """
    pipe, description = folder / f"{name}.pipe", folder / f"{name}.txt"
    with (folder / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = _open_for_writing(pipe)
        if writer is None:
            writer = _start(pipe, description, start)
    try:
        yield description.read_text()
    finally:
        os.close(writer)


def start_detached(module: str, stdin: int) -> str:
    """Run `python -m MODULE` as a process that outlives this one; return the first line that it
    prints. It is to end at the end of `stdin`."""
    # The first process ends at once, so that no process of the tests is the server's parent.
    begin = "import subprocess, sys; subprocess.Popen([sys.executable, '-m', sys.argv[1]])"
    with subprocess.Popen(
        [sys.executable, "-c", begin, module],
        cwd=ROOT,
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        line = process.stdout.readline().strip()
    assert line, f"{module} didn't start"
    return line


def _open_for_writing(pipe: Path) -> int | None:
    """Return a file descriptor, or None if no server reads the pipe."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        os.mkfifo(pipe)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    return None


def _start(pipe: Path, description: Path, start: Callable[[int], str]) -> int:
    """Start a server, write down its description, and return the pipe's descriptor."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    try:
        os.set_blocking(reader, True)
        description.write_text(start(reader))
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return writer
