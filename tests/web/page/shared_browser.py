"""One Chromium for all test processes of a run.

`python -m tests.web.page.shared_browser` runs one until its standard input ends, and prints the
address to which Playwright connects.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright._impl._driver import compute_driver_executable, get_driver_env
from playwright.async_api import Browser, async_playwright

from tests.real.shared import share_server, start_detached
from tests.web.page.browser import ARGUMENTS, CHROMIUM


@asynccontextmanager
async def shared_chromium(folder: Path) -> AsyncIterator[Browser]:
    """Yield the browser of all processes that pass the same `folder`."""
    with share_server(folder, "chromium", _start) as address:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.connect(address)
            yield browser
            await browser.close()


def _start(pipe: int) -> str:
    return start_detached("tests.web.page.shared_browser", pipe)


def main() -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as options:
        json.dump({"executablePath": CHROMIUM, "args": ARGUMENTS, "host": "127.0.0.1"}, options)
        options.flush()
        command = [*compute_driver_executable(), "launch-server", "--browser=chromium"]
        with subprocess.Popen(
            [*command, f"--config={options.name}"], stdin=subprocess.DEVNULL, env=get_driver_env()
        ) as process:
            sys.stdin.read()
            process.terminate()


if __name__ == "__main__":
    main()
