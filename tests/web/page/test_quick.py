"""The button for quick commands, and the form that the registry makes."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, FilePayload, Page, expect

from core.commands.grammar import parse_command
from core.domain.messages import Answer, Card
from core.domain.records import QuickCommand
from tests.fakes.quick_commands import ECHO, SUMMARY
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPORT = QuickCommand(
    "report", "Report",
    inputs={
        "title": {"type": "text", "required": True}, "pages": {"type": "number"},
        "draft": {"type": "boolean"},
        "kind": {"type": "choice", "choices": ("long", "short"), "required": True},
    },
)  # fmt: skip


async def open_commands(ponte: WebPonte, page: Page, *commands: QuickCommand) -> None:
    ponte.board.known = list(commands)
    await page.reload()
    await page.get_by_role("button", name="Quick commands").click()


async def test_the_button_is_hidden_without_quick_commands(page: Page) -> None:
    await expect(page.locator("#tries button")).to_have_count(3)
    await expect(page.locator("#quick")).to_be_hidden()


async def test_inputs_are_fields_of_their_kind(ponte: WebPonte, page: Page) -> None:
    await open_commands(ponte, page, ECHO, REPORT)
    await page.get_by_label("Quick command", exact=True).select_option("Report")
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator("#quick-form")).to_be_visible()  # the title is required
    await page.get_by_label("title (required)").fill('A "big" one\\\nwith two lines')
    await page.get_by_label("pages").fill("12.5")
    await page.get_by_label("draft").select_option("yes")
    await page.get_by_label("kind (required)").select_option("short")
    await page.locator("#text").evaluate("text => text.value = 'draft'")
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator("#quick-form")).to_be_hidden()
    await expect(page.locator(".body")).to_contain_text("You said: quick-command report")
    await expect(page.locator("#text")).to_have_value("draft")
    (row,) = ponte.rows.values()
    command = parse_command(row.message.text)
    assert command
    assert (command.slug, command.input) == ("report", {
        "title": 'A "big" one\\\nwith two lines', "pages": "12.5", "draft": "true",
        "kind": "short",
    })  # fmt: skip


@pytest.mark.parametrize("text", ["hello", '{"no": json', "a=b is text", '"quoted', ""])
async def test_free_text_stays_text(ponte: WebPonte, page: Page, text: str) -> None:
    await open_commands(ponte, page, ECHO)
    await page.get_by_label("Input").fill(text)
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator(".body")).to_contain_text("You said: quick-command echo")
    (row,) = ponte.rows.values()
    command = parse_command(row.message.text)
    assert command
    assert command.input == text


async def test_a_file_goes_along(ponte: WebPonte, page: Page) -> None:
    ponte.board.known = [ECHO]
    await page.reload()
    file: FilePayload = {"name": "a.csv", "mimeType": "text/csv", "buffer": b"a;b"}
    await page.locator("#files").set_input_files([file])
    await page.get_by_role("button", name="Quick commands").click()
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator(".said .files")).to_contain_text("a.csv")


async def test_escape_and_cancel_send_nothing(ponte: WebPonte, page: Page) -> None:
    await open_commands(ponte, page, SUMMARY)
    await expect(page.locator("#quick-form")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#quick-form")).to_be_hidden()
    await page.get_by_role("button", name="Quick commands").click()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#quick-form")).to_be_hidden()
    assert ponte.rows == {}


async def test_quick_commands_are_in_the_language_of_the_browser(
    ponte: WebPonte, browser: Browser
) -> None:
    ponte.board.known = [SUMMARY]
    context = await browser.new_context(locale="pt-BR")
    page = await context.new_page()
    await visit(page, ponte.link)
    await page.locator("#quick").click()
    await expect(page.locator("#quick-slug")).to_have_text("Resumo diário")
    await expect(page.locator("#quick-about")).to_have_text("O que aconteceu hoje")
    await context.close()


async def test_the_result_of_one_that_was_approved_is_a_message(
    ponte: WebPonte, page: Page
) -> None:
    asked = Card("abc234", "proposal", "Run Echo", "Requested by you.", (), ("approve", "deny"))

    ponte.answers(
        Answer("Shall I?", cards=(asked,)),
        click=Answer("Done.\n\n```json\n[1]\n```", has_own_post=True),
    )
    await say(page, "echo")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator(".answer:visible")).to_have_count(2)
    await expect(page.locator(".answer:visible pre")).to_contain_text("[1]")
    await expect(page.locator(".card .note")).to_have_text("")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone_and_for_axe(ponte: WebPonte, axe_tab: Page, scheme: str) -> None:
    source = axe_source()
    ponte.board.known = [REPORT]
    await resize(axe_tab, 390, 700, dark=scheme == "dark")
    await visit(axe_tab, ponte.link)
    await axe_tab.get_by_role("button", name="Quick commands").click()
    await expect(axe_tab.get_by_label("pages")).to_be_visible()
    assert await findings(axe_tab, source) == []
    assert await axe_tab.evaluate("document.documentElement.scrollWidth") <= 390
    box = await axe_tab.locator("#quick-form").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
