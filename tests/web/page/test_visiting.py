"""The first visit, the keyboard alone, signing in, right-to-left text."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Browser, Page, Route, expect

from core.domain.messages import Answer, Card
from core.domain.records import Health, QuickCommand
from tests.web.house import Turn, WebPonte
from tests.web.page.browser import say, visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_first_visit(house: WebPonte, browser: Browser) -> None:
    house.board.parts = [
        Health("model", "on", "the demo model; OPENAI_API_KEY in .env adds a real one"),
        Health("nocodb", "failing", "it does not answer"),
    ]
    page = await browser.new_page()
    await visit(page, house.link)
    await expect(page.locator("#parts li")).to_have_text(
        [re.compile("^model · on · the demo model"), "nocodb · failing · it does not answer"]
    )
    await expect(page.locator("#tries button")).to_have_count(3)
    await expect(page.locator("#model code")).to_have_text("OPENAI_API_KEY=sk-…")
    await page.locator("#tries button").first.click()
    await expect(page.locator(".body")).to_have_text(re.compile("^You said: "))
    await page.close()


async def test_the_welcome_names_the_tables_and_what_will_work(
    house: WebPonte, browser: Browser
) -> None:
    house.board.parts = [Health("code", "on"), Health("nocodb", "on")]
    house.board.titles = ["Customers", "Orders"]
    house.board.known = [QuickCommand("explain", "Explain code")]
    page = await browser.new_page()
    await visit(page, house.link)
    await expect(page.locator("#tables")).to_have_text(
        "Tables that you can ask about: Customers, Orders"
    )
    await expect(page.locator("#commands")).to_contain_text("Explain code")
    tries = page.locator("#tries button")
    await expect(tries).to_have_text(["show Customers", "list tables", "run python print(2**100)"])
    house.board.demo = False
    await page.reload()
    await expect(tries.first).to_have_text("Show me the newest rows of Customers.")
    await page.close()


OPEN = Card("abc234", "proposal", "Update 1 row", "In Customers.", (), ("approve", "deny"))


async def test_everything_can_be_reached_by_keyboard(house: WebPonte, page: Page) -> None:
    async def script(turn: Turn) -> Answer:
        return Answer("Denied." if turn.message.clicked else "Shall I?", cards=(OPEN,))

    house.script = script
    await page.locator("#text").focus()
    await page.keyboard.type("one\n")
    await expect(page.locator(".card")).to_be_visible()
    await page.keyboard.type("two lines")
    await page.keyboard.press("Shift+Enter")
    assert await page.input_value("#text") == "two lines\n"
    await page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(40):
        await page.keyboard.press("Tab")
        reached.add(
            await page.evaluate("document.activeElement.id || document.activeElement.className")
        )
    assert {"search", "forget", "new", "approve", "deny", "text", "attach", "send", "at"} <= reached


async def test_one_click_opens_it_and_the_token_stays_nowhere(
    house: WebPonte, browser: Browser
) -> None:
    page = await browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await visit(page, house.link)
    await say(page, "in")
    await expect(page.locator(".body")).to_have_text("You said: in")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    assert house.token not in page.url
    assert not any(house.token in url for url in asked)
    (cookie,) = await page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert house.token not in str(cookie)
    kept = "JSON.stringify([history.state, {...localStorage}, {...sessionStorage}])"
    assert house.token not in await page.evaluate(kept)
    await page.goto(house.web.address)
    await expect(page.locator(".body")).to_have_text("You said: in")
    await page.close()


async def test_a_link_pasted_into_an_open_page_signs_in(house: WebPonte, browser: Browser) -> None:
    """One that is old says so, and the next one opens the page as it stands."""
    page = await browser.new_page()
    await page.goto(f"{house.web.address}/#token=an-older-token-of-this-ponte")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_text("That is no token of this Ponte.")
    assert "token" not in page.url
    await page.evaluate(f"location.href = {house.link!r}")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await say(page, "in")
    await expect(page.locator(".body")).to_have_text("You said: in")
    await page.close()


async def test_without_the_link_a_person_signs_in(browser: Browser) -> None:
    house = WebPonte(token="s3cret-and-long-enough")
    await house.open()
    page = await browser.new_page()
    try:
        await page.goto(house.web.address)
        await page.get_by_label("Token").fill("wrong")
        await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_have_text("That is no token of this Ponte.")
        await page.get_by_label("Token").fill("s3cret-and-long-enough")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await say(page, "in")
        await expect(page.locator(".body")).to_have_text("You said: in")
        assert house.token not in str(await page.context.cookies())
    finally:
        await page.close()
        await house.close()


async def test_a_refusal_from_before_signing_in_comes_too_late(browser: Browser) -> None:
    house, page = WebPonte(token="s3cret-and-long-enough"), await browser.new_page()
    await house.open()
    came, go_on = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        answer = await route.fetch()
        came.set()
        await go_on.wait()
        await route.fulfill(response=answer)

    try:
        await page.goto(house.web.address)
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.route("**/quick-commands", late, times=1)
        asked = "import('/page/server.js').then(server => server.request('/quick-commands'))"
        await page.evaluate(f"window.refused = {asked}.catch(() => true), null")
        await came.wait()
        await page.get_by_label("Token").fill("s3cret-and-long-enough")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        go_on.set()
        assert await page.evaluate("window.refused") is True
        await expect(page.get_by_role("dialog")).to_be_hidden()
    finally:
        await page.close()
        await house.close()


async def test_right_to_left_text_is_unharmed(house: WebPonte, page: Page) -> None:
    await say(page, "مرحبا بالعالم")
    await expect(page.locator(".said .words")).to_have_css("direction", "rtl")
    house.script = lambda turn: asyncio.sleep(0, Answer("שלום עולם"))
    await say(page, "again")
    await expect(page.locator(".body p").last).to_have_css("direction", "rtl")
    await expect(page.locator("body")).to_have_css("direction", "ltr")
