"""Which folders of this machine an interpreter needs, and which of those are the bot's own."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

# Not all of /usr: programs of one's own are often put into /usr/src/app, settings and all.
SYSTEM = tuple(
    Path("/usr", each)
    for each in (
        *("bin", "lib", "lib32", "lib64", "libx32", "share"),
        *("local/bin", "local/lib", "local/lib64", "local/share"),
    )
)
LINKS = tuple(Path(each) for each in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"))
LOADER = Path("/etc/ld.so.cache")
"""Where the loader finds libraries outside its standard folders; names of libraries alone."""


def system() -> tuple[Path, ...]:
    return tuple(each for each in SYSTEM if each.is_dir())


def of(python: Path) -> tuple[Path, ...]:
    """The environment of `python` (`…/bin/python`) and its base, where they lie elsewhere."""
    environment = python.parent.parent
    base = python.resolve().parent.parent
    wanted = dict.fromkeys((environment, environment.resolve(), base))
    return tuple(each for each in wanted if not each.is_relative_to("/usr"))


def hidden(trees: Iterable[Path]) -> tuple[Path, ...]:
    """Where the bot's own modules lie within `trees`: they are nobody's business inside."""
    standard = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    ours = {
        Path(each).resolve()
        for each in sys.path
        if os.path.isdir(each or ".") and not _is_standard(Path(each), standard)
    }
    inside = (each for each in ours if any(_is_below(each, tree) for tree in trees))
    return tuple(sorted(inside))


def without(tree: Path, hidden: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """`tree` in pieces that hold nothing hidden; True: the piece is whole, False: names alone."""
    within = [each for each in hidden if _is_below(each, tree)]
    if not within:
        yield tree, True
        return
    yield tree, False
    for child in sorted(tree.iterdir()):
        # What a link leads to is in a tree itself, or is not wanted.
        if child not in within and not child.is_symlink():
            yield from without(child, within)


def _is_below(path: Path, tree: Path) -> bool:
    return path != tree and path.is_relative_to(tree)


def _is_standard(path: Path, standard: Iterable[Path]) -> bool:
    packages = {"site-packages", "dist-packages"}
    return any(path.is_relative_to(each) for each in standard) and not packages & set(path.parts)
