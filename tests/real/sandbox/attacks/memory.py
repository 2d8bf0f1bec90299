"""Memory and disk by every road: all of it together must stay under the cap."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import queue
import struct
import threading
from contextlib import suppress
from multiprocessing import shared_memory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside

libc = ctypes.CDLL(None, use_errno=True)
INTEL = platform.machine() == "x86_64"
MiB = 1 << 20


def many_pieces(outside: Outside) -> str:
    memory = [mmap.mmap(-1, 16 * MiB) for _ in range(outside["memory"] // (16 * MiB))]
    return f"mapped the cap in {len(memory)} pieces"


def many_small(outside: Outside) -> str:
    memory = [[bytes(1000) for _ in range(1024)] for _ in range(outside["memory"] // MiB)]
    return f"took {len(memory)} MiB in small objects"


def by_break(outside: Outside) -> str:
    libc.sbrk.restype = ctypes.c_void_p
    end = libc.sbrk(ctypes.c_long(outside["memory"]))
    return "moved the break" if end not in (None, ctypes.c_void_p(-1).value) else ""


def by_growing(outside: Outside) -> str:
    grown = mmap.mmap(-1, MiB)
    grown.resize(outside["memory"])
    return "grew a map"


def by_shared_memory(outside: Outside) -> str:
    """As much as its memory file system gives, which is small."""
    memory, size = [], 0
    with suppress(OSError, MemoryError):
        while size <= 4 * 64 * MiB:
            memory.append(shared_memory.SharedMemory(create=True, size=16 * MiB))
            ctypes.memset(
                ctypes.addressof(ctypes.c_char.from_buffer(memory[-1].buf or b"")), 1, 16 * MiB
            )
            size += 16 * MiB
    for each in memory:
        each.unlink()
    return f"took {size} beside the cap" if size > 64 * MiB else ""


def by_stacks(outside: Outside) -> str:
    """Threads that only wait, each with a stack of 64 KiB."""
    end, threads = threading.Event(), []
    before = threading.stack_size(64 * 1024)
    with suppress(RuntimeError, MemoryError):
        for _ in range(2000):
            threads.append(threading.Thread(target=end.wait, daemon=True))
            threads[-1].start()
    threading.stack_size(before)
    end.set()
    for each in threads[:-1]:
        each.join()
    return f"made {len(threads)} threads" if len(threads) > 250 else ""


def by_pipes(outside: Outside) -> str:
    """Pipes of the largest size that is given without asking."""
    size = 0
    memory = []
    with suppress(OSError):
        while size < 512 * MiB:
            reader, write = os.pipe()
            memory += [reader, write]
            libc.fcntl(write, 1031, MiB)
            os.set_blocking(write, False)
            size += os.write(write, bytes(MiB))
    for each in memory:
        os.close(each)
    return f"holds {size} in pipes" if size > 64 * MiB else ""


def by_temporary_files(outside: Outside) -> str:
    """In each place that can be written, until it is full or beyond what all may hold."""
    size, results = 0, []
    for folder in (".", os.environ["TMPDIR"], "/dev/shm", "/dev", "/", "/run", "/var"):
        with suppress(OSError):
            for number in range(16):
                results.append(f"{folder}/fill{number}")
                with open(results[-1], "wb", buffering=0) as file:
                    for _ in range(8):
                        size += file.write(bytes(8 * MiB))
    for path in results:
        with suppress(OSError):
            os.unlink(path)
    return f"wrote {size}" if size > outside["disk"] + 64 * MiB else ""


def one_large_file(outside: Outside) -> str:
    with open("large", "wb", buffering=0) as file:
        for _ in range(9):
            file.write(bytes(8 * MiB))
    return "wrote a file of 72 MiB"


def one_reserved_file(outside: Outside) -> str:
    with open("reserved", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, outside["disk"] * 2)
    return "reserved more than the disk"


def one_file_reserved_beyond_its_size(outside: Outside) -> str:
    """FALLOC_FL_KEEP_SIZE: no limit on sizes of files is asked."""
    with open("reserved", "wb") as file:
        size = ctypes.c_long(outside["disk"] * 2)
        if libc.fallocate(file.fileno(), 1, ctypes.c_long(0), size) == 0:
            return "reserved more than the disk"
    return ""


def many_files_at_once(outside: Outside) -> str:
    """64 MiB each in one call, faster than anybody counts."""
    size = 0
    for number in range(16):
        with open(f"reserved{number}", "wb") as file:
            if libc.fallocate(file.fileno(), 0, ctypes.c_long(0), ctypes.c_long(64 * MiB)):
                break
            size += os.fstat(file.fileno()).st_blocks * 512
    return f"took {size} at once" if size > outside["disk"] + 64 * MiB else ""


def by_locks(outside: Outside) -> str:
    """Record locks lie in the kernel's memory, and there is no limit on them."""
    lock = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    with open("locked", "wb+") as one, open("locked", "rb+") as other:
        fcntl.fcntl(one, fcntl.F_SETLK, lock)
        match = struct.unpack("@hhqqi4x", fcntl.fcntl(other, 36, lock))  # F_OFD_GETLK
    return "holds a record lock" if match[0] != fcntl.F_UNLCK else ""


