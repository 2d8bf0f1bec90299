"""Loads the filter into this process, for good: https://man7.org/linux/man-pages/man2/seccomp.2.html"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from .filter import FilterStep, build_filter
from .kernel_calls import PR_SET_NO_NEW_PRIVS, call, prctl

SECCOMP = {"x86_64": 317, "aarch64": 277}
SET_MODE_FILTER = 1
ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC


class _Instruction(ctypes.Structure):  # struct sock_filter
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):  # struct sock_fprog
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Instruction)))


def install() -> None:
    """Install the filter for all threads of this process, for good.

    Raise OSError if the kernel has no filters, UnknownMachine for a processor without a table.
    """
    machine = os.uname().machine
    load(machine, build_filter(machine, os.getpid()))


def load(machine: str, steps: Sequence[FilterStep]) -> None:
    """Load these steps as the filter. Raise OSError."""
    array = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    whole = _Program(len(steps), array)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    address = ctypes.cast(ctypes.pointer(whole), ctypes.c_void_p)
    if call(SECCOMP[machine], SET_MODE_FILTER, ALL_THREADS, address):
        raise OSError("a thread of this process cannot be filtered")
