"""Landlock: which files this process can still open. https://docs.kernel.org/userspace-api/landlock.html

Numbers of the three calls, and of rights, are those of `include/uapi/linux/landlock.h`; the calls
have the same numbers on every processor.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from .kernel_calls import PR_SET_NO_NEW_PRIVS, call, prctl

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
"""Calls: create a ruleset, add a rule to it, apply it to this process."""
ASK_VERSION, PATH_BENEATH = 1, 1
"""The flag that asks for the version, and the kind of a rule for all below a path."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
REFER, TRUNCATE = 1 << 13, 1 << 14

# How many rights over files each version of the interface knows, counted from bit 0.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_LATEST_RIGHTS = 16
"""The number of rights for versions after those."""
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6

READ = EXECUTE | READ_FILE | READ_DIR
OWN = (
    READ_FILE
    | READ_DIR
    | WRITE_FILE
    | TRUNCATE
    | REFER
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SYM
)
"""What a program may do in its own folder."""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    try:
        return call(CREATE, None, 0, ASK_VERSION)
    except OSError:
        return 0


def restrict(
    read: Iterable[str], list: Iterable[str], own: Iterable[str], write: Iterable[str]
) -> None:
    """From now on, only these paths can be read, listed, used in all ways (`own`) or written.
    Missing paths are ignored. Signals to processes outside, their abstract sockets, and TCP are
    blocked if the kernel can do that. Raise OSError. Landlock forbids what is in `handled` and in
    no rule; each version of it knows more rights."""
    abi = version()  # of Landlock's interface
    # One bit for each right that this kernel knows. `_RIGHTS` has their number for each version.
    handled = (1 << _RIGHTS.get(abi, _LATEST_RIGHTS)) - 1
    # Two bits each: to open and to connect TCP ports; abstract sockets and signals.
    network = 0b11 if abi >= _NETWORK_SINCE else 0
    scopes = 0b11 if abi >= _SCOPES_SINCE else 0
    # Older kernels refuse a longer structure than they know.
    size = 24 if scopes else 16 if network else 8
    attributes = _Ruleset(handled, network, scopes)
    rules = call(CREATE, _address(attributes), size, 0)  # a file descriptor
    # READ includes the right to run a file, OWN all changes of files and folders.
    groups = ((read, READ), (list, READ_DIR), (own, OWN), (write, READ_FILE | WRITE_FILE))
    for paths, rights in groups:
        for path in paths:
            _allow(rules, path, rights & handled)
    # The kernel demands it: a set-uid program would otherwise run with root's rights under these
    # rules.
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    call(RESTRICT, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    """A path that this machine lacks is left out."""
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    # The rule names the path by this file descriptor. For a file, the kernel refuses rights that
    # only folders have.
    try:
        of_files = rights if os.path.isdir(path) else rights & _OF_FILES
        call(ADD_RULE, rules, PATH_BENEATH, _address(_Beneath(of_files, folder)), 0)
    finally:
        os.close(folder)


def _address(structure: ctypes.Structure) -> ctypes.c_void_p:
    return ctypes.cast(ctypes.pointer(structure), ctypes.c_void_p)
