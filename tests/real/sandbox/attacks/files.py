"""Writing where they must not: the machine, the sandbox's own programs, devices."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.sandbox.outside import Outside

libc = ctypes.CDLL(None, use_errno=True)


def empty_by_neither(outside: Outside) -> str:
    """The access mode 3 neither reads nor writes (open(2)), and empties all the same."""
    os.open(outside["file"], os.O_ACCMODE | os.O_TRUNC)
    return "" if os.stat(outside["file"]).st_size else "emptied a file outside"


def rename_outside(outside: Outside) -> str:
    os.rename(outside["file"], outside["folder"] + "/renamed")
    os.rename(outside["folder"] + "/renamed", outside["file"])
    return "renamed a file outside"


def move_outside(outside: Outside) -> str:
    open("mine", "w").close()
    os.rename("mine", outside["folder"] + "/theirs")
    return "put a file outside"


def link_outside(outside: Outside) -> str:
    open("mine", "w").close()
    os.link("mine", outside["folder"] + "/linked")
    return "linked a file outside"


def permissions_outside(outside: Outside) -> str:
    """May seem to succeed; the outside looks whether anything changed."""
    os.chmod(outside["file"], 0)
    return ""


def times_outside(outside: Outside) -> str:
    os.utime(outside["file"], (0, 0))
    return ""


def write_to_system(outside: Outside) -> str:
    for folder in ("", "/usr", "/usr/bin", "/usr/lib", "/etc", "/dev", "/proc", "/var/tmp", "/run"):
        if message := _writes(folder + "/ponte-attack"):
            return message
    return ""


def write_to_environment(outside: Outside) -> str:
    for folder in [os.path.dirname(sys.executable), *filter(os.path.isdir, sys.path)]:
        if message := _writes(folder + "/sitecustomize.py"):
            return message
    return ""


def write_to_programs(outside: Outside) -> str:
    for path in (sys.modules["inside"].__file__ or "", sys.argv[0]):
        if message := _writes(path):
            return message
    return ""


def system_settings(outside: Outside) -> str:
    for path in ("core_pattern", "modprobe", "hostname", "randomize_va_space", "panic"):
        if message := _writes("/proc/sys/kernel/" + path, b"0"):
            return message
    return _writes("/proc/sysrq-trigger", b"")


def control_groups(outside: Outside) -> str:
    for path in ("/sys/fs/cgroup/cgroup.procs", "/sys/kernel/mm/ksm/run", "/sys/power/state"):
        if message := _writes(path, b""):
            return message
    return ""


def devices(outside: Outside) -> str:
    for name in ("kvm", "fuse", "net/tun", "vda", "sda", "loop-control", "uinput", "vhost-net"):
        if message := _writes("/dev/" + name, b""):
            return message
    return ""


def terminal(outside: Outside) -> str:
    file = os.open("/dev/tty", os.O_RDWR)
    return f"has a terminal: {file}"


def type_into_terminal(outside: Outside) -> str:
    """TIOCSTI and TIOCLINUX, also with bits in the upper half that the kernel drops."""
    ctypes.set_errno(0)
    for number in (0x5412, 0x541C, 0x5412 | 1 << 32):
        for file in range(3):
            if libc.syscall(ctypes.c_long(16), file, ctypes.c_ulong(number), b"x") == 0:
                return "typed into a terminal"
    return ""


def set_user_bit(outside: Outside) -> str:
    with open("root", "wb") as file:
        os.fchmod(file.fileno(), 0o4755)
        return "set the bit" if os.fstat(file.fileno()).st_mode & stat.S_ISUID else ""


def locked_folder(outside: Outside) -> str:
    """One that its remover could not enter."""
    os.umask(0o777)
    os.mkdir("locked", 0o777)
    os.chmod("locked", 0)
    if os.stat("locked").st_mode & 0o700 != 0o700:
        return "made a folder that cannot be entered"
    os.mkdir("shut", 0)
    return "made a folder that cannot be entered"


def new_mounts(outside: Outside) -> str:
    for number in (428, 429, 430, 431, 432, 433, 442):
        if libc.syscall(number, b"tmpfs", 0, 0, 0, 0) >= 0:
            return f"call {number} worked"
    return ""


def change_root(outside: Outside) -> str:
    os.mkdir("root-of-mine")
    os.chroot("root-of-mine")
    return "changed the root"


def _describe_success(result: int, what: str) -> str:
    return what if result >= 0 else ""


def _writes(path: str, content: bytes = b"x") -> str:
    try:
        with open(path, "ab", buffering=0) as file:
            file.write(content)
    except OSError:
        return ""
    return f"wrote to {path}"


EXPRESSIONS: dict[str, Callable[[Outside], object]] = {
    "write_outside": lambda outside: _writes(outside["folder"] + "/new"),
    "change_outside": lambda outside: _writes(outside["file"]),
    "write_to_interpreter": lambda outside: _writes(os.path.realpath(sys.executable)),
    "out_of_memory_score": lambda outside: _writes("/proc/self/oom_score_adj", b"-1000"),
    "user_map": lambda outside: _writes("/proc/self/uid_map", b"0 0 1"),
    "mount_memory": lambda outside: _describe_success(
        libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), "mounted"
    ),
    "mount_writable": lambda outside: _describe_success(
        libc.mount(b"none", b"/usr", None, 32 | 4096, None), "mounted /usr anew"
    ),
    "unmount": lambda outside: _describe_success(libc.umount2(b"/proc", 2), "unmounted /proc"),
    "pivot_root": lambda outside: _describe_success(
        libc.syscall(155, b".", b"."), "changed the root"
    ),
}
CALLS: dict[str, tuple[str, Callable[[Outside], object]]] = {
    "empty_outside": ("emptied a file outside", lambda outside: os.truncate(outside["file"], 0)),
    "empty_by_reading": (
        "opened the interpreter to empty it",
        lambda outside: os.open(sys.executable, os.O_RDONLY | os.O_TRUNC),
    ),
    "delete_outside": ("deleted a file outside", lambda outside: os.unlink(outside["file"])),
    "move_inside": ("took a file from outside", lambda outside: os.rename(outside["file"], "mine")),
    "folder_outside": (
        "made a folder outside",
        lambda outside: os.mkdir(outside["folder"] + "/made"),
    ),
    "symbolic_link_outside": (
        "made a link outside",
        lambda outside: os.symlink("/", outside["folder"] + "/link"),
    ),
    "owner_outside": (
        "changed an owner",
        lambda outside: os.chown(outside["file"], os.getuid(), -1),
    ),
    "attributes_outside": (
        "set an attribute",
        lambda outside: os.setxattr(outside["file"], "user.x", b"1"),
    ),
    "named_pipe": ("made a named pipe", lambda outside: os.mkfifo("pipe")),
    "character_device": (
        "made a device",
        lambda outside: os.mknod("memory", 0o600 | stat.S_IFCHR, os.makedev(1, 1)),
    ),
    "block_device": (
        "made a disk",
        lambda outside: os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0)),
    ),
}
"""Calls, with what was done if they return."""
