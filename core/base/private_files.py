"""Create files that only the current user can read, also in folders that others can write.

`O_NOFOLLOW` and `O_EXCL` keep another user from redirecting a write by a prepared symbolic link or
file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """The folder itself must not be a symbolic link; its parents may be. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _open_folder(str(path)) as folder:
        yield folder


@contextmanager
def make_folder(name: str, parent: int) -> Iterator[int]:
    """Raise OSError; FileExistsError if the name exists."""
    os.mkdir(name, 0o700, dir_fd=parent)
    with _open_folder(name, parent) as folder:
        yield folder


def create_file(name: str | Path, folder: int | None = None) -> BinaryIO:
    """`folder` is the descriptor of its folder; None uses the path as it is. Raises OSError;
    FileExistsError if the name exists, even as a symbolic link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(name, flags, 0o600, dir_fd=folder), "w+b")


def has_content(name: str, folder: int, data: bytes) -> bool:
    """Return True if `name` is a regular file of this user with exactly these bytes, so that it
    need not be written again. A file of another user could change later.

    `folder` is the descriptor of its folder. A symbolic link does not count.
    """
    # O_NONBLOCK: opening a FIFO of that name must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return False
        with open(file, "rb", closefd=False) as stream:
            return status.st_size == len(data) and stream.read() == data
    finally:
        os.close(file)


@contextmanager
def _open_folder(path: str, parent: int | None = None) -> Iterator[int]:
    """Yield the descriptor of a folder that is no symbolic link. `parent` is the descriptor of the
    folder that `path` is relative to."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(path, flags, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)
