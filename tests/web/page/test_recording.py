"""A voice message is recorded on the page and attached like a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.web.page.browser import visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEAR_A_TONE = """() => {
    navigator.mediaDevices.getUserMedia = async () => {
        const context = new AudioContext();
        const tone = context.createOscillator();
        const heard = context.createMediaStreamDestination();
        tone.connect(heard);
        tone.start();
        return window.heard = heard.stream;
    };
}"""
REFUSE = "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no')); }"


@pytest_asyncio.fixture(loop_scope="session")
async def speaking_page(ponte: WebPonte, tab: Page) -> AsyncIterator[Page]:
    """The page of a Ponte that understands recordings."""
    ponte.voice = True
    await ponte.restart()
    await visit(tab, ponte.link)
    yield tab


async def test_a_recording_is_attached_and_sent(speaking_page: Page) -> None:
    page = speaking_page
    await page.evaluate(HEAR_A_TONE)
    button = page.get_by_role("button", name="Record a voice message")
    await button.click()
    stop = page.get_by_role("button", name="Stop recording")
    await expect(stop).to_have_text("0:00")
    await stop.click()
    await expect(page.locator("#attached bdi")).to_have_text(["voice.webm"])
    await expect(button).to_be_visible()
    assert await page.evaluate("heard.getTracks().map((one) => one.readyState)") == ["ended"]
    await page.press("#text", "Enter")
    await expect(page.locator(".files").first).to_contain_text("voice.webm")


async def test_a_refused_microphone_is_told(speaking_page: Page) -> None:
    await speaking_page.evaluate(REFUSE)
    await speaking_page.get_by_role("button", name="Record a voice message").click()
    await expect(speaking_page.locator("#notice")).to_contain_text("use the microphone")


async def test_without_the_setting_there_is_no_button(page: Page) -> None:
    await expect(page.locator("#attach")).to_be_visible()
    await expect(page.locator("#record")).to_have_count(0)
