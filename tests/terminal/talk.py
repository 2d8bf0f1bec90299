"""`python -m tests.terminal.talk SOCKET [SLOW]` talks at that socket, as `ponte chat` does.

After SLOW seconds it says for how long it works.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from adapters.terminal import chat

if __name__ == "__main__":
    path, *slow = sys.argv[1:]
    chat.SHOW_TIME_AFTER_SECONDS = int(slow[0]) if slow else chat.SHOW_TIME_AFTER_SECONDS
    sys.exit(asyncio.run(chat.chat(Path(path), sys.stdin, sys.stdout)))
