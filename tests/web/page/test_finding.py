"""Conversations of this browser: side list, deep links, search, forget."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from core.messages import Answer
from tests.web.house import House, Turn
from tests.web.page.browser import say

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_side_list_deep_links_and_new(house: House, page: Page) -> None:
    await say(page, "first talk")
    await expect(page.locator(".body")).to_have_text("You said: first talk")
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator("#welcome")).to_be_visible()
    await say(page, "second talk")
    await expect(page.locator("nav li")).to_have_text(["second talk", "first talk"])
    assert await page.title() == "second talk – Ponte"
    await page.get_by_role("link", name="first talk").click()
    await expect(page.locator(".body")).to_have_text(["You said: first talk"])
    link = await page.locator(".at").get_attribute("href")
    other = await page.context.new_page()
    await other.goto(f"{house.web.address}/{link}")
    await expect(other.locator(".at")).to_be_focused()


async def test_forget_asks_first_and_then_is_gone(house: House, page: Page) -> None:
    async def script(turn: Turn) -> Answer:
        if turn.message.text == "forget":
            await house.inbox.forget("web:nothing")
            return Answer("Forgotten.")
        return Answer("noted")

    house.script = script
    await say(page, "my secret")
    await expect(page.locator(".body")).to_have_text("noted")
    await page.get_by_role("button", name="Forget").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert len(house.rows) == 1
    await page.get_by_role("button", name="Forget").click()
    await page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.locator("nav")).not_to_contain_text("my secret")
    assert house.rows[2].message.text == "forget"


async def test_search(house: House, page: Page) -> None:
    for text in ("apples", "pears"):
        await say(page, text)
    await expect(page.locator(".body")).to_have_count(2)
    await page.get_by_role("searchbox").fill("PEAR")
    await expect(page.locator("#log > li:visible")).to_have_count(1)
    await expect(page.locator("#notice")).to_have_text("1 found")
    await page.get_by_role("searchbox").fill("")
    await expect(page.locator("#log > li:visible")).to_have_count(2)
