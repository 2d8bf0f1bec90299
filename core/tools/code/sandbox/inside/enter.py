"""The first thing that runs in a sandboxed process: it fences itself, then becomes the kernel.

The order matters: what needs the kernel's help comes before the filter that denies it, and the
one byte that says "held in" comes last, so that nothing unfenced is ever taken for ready.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from typing import TypedDict

from . import kernel_calls, limits, ruleset, seccomp

FENCED_BYTE = b"1"


class LandlockPaths(TypedDict):
    """What Landlock leaves: paths to read, to see the names in, to do all in; files to write."""

    read: list[str]
    list: list[str]
    own: list[str]
    write: list[str]


class Configuration(TypedDict):
    """`frames` and `life` are file descriptors; `parent` is whose end is ours too (0: unwatched).

    `landlock` is None where a mount namespace already hides everything.
    """

    kernel: str
    frames: int
    life: int
    parent: int
    limits: limits.ProcessLimits
    landlock: LandlockPaths | None


def main() -> None:
    configuration: Configuration = json.loads(sys.argv[2])
    sys.path.remove(sys.argv[1])
    sys.argv = [configuration["kernel"], str(configuration["frames"])]
    fence(configuration)
    os.write(configuration["life"], FENCED_BYTE)
    runpy.run_path(configuration["kernel"], run_name="__main__")


def fence(configuration: Configuration) -> None:
    """Raises, and so ends the process, where any part of it does not hold."""
    if os.geteuid() == 0:
        raise PermissionError("the sandbox must not be root")
    if configuration["parent"]:
        kernel_calls.prctl(kernel_calls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != configuration["parent"]:
            raise ProcessLookupError("the bot has ended")
    limits.yield_to_others()
    limits.impose_limits(configuration["limits"])
    if configuration["landlock"] is not None:
        ruleset.restrict(**configuration["landlock"])
    seccomp.install()
