"""The program that tries, harmlessly, what must not work; it runs where the kernel will run.

It reads one JSON line from stdin and writes one frame: for each check "" where it was held, else
what it could do. Nothing here does harm where it succeeds.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import TypedDict

ANSWER = 6 * 7


class Outside(TypedDict):
    """Things outside the sandbox that the checks try to reach. The modes of `file` and `folder` let
    everybody read and write, so that only the sandbox can prevent it. `bot` is the id of Ponte's
    process, `memory` the kernel's limit in bytes."""

    file: str
    folder: str
    bot: int
    memory: int


def files(outside: Outside) -> str:
    for path in (outside["file"], "/etc/passwd", "/etc/hostname"):
        if _opens(path, "rb"):
            return f"read {path}"
    return ""


def environment(outside: Outside) -> str:
    """Try to read the environment variables of processes outside the sandbox, which may hold
    secrets."""
    # 1 is the machine's first process, or this one in a namespace of its own; `bot` is Ponte's. The
    # parent's id is 0 if it is outside of the process's namespace.
    for pid in {1, outside["bot"], os.getppid()} - {0, os.getpid()}:
        path = f"/proc/{pid}/environ"
        try:
            with open(path, "rb") as file:
                if file.read(1):
                    return f"read {path}"
        except OSError:
            continue
    return ""


def network(_: Outside) -> str:
    """There is no network without sockets."""
    for name in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            if _is_permitted(partial(socket.socket, getattr(socket, name), kind)):
                return f"made a socket of {name}"
    return ""


def processes(outside: Outside) -> str:
    """Try to start processes and to signal those outside."""
    if _is_permitted(_fork):
        return "made a process"
    if _is_permitted(lambda: os.posix_spawn("/bin/true", ["true"], {})):
        return "ran a program"
    if any(_is_permitted(partial(os.kill, pid, 0)) for pid in (outside["bot"], os.getppid())):
        return "reached a process outside"
    return ""


def writing(outside: Outside) -> str:
    """Try to write outside the sandbox's own folders."""
    for folder in (outside["folder"], os.path.dirname(sys.executable), "/usr", "/dev", "/"):
        path = os.path.join(folder, "ponte-probe")
        if _opens(path, "w"):
            os.unlink(path)
            return f"wrote into {folder}"
    return ""


def memory(outside: Outside) -> str:
    """Try to allocate more memory than the sandbox's limit."""
    size = outside["memory"] + (64 << 20)
    try:
        bytearray(size)
    except MemoryError:
        return "mapped more memory" if _is_permitted(lambda: mmap.mmap(-1, size)) else ""
    return "took more memory"


def user(_: Outside) -> str:
    return "" if os.getuid() and os.geteuid() and os.getgid() else "is root"


CHECKS: dict[str, Callable[[Outside], str]] = {
    check.__name__: check
    for check in (user, files, environment, network, processes, writing, memory)
}


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _opens(path: str, mode: str) -> bool:
    return _is_permitted(lambda: open(path, mode).close())


def _is_permitted(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def main() -> None:
    """Run all checks and write their results as one line of JSON to the pipe whose descriptor is in
    `sys.argv[1]`. ANSWER is printed first: it shows that Python computes and its output arrives."""
    outside: Outside = json.loads(sys.stdin.readline())
    sys.stdout.write(f"{ANSWER}\n")
    sys.stdout.flush()
    came = {name: check(outside) for name, check in CHECKS.items()}
    with os.fdopen(int(sys.argv[1]), "w") as frames:
        frames.write(json.dumps(came) + "\n")


if __name__ == "__main__":
    main()
