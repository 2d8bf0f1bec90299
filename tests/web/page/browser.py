"""The system's Chromium, and axe-core from npm, for tests of the page."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path
from playwright.async_api import Browser, Page, async_playwright, expect

AXE = "4.11.0"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), "")
NO_CHROMIUM = "needs Chromium (apt install chromium)"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip(NO_CHROMIUM)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


def axe_source() -> str:
    """axe-core's script; fetched once with npm into the user's cache, not into the checkout."""
    folder = user_cache_path("ponte-tests") / f"axe-core-{AXE}"
    script = folder / "package" / "axe.min.js"
    if not script.exists():
        _fetch(folder)
    return script.read_text("utf-8")


def _fetch(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm (apt install npm)")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        packed = subprocess.run(
            [npm, "pack", f"axe-core@{AXE}", "--pack-destination", str(folder)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (subprocess.SubprocessError, OSError):
        pytest.skip(f"needs axe-core (npm pack axe-core@{AXE})")
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")


async def findings(page: Page, source: str) -> list[str]:
    """What axe-core finds on the page as it stands, but for what it calls minor."""
    if not await page.evaluate("'axe' in globalThis"):
        await page.evaluate(source)
    value: dict[str, Any] = await page.evaluate(
        "axe.run({resultTypes: ['violations'], preload: false})"
    )
    return [
        f"{one['id']}: {node['html']}"
        for one in value["violations"]
        if one["impact"] != "minor"
        for node in one["nodes"]
    ]


async def wait_until(page: Page, expression: str) -> None:
    """Wait until it is true in the page, asked once a frame. The page's policy forbids Playwright's
    own `wait_for_function` to ask a second time."""
    while not await page.evaluate(expression):
        await page.evaluate("new Promise(requestAnimationFrame)")


async def visit(page: Page, address: str) -> None:
    """Open it, and wait until its script listens, which is after the browser's `load`."""
    await page.goto(address)
    await page.wait_for_selector("#list[aria-busy=false]", state="attached")


async def resize(page: Page, width: int, height: int = 800, *, dark: bool = False) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme="dark" if dark else "light")


async def choose(page: Page, entry: str, opener: str = "#me") -> None:
    """Open a menu by its button, and choose the entry with this name. By events, because a list may
    be drawn between the press and the release of a mouse."""
    await page.locator(opener).dispatch_event("click")
    await (
        page.get_by_role("menu").locator("[role^=menuitem]", has_text=entry).dispatch_event("click")
    )


async def show_sign_in(page: Page) -> None:
    """Open the dialog of signing in, which is drawn when it is needed."""
    await _call(page, "sign-in.js", "show()")
    await expect(page.locator("#signin")).to_be_visible()


async def show_picture(page: Page) -> None:
    """Show one large, as a press of it does."""
    await _call(page, "details.js", "enlarge({ src: '/page/ponte.svg', alt: 'A bridge' })")
    await expect(page.locator("#picture")).to_be_visible()


async def _call(page: Page, script: str, call: str) -> None:
    address = f"new URL('{script}', document.querySelector('script').src)"
    await page.evaluate(f"async () => (await import({address})).{call}")


async def say(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def ask(page: Page, text: str) -> None:
    """Say it, and wait for the echo, which is the first answer on the page."""
    await say(page, text)
    await expect(page.locator(".body")).to_have_text(f"You said: {text}")
