"""Memory and disk by every road: all of it together must stay under the cap."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import threading
from contextlib import suppress
from multiprocessing import shared_memory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.real.sandbox.outside import Outside

libc = ctypes.CDLL(None, use_errno=True)
INTEL = platform.machine() == "x86_64"
MiB = 1 << 20


def one_large(outside: Outside) -> str:
    return f"took {len(bytearray(outside['memory']))}"


def one_large_map(outside: Outside) -> str:
    mmap.mmap(-1, outside["memory"])
    return "mapped the cap"


def unreserved_map(outside: Outside) -> str:
    mmap.mmap(-1, outside["memory"], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    return "mapped the cap"


def shared_map(outside: Outside) -> str:
    mmap.mmap(-1, outside["memory"], flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    return "mapped the cap"


def many_pieces(outside: Outside) -> str:
    kept = [mmap.mmap(-1, 16 * MiB) for _ in range(outside["memory"] // (16 * MiB))]
    return f"mapped the cap in {len(kept)} pieces"


def many_small(outside: Outside) -> str:
    kept = [[bytes(1000) for _ in range(1024)] for _ in range(outside["memory"] // MiB)]
    return f"took {len(kept)} MiB in small objects"


def text(outside: Outside) -> str:
    return str(len("x" * outside["memory"]))


def by_break(outside: Outside) -> str:
    libc.sbrk.restype = ctypes.c_void_p
    end = libc.sbrk(ctypes.c_long(outside["memory"]))
    return "moved the break" if end not in (None, ctypes.c_void_p(-1).value) else ""


def by_growing(outside: Outside) -> str:
    grown = mmap.mmap(-1, MiB)
    grown.resize(outside["memory"])
    return "grew a map"


def by_memory_file(outside: Outside) -> str:
    os.memfd_create("x")
    return "has a file in memory"


def by_secret_memory_file(outside: Outside) -> str:
    return "has a secret file in memory" if libc.syscall(447, 0) >= 0 else ""


def by_old_shared_memory(outside: Outside) -> str:
    return "has shared memory" if libc.shmget(0, MiB, 0o1600) >= 0 else ""


def by_shared_memory(outside: Outside) -> str:
    """As much as its memory file system gives, which is small."""
    kept, size = [], 0
    with suppress(OSError, MemoryError):
        while size <= 4 * 64 * MiB:
            kept.append(shared_memory.SharedMemory(create=True, size=16 * MiB))
            ctypes.memset(
                ctypes.addressof(ctypes.c_char.from_buffer(kept[-1].buf or b"")), 1, 16 * MiB
            )
            size += 16 * MiB
    for each in kept:
        each.unlink()
    return f"took {size} beside the cap" if size > 64 * MiB else ""


def by_locking(outside: Outside) -> str:
    return "locked its memory" if libc.mlockall(3) == 0 else ""


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
    kept = []
    with suppress(OSError):
        while size < 512 * MiB:
            read, write = os.pipe()
            kept += [read, write]
            libc.fcntl(write, 1031, MiB)
            os.set_blocking(write, False)
            size += os.write(write, bytes(MiB))
    for each in kept:
        os.close(each)
    return f"holds {size} in pipes" if size > 64 * MiB else ""


def by_temporary_files(outside: Outside) -> str:
    """In each place that can be written, until it is full or beyond what all may hold."""
    size, made = 0, []
    for folder in (".", os.environ["TMPDIR"], "/dev/shm", "/dev", "/", "/run", "/var"):
        with suppress(OSError):
            for number in range(16):
                made.append(f"{folder}/fill{number}")
                with open(made[-1], "wb", buffering=0) as file:
                    for _ in range(8):
                        size += file.write(bytes(8 * MiB))
    for path in made:
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


def open_files(outside: Outside) -> str:
    kept: list[int] = []
    with suppress(OSError):
        while len(kept) < 5000:
            kept += [os.dup(0)]
    count = len(kept)
    for each in kept:
        os.close(each)
    return f"opened {count}" if count > 256 else ""


def watched_memory(outside: Outside) -> str:
    number = 323 if INTEL else 282
    return "handles page faults" if libc.syscall(number, 0) >= 0 else ""
