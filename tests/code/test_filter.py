"""The seccomp filter, run by a machine of our own: for both processors, and without the kernel."""

from __future__ import annotations

import errno

import pytest

from core.tools.code.sandbox.inside.seccomp import (
    ALLOW,
    ALLOWED_CALLS,
    AND,
    ARCHITECTURES,
    CHECKED_CALLS,
    ERRNO,
    IGNORED_CALLS,
    JUMP_EQUAL,
    KILL,
    LOAD,
    REFUSED_CALLS,
    RETURN,
    UNSUPPORTED_CALLS,
    FilterStep,
    UnknownMachine,
    build_filter,
    parse_numbers,
)

PID = 77
MACHINES = sorted(ARCHITECTURES)
DENIED, UNKNOWN = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the filter returns for a call. https://docs.kernel.org/networking/filter.html"""
    numbers = ARCHITECTURES[machine][1]
    fields = {0: number, 4: numbers if architecture is None else architecture}
    fields |= {16 + 8 * index: value & 0xFFFFFFFF for index, value in enumerate(arguments)}
    steps, at, register = build_filter(machine, PID), 0, 0
    while True:
        step = steps[at]
        at += 1
        match step.code:
            case code if code == RETURN:
                return step.value
            case code if code == LOAD:
                register = fields.get(step.value, 0)
            case code if code == AND:
                register &= step.value
            case code if code == JUMP_EQUAL:
                at += step.if_true if register == step.value else step.if_false


def call(machine: str, name: str, *arguments: int) -> int:
    table = parse_numbers(
        f"{ALLOWED_CALLS} {REFUSED_CALLS} {CHECKED_CALLS} {IGNORED_CALLS} {UNSUPPORTED_CALLS}",
        ARCHITECTURES[machine][0],
    )
    return decide(machine, table[name], *arguments)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("read", (), ALLOW),
        ("mmap", (), ALLOW),
        ("socket", (2, 1, 0), DENIED),
        ("execve", (), DENIED),
        ("ptrace", (), DENIED),
        ("memfd_create", (), DENIED),
        ("io_uring_setup", (), DENIED),
        ("fchmodat", (), ERRNO),
        ("setxattr", (), ERRNO | errno.ENOTSUP),
        ("clone", (0x3D0F00,), ALLOW),  # a thread, as glibc asks for it
        ("clone", (0x01200011,), DENIED),  # a fork, as glibc asks for it
        ("clone", (0x4111,), DENIED),  # posix_spawn
        ("clone", (0x3D0F00 | 0x10000000,), DENIED),
        ("clone", (0x3D0B00,), DENIED),  # a thread with open files of its own
        ("close_range", (3, 9, 4), ALLOW),
        ("close_range", (3, 9, 2), DENIED),  # CLOSE_RANGE_UNSHARE
        ("fallocate", (3, 1, 0, 1 << 40), ERRNO | errno.ENOTSUP),
        ("kill", (PID, 9), ALLOW),
        ("kill", (PID + 1, 0), DENIED),
        ("kill", (-1, 9), DENIED),
        ("kill", (0, 9), DENIED),
        ("tgkill", (PID, PID, 6), ALLOW),
        ("tgkill", (1, 1, 9), DENIED),
        ("prlimit64", (0, 9), ALLOW),
        ("prlimit64", (PID + 1, 9), DENIED),
        ("openat", (-100, 0, 0o1101), ALLOW),  # to write, emptied first
        ("openat", (-100, 0, 0), ALLOW),
        ("openat", (-100, 0, 0o1000), DENIED),  # to read, emptied first
        ("openat", (-100, 0, 0o1003), DENIED),  # neither to read nor to write, emptied first
        ("mkdirat", (-100, 0, 0o777), ALLOW),
        ("mkdirat", (-100, 0, 0o077), DENIED),
        ("fcntl", (0, 1030), ALLOW),
        ("fcntl", (0, 8), DENIED),
        ("fcntl", (0, 6), ERRNO),  # a record lock
        ("fcntl", (0, 37), DENIED),
        ("ioctl", (0, 0x541B), ALLOW),
        ("ioctl", (0, 0x5412), ERRNO | errno.ENOTTY),
        ("ioctl", (0, 0x100005412), ERRNO | errno.ENOTTY),
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), DENIED),
    ],
)
def test_the_filter_answers_each_system_call(
    machine: str, name: str, arguments: tuple[int, ...], answer: int
) -> None:
    assert call(machine, name, *arguments) == answer


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_in_no_table_is_unknown(machine: str) -> None:
    numbers = parse_numbers(
        f"{ALLOWED_CALLS} {REFUSED_CALLS} {CHECKED_CALLS} {IGNORED_CALLS} {UNSUPPORTED_CALLS}",
        ARCHITECTURES[machine][0],
    )
    for number in set(range(600)) - set(numbers.values()):
        assert decide(machine, number) == UNKNOWN
    assert decide(machine, 435) == UNKNOWN  # clone3: glibc asks clone then


@pytest.mark.parametrize("machine", MACHINES)
def test_each_system_call_is_in_one_table(machine: str) -> None:
    column = ARCHITECTURES[machine][0]
    every = [
        n
        for table in (ALLOWED_CALLS, REFUSED_CALLS, CHECKED_CALLS, IGNORED_CALLS, UNSUPPORTED_CALLS)
        for n in parse_numbers(table, column).values()
    ]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("machine", MACHINES)
def test_every_jump_lands_in_the_program(machine: str) -> None:
    """A jump has eight bits, a program 4,096 steps: the kernel refuses more."""
    steps = build_filter(machine, PID)
    assert len(steps) <= 4096
    for at, step in enumerate(steps):
        assert max(step.if_true, step.if_false) <= 255
        assert at + 1 + max(step.if_true, step.if_false) < len(steps) or step.code == RETURN
    assert steps[-1] == FilterStep(RETURN, 0, 0, UNKNOWN)


def test_calls_of_another_interface_end_the_process() -> None:
    assert decide("x86_64", 0, architecture=0x40000003) == KILL
    assert decide("aarch64", 0, architecture=0x40000028) == KILL
    # The x32 interface has the architecture of x86_64, and this bit in the number of each call.
    assert decide("x86_64", 0x40000000 | 0) == UNKNOWN


def test_an_unknown_processor_gets_no_filter() -> None:
    with pytest.raises(UnknownMachine):
        build_filter("riscv64", PID)
