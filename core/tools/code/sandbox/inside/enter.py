"""The first code in a sandboxed process: it fences the process, then runs the kernel program.

The order matters. Steps that need system calls come before the filter that denies them. The byte
that reports "fenced" comes last, so that an unfenced process is never taken for ready.
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
    """The paths that Landlock allows: to read, to list, to do everything in, and files to write."""

    read: list[str]
    list: list[str]
    own: list[str]
    write: list[str]


class Configuration(TypedDict):
    """The arguments that the bot passes to the new process in a sandbox.

    `kernel` is the path of the program to run. `frames` and `life` are file descriptors of pipes to
    the bot: one for results in JSON, one that ends when the last process of the sandbox ends.
    `parent` is the id of the process with which this one ends (0: it is not watched). `landlock` is
    None if a mount namespace already hides everything.
    """

    kernel: str
    frames: int
    life: int
    parent: int
    limits: limits.ProcessLimits
    landlock: LandlockPaths | None


def main() -> None:
    """The folder from which this module was imported leaves Python's path first, so that the kernel
    imports nothing of it. The byte tells the bot that the fence holds."""
    configuration: Configuration = json.loads(sys.argv[2])
    sys.path.remove(sys.argv[1])
    sys.argv = [configuration["kernel"], str(configuration["frames"])]
    fence(configuration)
    os.write(configuration["life"], FENCED_BYTE)
    runpy.run_path(configuration["kernel"], run_name="__main__")


def fence(configuration: Configuration) -> None:
    """Raise, and so end the process, if any part fails."""
    if os.geteuid() == 0:
        raise PermissionError("the sandbox must not be root")
    if configuration["parent"]:  # 0 under bubblewrap, which ends this process itself
        # Linux kills this process when its parent ends. A parent that ended before that call is
        # noticed by its id.
        kernel_calls.prctl(kernel_calls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != configuration["parent"]:
            raise ProcessLookupError("the bot has ended")
    limits.yield_to_others()
    limits.impose_limits(configuration["limits"])
    if configuration["landlock"] is not None:  # None under bubblewrap: its mounts hide the rest
        ruleset.restrict(**configuration["landlock"])
    seccomp.install()  # last, because it denies the system calls of the other steps
