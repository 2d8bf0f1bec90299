"""Run the command `ponte` with short pauses between the polls of a quick command."""

from __future__ import annotations

import sys

from bot.cli.main import main
from core.base.tasks import Backoff
from core.tools.stackspot import client

if __name__ == "__main__":
    client.STACKSPOT_POLL_BACKOFF = Backoff(0.05)
    sys.exit(main())
