"""Making, watching, stopping and becoming other processes and users."""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import os
import platform
import pty
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside

libc = ctypes.CDLL(None, use_errno=True)
INTEL = platform.machine() == "x86_64"


def fork(outside: Outside) -> str:
    if os.fork() == 0:
        os._exit(0)
    return "forked"


def fork_by_number(outside: Outside) -> str:
    result = libc.syscall(57 if INTEL else 220, 17, 0, 0, 0, 0)
    if result == 0:
        os._exit(0)
    return _describe_success(result, "forked")


def fork_on_borrowed_memory(outside: Outside) -> str:
    """Not to be tried unfenced: the child would run on this process's stack."""
    result = libc.syscall(58) if INTEL else -1
    if result == 0:
        os._exit(0)
    return _describe_success(result, "forked")


def fork_bomb(outside: Outside) -> str:
    result_count = 0
    for _ in range(50):
        try:
            if os.fork() == 0:
                signal.pause()
            result_count += 1
        except OSError:
            break
    return f"made {result_count} processes" if result_count else ""


def clone_by_structure(outside: Outside) -> str:
    arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17, 0, 0, 0)
    if libc.syscall(435, arguments, ctypes.sizeof(arguments)) == 0:
        os._exit(0)
    return "" if ctypes.get_errno() else "forked"


def run_in_terminal(outside: Outside) -> str:
    pid, _ = pty.fork()
    if pid == 0:
        os._exit(0)
    return "forked in a terminal"


def run_worker(outside: Outside) -> str:
    worker = multiprocessing.get_context("fork").Process(target=int)
    worker.start()
    return "started a worker"


def replace_itself(outside: Outside) -> str:
    os.execv("/bin/true", ["true"])


def replace_itself_by_memory(outside: Outside) -> str:
    file = os.memfd_create("program")
    os.write(file, b"#!/bin/true\n")
    os.execve(file, ["true"], {})


def gain_by_set_user_programs(outside: Outside) -> str:
    for program in ("/usr/bin/su", "/usr/bin/sudo", "/usr/bin/passwd", "/usr/bin/mount"):
        if os.path.exists(program):
            os.execv(program, [program])
    return ""


def descriptor_of_bot(outside: Outside) -> str:
    for pid in (outside["bot"], os.getppid(), 1):
        if libc.syscall(434, pid, 0) >= 0:
            return f"holds process {pid}"
    return _describe_success(libc.syscall(438, 0, 1, 0), "took a file of another process")


def signal_to_first(outside: Outside) -> str:
    if os.getpid() != 1:
        os.kill(1, signal.SIGKILL)
        return "killed process 1"
    return ""


def signal_by_thread(outside: Outside) -> str:
    tgkill, tkill = (234, 200) if INTEL else (131, 130)
    for arguments in ((tgkill, outside["bot"], outside["bot"], 0), (tkill, outside["bot"], 0)):
        if libc.syscall(*arguments) == 0:
            return "signalled the bot"
    return ""


def signal_by_queue(outside: Outside) -> str:
    number = 129 if INTEL else 138
    return _describe_success(
        libc.syscall(number, outside["bot"], 0, ctypes.create_string_buffer(128)), "signalled"
    )


def signal_by_file(outside: Outside) -> str:
    """The kernel sends SIGIO, or any other signal, to the owner of a pipe."""
    reader, _ = os.pipe()
    fcntl.fcntl(reader, 8, outside["bot"])
    return "made the bot the owner of a pipe"


def signal_by_file_control(outside: Outside) -> str:
    reader, _ = os.pipe()
    fcntl.ioctl(reader, 0x8901, outside["bot"].to_bytes(4, sys.byteorder))
    return "made the bot the owner of a pipe"


def new_privileges(outside: Outside) -> str:
    with open("/proc/self/status") as status:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in status)
    if lines["NoNewPrivs"] != "1" or lines["Seccomp"] != "2":
        return "can gain privileges"
    gained = [lines[name] for name in ("CapPrm", "CapEff", "CapAmb") if int(lines[name], 16)]
    return f"holds {gained}" if gained else ""


def become_root(outside: Outside) -> str:
    for attempt in (os.setuid, os.setgid, os.seteuid, os.setegid):
        try:
            attempt(0)
        except OSError:
            continue
        return f"{attempt.__name__} worked"
    return ""


def capabilities(outside: Outside) -> str:
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return _describe_success(libc.capset(header, data), "took capabilities")


def user_of_files(outside: Outside) -> str:
    libc.setfsuid(0)
    return "uses root's files" if libc.setfsuid(-1) == 0 else ""


def new_namespaces(outside: Outside) -> str:
    for flag in (0x20000, 0x80, *(1 << bit for bit in range(25, 31))):
        if libc.unshare(flag) == 0:
            return f"has a namespace {flag:#x}"
    return ""


def namespaces_of_others(outside: Outside) -> str:
    for kind in ("user", "mnt", "net", "pid"):
        for pid in (1, outside["bot"]):
            try:
                file = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
            except OSError:
                continue
            if libc.setns(file, 0) == 0:
                return f"entered {kind}"
    return _describe_success(libc.setns(0, 0), "entered")


