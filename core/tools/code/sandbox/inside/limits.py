"""Limits of the kernel's own on this process, which code in it can lower and never raise.

https://man7.org/linux/man-pages/man2/getrlimit.2.html
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TypedDict

RLIMIT_SIGPENDING = 11  # include/uapi/asm-generic/resource.h; Python does not name it


class ProcessLimits(TypedDict):
    """Sizes are in bytes, `cpu` in seconds. `threads` counts all of this user's processes."""

    memory: int
    cpu: int
    file: int
    descriptors: int
    threads: int


def impose_limits(amounts: ProcessLimits) -> None:
    """Set the limits for good, each as its soft and its hard limit; a lower one that the process
    has already stays. Raise OSError or ValueError if one cannot be set. Core files, locked memory
    and message queues are forbidden: they are memory or disk that no other limit counts."""
    for kind, amount in (
        (resource.RLIMIT_AS, amounts["memory"]),
        (resource.RLIMIT_CPU, amounts["cpu"]),
        (resource.RLIMIT_FSIZE, amounts["file"]),
        (resource.RLIMIT_NOFILE, amounts["descriptors"]),
        (resource.RLIMIT_NPROC, amounts["threads"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        # Queued signals, with the same number as descriptors. Timers count among them, and each
        # takes memory of the kernel.
        (RLIMIT_SIGPENDING, amounts["descriptors"]),
    ):
        most = resource.getrlimit(kind)[1]
        allowed = amount if most == resource.RLIM_INFINITY else min(amount, most)
        resource.setrlimit(kind, (allowed, allowed))


def yield_to_others() -> None:
    """This process becomes the first to be killed when memory runs out."""
    with contextlib.suppress(OSError):
        os.nice(5)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
