"""Conversations: the list that every browser has, deep links, search, forget."""

from __future__ import annotations

import asyncio
import time

import pytest
from playwright.async_api import Browser, Page, Route, expect

from core.domain.messages import Answer
from tests.web.page.browser import ask, choose, resize, say, visit, wait_until
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_side_list_deep_links_and_new(ponte: WebPonte, page: Page) -> None:
    await ask(page, "first talk")
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator("#welcome")).to_be_visible()
    await say(page, "second talk")
    await expect(page.locator("nav li a")).to_have_text(["second talk", "first talk"])
    await expect(page).to_have_title("second talk – Ponte")
    await page.get_by_role("link", name="first talk").click()
    await expect(page.locator(".body")).to_have_text(["You said: first talk"])
    link = await page.locator(".at").get_attribute("href")
    other = await page.context.new_page()
    await other.goto(f"{ponte.web.address}/{link}")
    await expect(other.locator(".at")).to_be_focused()


async def test_forget_asks_first_and_then_is_gone(ponte: WebPonte, page: Page) -> None:
    async def script(turn: Turn) -> Answer:
        if turn.message.text == "forget yes":
            ponte.database.execute("DELETE FROM inbox WHERE seq = 1")
            return Answer("Forgotten.")
        return Answer("noted")

    ponte.script = script
    options = page.get_by_role("button", name="More actions for this conversation")
    await expect(options).to_be_hidden()  # there is nothing to rename or delete yet
    await say(page, "my secret")
    await expect(page.locator(".body")).to_have_text("noted")
    for answer in ("Cancel", "Delete"):
        assert len(ponte.rows) == 1
        await choose(page, "Delete", "#options")
        await page.locator("#sure").get_by_role("button", name=answer).click()
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.locator("nav")).not_to_contain_text("my secret")
    assert ponte.rows[2].message.text == "forget yes"


async def test_a_search_keeps_the_open_conversation_and_escape_leaves_it(page: Page) -> None:
    for text in ("apples", "pears"):
        await say(page, text)
    await expect(page.locator(".body")).to_have_text(["You said: apples", "You said: pears"])
    await page.get_by_role("searchbox").fill("PEAR")
    await expect(page.locator("#matches")).to_have_text("Matches: 1")
    await expect(page.locator("nav mark")).to_have_text("pear")
    await expect(page.locator("#log > li:visible")).to_have_count(2)
    # In the question and in its answer. The module that marks them is loaded at the first search.
    await wait_until(page, "CSS.highlights.get('searched')?.size === 2")
    await page.keyboard.press("Escape")
    await expect(page.locator("nav mark")).to_have_count(0)
    await expect(page.get_by_role("searchbox")).to_have_value("")
    await expect(page.locator("#text")).to_be_focused()
    await expect(page.locator("nav li a")).to_have_text(["apples"])


async def test_the_list_is_grouped_by_date(ponte: WebPonte, page: Page) -> None:
    now = time.time()
    ages = {"Yesterday": 1, "Last 7 days": 4, "Last 30 days": 20, "older": 400}
    for number, days in enumerate((0, *ages.values())):
        await say(page, f"talk {number}")
        await expect(page.locator(".body")).to_have_text(f"You said: talk {number}")
        *_, row = ponte.rows.values()
        sql = "UPDATE conversations SET used_at = ? WHERE conversation = ?"
        conversation = row.message.address.conversation
        ponte.database.execute(sql, now - days * 86_400, conversation)
        await page.get_by_role("button", name="New conversation").click()
    older = time.strftime("%B %Y", time.localtime(now - 400 * 86_400))
    await page.reload()
    heads = page.locator("nav h2")
    await expect(heads).to_have_text(["Today", "Yesterday", "Last 7 days", "Last 30 days", older])


async def test_the_list_is_the_same_in_another_browser(
    ponte: WebPonte, page: Page, browser: Browser
) -> None:
    await say(page, "**apples** and `pears` of [ours](https://example.com)")
    await expect(page.locator(".body")).to_have_count(1)
    await page.get_by_role("button", name="New conversation").click()
    await ask(page, "plums")
    context = await browser.new_context()
    other = await context.new_page()
    await visit(other, ponte.link)
    links = other.locator("nav li a")
    await expect(links).to_have_text(["plums", "apples and pears of ours"])
    await choose(other, "Rename", "[aria-label^='More actions for apples']")
    await other.get_by_role("textbox", name="Name").fill("Fruit")
    await other.keyboard.press("Enter")
    await expect(links).to_have_text(["plums", "Fruit"])
    await choose(other, "Pin", "[aria-label='More actions for Fruit']")
    await expect(links).to_have_text(["Fruit", "plums"])
    await page.reload()
    await expect(page.locator("nav li a")).to_have_text(["Fruit", "plums"])
    await other.get_by_role("button", name="More actions for Fruit").dispatch_event("click")
    async with other.expect_download() as download:
        await other.get_by_role("menuitem", name="Export").click()
    path = await (await download.value).path()
    assert "You said: **apples**" in path.read_text("utf-8")
    await context.close()


