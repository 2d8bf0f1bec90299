"""Reading what is not theirs: the bot's environment, other processes, the machine's files."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside


def own_environment(outside: Outside) -> str:
    ours = {"PATH", "LANG", "MPLBACKEND", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
    more = set(os.environ) - ours - {"MALLOC_ARENA_MAX", "HOME", "TMPDIR", "PWD", "LC_CTYPE"}
    return f"found {more}" if more else ""


def first_process_environment(outside: Outside) -> str:
    if os.getpid() == 1:
        return ""
    content = _read("/proc/1/environ")
    return f"read {content[:50]!r}" if content else ""


def parent_environment(outside: Outside) -> str:
    content = _read(f"/proc/{os.getppid() or 1}/environ") if os.getpid() != 1 else b""
    return f"read {content[:50]!r}" if content else ""


def every_environment(outside: Outside) -> str:
    matches = [pid for pid in _pids() if _says(outside, f"/proc/{pid}/environ")]
    return f"read the environment of {matches}" if matches else ""


def every_command_line(outside: Outside) -> str:
    events = [pid for pid in _pids() if pid not in (1, os.getpid())]
    return f"sees processes {events}" if events else ""


def bot_memory(outside: Outside) -> str:
    with open(f"/proc/{outside['bot']}/mem", "rb"):
        return "opened the bot's memory"


def first_process_memory(outside: Outside) -> str:
    if os.getpid() == 1:
        return ""
    with open("/proc/1/mem", "r+b"):
        return "opened the memory of process 1"


def parent_memory(outside: Outside) -> str:
    with open(f"/proc/{os.getppid()}/mem", "rb"):
        return "opened the parent's memory"


def files_of_bot(outside: Outside) -> str:
    match = os.listdir(f"/proc/{outside['bot']}/fd")
    return f"listed the bot's files: {match}"


def kernel_memory(outside: Outside) -> str:
    for path in ("/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore"):
        if _opens(path):
            return f"opened {path}"
    return ""


def kernel_addresses(outside: Outside) -> str:
    with open("/proc/kallsyms") as symbols:
        first = symbols.readline()
    return f"read {first}" if first and int(first.split()[0], 16) else ""


def passwords(outside: Outside) -> str:
    for path in ("/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"):
        if _opens(path):
            return f"read {path}"
    return ""


def file_by_symbolic_link(outside: Outside) -> str:
    os.symlink(outside["file"], "link")
    return _says(outside, "link")


def file_by_hard_link(outside: Outside) -> str:
    os.link(outside["file"], "hard")
    return _says(outside, "hard")


def file_by_descriptor(outside: Outside) -> str:
    folder = os.open("/", os.O_PATH)
    try:
        file = os.open(outside["file"].lstrip("/"), os.O_RDONLY, dir_fd=folder)
        return f"read {os.read(file, 50)!r}"
    finally:
        os.close(folder)


def file_by_path_descriptor(outside: Outside) -> str:
    file = os.open(outside["file"], os.O_PATH)
    try:
        return _says(outside, f"/proc/self/fd/{file}")
    finally:
        os.close(file)


def file_by_link_of_descriptor(outside: Outside) -> str:
    """AT_SYMLINK_FOLLOW on what /proc names, AT_EMPTY_PATH on what has no name."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open(outside["file"], os.O_PATH)
    try:
        for old, folder, flag in ((f"/proc/self/fd/{file}", -100, 0x400), ("", file, 0x1000)):
            libc.linkat(folder, old.encode(), -100, b"linked", flag)
            if message := _says(outside, "linked"):
                return message
    finally:
        os.close(file)
    return ""


def file_by_handle(outside: Outside) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    handle, mount = ctypes.create_string_buffer(128), ctypes.c_int()
    handle[0] = b"x"
    path = outside["folder"].encode()
    got = libc.name_to_handle_at(-100, path, handle, ctypes.byref(mount), 0) == 0
    return "got a handle of a file outside" if got else ""


def folders_of_others(outside: Outside) -> str:
    for folder in ("/", "/tmp", "/home", "/root", "/var", "/opt", "/srv", "/run", outside["home"]):
        try:
            names = set(os.listdir(folder))
        except OSError:
            continue
        ours = {"bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "tmp", "work"}
        ours |= {"dev", "proc", "ponte", "etc", *outside["python"].split("/")}
        if foreign := names - ours:
            return f"listed {folder}: {foreign}"
    return ""


def folders_of_other_kernels(outside: Outside) -> str:
    above = os.path.dirname(os.path.dirname(os.getcwd()))
    matches = [name for name in os.listdir(above) if name.startswith("session")]
    return f"listed {matches}" if matches else ""


def watching_files(outside: Outside) -> str:
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init()
    if watch >= 0 and libc.inotify_add_watch(watch, outside["folder"].encode(), 0xFFF) >= 0:
        return "watches a folder outside"
    return "watches the whole machine" if libc.fanotify_init(0, 0) >= 0 else ""


def open_descriptors(outside: Outside) -> str:
    """Only 0, 1, 2 and the two pipes: nothing was inherited from the bot."""
    matches = [number for number in range(1024) if _is_open(number)]
    return f"has {matches}" if len(matches) > 5 else ""


def descriptors_are_pipes(outside: Outside) -> str:
    odd = [n for n in range(1024) if _is_open(n) and os.fstat(n).st_mode & 0o170000 != 0o010000]
    return f"{odd} are no pipes" if odd else ""


def bot_modules(outside: Outside) -> str:
    for name in ("core", "bot", "adapters", "openai", "slack_bolt", "discord"):
        if name in sys.modules or _imports(name):
            return f"imported {name}"
    return ""


def _imports(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _opens(path: str) -> bool:
    try:
        open(path, "rb").close()
    except OSError:
        return False
    return True


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(100_000)
    except OSError:
        return b""


def _says(outside: Outside, path: str) -> str:
    return f"read the secret in {path}" if outside["secret"].encode() in _read(path) else ""


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "own_proc_environment": lambda outside: _says(outside, "/proc/self/environ"),
    "bot_environment": lambda outside: _says(outside, f"/proc/{outside['bot']}/environ"),
    "root_of_first_process": lambda outside: _says(outside, f"/proc/1/root{outside['file']}"),
    "root_of_bot": lambda outside: _says(outside, f"/proc/{outside['bot']}/root{outside['file']}"),
    "own_root": lambda outside: _says(outside, f"/proc/self/root{outside['file']}"),
    "file_of_all": lambda outside: _says(outside, outside["file"]),
    "file_by_dots": lambda outside: _says(outside, "../" * 30 + outside["file"].lstrip("/")),
}
