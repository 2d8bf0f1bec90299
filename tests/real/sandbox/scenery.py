"""The outside that attacks try to reach, and whether they did."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from core.tools.code.sandbox.sandbox import MiB, SandboxLimits
from tests.real.sandbox.outside import Outside

SECRET = "PONTE_ATTACK_SECRET"
SHARED = 64 * MiB
LOWEST_PRIORITY = 19


class Scenery:
    """A file, a folder, and servers that nobody may reach. `what` tells attacks of them."""

    def __init__(self, folder: Path, port: int, python: Path, limits: SandboxLimits) -> None:
        self._folder = folder
        self._file = folder / "file"
        self._file.write_text(os.environ[SECRET])
        self._file.chmod(0o666)
        self.visitors: list[str] = []
        self.what: Outside = {
            "secret": os.environ[SECRET],
            "file": str(self._file),
            "folder": str(folder),
            "home": str(Path.home()),
            "python": str(python),
            "bot": os.getpid(),
            "port": port,
            "memory": limits.memory,
            "disk": limits.work + limits.temporary + SHARED,
        }
        self._before = self._state()

    def harm(self) -> str:
        """What changed outside, or ""."""
        after = self._state()
        changes = [
            f"{was} became {now}"
            for was, now in zip(self._before, after, strict=True)
            if was != now
        ]
        return "; ".join([*changes, *self.visitors])

    def _state(self) -> tuple[object, ...]:
        about = self._file.stat()
        return (
            sorted(os.listdir(self._folder)),
            (about.st_mode, about.st_uid, about.st_mtime_ns, about.st_nlink, about.st_size),
            self._file.read_text(),
            resource.getrlimit(resource.RLIMIT_NOFILE),
            # What `priority_of_all` sets; whoever runs the tests may give them another priority.
            os.getpriority(os.PRIO_PROCESS, 0) == LOWEST_PRIORITY,
            os.sched_getaffinity(0),
            signal.getsignal(signal.SIGIO),
            socket.gethostname(),
        )


@contextlib.asynccontextmanager
async def scenery(python: Path, limits: SandboxLimits) -> AsyncIterator[Scenery]:
    folder = _folder()
    visitors: list[str] = []

    def record_visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(f"somebody reached {writer.get_extra_info('sockname')}")
        writer.close()

    with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket(socket.AF_UNIX) as abstract:
        port = sock.getsockname()[1]
        abstract.bind(f"\0ponte-attack-{port}")
        abstract.listen()
        servers = [
            await asyncio.start_server(record_visit, sock=sock),
            await asyncio.start_unix_server(record_visit, folder / "socket"),
            await asyncio.start_unix_server(record_visit, sock=abstract),
        ]
        (folder / "socket").chmod(0o777)
        try:
            ctx = Scenery(folder, port, python, limits)
            ctx.visitors = visitors
            yield ctx
        finally:
            for server in servers:
                server.close()
            shutil.rmtree(folder)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ponte-attacked-"))
    folder.chmod(0o777)
    return folder
