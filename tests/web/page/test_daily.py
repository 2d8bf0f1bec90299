"""What one needs every day: a draft that stays, copying, how long it takes, a phone's Enter."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, Page, Route, expect

from core.domain.messages import Answer
from tests.web.page.browser import choose, say, visit
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABLE = """Two **rows**:

| Name | Balance | Note |
| --- | --: | --- |
| Ann, of "Ponte" | -12.50 | =HYPERLINK("https://evil.test") |
| Bo | 7 | plain |
"""


async def clipboard(page: Page) -> str:
    return str(await page.evaluate("navigator.clipboard.readText()"))


async def test_an_answer_and_its_tables_can_be_copied(ponte: WebPonte, page: Page) -> None:
    ponte.answers(Answer(TABLE))
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await say(page, "rows?")
    await page.get_by_role("button", name="Copy answer").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await clipboard(page) == TABLE
    await expect(page.locator("#title")).to_have_text("rows?")
    async with page.expect_download() as download:
        await choose(page, "CSV", ".download")
    file = await download.value
    assert file.suggested_filename == "rows.csv"
    assert (await file.path()).read_text("utf-8").splitlines() == [
        "\ufeffName,Balance,Note",
        '"Ann, of ""Ponte""",-12.50,"\'=HYPERLINK(""https://evil.test"")"',
        "Bo,7,plain",
    ]
    await page.get_by_role("button", name="Copy table").click()
    await expect(page.get_by_role("button", name="Copied")).to_have_count(2)
    assert "Bo\t7\tplain" in await clipboard(page)
    await page.reload()
    await page.get_by_role("button", name="Copy answer").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await clipboard(page) == TABLE


async def test_a_draft_survives_a_reload_in_its_own_conversation(page: Page) -> None:
    await page.fill("#text", "not sent\nyet")
    await page.reload()
    await expect(page.locator("#text")).to_have_value("not sent\nyet")
    await page.click("#new")
    await expect(page.locator("#text")).to_have_value("")
    await page.go_back()
    await expect(page.locator("#text")).to_have_value("not sent\nyet")
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text("You said: not sent yet")
    await page.reload()
    await expect(page.locator(".said .words")).to_have_count(1)
    await expect(page.locator("#text")).to_have_value("")


async def test_for_how_long_it_works_is_shown(ponte: WebPonte, browser: Browser) -> None:
    end_event = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show(doing="is reading the tables…")
        await end_event.wait()
        return Answer("There.")

    ponte.script = script
    page = await browser.new_page()
    await page.clock.install(time=0)
    await visit(page, ponte.link)
    await page.clock.pause_at(3_600_000)  # without this, it goes on in real time
    await say(page, "tables?")
    progress = page.locator(".progress").last
    await expect(progress).to_have_text("Ponte is reading the tables…")
    await page.clock.run_for(3_000)
    assert await progress.get_attribute("data-seconds") is None
    await page.clock.run_for(4_000)
    await expect(progress).to_have_attribute("data-seconds", "7")
    before = (
        "getComputedStyle(document.querySelector('.progress[data-seconds]'), '::before').content"
    )
    assert await page.evaluate(before) in ('"7 s · "', '"7" " s · "')
    end_event.set()
    await expect(page.locator(".body")).to_have_text("There.")
    assert await progress.get_attribute("data-seconds") is None
    await page.close()


async def test_on_a_phone_enter_is_a_new_line(ponte: WebPonte, browser: Browser) -> None:
    context = await browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    page = await context.new_page()
    await visit(page, ponte.link)
    await page.fill("#text", "one")
    await page.press("#text", "End")
    await page.press("#text", "Enter")
    await page.type("#text", "two")
    await expect(page.locator("#text")).to_have_value("one\ntwo")
    await expect(page.locator("#keys")).to_be_hidden()
    await page.click("#send")
    await expect(page.locator(".said .words")).to_have_text("one\ntwo")
    await context.close()


async def test_what_is_typed_before_the_page_is_ready_is_not_lost(
    ponte: WebPonte, tab: Page
) -> None:
    ready = asyncio.Event()

    async def late(route: Route) -> None:
        await ready.wait()
        await route.continue_()

    await tab.route("**/login", late)
    async with tab.expect_request("**/login"):
        await tab.goto(ponte.link)
    await say(tab, "early")
    await expect(tab.locator("#text")).to_have_value("early")
    ready.set()
    await expect(tab.locator(".body")).to_have_text("You said: early")
    await expect(tab.locator("#text")).to_have_value("")
