"""Attacks that end in the kernel's death, or need one of their own. `ENDS` says how each ends."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import queue
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside

libc = ctypes.CDLL(None, use_errno=True)
NOWHERE = ctypes.c_long(0)
MiB = 1 << 20

KILLED, DIED, ANSWERED = "killed", "died", "answered"
"""Only our kill ended it; it ended by itself; it answered and goes on. The first process of a PID
namespace is deaf to signals of its own."""

ENDS = {
    "loop": KILLED,
    "loop_deaf_to_signals": KILLED,
    "loop_in_c": KILLED,
    "loop_in_search": KILLED,
    "loop_in_all_threads": KILLED,
    "sleep": KILLED,
    "stop_itself": f"{KILLED} or {ANSWERED}",
    "sleep_in_finally": KILLED,
    "close_everything": KILLED,
    "close_life": KILLED,
    "thread_that_stays": ANSWERED,
    "deep_recursion": ANSWERED,
    "deep_recursion_in_c": DIED,
    "abort": DIED,
    "exit": DIED,
    "exit_at_once": DIED,
    "kill_itself": f"{DIED} or {ANSWERED}",
    "crash": DIED,
    "other_architecture": DIED,
    "flood_output": KILLED,
    "flood_errors": KILLED,
    "flood_frames": KILLED,
    "flood_without_line": KILLED,
    "say_ready_again": ANSWERED,
    "flood_life": KILLED,
    "fill_disk": ANSWERED,
    "fill_disk_with_removed": ANSWERED,
    "fill_disk_with_files": ANSWERED,
    "fill_disk_behind_maps": ANSWERED,
    "fill_disk_in_table_of_thread": ANSWERED,
    "fill_disk_in_moving_folders": ANSWERED,
    "fill_disk_beside_moving_files": ANSWERED,
    "deep_folders": ANSWERED,
    "processor_time": DIED,
}


def loop(outside: Outside) -> None:
    while True:
        pass


def loop_deaf_to_signals(outside: Outside) -> None:
    for number in range(1, 65):
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        time.sleep(0)


def loop_in_all_threads(outside: Outside) -> None:
    sys.setswitchinterval(0.001)  # so that each of them has begun soon
    for _ in range(20):
        threading.Thread(target=loop, args=(outside,), daemon=True).start()
    loop(outside)


def sleep(outside: Outside) -> None:
    time.sleep(10**6)


def sleep_in_finally(outside: Outside) -> None:
    while True:
        with suppress(BaseException):
            time.sleep(10**6)


def close_everything(outside: Outside) -> None:
    os.closerange(0, 1024)
    time.sleep(10**6)


def close_life(outside: Outside) -> None:
    os.closerange(3, 1024)
    time.sleep(10**6)


def deep_recursion(outside: Outside) -> None:
    with suppress(RecursionError):
        deep_recursion(outside)


def deep_recursion_in_c(outside: Outside) -> None:
    sys.setrecursionlimit(10**8)
    nested: list[Any] = []
    for _ in range(200_000):
        nested = [nested]
    repr(nested)


def other_architecture(outside: Outside) -> None:
    """`int 0x80`: the calls of 32 bit programs, under other numbers; here getpid, harmless."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def say_ready_again(outside: Outside) -> None:
    os.write(_life(), b"1")


def fill_disk_with_removed(outside: Outside) -> str:
    """Files without a name, which nobody sees who lists the folder."""
    return _fill(outside, keep=False)


def fill_disk_with_files(outside: Outside) -> str:
    with suppress(OSError):
        for number in range(200_000):
            open(f"file{number}", "w").close()
        return "made 200,000 files"
    return ""


def fill_disk_behind_maps(outside: Outside) -> str:
    """One page of each file is mapped, and nothing else is left of it."""
    size = 0
    with suppress(OSError):
        for number in range(32):
            with open(f"mapped{number}", "wb+", buffering=0) as file:
                size += file.write(bytes(16 * MiB))
                # By itself, as Python's own keeps the file open.
                libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), NOWHERE)
            os.unlink(f"mapped{number}")
    return f"wrote {size}" if size > outside["disk"] else ""


def fill_disk_in_table_of_thread(outside: Outside) -> str:
    """Its open files are its own (CLOSE_RANGE_UNSHARE), and stand in no list of the process."""
    came: queue.SimpleQueue[str] = queue.SimpleQueue()

    def fill() -> None:
        libc.close_range(900, 900, 2)
        came.put(_fill(outside, keep=False))
        sleep(outside)

    threading.Thread(target=fill, daemon=True).start()
    return came.get()


def fill_disk_in_moving_folders(outside: Outside) -> str:
    """Whoever comes to look into one finds that it has just got another name."""
    for above in range(4):
        os.mkdir("0")
        os.chdir("0")
        _move_on(["../" * above + f"../{number}" for number in range(100)])
    return _fill(outside, keep=True)


def fill_disk_beside_moving_files(outside: Outside) -> str:
    for each in range(10):
        open(f"{each}-0", "w").close()
        _move_on([f"{each}-{number}" for number in range(100)])
    return _fill(outside, keep=True)


def deep_folders(outside: Outside) -> None:
    with suppress(OSError):
        for _ in range(5_000):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
            open("x", "w").close()


def processor_time(outside: Outside) -> None:
    """With a limit of one second, as this one is started."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    loop(outside)


def _flood(file: int, content: bytes = b"flood\n" * 10_000) -> None:
    while True:
        os.write(file, content)


def _move_on(names: list[str]) -> None:
    """Rename the first to the second, that to the third, and on and on."""
    rename, plain = libc.rename, [name.encode() for name in names]

    def move() -> None:
        while True:
            for old, new in itertools.pairwise([*plain, plain[0]]):
                rename(old, new)

    threading.Thread(target=move, daemon=True).start()


def _life() -> int:
    return next(number for number in range(3, 256) if number != int(sys.argv[1]) and _open(number))


def _open(number: int) -> bool:
    try:
        return bool(os.fstat(number))
    except OSError:
        return False


def _fill(outside: Outside, keep: bool) -> str:
    size = 0
    with suppress(OSError):
        for number in range(8):
            file = os.open(f"fill{number}", os.O_WRONLY | os.O_CREAT)
            if not keep:
                os.unlink(f"fill{number}")
            for _ in range(8):
                size += os.write(file, bytes(8 * MiB))
    return f"wrote {size}" if size > outside["disk"] else ""


EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "loop_in_c": lambda outside: sum(range(10**12)),
    "loop_in_search": lambda outside: re.match("(a*)*b", "a" * 60),
    "stop_itself": lambda outside: os.kill(os.getpid(), signal.SIGSTOP),
    "thread_that_stays": lambda outside: threading.Thread(
        target=sleep, args=(outside,), daemon=False
    ).start(),
    "abort": lambda outside: os.abort(),
    "exit": lambda outside: sys.exit(3),
    "exit_at_once": lambda outside: os._exit(3),
    "kill_itself": lambda outside: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda outside: ctypes.string_at(0),
    "flood_output": lambda outside: _flood(1),
    "flood_errors": lambda outside: _flood(2),
    "flood_frames": lambda outside: _flood(int(sys.argv[1])),
    "flood_without_line": lambda outside: _flood(int(sys.argv[1]), b"x" * MiB),
    "flood_life": lambda outside: _flood(_life()),
    "fill_disk": lambda outside: _fill(outside, keep=True),
}
