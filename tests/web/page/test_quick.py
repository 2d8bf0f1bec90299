"""The button for quick commands, and the form that the registry makes."""

from __future__ import annotations

import pytest
from playwright.async_api import FilePayload, Page, expect

from core.commands.grammar import parse_command
from core.domain.messages import Answer, Card
from core.domain.records import QuickCommand
from tests.fakes.quick_commands import ECHO, SUMMARY
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPORT = QuickCommand(
    "report",
    "Report",
    inputs={
        "title": {"type": "text", "required": True},
        "pages": {"type": "number"},
        "draft": {"type": "boolean"},
        "kind": {"type": "choice", "choices": ("long", "short"), "required": True},
    },
)


async def open_commands(ponte: WebPonte, tab: Page, *commands: QuickCommand) -> None:
    ponte.board.known = list(commands)
    await visit(tab, ponte.link)
    await tab.get_by_role("button", name="Quick commands").click()


async def test_the_button_is_hidden_without_quick_commands(page: Page) -> None:
    await expect(page.locator("#tries button")).to_have_count(2)
    await expect(page.locator("#quick")).to_be_hidden()


async def test_a_slash_in_an_empty_box_opens_them_and_stays_if_none_is_run(
    ponte: WebPonte, tab: Page
) -> None:
    ponte.board.known = [ECHO]
    await visit(tab, ponte.link)
    await expect(tab.locator("#quick")).to_be_visible()
    for key, left in (("Escape", "/"), ("Enter", "")):
        await tab.fill("#text", "")
        await tab.locator("#text").press("/")
        await expect(tab.locator("#quick-form")).to_be_visible()
        if key == "Enter":
            await tab.get_by_role("button", name="Run", exact=True).focus()
        await tab.keyboard.press(key)
        await expect(tab.locator("#quick-form")).to_be_hidden()
        await expect(tab.locator("#text")).to_have_value(left)
    await tab.fill("#text", "either")
    await tab.locator("#text").press("/")
    await expect(tab.locator("#quick-form")).to_be_hidden()


async def test_inputs_are_fields_of_their_kind(ponte: WebPonte, tab: Page) -> None:
    await open_commands(ponte, tab, ECHO, REPORT)
    await tab.get_by_label("Quick command", exact=True).select_option("Report")
    await tab.get_by_role("button", name="Run", exact=True).click()
    await expect(tab.locator("#quick-form")).to_be_visible()  # the title is required
    await tab.get_by_label("title (required)").fill('A "big" one\\\nwith two lines')
    await tab.get_by_label("pages").fill("12.5")
    await tab.get_by_label("draft").select_option("yes")
    await tab.get_by_label("kind (required)").select_option("short")
    await tab.locator("#text").evaluate("text => text.value = 'draft'")
    await tab.get_by_role("button", name="Run", exact=True).click()
    await expect(tab.locator("#quick-form")).to_be_hidden()
    await expect(tab.locator(".body")).to_contain_text("You said: quick-command report")
    await expect(tab.locator("#text")).to_have_value("draft")
    (row,) = ponte.rows.values()
    command = parse_command(row.message.text)
    assert command
    assert (command.slug, command.input) == (
        "report",
        {
            "title": 'A "big" one\\\nwith two lines',
            "pages": "12.5",
            "draft": "true",
            "kind": "short",
        },
    )


async def test_escape_and_cancel_send_nothing_and_free_text_stays_text(
    ponte: WebPonte, tab: Page
) -> None:
    form, opener = tab.locator("#quick-form"), tab.get_by_role("button", name="Quick commands")
    await open_commands(ponte, tab, ECHO)
    await expect(form).to_be_visible()
    await tab.keyboard.press("Escape")
    await expect(form).to_be_hidden()
    await opener.click()
    await tab.get_by_role("button", name="Cancel").click()
    await expect(form).to_be_hidden()
    assert ponte.rows == {}
    texts = ["hello", '{"no": json', "a=b is text", '"quoted', ""]
    for number, text in enumerate(texts, 1):
        await opener.click()
        await tab.get_by_label("Input").fill(text)
        await tab.get_by_role("button", name="Run", exact=True).click()
        await expect(tab.locator(".body")).to_have_count(number)
    commands = [parse_command(row.message.text) for row in ponte.rows.values()]
    assert [command.input for command in commands if command] == texts
    file: FilePayload = {"name": "a.csv", "mimeType": "text/csv", "buffer": b"a;b"}
    await tab.locator("#files").set_input_files([file])
    await opener.click()
    await tab.get_by_role("button", name="Run", exact=True).click()
    await expect(tab.locator(".said .files a")).to_have_text(["a.csv"])


async def test_quick_commands_are_in_the_language_of_the_browser(
    ponte: WebPonte, tab: Page
) -> None:
    await tab.set_extra_http_headers({"Accept-Language": "pt-BR"})
    ponte.board.known = [SUMMARY]
    await visit(tab, ponte.link)
    await tab.locator("#quick").click()
    await expect(tab.locator("#quick-slug")).to_have_text("Resumo diário")
    await expect(tab.locator("#quick-about")).to_have_text("O que aconteceu hoje")


async def test_the_result_of_one_that_was_approved_is_a_message(
    ponte: WebPonte, page: Page
) -> None:
    card = Card("abc234", "proposal", "Run Echo", "Requested by you.", (), ("approve", "deny"))

    ponte.answers(
        Answer("Shall I?", cards=(card,)),
        click=Answer("Done.\n\n```json\n[1]\n```", has_own_post=True),
    )
    await say(page, "echo")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator(".answer:visible")).to_have_count(2)
    await expect(page.locator(".answer:visible pre")).to_contain_text("[1]")
    await expect(page.locator(".card .note")).to_have_text("")


async def test_on_a_phone_and_for_axe(ponte: WebPonte, axe_tab: Page) -> None:
    await resize(axe_tab, 390, 700)
    await open_commands(ponte, axe_tab, REPORT)
    await expect(axe_tab.get_by_label("pages")).to_be_visible()
    for dark in (False, True):
        await resize(axe_tab, 390, 700, dark=dark)
        assert await findings(axe_tab, axe_source()) == []
    assert await axe_tab.evaluate("document.documentElement.scrollWidth") <= 390
    box = await axe_tab.locator("#quick-form").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


async def test_only_a_file_that_is_attached_is_said_to_be_included(
    ponte: WebPonte, tab: Page
) -> None:
    await open_commands(ponte, tab, ECHO)
    hint = tab.get_by_text("If you attached a file, it's sent too.")
    await expect(tab.locator("#quick-form")).to_be_visible()
    await expect(hint).to_be_hidden()
    await tab.keyboard.press("Escape")
    await expect(tab.locator("#quick-form")).to_be_hidden()
    file: FilePayload = {"name": "a.csv", "mimeType": "text/csv", "buffer": b"a\n1\n"}
    await tab.locator("#files").set_input_files([file])
    await expect(tab.locator("#attached li")).to_have_count(1)
    await tab.get_by_role("button", name="Quick commands").click()
    await expect(hint).to_be_visible()
