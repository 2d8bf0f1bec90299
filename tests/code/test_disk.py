"""What a kernel holds of the machine's disk, also where it hides it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from core.tools.code.sandbox.process import DiskMeter, RunningProgram, watch_limits
from core.tools.code.sandbox.sandbox import MiB, SandboxLimits

LIMITS = SandboxLimits(work=2 * MiB, temporary=MiB, entries=50, file=4 * MiB)
TOO_MUCH = "the program wrote more than 3 MB"

MOVING = """
import asyncio
import os
above = [os.open(".", os.O_RDONLY)]
for _ in range(20):
    os.mkdir("a", dir_fd=above[-1])
    above.append(os.open("a", os.O_RDONLY, dir_fd=above[-1]))
with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=above.pop()), "wb") as file:
    file.write(bytes(SIZE))
print(flush=True)
while True:
    for old, new in ("ab", "ba"):
        for each in above:
            os.rename(old, new, src_dir_fd=each, dst_dir_fd=each)
"""
OPENED = """
import asyncio
import os
opened = open("file", "wb")
opened.write(bytes(2 << 20)); opened.flush()
ends = os.pipe()
"""
MAPPING = """
import ctypes, os
with open("mapped", "wb+") as file:
    file.write(bytes(4096)); file.flush()
    ctypes.CDLL(None).mmap(None, 4096, 1, 1, file.fileno(), ctypes.c_long(0))
os.unlink("mapped")
"""
REMOVED = """
import asyncio
import os
file = open("removed", "wb")
file.write(bytes(4 << 20)); file.flush()
os.unlink("removed")
"""


@contextmanager
def program(folder: Path, code: str = "") -> Iterator[DiskMeter]:
    """What `code` holds in `folder`, from its first line on until it ends."""
    command = [sys.executable, "-c", f"{code}\nprint(flush=True)\ninput()"]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        process = os.pidfd_open(running.pid)
        try:
            running.stdout.readline()
            yield DiskMeter(folder, running.pid, process, LIMITS)
        finally:
            running.kill()
            os.close(process)


def test_deleted_files_that_are_still_open_count(tmp_path: Path) -> None:
    with program(tmp_path, REMOVED) as disk:
        assert disk.too_much() == TOO_MUCH


def test_an_open_file_is_counted_once_and_a_pipe_is_no_disk(tmp_path: Path) -> None:
    with program(tmp_path, OPENED) as disk:
        assert disk.too_much() == ""


def test_what_has_no_name_and_is_only_mapped_counts_as_the_largest(tmp_path: Path) -> None:
    with program(tmp_path, MAPPING) as disk:
        assert disk.too_much() == TOO_MUCH


def test_memory_of_ones_own_is_no_disk(tmp_path: Path) -> None:
    with program(tmp_path, "import mmap; kept = mmap.mmap(-1, 8 << 20)") as disk:
        assert disk.too_much() == ""


def test_too_many_files_are_too_much(tmp_path: Path) -> None:
    for number in range(51):
        (tmp_path / str(number)).touch()
    with program(tmp_path) as disk:
        assert disk.too_much() == "the program created more than 50 files"


def test_a_link_counts_as_itself(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "large").write_bytes(bytes(4 * MiB))
    for name, target in (("outside", tmp_path), ("large", tmp_path / "large"), ("gone", "nowhere")):
        (work / name).symlink_to(target)
    with program(work) as disk:
        assert disk.too_much() == ""


@pytest.mark.parametrize(("size", "said"), [(4 * MiB, TOO_MUCH), (1, "")])
def test_what_moves_on_and_on_is_measured_all_the_same(
    tmp_path: Path, size: int, said: str
) -> None:
    with program(tmp_path, MOVING.replace("SIZE", str(size))) as disk:
        assert {disk.too_much() for _ in range(20)} == {said}


class Watched:
    """A running program and its meter; `excess` is what the next look finds."""

    returncode: int | None = None

    def __init__(self, pid: int) -> None:
        self.pid, self.looks = pid, 0
        self.excess = self.overran = ""

    def too_much(self) -> str:
        self.looks += 1
        return self.excess

    def overrun(self, why: str) -> None:
        self.overran = why


async def test_a_program_at_rest_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys\nfor _ in sys.stdin: sum(range(10**5)); print(flush=True)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:  # noqa: ASYNC220
        stdin, stdout = running.stdin, running.stdout
        assert stdin
        assert stdout
        watched, pauses = Watched(running.pid), iter(range(1, 1000))

        def work() -> None:
            stdin.write(b"\n")
            stdin.flush()
            stdout.readline()

        async def pause(seconds: float) -> None:
            if next(pauses) == 100:
                assert watched.looks < 50, "it may work for a moment before it rests"
                watched.excess = TOO_MUCH
                work()

        work()
        monkeypatch.setattr(asyncio, "sleep", pause)
        await watch_limits(cast(RunningProgram, watched), cast(Any, watched))
        assert watched.overran == TOO_MUCH
        running.kill()
