"""`ponte chat` whose input counts as typed by a person, since lines of a pipe are no commands."""

from __future__ import annotations

import sys

from bot.cli.main import main

if __name__ == "__main__":
    sys.stdin.isatty = lambda: True  # type: ignore[method-assign]
    sys.argv[0] = "ponte"
    sys.exit(main())