def more_limits(outside: Outside) -> str:
    kinds = ("AS", "CPU", "FSIZE", "NOFILE")
    for kind in (getattr(resource, f"RLIMIT_{name}") for name in kinds):
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (OSError, ValueError):
            continue
        return "raised a limit"
    return ""


def _clone(flags: int) -> str:
    number = 56 if INTEL else 220
    result = libc.syscall(number, ctypes.c_ulong(flags), 0, 0, 0, 0)
    if result == 0:
        os._exit(0)
    return _describe_success(result, f"cloned with {flags:#x}")


def _vector(number: int, pid: int) -> str:
    buffer = ctypes.create_string_buffer(8)
    piece = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    return _describe_success(
        libc.syscall(number, pid, piece, 1, piece, 1, 0), "reached memory of another"
    )


def _describe_success(result: int, what: str) -> str:
    return what if result >= 0 else ""


EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "clone_new_process": lambda outside: _clone(0x11),
    "clone_new_user": lambda outside: _clone(0x1000_0011),
    "clone_thread_in_new_namespace": lambda outside: _clone(0x0001_0900 | 0x1000_0000),
    "clone_thread_with_files_of_its_own": lambda outside: _clone(0x0001_0900),
    "run_program": lambda outside: subprocess.run(
        ["/bin/ls", "/"], capture_output=True, check=False
    ).stdout.decode(),
    "run_shell": lambda outside: "ran a shell" if os.system("exit 3") >> 8 == 3 else "",
    "run_by_spawn": lambda outside: f"ran {os.posix_spawn('/bin/true', ['true'], {})}",
    "trace_parent": lambda outside: _describe_success(
        libc.ptrace(16, os.getppid(), 0, 0), "traces its parent"
    ),
    "trace_bot": lambda outside: _describe_success(
        libc.ptrace(0x4206, outside["bot"], 0, 0), "traces the bot"
    ),
    "be_traced": lambda outside: _describe_success(libc.ptrace(0, 0, 0, 0), "is traced"),
    "read_memory_of_bot": lambda outside: _vector(310 if INTEL else 270, outside["bot"]),
    "write_memory_of_parent": lambda outside: _vector(311 if INTEL else 271, os.getppid()),
    "compare_with_bot": lambda outside: _describe_success(
        libc.syscall(312 if INTEL else 272, outside["bot"], os.getpid(), 0, 0, 0), "compared"
    ),
    "signal_by_descriptor": lambda outside: _describe_success(
        libc.syscall(424, 0, 0, None, 0), "signalled by a descriptor"
    ),
    "outlive_bot": lambda outside: _describe_success(
        libc.prctl(1, 0, 0, 0, 0), "lives on when the bot has ended"
    ),
    "allow_tracers": lambda outside: _describe_success(
        libc.prctl(0x59616D61, -1, 0, 0, 0), "may be traced"
    ),
    "become_undumpable": lambda outside: _describe_success(libc.prctl(4, 0, 0, 0, 0), "hid itself"),
    "is_root": lambda outside: (
        "is root" if 0 in (*os.getresuid(), *os.getresgid(), *os.getgroups()) else ""
    ),
    "priority_of_disk": lambda outside: _describe_success(
        libc.syscall(251 if INTEL else 30, 1, 0, 1 << 13), "is first at the disk"
    ),
}
CALLS: dict[str, tuple[str, Callable[[Outside], object]]] = {
    "signal_to_bot": ("can signal the bot", lambda outside: os.kill(outside["bot"], 0)),
    "signal_to_parent": (
        "stopped its parent",
        lambda outside: os.kill(os.getppid(), signal.SIGSTOP),
    ),
    "signal_to_all": ("killed everything", lambda outside: os.kill(-1, signal.SIGKILL)),
    "signal_to_group": ("signalled its group", lambda outside: os.kill(0, signal.SIGCONT)),
    "choose_signal_of_file": ("chose a signal", lambda outside: fcntl.fcntl(0, 10, signal.SIGKILL)),
    "become_root_by_three": ("is root", lambda outside: os.setresuid(0, 0, 0)),
    "join_groups": ("is of root's group", lambda outside: os.setgroups([0])),
    "leave_session": ("has a session of its own", lambda outside: os.setsid()),
    "leave_group": ("has a group of its own", lambda outside: os.setpgid(0, 0)),
    "limits_of_bot": (
        "changed the bot's limits",
        lambda outside: resource.prlimit(outside["bot"], resource.RLIMIT_NOFILE, (0, 0)),
    ),
    "priority_of_all": (
        "slowed down a user's processes",
        lambda outside: os.setpriority(os.PRIO_USER, 0, 19),
    ),
    "processor_of_bot": (
        "moved the bot",
        lambda outside: os.sched_setaffinity(outside["bot"], {0}),
    ),
    "real_time": (
        "is first at the processor",
        lambda outside: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    ),
}
"""Calls, with what was done if they return."""
