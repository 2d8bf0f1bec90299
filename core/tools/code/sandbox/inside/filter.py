"""The seccomp filter: an allow list as a program of the kernel's packet filter machine.

https://docs.kernel.org/userspace-api/seccomp_filter.html; the machine:
https://docs.kernel.org/networking/filter.html. `struct seccomp_data` is int nr, u32 architecture,
u64 instruction pointer, u64 arguments[6].
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from .syscalls import ALLOWED, ARCHITECTURES, CHECKED, IDLE, REFUSED, UNSUPPORTED, numbers

LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
KILL = 0x8000_0000  # SECCOMP_RET_KILL_PROCESS
ERRNO = 0x0005_0000
ALLOW = 0x7FFF_0000
NUMBER, ARCHITECTURE = 0, 4

X32 = 0x4000_0000
"""Calls of the x32 interface carry this bit and x86_64's architecture."""

CLONE_THREAD, CLONE_FILES = 0x0001_0000, 0x400
CLOSE_RANGE_CLOEXEC = 4
NEW_NAMESPACES = 0x7E02_0000
O_TRUNC, O_ACCMODE = 0o1000, 0o3
OWNER = 0o700

# F_DUPFD to F_SETFL, F_GETLK, F_OFD_GETLK, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Not F_SETOWN and
# F_SETSIG, which have the kernel send any signal to any process of the same user.
FCNTL = (0, 1, 2, 3, 4, 5, 36, 1030, 1032)
# F_SETLK and F_SETLKW succeed and do nothing: record locks hold memory that no limit counts
# (getrlimit(2): RLIMIT_LOCKS is of Linux 2.4 alone), and never keep a process from its own files.
LOCKS = (6, 7)
IOCTL = (0x541B, 0x5421, 0x5450, 0x5451)  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
PRCTL = (3, 15, 16, 0x53564D41)  # PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA


class UnknownMachine(Exception):
    """There is no table of system calls for this processor, so nothing may run here."""


class Step(NamedTuple):
    code: int
    if_true: int
    if_false: int
    value: int


def program(machine: str, pid: int) -> list[Step]:
    """The filter for the process `pid` on `machine` (`uname -m`). Raises UnknownMachine."""
    if machine not in ARCHITECTURES:
        raise UnknownMachine(machine)
    column, architecture = ARCHITECTURES[machine]
    steps = [
        Step(LOAD, 0, 0, ARCHITECTURE),
        *_unless(EQUAL, architecture, KILL),
        Step(LOAD, 0, 0, NUMBER),
        Step(AT_LEAST, 0, 1, X32),
        Step(RETURN, 0, 0, ERRNO | errno.ENOSYS),
    ]
    for table, answer in _PLAIN:
        for number in numbers(table, column).values():
            steps += [Step(EQUAL, 0, 1, number), Step(RETURN, 0, 0, answer)]
    for name, number in numbers(CHECKED, column).items():
        block = _check(name, pid)
        steps += [Step(EQUAL, 0, len(block), number), *block]
    # glibc asks for threads with clone3 first and takes ENOSYS for "use clone": its flags lie in
    # memory, where a filter cannot see them.
    return [*steps, Step(RETURN, 0, 0, ERRNO | errno.ENOSYS)]


_PLAIN = (
    (ALLOWED, ALLOW),
    (REFUSED, ERRNO | errno.EPERM),
    (IDLE, ERRNO),
    (UNSUPPORTED, ERRNO | errno.ENOTSUP),
)


def _check(name: str, pid: int) -> list[Step]:
    """What decides a call by its arguments; ends in a return whatever they are."""
    match name:
        case "open" | "openat":
            # Before Linux 6.2 Landlock lets a file be emptied that can only be read.
            return [
                # Both access modes that do not write: to read, and 3, which is neither (open(2)).
                *_masked(2 if name == "openat" else 1, O_TRUNC | O_ACCMODE),
                *_if(O_TRUNC, ERRNO | errno.EPERM),
                *_if(O_TRUNC | O_ACCMODE, ERRNO | errno.EPERM),
                Step(RETURN, 0, 0, ALLOW),
            ]
        case "mkdir" | "mkdirat":
            # So that no folder arises that its own owner, who has to remove it, cannot enter.
            return _allow_if(_masked(2 if name == "mkdirat" else 1, OWNER), (OWNER,), errno.EPERM)
        case "clone":
            # A thread, and one that shares the open files: RLIMIT_NOFILE counts each table alone,
            # and /proc shows whoever measures the disk one of them.
            thread = CLONE_THREAD | CLONE_FILES
            return _allow_if(_masked(0, thread | NEW_NAMESPACES), (thread,), errno.EPERM)
        case "close_range":
            return _allow_if(_argument(2), (0, CLOSE_RANGE_CLOEXEC), errno.EPERM)
        case "fcntl":
            free = [step for lock in LOCKS for step in _if(lock, ERRNO)]
            return _allow_if([*_argument(1), *free], FCNTL, errno.EPERM)
        case "ioctl":
            return _allow_if(_argument(1), IOCTL, errno.ENOTTY)
        case "prctl":
            return _allow_if(_argument(0), PRCTL, errno.EPERM)
        case "prlimit64":
            return _allow_if(_argument(0), (0,), errno.EPERM)
        case _:  # kill, tgkill
            return _allow_if(_argument(0), (pid,), errno.EPERM)


def _argument(index: int) -> list[Step]:
    """The low half of an argument: all of these are 32 bits wide for the kernel."""
    return [Step(LOAD, 0, 0, 16 + 8 * index)]


def _masked(index: int, mask: int) -> list[Step]:
    return [*_argument(index), Step(AND, 0, 0, mask)]


def _if(value: int, answer: int) -> list[Step]:
    return [Step(EQUAL, 0, 1, value), Step(RETURN, 0, 0, answer)]


def _unless(comparison: int, value: int, answer: int) -> list[Step]:
    return [Step(comparison, 1, 0, value), Step(RETURN, 0, 0, answer)]


def _allow_if(load: list[Step], values: tuple[int, ...], error: int) -> list[Step]:
    steps = list(load)
    for value in values:
        steps += _if(value, ALLOW)
    return [*steps, Step(RETURN, 0, 0, ERRNO | error)]
