"""Thumbs under an answer: by mouse and keyboard, in three languages, on a phone, in the dark."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from core.domain.messages import Answer
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")
RATED = Answer("It is **42**.", is_rateable=True)


async def test_a_vote_and_its_reason(ponte: WebPonte, page: Page) -> None:
    """The vote is stored at the press. It is there after a reload, and the same thumb takes it
    back. The reason may be empty, and nothing is shared unless it is ticked."""
    ponte.answers(RATED)
    await say(page, "why?")
    up, down = (page.get_by_role("button", name=f"{name} answer") for name in ("Good", "Bad"))
    await expect(up).to_have_attribute("aria-pressed", "false")
    await up.click()
    await expect(up).to_have_attribute("aria-pressed", "true")
    await down.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("What was wrong?")).to_be_focused()
    await expect(up).to_have_attribute("aria-pressed", "false")
    assert list(ponte.votes.stored.values()) == ["down"]
    await page.keyboard.press("Escape")
    await expect(down).to_be_focused()
    await expect(page.locator("form.feedback")).to_have_count(0)
    await page.reload()
    await expect(down).to_have_attribute("aria-pressed", "true")
    await down.click()
    await expect(down).to_have_attribute("aria-pressed", "false")
    assert list(ponte.votes.stored.values()) == [""]
    for reason, share in (("", False), ("<b>Wrong</b> sum", True)):
        await down.click()
        await page.get_by_label("What was wrong?").fill(reason)
        if share:
            await page.get_by_label("Share the question and the answer").check()
        await page.locator(".feedback [type=submit]").click()
        await expect(page.locator("p.feedback")).to_have_text("Thanks for your feedback.")
        await down.click()
    assert ponte.votes.reasons == [("", False), ("<b>Wrong</b> sum", True)]
    await expect(page.locator(".body")).to_have_text("It is 42.")


async def test_only_an_answer_of_the_model_has_thumbs(ponte: WebPonte, page: Page) -> None:
    ponte.answers(Answer("You can type help."))
    await say(page, "help")
    await expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    await expect(page.locator(".thumb")).to_have_count(0)


async def test_a_vote_that_is_refused_is_not_shown(ponte: WebPonte, page: Page) -> None:
    ponte.answers(RATED)
    await say(page, "why?")
    up = page.get_by_role("button", name="Good answer")
    await expect(up).to_be_visible()
    refusal = {"error": {"code": "forbidden", "message": "Not here."}}
    await page.route("**/feedback", lambda route: route.fulfill(status=403, json=refusal))
    await up.click()
    await expect(page.locator("#notice")).to_have_text("Not here.")
    await expect(up).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize(
    ("language", "dark", "width"), [("en", True, 390), ("pt-BR", False, 390), ("fr", True, 1280)]
)
async def test_axe_finds_nothing(
    ponte: WebPonte, axe_tab: Page, language: str, dark: bool, width: int
) -> None:
    page = axe_tab
    await page.set_extra_http_headers({"Accept-Language": language})
    await visit(page, ponte.link)
    await resize(page, width, dark=dark)
    ponte.answers(RATED)
    await say(page, "why?")
    await page.locator(".thumb").last.click()
    await expect(page.locator("form.feedback textarea")).to_be_focused()
    assert await findings(page, axe_source()) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