async def test_one_search_looks_into_all_of_them(page: Page) -> None:
    await say(page, "about apples")
    await expect(page.locator(".body")).to_have_count(1)
    await page.get_by_role("button", name="New conversation").click()
    await ask(page, "about pears")
    await page.get_by_role("searchbox").fill("APPLE")
    hit = page.locator("nav li a")
    await expect(hit.locator("span").first).to_have_text("about apples")
    await expect(hit.locator(".excerpt")).to_have_text("about apples")
    await expect(page.locator(".body")).to_have_text("You said: about pears")
    await hit.click()
    await expect(page.locator(".at")).to_be_focused()
    await expect(page.locator(".body")).to_have_text("You said: about apples")
    await expect(hit).to_be_visible()


async def test_a_search_finds_titles_too(ponte: WebPonte, page: Page) -> None:
    await ask(page, "about apples")
    await choose(page, "Rename", "#options")
    await expect(page.get_by_role("textbox", name="Name")).to_be_focused()
    await page.keyboard.type("Crème brûlée")
    await page.keyboard.press("Enter")
    await expect(page.locator("#title")).to_have_text("Crème brûlée")
    await page.get_by_role("searchbox").fill("BRÛLÉE crème")
    hit = page.locator("nav li a")
    await expect(hit).to_have_text("Crème brûlée")
    await expect(hit).to_have_attribute("href", "#main")
    await page.get_by_role("searchbox").fill("brûlée pears")
    await expect(page.locator("#matches")).to_contain_text("No conversation contains all")


async def test_a_menu_is_used_by_keyboard_alone(ponte: WebPonte, page: Page) -> None:
    await ask(page, "about apples")
    button, entries = page.locator("#list .more"), page.get_by_role("menuitem")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(entries).to_have_text(["Rename", "Pin", "Export as Markdown", "Delete…"])
    await expect(button).to_have_attribute("aria-expanded", "true")
    for key, number in (("ArrowUp", 3), ("ArrowDown", 0), ("e", 2), ("End", 3), ("Home", 0)):
        await page.keyboard.press(key)
        await expect(entries.nth(number)).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(entries).to_have_count(0)
    await expect(button).to_be_focused()
    for key, title in (("Escape", "about apples"), ("Enter", "Fruit")):
        await page.keyboard.press("Enter")
        await expect(entries.first).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("textbox", name="Name")).to_be_focused()
        await page.keyboard.type("Fruit")
        await page.keyboard.press(key)
        await expect(page.locator("nav li a")).to_have_text(title)
        await expect(page.locator("#list .more")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(entries.first).to_be_focused()
    await page.locator("#log").click()
    await expect(entries).to_have_count(0)
    await expect(page.locator("#title")).to_have_text("Fruit")


async def test_a_conversation_that_is_read_late_neither_takes_the_focus_nor_closes_the_menu(
    page: Page,
) -> None:
    searching = asyncio.Event()

    async def late(route: Route) -> None:
        await searching.wait()
        answer = await (await route.fetch()).json()
        await route.fulfill(
            json=answer | {"suggestions": [{"kind": "ask", "text": "the last that is drawn"}]}
        )

    await resize(page, 390)
    await say(page, "about apples")
    await expect(page.locator(".body")).to_have_count(1)
    await page.route("**/welcome", late, times=1)
    await page.get_by_role("button", name="Show conversations").click()
    await page.get_by_role("button", name="New conversation").click()
    await page.get_by_role("button", name="Show conversations").click()
    await page.get_by_role("searchbox").fill("apple")
    searching.set()
    await expect(page.get_by_role("button", name="the last that is drawn")).to_be_visible()
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await expect(page.locator("nav mark")).to_have_text("apple")
    await page.locator("nav li a").click()
    await expect(page.locator("nav")).to_be_hidden()
    await expect(page.locator(".at")).to_be_focused()
