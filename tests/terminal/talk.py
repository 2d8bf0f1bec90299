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
    chat.SLOW = int(slow[0]) if slow else chat.SLOW
    sys.exit(asyncio.run(chat.chat(Path(path), "en", sys.stdin, sys.stdout)))
