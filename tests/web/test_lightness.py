"""Starting the web must not stall the event loop: heavy imports happen in a thread."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("starlette", "uvicorn", "markdown_it", "nh3", "multipart", "httpx")


def test_the_adapter_s_own_import_is_light() -> None:
    code = (
        "import sys, adapters.web.hub, adapters.terminal.chat;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
