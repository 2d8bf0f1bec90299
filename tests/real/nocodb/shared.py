"""One seeded NocoDB for all test processes of a run (pytest-xdist)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.real.nocodb import server
from tests.real.nocodb.seed import Base, Seeded, seed_server


@contextmanager
def shared_nocodb(folder: Path) -> Iterator[Seeded]:
    """Yield the server of all processes that pass the same `folder`. The first one starts it.

    The server reads a named pipe that each of these processes holds open for writing. It ends, and
    deletes its data, when the last of them has left this context or has died.
    """
    pipe, seeded = folder / "nocodb.pipe", folder / "nocodb.json"
    with (folder / "nocodb.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = _open_for_writing(pipe)
        if writer is None:
            writer = _start(pipe, seeded)
    try:
        known = json.loads(seeded.read_text())
        yield Seeded(**{**known, "crm": Base(**known["crm"])})
    finally:
        os.close(writer)


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


def _start(pipe: Path, seeded: Path) -> int:
    """Start and seed a server, describe it in `seeded`, and return the pipe's descriptor."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    try:
        data = server.make_folder_in_memory()
        url = server.start_detached(data, reader)
        seeded.write_text(json.dumps(asdict(seed_server(url, data))))
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return writer
