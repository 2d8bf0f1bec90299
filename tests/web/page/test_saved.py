"""*Run again*, *Save…* and *Alert…* at an answer, and the saved questions of the `/` menu."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from playwright.async_api import Page, Route, expect

from adapters.web.api import chat
from core.domain.changes import FormField
from core.domain.messages import Address, Answer, Card
from core.domain.rows import Placed, RowColumn, RowsResult
from core.saved.queries import QUESTION_GONE, NotRunAgain
from tests.fakes.quick_commands import ECHO
from tests.web.page.browser import axe_source, findings, resize, say, visit, wait_until
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")
COLUMNS = RowColumn("Name"), RowColumn("Sum", "number")
ROWS = RowsResult("Orders", COLUMNS, (("a", "1"),), ((None, 1),))
TABLE = ROWS.to_markdown()
SAVED = "Saved. To see it again, type `show unpaid <b>orders</b>`."
FIELDS = (
    FormField(
        "title",
        "Name",
        "text",
        "unpaid <b>orders</b>",
        hint="Orders: Paid = <i>false</i>",
        is_required=True,
    ),
    FormField("move", "this month instead of 2026-11", "checkbox", "true"),
)
ALERT_FIELDS = (
    FormField(
        "value",
        "What to watch",
        "select",
        "count",
        ("count", "new", "sum c1"),
        hint="Orders: Paid = <i>false</i>",
        is_required=True,
        labels=("number of rows", "a row appears", "sum of <b>Amount</b>"),
    ),
    FormField(
        "comparison",
        "Condition",
        "select",
        ">",
        (">", "<", "changes"),
        is_required=True,
        labels=("is over", "is under", "changes by more than"),
    ),
    FormField(
        "limit", "Limit", "text", hint="A number. A change can also be a percentage, such as 10%."
    ),
    FormField(
        "every", "Check every", "select", "0 * * * *", ("0 * * * *",), labels=("60 minutes",)
    ),
    FormField("now", "Post right away if it's already true", "checkbox"),
    FormField("title", "Title", "text", max_characters=60),
)


async def find_fields(_: object, turn: str, at: Address) -> tuple[FormField, ...]:
    return FIELDS


async def find_alert_fields(_: object, turn: str, at: Address) -> tuple[FormField, ...]:
    return ALERT_FIELDS


async def fail(*_: object) -> tuple[FormField, ...]:
    raise NotRunAgain(QUESTION_GONE)


@pytest.fixture
def messages(ponte: WebPonte, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was sent. Each question has an answer of rows, "figure" one of a figure."""
    monkeypatch.setattr(chat, "find_fields", find_fields)
    monkeypatch.setattr(chat, "find_alert_fields", find_alert_fields)
    messages = list[str]()

    def answer(turn: Turn) -> Answer:
        text = turn.message.text
        messages.append(text)
        if text.startswith("save "):
            if text.endswith(" stop"):
                return Answer("`stop` is a command.", status="failed", code="bad_request")
            ponte.board.saved = ["unpaid"]
            return Answer(SAVED, is_private=True)
        if text.startswith("watch "):
            if text.endswith("|many|"):
                return Answer("Enter a number as the limit.", status="failed", code="bad_request")
            card = Card("abc234", "proposal", "Alert: Orders", "Now: 18.", actions=("approve",))
            return Answer("", cards=(card,), has_own_post=True)
        if text == "figure":
            return Answer("**42** in all.", can_run_again=True)
        return Answer(f"Here.\n\n{TABLE}", can_run_again=True, placed=(Placed(TABLE, ROWS),))

    ponte.answers(answer)
    return messages


async def test_run_again_asks_anew_and_its_buttons_are_at_the_newest_result(
    page: Page, messages: list[str]
) -> None:
    await say(page, "orders?")
    row = page.locator(".above")
    await expect(row.get_by_role("button", name="Copy table")).to_be_visible()
    await row.get_by_role("button", name="Run again").click()
    await expect(page.locator(".said .words").last).to_have_text("Run again")
    await expect(page.locator("#log > li").last.get_by_role("button", name="Save…")).to_be_visible()
    await expect(page.get_by_role("button", name="Run again")).to_have_count(1)
    await expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    assert messages[1].startswith("rerun ")
    await page.reload()
    await expect(page.locator(".said .words").last).to_have_text("Run again")


