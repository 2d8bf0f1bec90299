"""Calls of the kernel that no program of this kind has any business with."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside

libc = ctypes.CDLL(None, use_errno=True)
INTEL = platform.machine() == "x86_64"


def keys(outside: Outside) -> str:
    session = -3
    return _call_kernel(250 if INTEL else 219, 0, session, 1, 0, 0)


def personality(outside: Outside) -> str:
    """Memory at known addresses, all of it executable."""
    return _call_kernel(135 if INTEL else 92, 0x0040000 | 0x0400000)


def restart(outside: Outside) -> str:
    """With a wrong magic number: not even a kernel that allows it restarts."""
    ctypes.set_errno(0)
    libc.syscall(169 if INTEL else 142, 0, 0, 0, None)
    return "" if ctypes.get_errno() == 1 else "may restart the machine"


def unknown_calls(outside: Outside) -> str:
    for number in (*range(470, 520), 1000, 9999):
        if kernel := _call_kernel(number, 0, 0, 0, 0, 0, 0):
            return kernel
    return ""


def clock(outside: Outside) -> str:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "set the clock"


def calls_of_x32(outside: Outside) -> str:
    """The same calls under numbers of another table."""
    if not INTEL:
        return ""
    for number in (39, 41, 57, 59, 101, 520, 521):
        if libc.syscall(0x40000000 + number, 0, 0, 0) >= 0:
            return f"x32 call {number} worked"
    return ""


def splice_pages(outside: Outside) -> str:
    """What wrote into files that could only be read, in CVE-2022-0847."""
    (reader, full), (_, empty) = os.pipe(), os.pipe()
    os.write(full, b"x")
    number = 275 if INTEL else 76
    return _call_kernel(number, reader, None, empty, None, 1, 0)


def read_ahead_of_time(outside: Outside) -> str:
    """Which pages of a file others read: a way to listen."""
    page = ctypes.c_char.from_buffer(mmap.mmap(-1, 4096))
    return _call_kernel(
        27 if INTEL else 232, ctypes.byref(page), 4096, ctypes.create_string_buffer(1)
    )


def _call_kernel(number: int, *arguments: Any) -> str:
    return f"call {number} worked" if libc.syscall(number, *arguments) >= 0 else ""


def _attack_by(call: tuple[Any, ...]) -> Callable[[Outside], object]:
    return lambda outside: _call_kernel(*call)


KERNEL_CALLS: dict[str, tuple[Any, ...]] = {
    "programs_in_kernel": (321 if INTEL else 280, 0, ctypes.create_string_buffer(128), 128),
    "performance_events": (298 if INTEL else 241, ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "new_key": (248 if INTEL else 217, b"user", b"ponte", b"x", 1, -3),
    "requested_key": (249 if INTEL else 218, b"user", b"ponte", None, -3),
    "host_name": (170 if INTEL else 161, b"owned", 5),
    "domain_name": (171 if INTEL else 162, b"owned", 5),
    "clock_speed": (159 if INTEL else 171, ctypes.create_string_buffer(256)),
    "kernel_log": (103 if INTEL else 116, 3, ctypes.create_string_buffer(4096), 4096),
    "other_kernel": (246 if INTEL else 104, 0, 0, None, 0),
    "swap": (167 if INTEL else 224, b"swap", 0),
    "accounting": (163 if INTEL else 89, None),
    "quotas": (179 if INTEL else 60, 0x80000100, None, 0, None),
    "hang_up": (153 if INTEL else 58,),
    "another_ruleset": (444, None, 0, 1),
    "pages_of_another": (279 if INTEL else 239, 1, 0, None, None, None, 0),
}
EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "rings": lambda outside: (
        _call_kernel(425, 1, ctypes.create_string_buffer(120)) or _call_kernel(427, 0, 0, None, 0)
    ),
    "hardware_ports": lambda outside: (
        (_call_kernel(172, 3) or _call_kernel(173, 0, 1, 1)) if INTEL else ""
    ),
    "descriptor_table": lambda outside: (
        _call_kernel(154, 1, ctypes.create_string_buffer(16), 16) if INTEL else ""
    ),
    "kernel_module": lambda outside: (
        _call_kernel(175 if INTEL else 105, b"", 0, b"")
        or _call_kernel(313 if INTEL else 273, 0, b"", 0)
    ),
    "another_filter": lambda outside: (
        _call_kernel(317 if INTEL else 277, 1, 0, None)
        or _call_kernel(157 if INTEL else 167, 22, 1)
    ),
    "tee_pages": lambda outside: (
        _call_kernel(276 if INTEL else 77, 0, 1, 1, 0)
        or _call_kernel(278 if INTEL else 75, 1, None, 0, 0)
    ),
}
EXPRESSIONS |= {name: _attack_by(call) for name, call in KERNEL_CALLS.items()}
