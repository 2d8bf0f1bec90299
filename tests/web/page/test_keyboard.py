"""The focus after each key press, and keys that belong to an input method."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from playwright.async_api import Page, expect

from core.domain.messages import Answer, Card, Person
from core.people.notices import LINK_RENEWED
from tests.fakes.card_rows import card_row
from tests.web.page.browser import ask, say, visit
from tests.web.page.test_approvals import card_of, decides, row, waits
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = (card_row({"City": "Lisbon"}, {"City": "Porto"}),)
OPEN = Card("abc234", "proposal", "Update 1 row", "In Customers.", ROWS, ("approve", "deny"))
DONE = Card("abc234", "change", "Update 1 row", "Done.", ROWS, ("undo",), "done")

COMPOSED_KEY = """([key, isComposing, keyCode]) => {
    const options = { key, isComposing, bubbles: true, cancelable: true };
    const event = new KeyboardEvent("keydown", options);
    Object.defineProperty(event, "keyCode", { value: keyCode });
    document.getElementById("text").dispatchEvent(event);
    return event.defaultPrevented;
}"""


async def test_no_key_of_a_composition_acts(page: Page) -> None:
    """Safari ends the composition first, so that only the key code 229 is left of it."""
    text, editing = page.locator("#text"), page.locator("#editing")
    await ask(page, "first")
    await page.press("#text", "ArrowUp")
    await expect(editing).to_be_visible()
    for key, *code in itertools.product(("Escape", "ArrowUp"), (True, False), (27, 229)):
        if code != [False, 27]:
            await page.evaluate(COMPOSED_KEY, [key, *code])
            await expect(text).to_have_value("first")
            await expect(editing).to_be_visible()
    await page.press("#text", "Escape")
    for code in ([False, 229], [True, 229], [True, 13]):
        await page.fill("#text", "日本")
        assert not await page.evaluate(COMPOSED_KEY, ["Enter", *code])
        await expect(text).to_have_value("日本")
    assert await page.evaluate(COMPOSED_KEY, ["Enter", False, 13])
    await expect(page.locator(".said .words")).to_have_text(["first", "日本"])


async def test_the_focus_stays_on_the_card_that_a_key_decided(ponte: WebPonte, page: Page) -> None:
    """It goes to the card and not to Undo, so that the key pressed twice does not undo."""
    go = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.is_click:
            await go.wait()
            return Answer("Updated 1 row.", cards=(DONE,))
        return Answer("Shall I?", cards=(OPEN,))

    ponte.script = script
    await say(page, "rename")
    await page.locator(".card .approve").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".card .note")).to_have_text("One moment…")
    await expect(page.locator(".card")).to_be_focused()
    go.set()
    await expect(page.locator(".card .note")).to_have_text("Updated 1 row.")
    await expect(page.locator(".card")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Undo")).to_be_focused()


async def test_the_focus_stays_after_a_refusal_and_a_decision_of_others(
    ponte: WebPonte, page: Page
) -> None:
    async def script(turn: Turn) -> Answer:
        if turn.message.is_click:
            return Answer("An admin must decide this.", "failed", code="forbidden")
        return Answer("Changed.", cards=(OPEN if turn.message.text == "ask" else DONE,))

    ponte.script = script
    await say(page, "ask")
    await page.locator(".card .deny").focus()
    await page.keyboard.press("Space")
    await expect(page.get_by_label("Reason")).to_be_focused()
    await page.keyboard.type("not paid yet")  # letters of the reason are no shortcuts
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator(".card .note")).to_have_text("An admin must decide this.")
    await expect(page.locator(".card .deny")).to_be_focused()
    assert [row.message.text for row in ponte.rows.values()][-1].endswith(" not paid yet")
    async with ponte.client() as client:
        await client.post("/chat", json={"message": "elsewhere", "conversation": "main"})
    await expect(page.locator(".card .state strong").first).to_have_text("done")
    await expect(page.locator(".card").first).to_be_focused()


async def test_the_focus_stays_in_the_list_of_approvals(ponte: WebPonte, page: Page) -> None:
    decides(ponte)
    waits(ponte, "abc234", "def567")
    await expect(page.locator("#approvals-count")).to_have_text("2")
    await page.locator("#approvals").focus()
    await page.keyboard.press("Enter")
    first, last = row(page, "abc234"), row(page, "def567")
    await expect(first).to_be_focused()
    await page.keyboard.press("Enter")
    card = card_of(page, "abc234")
    await expect(card).to_be_focused()
    await card.locator(".approve").focus()
    await page.keyboard.press("Enter")
    await expect(card.locator(".state strong")).to_have_text("done")
    await expect(card).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(first).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(last).to_be_focused()
    waits(ponte)
    await expect(last).to_have_count(0)
    await expect(first).to_be_focused()


async def test_notices_and_buttons_that_vanish_hand_on_the_focus(
    ponte: WebPonte, tab: Page
) -> None:
    for _ in range(2):
        await ponte.notices.send(Person("web", "owner"), LINK_RENEWED)
    await visit(tab, ponte.link)
    text, notices = tab.locator("#text"), tab.locator("#person-notices button")
    await expect(notices).to_have_count(2)
    await notices.first.focus()
    await tab.keyboard.press("Enter")
    await expect(notices).to_have_count(1)
    await expect(notices).to_be_focused()
    await tab.keyboard.press("Enter")
    await expect(notices).to_have_count(0)
    await expect(text).to_be_focused()
    await expect(tab.locator("#tries button")).to_have_count(2)
    await tab.locator("#tries button").first.focus()
    await tab.keyboard.press("Enter")
    await expect(tab.locator("#welcome")).to_be_hidden()
    await expect(text).to_be_focused()
    await tab.get_by_role("button", name="Ask again").last.focus()
    await tab.keyboard.press("Enter")
    await expect(text).to_be_focused()


async def test_the_focus_in_the_list_of_conversations_survives_a_new_list(
    ponte: WebPonte, page: Page
) -> None:
    await say(page, "first")
    await expect(page.locator("#list .more")).to_have_count(1)
    for selector in ("#list a", "#list .more"):
        await page.locator(selector).focus()
        async with page.expect_response("**/conversations?search=*"), ponte.client() as client:
            await client.post("/chat", json={"message": "more", "conversation": "main"})
        await page.evaluate("new Promise(requestAnimationFrame)")
        await expect(page.locator(selector)).to_be_focused()