async def test_save_has_a_form_and_no_message(page: Page, messages: list[str]) -> None:
    await say(page, "figure")
    save = page.locator(".tools").get_by_role("button", name="Save…")
    await save.focus()
    await page.keyboard.press("Enter")
    name = page.get_by_label("Name")
    await expect(name).to_be_focused()
    await expect(name).to_have_value("unpaid <b>orders</b>")
    await expect(page.locator(".saving .hint")).to_have_text("Orders: Paid = <i>false</i>")
    await page.keyboard.press("Escape")
    await expect(save).to_be_focused()
    await save.click()
    await page.get_by_label("Name").fill("stop")
    await page.keyboard.press("Enter")
    await expect(page.locator(".saving .bad")).to_have_text("stop is a command.")
    await expect(name).to_be_focused()
    await name.fill("unpaid")
    await page.get_by_label("this month instead of 2026-11").uncheck()
    await page.locator(".saving [type=submit]").dblclick()
    await expect(page.locator("p.feedback")).to_have_text(SAVED.replace("`", ""))
    assert [text[-9:] for text in messages[1:]] == ["true stop", " / unpaid"]
    await page.locator("#quick").click()
    await expect(page.locator("#quick-saved button")).to_have_text("unpaid")
    await page.keyboard.press("Escape")
    await expect(page.locator(".said:visible")).to_have_count(1)
    await page.reload()
    await expect(page.locator(".answer:visible")).to_have_count(1)
    await expect(page.get_by_role("button", name="Run again")).to_be_visible()


async def test_alert_has_a_form_that_makes_a_card_and_keeps_what_was_typed(
    page: Page, messages: list[str]
) -> None:
    await say(page, "figure")
    await page.locator(".tools").get_by_role("button", name="Alert…").click()
    value, limit = page.get_by_label("What to watch"), page.get_by_label("Limit")
    await expect(value).to_be_focused()
    await value.select_option("a row appears")
    await expect(limit).to_be_hidden()
    await value.select_option("sum of <b>Amount</b>")
    await page.locator(".saving [type=submit]").click()
    await expect(limit).to_be_focused()
    assert messages == ["figure"], "an empty limit is no message"
    await limit.fill("many")
    await page.get_by_label("Post right away").check()
    await page.keyboard.press("Enter")
    await expect(page.locator(".saving .bad")).to_have_text("Enter a number as the limit.")
    await expect(limit).to_be_focused()
    await expect(limit).to_have_value("many")
    await limit.fill("1,000")
    await page.get_by_label("Title").fill("Late")
    await page.locator(".saving [type=submit]").dblclick()
    await expect(page.locator("[data-card]")).to_contain_text("Alert: Orders")
    await expect(page.locator("form.saving")).to_have_count(0)
    assert [text.partition(" ")[2][17:] for text in messages[1:]] == [
        "sum c1|>|0 * * * *|true|many|",
        "sum c1|>|0 * * * *|true|1,000|Late",
    ]
    await expect(page.locator(".said:visible")).to_have_count(1)
    await page.reload()
    await expect(page.locator(".answer:visible")).to_have_count(2)


@pytest.mark.parametrize("is_late", [False, True])
async def test_the_page_goes_to_the_card_of_an_alert(
    ponte: WebPonte, page: Page, messages: list[str], is_late: bool
) -> None:
    """The answer to the form may come before its card, or after it."""
    before, sent = ponte.script, asyncio.Event()

    async def script(turn: Turn) -> Answer:
        answer = await before(turn)
        long = f"{answer.text}\n\n" + "\n\n".join(f"line {n}" for n in range(40))
        return answer if answer.cards else replace(answer, text=long, placed=())

    async def hold(route: Route) -> None:
        response = await route.fetch()
        await sent.wait()
        await route.fulfill(response=response)

    ponte.script = script
    await say(page, "orders?")
    await page.get_by_role("button", name="Alert…").click()
    await page.get_by_label("Limit").fill("3")
    await page.route("**/chat", hold)
    if not is_late:
        sent.set()
    await page.locator(".saving [type=submit]").click()
    await expect(page.locator("[data-card]")).to_have_count(1)
    sent.set()
    await expect(page.locator("form.saving")).to_have_count(0)
    await expect(page.locator("[data-card] .approve")).to_be_in_viewport()


