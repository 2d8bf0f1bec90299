"""A person writes and reads: streams, tabs, restarts, stop."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, expect

from core.domain.messages import Answer
from tests.web.page.browser import ask, say
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_text_streams_in_and_is_rendered(ponte: WebPonte, page: Page) -> None:
    half = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show(doing="is reading the tables…")
        await turn.show("These are **two")
        await half.wait()
        return Answer("These are **two tables**:\n\n|a|\n|-|\n|1|\n\n```python\nprint(1)\n```")

    ponte.script = script
    await say(page, "tables?")
    await expect(page.locator(".said .words")).to_have_text("tables?")
    await expect(page.locator(".body")).to_have_text("These are **two")
    await expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")
    half.set()
    await expect(page.locator(".body strong")).to_have_text("two tables")
    await expect(page.get_by_role("group", name="Table")).to_be_visible()
    await expect(page.locator("#spoken")).to_contain_text("These are two tables")
    await page.locator("pre").get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()


async def test_a_restart_in_mid_answer_shows_it_once(ponte: WebPonte, page: Page) -> None:
    start_event = asyncio.Event()

    async def cut_off(turn: Turn) -> Answer:
        await turn.show("Half of")
        start_event.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def whole(turn: Turn) -> Answer:
        return Answer("Half of it, and the rest.")

    ponte.script = cut_off
    await say(page, "work")
    await expect(page.locator(".body")).to_have_text("Half of")
    await start_event.wait()
    ponte.script = whole
    await ponte.restart()
    await expect(page.locator(".body")).to_have_text(["Half of it, and the rest."])
    await expect(page.locator(".said .words")).to_have_text(["work"])
    await expect(page.locator("#notice")).to_be_empty()


async def test_what_was_deleted_while_the_tab_was_away_is_gone(ponte: WebPonte, page: Page) -> None:
    await ask(page, "secret")
    await ponte.stop()
    await ponte.forget(ponte.rows[1].message.address.conversation)
    await ponte.open()
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.locator("#log li")).to_have_count(0)


async def test_a_message_written_while_the_server_is_away_is_one_turn(
    ponte: WebPonte, page: Page
) -> None:
    await expect(page.locator("#welcome")).to_be_visible()
    await ponte.stop()
    await say(page, "are you there?")
    await expect(page.locator("#notice")).to_contain_text("Connection lost. Reconnecting…")
    await ponte.open()
    await expect(page.locator(".body")).to_have_text(["You said: are you there?"])
    assert len(ponte.rows) == 1


async def test_the_stop_button_ends_a_turn_which_can_be_asked_again(
    ponte: WebPonte, page: Page
) -> None:
    event = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.text == "stop":
            event.set()
            return Answer("Stopped.", is_told_elsewhere=True)
        await turn.show("Working on")
        await event.wait()
        return Answer("Working on", "stopped")

    ponte.script = script
    await say(page, "work")
    await expect(page.locator(".body")).to_have_text("Working on")
    for word in ("Edit", "Ask again"):
        await expect(page.get_by_role("button", name=word)).to_have_count(0)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".answer[data-status=stopped]")).to_be_visible()
    await expect(page.locator("#stop")).to_be_hidden()
    await expect(page.locator("li .answer:visible")).to_have_count(1)
    for word in ("Edit", "Ask again"):
        await expect(page.get_by_role("button", name=word)).to_have_count(1)
    await say(page, "stop")  # typed: the message is shown, and no second answer
    await expect(page.locator("#log > li")).to_have_count(3)
    await expect(page.locator("#stop")).to_be_hidden()
    await expect(page.locator("li .answer:visible")).to_have_count(1)


EARLY_PROGRESS = """async () => {
    const log = await import(new URL("log.js", document.querySelector("[type=module]").src));
    const message = { event_key: "k1", text: "hello", files: [], clicked: false, state: "running" };
    log.showMessage({ ...message, turn: "k1" });
    log.showProgress({ turn: "t1", text: "is reading…" });
    log.name("k1", "t1");
    log.showText({ turn: "t1", html: "<p>Hi</p>" });
    log.showMessage({ ...message, turn: "t1" });
}"""


async def test_an_answer_that_begins_before_its_message_is_named_is_shown_once(page: Page) -> None:
    await page.evaluate(EARLY_PROGRESS)
    await expect(page.locator("#log > li")).to_have_count(1)
    await expect(page.locator(".said .words")).to_have_text("hello")
    await expect(page.locator(".body")).to_have_text("Hi")
