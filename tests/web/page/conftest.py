"""One browser for all tests of the page; a house and a tab for each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.web.house import WebPonte
from tests.web.page.browser import chromium, visit

PAGE_TIMEOUT_MILLISECONDS = 20_000
"""Milliseconds that a busy machine may take to show something."""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def house() -> AsyncIterator[WebPonte]:
    house = WebPonte()
    await house.open()
    yield house
    await house.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(house: WebPonte, browser: Browser) -> AsyncIterator[Page]:
    """One tab; a script error or a blocked resource fails the test."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    page.set_default_timeout(PAGE_TIMEOUT_MILLISECONDS)
    expect.set_options(timeout=PAGE_TIMEOUT_MILLISECONDS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Policy" in line.text else None)
    await visit(page, house.link)
    yield page
    await context.close()
    assert errors == []
