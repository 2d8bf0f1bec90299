"""What starts a kernel program where it can harm nobody; bubblewrap and Landlock implement it.

The kernel program is one file. It runs as `__main__` with everything about it already fenced:
namespaces or Landlock, limits and the seccomp filter are in force before its first line, so it
calls nothing of ours. It finds

- `sys.argv[1]`: the number of the file descriptor that it writes its frames to;
- file descriptor 0: what `RunningProgram.stdin` sends; 1 and 2: one pipe, `RunningProgram.output`;
- the working directory: its work folder, empty, also `$HOME`; `$TMPDIR` another empty one. These
  two are all that it can write to (and `/dev/shm` under bubblewrap);
- the environment of `KERNEL_ENVIRONMENT` and nothing else.

What comes out of `frames` and `output` is untrusted: code in there can write to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.base.errors import ToolError
from core.base.i18n import say

NO_BWRAP = (
    "bubblewrap is not installed. Run `apt install bubblewrap` (or install your system's package)"
)
NOT_LINUX = "the sandbox needs Linux; this is {system}"
NO_TABLE = "this processor ({machine}) is not supported; x86_64 and aarch64 are"
NO_LANDLOCK = (
    "this Linux has no Landlock (5.13 or later, with `landlock` in /sys/kernel/security/lsm)"
)
PROBE_ESCAPED = "a check failed: the test code {what}"
PROBE_SILENT = "the test code ended without a result"

_NAMESPACES = (
    "users cannot create namespaces on this machine. Run `sysctl -w "
    "kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000`. In a container, "
    "change the settings of its runtime"
)
_APPARMOR = (
    "AppArmor restricts user namespaces. Add a profile with `userns` for /usr/bin/bwrap, or "
    "run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
)
_RECOGNISED = (
    ("No such file or directory: 'bwrap'", NO_BWRAP),
    ("No permissions to create new namespace", _NAMESPACES),
    ("Creating new namespace failed", _NAMESPACES),
    ("setting up uid map", _APPARMOR),
    ("setgroups", _APPARMOR),
    ("Failed to make / slave", _APPARMOR),
    ("loopback: Failed RTM_NEWADDR", _APPARMOR),
    ("Can't mount proc", "this container hides parts of /proc, so a new /proc cannot be mounted"),
    ("Unknown option", "bubblewrap is too old; version 0.8 or later is needed"),
    ("Can't find source path", "other users cannot read the sandbox's Python: {said}"),
    ("Permission denied: '", "other users cannot read the sandbox's Python: {said}"),
    ("ModuleNotFoundError", "the sandbox's Python does not work: {said}"),
    (
        "Operation not permitted",
        "Ponte runs as root and is not allowed to switch to another user: {said}",
    ),
    ("Invalid argument", "Ponte runs as root and cannot switch to another user: {said}"),
)


MiB = 1024 * 1024

MAX_FRAME_BYTES = 16 * MiB
"""Bytes that a frame's line can have; `readline` raises ValueError for a longer one."""

NOT_STARTED = "I couldn't start a sandbox, so no code was run. Type `status` for the reason."

KERNEL_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
)
"""What the kernel program finds in its environment, beside HOME and TMPDIR."""


def explain_start_failure(cause: str) -> str:
    """Return the operator's explanation of a program's output before it failed to start.

    bubblewrap's messages: https://github.com/containers/bubblewrap/blob/main/bubblewrap.c.
    """
    last_line = cause.strip().splitlines()[-1] if cause.strip() else ""
    for needle, words in _RECOGNISED:
        if needle in cause:
            return say(words, "en", said=last_line)
    return last_line


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """The limits of one kernel for its whole life. Sizes are in bytes, `cpu` is in seconds.

    `memory` is the total: a kernel cannot start a second process or get memory elsewhere.
    """

    memory: int = 1024 * MiB
    cpu: int = 3600
    file: int = 64 * MiB
    descriptors: int = 256
    threads: int = 128
    work: int = 128 * MiB
    temporary: int = 64 * MiB
    entries: int = 10_000
    """Files and folders; counted from outside, ten times a second."""


class SandboxFailed(ToolError):
    """No kernel could be started: `cause` says why, for the operator. No code has run."""

    def __init__(self, cause: str) -> None:
        super().__init__(NOT_STARTED, code="no_safe_sandbox", hint=cause)
        self.cause = cause
