"""Dumps what dialogues do, or compares it: `python -m tests.guard [--compare FILE] [NAME …]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.guard.compare import compare
from tests.guard.dialogues import list_dialogues, run_dialogues


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of dialogues; else all")
    parser.add_argument("--compare", type=Path, help="print what differs from this dump")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--list", action="store_true", help="print the names of dialogues")
    given = parser.parse_args()
    chosen = [
        one for one in list_dialogues()
        if not given.names or any(name in one for name in given.names)
    ]  # fmt: skip
    if given.list:
        sys.stdout.write("".join(f"{one}\n" for one in chosen))
        return 0
    dumps = run_dialogues(chosen, given.processes)
    if given.compare is None:
        for dump in dumps:
            sys.stdout.write(dump)
            sys.stdout.flush()
        return 0
    old = given.compare.read_text(encoding="utf-8")
    differences = compare(old, "".join(dumps), only=given.names)
    sys.stdout.write(differences)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
