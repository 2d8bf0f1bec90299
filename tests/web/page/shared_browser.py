"""One Chromium for all test processes of a run.

`python -m tests.web.page.shared_browser` prints its address, and runs until its standard input
ends. The tests connect by Chromium's own protocol: to a server of Playwright's they would be
remote, and a download would have no path.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright
from playwright.sync_api import sync_playwright

from tests.real.shared import share_server, start_detached
from tests.web.page.browser import ARGUMENTS, CHROMIUM


@asynccontextmanager
async def shared_chromium(folder: Path) -> AsyncIterator[Browser]:
    """Yield the browser of all processes that pass the same `folder`."""
    with share_server(folder, "chromium", _start) as address:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.connect_over_cdp(address)
            yield browser
            await browser.close()


def _start(pipe: int) -> str:
    return start_detached("tests.web.page.shared_browser", pipe)


def _find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> None:
    port = _find_free_port()
    with sync_playwright() as playwright:
        arguments = [*ARGUMENTS, f"--remote-debugging-port={port}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        print(f"http://127.0.0.1:{port}", flush=True)
        sys.stdin.read()
        browser.close()


if __name__ == "__main__":
    main()
