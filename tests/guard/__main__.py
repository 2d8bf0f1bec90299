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
    dump = run_dialogues(chosen, given.processes)
    if given.compare is None:
        sys.stdout.write(dump)
        return 0
    differences = compare(given.compare.read_text(encoding="utf-8"), dump, only=given.names)
    sys.stdout.write(differences)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
