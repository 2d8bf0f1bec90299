"""Which folders of this machine an interpreter needs, and no more."""

from __future__ import annotations

from pathlib import Path

SYSTEM = Path("/usr")
LINKS = tuple(Path(each) for each in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"))
LOADER = Path("/etc/ld.so.cache")
"""Where the loader finds libraries outside its standard folders; names of libraries alone."""


def of(python: Path) -> tuple[Path, ...]:
    """The environment of `python` (`…/bin/python`) and its base, where they lie outside /usr."""
    environment = python.parent.parent
    base = python.resolve().parent.parent
    wanted = dict.fromkeys((environment, environment.resolve(), base))
    return tuple(each for each in wanted if not each.is_relative_to(SYSTEM))
