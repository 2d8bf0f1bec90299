"""The seccomp filter: an allow list as a program of the kernel's packet filter machine.

https://docs.kernel.org/userspace-api/seccomp_filter.html; the machine:
https://docs.kernel.org/networking/filter.html. `struct seccomp_data` is int nr, u32 architecture,
u64 instruction pointer, u64 arguments[6].
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from .syscalls import (
    ALLOWED_CALLS,
    ARCHITECTURES,
    CHECKED_CALLS,
    IGNORED_CALLS,
    REFUSED_CALLS,
    UNSUPPORTED_CALLS,
    parse_numbers,
)

LOAD, JUMP_EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
KILL = 0x8000_0000  # SECCOMP_RET_KILL_PROCESS
ERRNO = 0x0005_0000
ALLOW = 0x7FFF_0000
NUMBER, ARCHITECTURE = 0, 4

CLONE_THREAD, CLONE_FILES = 0x0001_0000, 0x400
CLOSE_RANGE_CLOEXEC = 4
NEW_NAMESPACES = 0x7E02_0000
O_TRUNC, O_ACCMODE = 0o1000, 0o3
OWNER_BITS = 0o700

# F_DUPFD to F_SETFL, F_GETLK, F_OFD_GETLK, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Not F_SETOWN and
# F_SETSIG, which have the kernel send any signal to any process of the same user.
FCNTL = (0, 1, 2, 3, 4, 5, 36, 1030, 1032)
# F_SETLK and F_SETLKW succeed and do nothing: record locks hold memory that no limit counts
# (getrlimit(2): RLIMIT_LOCKS is of Linux 2.4 alone), and never keep a process from its own files.
LOCKS = (6, 7)
IOCTL = (0x541B, 0x5421, 0x5450, 0x5451)  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
PRCTL = (3, 15, 16, 0x53564D41)  # PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA


class UnknownMachine(Exception):
    """This processor has no table of system calls, so nothing may run here."""


class FilterStep(NamedTuple):
    """One instruction of the filter program."""

    code: int
    if_true: int
    if_false: int
    value: int


def build_filter(machine: str, pid: int) -> list[FilterStep]:
    """Return the filter for process `pid` on `machine` (`uname -m`). Raise UnknownMachine."""
    if machine not in ARCHITECTURES:
        raise UnknownMachine(machine)
    column, architecture = ARCHITECTURES[machine]
    steps = [
        FilterStep(LOAD, 0, 0, ARCHITECTURE),
        FilterStep(JUMP_EQUAL, 1, 0, architecture),
        FilterStep(RETURN, 0, 0, KILL),
        FilterStep(LOAD, 0, 0, NUMBER),
    ]
    for table, answer in _ANSWER_BY_TABLE:
        for number in parse_numbers(table, column).values():
            steps += [FilterStep(JUMP_EQUAL, 0, 1, number), FilterStep(RETURN, 0, 0, answer)]
    for name, number in parse_numbers(CHECKED_CALLS, column).items():
        block = _check_arguments(name, pid)
        steps += [FilterStep(JUMP_EQUAL, 0, len(block), number), *block]
    # Numbers of the x32 interface have bit 30, and are in no table. glibc asks for threads with
    # clone3 first and takes ENOSYS for "use clone": its flags lie in memory, where a filter cannot
    # see them.
    return [*steps, FilterStep(RETURN, 0, 0, ERRNO | errno.ENOSYS)]


_ANSWER_BY_TABLE = (
    (ALLOWED_CALLS, ALLOW),
    (REFUSED_CALLS, ERRNO | errno.EPERM),
    (IGNORED_CALLS, ERRNO),
    (UNSUPPORTED_CALLS, ERRNO | errno.ENOTSUP),
)


def _check_arguments(name: str, pid: int) -> list[FilterStep]:
    """Return the steps that check a call's arguments. They always end in a return."""
    match name:
        case "open" | "openat":
            # Before Linux 6.2 Landlock lets a file be emptied that can only be read.
            return [
                # Both access modes that do not write: to read, and 3, which is neither (open(2)).
                *_masked_argument(2 if name == "openat" else 1, O_TRUNC | O_ACCMODE),
                *_return_if(O_TRUNC, ERRNO | errno.EPERM),
                *_return_if(O_TRUNC | O_ACCMODE, ERRNO | errno.EPERM),
                FilterStep(RETURN, 0, 0, ALLOW),
            ]
        case "mkdir" | "mkdirat":
            # So that no folder arises that its own owner, who has to remove it, cannot enter.
            return _allow_if(
                _masked_argument(2 if name == "mkdirat" else 1, OWNER_BITS),
                (OWNER_BITS,),
                errno.EPERM,
            )
        case "clone":
            # A thread, and one that shares the open files: RLIMIT_NOFILE counts each table alone,
            # and /proc shows whoever measures the disk one of them.
            thread = CLONE_THREAD | CLONE_FILES
            return _allow_if(_masked_argument(0, thread | NEW_NAMESPACES), (thread,), errno.EPERM)
        case "close_range":
            return _allow_if(_argument(2), (0, CLOSE_RANGE_CLOEXEC), errno.EPERM)
        case "fcntl":
            free = [step for lock in LOCKS for step in _return_if(lock, ERRNO)]
            return _allow_if([*_argument(1), *free], FCNTL, errno.EPERM)
        case "ioctl":
            return _allow_if(_argument(1), IOCTL, errno.ENOTTY)
        case "prctl":
            return _allow_if(_argument(0), PRCTL, errno.EPERM)
        case "prlimit64":
            return _allow_if(_argument(0), (0,), errno.EPERM)
        case _:  # kill, tgkill
            return _allow_if(_argument(0), (pid,), errno.EPERM)


def _argument(index: int) -> list[FilterStep]:
    """The low half of an argument: all of these are 32 bits wide for the kernel."""
    return [FilterStep(LOAD, 0, 0, 16 + 8 * index)]


def _masked_argument(index: int, mask: int) -> list[FilterStep]:
    return [*_argument(index), FilterStep(AND, 0, 0, mask)]


def _return_if(value: int, answer: int) -> list[FilterStep]:
    return [FilterStep(JUMP_EQUAL, 0, 1, value), FilterStep(RETURN, 0, 0, answer)]


def _allow_if(load: list[FilterStep], values: tuple[int, ...], error: int) -> list[FilterStep]:
    steps = list(load)
    for value in values:
        steps += _return_if(value, ALLOW)
    return [*steps, FilterStep(RETURN, 0, 0, ERRNO | error)]
