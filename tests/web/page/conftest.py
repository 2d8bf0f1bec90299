"""One browser for all tests of the page, and one tab for most. Each test has its own Ponte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Error, Page, expect

from tests.web.page.browser import CHROMIUM, NO_CHROMIUM, resize, visit
from tests.web.page.shared_browser import shared_chromium
from tests.web.web_ponte import WebPonte

PAGE_TIMEOUT_MILLISECONDS = 60_000
"""Milliseconds that a busy machine may take to show something."""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser(run_folder: Path) -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip(NO_CHROMIUM)
    async with shared_chromium(run_folder) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shared_tab(browser: Browser) -> AsyncIterator[Page]:
    # A page that a service worker has claimed sends requests past `Page.route`.
    async with _open_tab(browser, service_workers="block") as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shared_axe_tab(browser: Browser) -> AsyncIterator[Page]:
    async with _open_tab(browser, bypass_csp=True) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def ponte() -> AsyncIterator[WebPonte]:
    ponte = WebPonte()
    await ponte.open()
    yield ponte
    await ponte.close()


@pytest_asyncio.fixture(loop_scope="session")
async def tab(shared_tab: Page) -> AsyncIterator[Page]:
    """An empty tab without cookies. A script error or a blocked resource fails the test.

    All tests use the same one, because a new tab costs a second of processor time. A test that
    changes what cannot be reset (the clock, touch) opens a context of its own.
    """
    async with _clean(shared_tab) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def axe_tab(shared_axe_tab: Page) -> AsyncIterator[Page]:
    """Like `tab`, but without the page's content security policy: axe runs as a script of ours."""
    async with _clean(shared_axe_tab) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def page(ponte: WebPonte, tab: Page) -> Page:
    """The tab, signed in to Ponte."""
    await visit(tab, ponte.link)
    return tab


@asynccontextmanager
async def _open_tab(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(PAGE_TIMEOUT_MILLISECONDS)
    expect.set_options(timeout=PAGE_TIMEOUT_MILLISECONDS)
    yield page
    await context.close()


@asynccontextmanager
async def _clean(page: Page) -> AsyncIterator[Page]:
    """Yield the tab as a new one would be, and empty it afterwards."""
    errors: list[str] = []

    def on_error(error: Error) -> None:
        errors.append(str(error))

    def on_console(line: ConsoleMessage) -> None:
        if "Policy" in line.text:
            errors.append(line.text)

    await resize(page, 1280)
    page.on("pageerror", on_error)
    page.on("console", on_console)
    yield page
    await page.unroute_all(behavior="ignoreErrors")
    await page.set_extra_http_headers({})
    for other in page.context.pages:
        if other is not page:
            await other.close()
    if page.url.startswith("http"):
        await page.evaluate("localStorage.clear(), sessionStorage.clear()")
    await page.goto("about:blank")
    page.remove_listener("pageerror", on_error)
    page.remove_listener("console", on_console)
    await page.context.clear_cookies()
    await page.context.clear_permissions()
    assert errors == []
