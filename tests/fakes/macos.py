"""`python -m tests.fakes.macos run`: `ponte run` without what only Linux has, as on macOS.

A name that is missing there is deleted before anything is imported, and a file below /proc or /sys
does not exist.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import selectors
import signal
import socket
import stat
import sys
from types import SimpleNamespace
from typing import Any

LINUX_ONLY = {
    os: "O_PATH O_TMPFILE copy_file_range eventfd fdatasync getrandom memfd_create pidfd_open "
    "posix_fadvise posix_fallocate sched_getaffinity sched_setaffinity setresgid setresuid "
    "splice getxattr setxattr listxattr setns unshare",
    signal: "pidfd_send_signal sigtimedwait sigwaitinfo SIGRTMIN SIGPWR SIGSTKFLT",
    socket: "SO_PEERCRED SO_PASSCRED SO_DOMAIN TCP_USER_TIMEOUT AF_NETLINK AF_PACKET AF_VSOCK "
    "SOCK_CLOEXEC SOCK_NONBLOCK MSG_NOSIGNAL",
    select: "epoll",
    resource: "prlimit RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING",
    fcntl: "F_OFD_SETLK F_OFD_GETLK F_SETPIPE_SZ F_ADD_SEALS",
}
"""https://docs.python.org/3/library/os.html and the other modules: "Availability: Linux"."""


def hide() -> None:
    for module, names in LINUX_ONLY.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    fchmod = os.fchmod

    def fchmod_of_files(descriptor: int, mode: int) -> None:
        """fchmod(2) of macOS refuses sockets."""
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fchmod(descriptor, mode)

    register = selectors.PollSelector.register

    def register_no_file(self: Any, file: Any, events: int, data: object = None) -> Any:
        """kqueue(2) never reports the end of a file, so whoever waits for it would hang."""
        assert not stat.S_ISREG(os.fstat(file if isinstance(file, int) else file.fileno()).st_mode)
        return register(self, file, events, data)

    os.fchmod = fchmod_of_files  # type: ignore[assignment]
    selectors.PollSelector.register = register_no_file  # type: ignore[assignment, method-assign]
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[assignment, misc]
    sys.addaudithook(refuse_linux_files)


def refuse_linux_files(event: str, arguments: tuple[object, ...]) -> None:
    if event in {"open", "os.listdir", "os.scandir"}:
        path = arguments[0]
        if isinstance(path, str) and path.startswith(("/proc", "/sys/")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def main() -> int:
    hide()
    from bot.cli import main as cli
    from core.tools.code.sandbox import barriers

    # The name for the whole process would make other packages load frameworks of macOS.
    vars(barriers)["sys"] = SimpleNamespace(platform="darwin")
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
