"""What the system counts of a process, from Linux' `/proc` (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def cpu(pid: int) -> float:
    """Seconds that all of its threads have used: fields 14 and 15 of `stat`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_cpu(pid: int) -> float:
    """Seconds that a process and its children have used, those that ended included (fields 16 and
    17 of `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    used = cpu(pid) + ended
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            used += family_cpu(int(child))
    return used


def resident(pid: int) -> int:
    """Bytes of memory that it holds: the second figure of `statm`, in pages."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def proportional(pid: int) -> int:
    """Bytes of memory that it holds, what it shares with others divided among them (`Pss`)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