async def test_a_question_that_is_gone_is_told(
    page: Page, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "find_fields", fail)
    await say(page, "figure")
    await page.get_by_role("button", name="Save…").click()
    await expect(page.locator("#notice")).to_have_text(QUESTION_GONE)


async def test_the_whole_form_is_in_sight_below_a_long_table(
    page: Page, messages: list[str]
) -> None:
    await resize(page, 1280, 420)
    await say(page, "orders?\n" * 30)
    await say(page, "figure")
    await page.locator(".above").get_by_role("button", name="Save…").click()
    await expect(page.get_by_label("Name")).to_be_focused()
    overlap = "document.querySelector('.saving').getBoundingClientRect().bottom <= " + (
        "document.querySelector('#ask').getBoundingClientRect().top"
    )
    await wait_until(page, overlap)


async def test_what_was_saved_or_deleted_meanwhile_is_in_the_menu_or_not(
    ponte: WebPonte, page: Page, messages: list[str]
) -> None:
    ponte.board.known, ponte.board.saved = [], []
    await say(page, "figure")
    await expect(page.locator("#quick")).to_be_hidden()
    await page.get_by_role("button", name="Save…").dblclick()
    await expect(page.get_by_label("Name")).to_be_focused()
    await page.get_by_role("button", name="Save…").click()
    await expect(page.get_by_label("Name")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("p.feedback")).to_be_visible()
    ponte.board.saved = ["unpaid"]
    await page.locator("#quick").click()
    await expect(page.locator("#quick-saved button")).to_have_text("unpaid")
    await page.keyboard.press("Escape")
    ponte.board.saved = []
    await page.locator("#quick").click()
    await expect(page.locator("#quick")).to_be_hidden()
    await expect(page.locator("#quick-form")).to_be_hidden()


@pytest.mark.parametrize("has_commands", [True, False])
async def test_the_slash_menu_puts_a_saved_question_into_the_box(
    ponte: WebPonte, tab: Page, has_commands: bool
) -> None:
    ponte.board.known = [ECHO] if has_commands else []
    ponte.board.saved = ["unpaid <b>orders</b>"]
    await visit(tab, ponte.link)
    await expect(tab.locator("#quick")).to_be_visible()
    await tab.locator("#text").press("/")
    await expect(tab.locator("#quick-slug")).to_be_visible(visible=has_commands)
    await expect(tab.locator("#quick-saved button")).to_have_text("unpaid <b>orders</b>")
    await tab.locator("#quick-saved [data-fill]").click()
    await expect(tab.locator("#quick-form")).to_be_hidden()
    await expect(tab.locator("#text")).to_have_value("show unpaid <b>orders</b>")
    await expect(tab.locator("#text")).to_be_focused()


@pytest.mark.parametrize(
    ("language", "dark", "width"), [("en", True, 390), ("pt-BR", False, 390), ("fr", True, 1280)]
)
async def test_on_a_phone_they_are_behind_one_button_and_axe_finds_nothing(
    ponte: WebPonte, axe_tab: Page, messages: list[str], language: str, dark: bool, width: int
) -> None:
    page = axe_tab
    await page.set_extra_http_headers({"Accept-Language": language})
    ponte.board.saved = ["unpaid"]
    await visit(page, ponte.link)
    await resize(page, width, dark=dark)
    await say(page, "orders?")
    buttons = page.locator(".reruns .rerun:not(.on-phone)")
    if width == 390:
        await expect(buttons.first).to_be_hidden()
        buttons = page.locator("[role=menuitem]")
    for place, field in ((2, "select"), (1, "input")):  # of an alert, of a saved question
        if width == 390:
            await page.locator(".on-phone").click()
        await buttons.nth(place).click()
        await expect(page.locator(f"form.saving {field}").first).to_be_focused()
        await expect(page.locator(".saving .hint")).to_have_count(place)
        assert await findings(page, axe_source()) == []
    await page.locator(".saving [type=submit]").click()
    await expect(page.locator("p.feedback")).to_be_visible()
    await page.locator("#quick").click()
    await expect(page.locator("#quick-saved")).to_be_visible()
    assert await findings(page, axe_source()) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