def by_locks_of_files(outside: Outside) -> str:
    lock = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    with open("locked", "wb") as file:
        fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
    return "holds a record lock"


def by_timers(outside: Outside) -> str:
    results: list[int] = []
    timer = ctypes.c_int()
    while len(results) < 5_000:
        if libc.syscall(222 if INTEL else 107, 1, None, ctypes.byref(timer)) < 0:
            break
        results.append(timer.value)
    for each in results:
        libc.syscall(226 if INTEL else 111, each)
    return f"made {len(results)} timers" if len(results) > 1_000 else ""


def open_files_of_threads(outside: Outside) -> str:
    """Each with a table of its own (CLOSE_RANGE_UNSHARE), where the limit begins anew."""
    simple_queue: queue.SimpleQueue[int] = queue.SimpleQueue()
    end = threading.Event()

    def hoard() -> None:
        memory: list[int] = []
        libc.close_range(900, 900, 2)
        with suppress(OSError):
            while len(memory) < 200:
                memory += [os.dup(0)]
        simple_queue.put(len(memory))
        end.wait()
        for each in memory:
            os.close(each)

    threads = [threading.Thread(target=hoard) for _ in range(4)]
    for each in threads:
        each.start()
    count = sum(simple_queue.get() for _ in threads)
    end.set()
    for each in threads:
        each.join()
    return f"opened {count}" if count > 256 else ""


def open_files(outside: Outside) -> str:
    memory: list[int] = []
    with suppress(OSError):
        while len(memory) < 5000:
            memory += [os.dup(0)]
    count = len(memory)
    for each in memory:
        os.close(each)
    return f"opened {count}" if count > 256 else ""


def watched_memory(outside: Outside) -> str:
    number = 323 if INTEL else 282
    return "handles page faults" if libc.syscall(number, 0) >= 0 else ""


EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "one_large": lambda outside: f"took {len(bytearray(outside['memory']))}",
    "text": lambda outside: str(len("x" * outside["memory"])),
    "by_secret_memory_file": lambda outside: (
        "has a secret file in memory" if libc.syscall(447, 0) >= 0 else ""
    ),
    "by_old_shared_memory": lambda outside: (
        "has shared memory" if libc.shmget(0, MiB, 0o1600) >= 0 else ""
    ),
    "by_locking": lambda outside: "locked its memory" if libc.mlockall(3) == 0 else "",
}
CALLS: dict[str, tuple[str, Callable[[Outside], object]]] = {
    "one_large_map": ("mapped the cap", lambda outside: mmap.mmap(-1, outside["memory"])),
    "unreserved_map": (
        "mapped the cap",
        lambda outside: mmap.mmap(
            -1, outside["memory"], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
        ),
    ),
    "shared_map": (
        "mapped the cap",
        lambda outside: mmap.mmap(
            -1, outside["memory"], flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
        ),
    ),
    "by_memory_file": ("has a file in memory", lambda outside: os.memfd_create("x")),
}
"""Calls, with what was done if they return."""
