"""The form in a card that changes its proposal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import Locator, Page, expect

from core.base.errors import NotAllowed
from core.domain.changes import ChangeForm, FormField
from core.domain.messages import Answer, Card
from tests.fakes.card_rows import card_row
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.page.test_approvals import waits
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = (card_row({"Name": "Ann", "City": "Lisbon"}, {"Name": "Ann", "City": "Porto"}),)
OPEN = Card(
    "abc234", "proposal", "Update 1 row", "In Customers.", ROWS, ("approve", "change", "deny")
)
REVISED = replace(OPEN, text="Version 2, changed by Ana.", revision=2)
FIELDS = (
    FormField("City", "City", "text", "Porto"),
    FormField("Note", "Note", "lines", "one\ntwo"),
    FormField("Amount", "Amount", "number", "12.5"),
    FormField("Due", "Due", "date", "2026-11-20"),
    FormField("Sent at", "Sent at", "moment", "2026-11-20 15:00"),
    FormField("Status", "Status", "select", "Open", ("Open", "Paid")),
    FormField("Paid", "Paid", "checkbox", "false"),
)
FORM = ChangeForm("abc234", 1, "Update 1 row", FIELDS)
IS_UNCOVERED = """note => {
    const { left, top, height } = note.getBoundingClientRect();
    return document.elementFromPoint(left + 5, top + height / 2) === note;
}"""
"""Whether the reader sees it, and not the box for messages."""
REPLACED = "This version was replaced, so nothing was done. See the newest one."


def changes(ponte: WebPonte, click: Answer, form: ChangeForm = FORM) -> None:
    """Answer each message with the open card, and a press with `click`."""
    ponte.board.forms["abc234"] = form
    ponte.answers(Answer("Shall I?", cards=(OPEN,)), click)


async def open_form(page: Page) -> Locator:
    await say(page, "rename Ann")
    await page.get_by_role("button", name="Change…").click()
    form = page.locator(".card form")
    await expect(form).to_be_visible()
    return form


async def test_the_form_sends_what_was_changed_and_every_tab_sees_the_new_version(
    ponte: WebPonte, page: Page
) -> None:
    changes(ponte, Answer("Saved the new values of `abc234`.", cards=(REVISED,)))
    other = await page.context.new_page()
    await visit(other, f"{ponte.web.address}/#main")
    form = await open_form(page)
    card = page.locator(".card")
    await expect(form).to_have_accessible_name("Change…: Update 1 row")
    await expect(form.get_by_label("City")).to_be_focused()
    await expect(form.get_by_role("textbox", name="Note")).to_have_value("one\ntwo")
    await expect(form.get_by_role("textbox", name="Amount")).to_have_value("12.5")
    await expect(form.get_by_label("Due")).to_have_value("2026-11-20")
    await expect(form.get_by_label("Sent at")).to_have_value("2026-11-20T15:00")
    status = form.get_by_role("combobox", name="Status")
    await expect(status.locator("option")).to_have_text(["–", "Open", "Paid"])
    await expect(card.get_by_role("button")).to_have_text(["Save", "Cancel"])
    await form.get_by_label("City").fill("Faro")
    await form.get_by_role("textbox", name="Amount").fill("7")
    await status.select_option("Paid")
    await form.get_by_role("checkbox", name="Paid").check()
    await form.get_by_role("textbox", name="Amount").press("Enter")
    for tab in (page, other):
        await expect(tab.locator(".card .words")).to_have_text(REVISED.text)
        await expect(tab.locator(".card .note")).to_have_text("Saved the new values of abc234.")
        await expect(tab.locator(".card form")).to_have_count(0)
        await expect(tab.locator(".card button")).to_have_text(["Deny", "Change…", "Approve"])
    await expect(card).to_be_focused()
    text = '{"City": "Faro", "Amount": "7", "Status": "Paid", "Paid": "true"}'
    assert ponte.rows[2].message.text == f"change abc234 {text}"
    assert ponte.rows[2].message.is_click


async def test_an_error_leaves_the_form_with_its_text(ponte: WebPonte, page: Page) -> None:
    """With one of the HTTP API's codes, and as a tool fails. The words are in view."""
    ponte.board.forms["abc234"] = FORM
    await resize(page, 390, 500)

    async def script(turn: Turn) -> Answer:
        if not turn.message.is_click:
            return Answer("Shall I?", cards=(OPEN,))
        code = "bad_request" if "Faro" in turn.message.text else "tool"
        return Answer(f"No such city ({code}).", "failed", code=code)

    ponte.script = script
    form = await open_form(page)
    for city, code in (("Faro", "bad_request"), ("Evora", "tool")):
        await form.get_by_label("City").fill(city)
        await form.get_by_label("City").press("Enter")
        note = page.locator(".card .note")
        await expect(note).to_have_text(f"No such city ({code}).")
        await expect(note).to_be_in_viewport()
        assert await note.evaluate(IS_UNCOVERED)
        await expect(form.get_by_label("City")).to_have_value(city)
        await expect(form.get_by_label("City")).to_be_focused()
        await expect(form.get_by_role("button", name="Save")).to_be_enabled()
    await expect(page.locator(".card")).to_have_attribute("data-state", "open")


async def test_escape_closes_the_form_and_returns_to_the_button(
    ponte: WebPonte, page: Page
) -> None:
    changes(ponte, Answer("x"))
    form = await open_form(page)
    await form.get_by_label("City").fill("Faro")
    await page.keyboard.press("Escape")
    await expect(form).to_have_count(0)
    await expect(page.get_by_role("button", name="Change…")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(form.get_by_label("City")).to_have_value("Porto")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_have_count(0)
    await expect(page.get_by_role("button", name="Change…")).to_be_focused()
    assert len(ponte.rows) == 1, "nothing was changed, so nothing is sent"


async def test_escape_in_the_list_of_requests_closes_the_form_alone(
    ponte: WebPonte, page: Page
) -> None:
    waits(ponte, "abc234")
    waiting = ponte.board.pending["web:owner"]
    waiting[0] = (waiting[0][0], OPEN)
    ponte.board.forms["abc234"] = FORM
    await page.locator("#approvals").click()
    dialog = page.locator("#requests")
    await dialog.get_by_role("button", name="Change…").click()
    await expect(dialog.get_by_label("City")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(dialog.get_by_role("button", name="Change…")).to_be_focused()
    await expect(dialog).to_be_visible()


async def test_a_form_stays_open_while_somebody_else_changes_the_card(
    ponte: WebPonte, page: Page
) -> None:
    """What was typed goes into the form of the newest version, which the person then sends."""
    changes(ponte, Answer("Changed.", cards=(REVISED,)))
    form = await open_form(page)
    await form.get_by_label("City").fill("Faro")
    async with ponte.client() as client:
        body = {"action": "change", "values": {"City": "Braga", "Note": "new"}}
        assert (await client.post("/cards/abc234", json=body)).status_code == 200
    await expect(page.locator(".card .words")).to_have_text(REVISED.text)
    await expect(form.get_by_label("City")).to_have_value("Faro")
    await expect(form.get_by_label("City")).to_be_focused()
    newest = (replace(FIELDS[0], value="Braga"), replace(FIELDS[1], value="new"), *FIELDS[2:])
    late = Answer(REPLACED, "failed", cards=(REVISED,))
    changes(ponte, late, replace(FORM, revision=2, fields=newest))
    await page.keyboard.press("Enter")
    await expect(page.locator(".card .note")).to_have_text(REPLACED)
    await expect(form.get_by_label("Note")).to_have_value("new")
    await expect(form.get_by_label("City")).to_have_value("Faro")
    changes(ponte, Answer("Changed.", cards=(replace(REVISED, revision=3),)))
    await page.keyboard.press("Enter")
    await expect(form).to_have_count(0)
    texts = [row.message.text for row in ponte.rows.values() if row.message.is_click]
    assert texts[1:] == ['change abc234 {"City": "Faro"}', 'change abc234.2 {"City": "Faro"}']


async def test_the_later_of_two_who_save_at_once_keeps_what_they_typed(
    ponte: WebPonte, page: Page
) -> None:
    """The answer brings the newest version before the event stream does."""
    newest = (replace(FIELDS[0], value="Braga"), replace(FIELDS[1], value="new"), *FIELDS[2:])
    changes(ponte, Answer(REPLACED, "failed", cards=(REVISED,)))
    form = await open_form(page)
    await form.get_by_label("City").fill("Faro")
    ponte.board.forms["abc234"] = replace(FORM, revision=2, fields=newest)
    await page.keyboard.press("Enter")
    await expect(form.get_by_label("Note")).to_have_value("new")
    await expect(form.get_by_label("City")).to_have_value("Faro")
    await expect(form.get_by_label("City")).to_be_focused()
    await expect(page.locator(".card .note")).to_have_text(REPLACED)


async def test_a_decision_of_somebody_else_closes_the_form(ponte: WebPonte, page: Page) -> None:
    variant = replace(OPEN, kind="change", text="Denied by Bia.", state="denied", actions=())
    changes(ponte, Answer("Denied.", cards=(variant,)))
    form = await open_form(page)
    async with ponte.client() as client:
        await client.post("/cards/abc234", json={"action": "deny"})
    await expect(page.locator(".card .words")).to_have_text("Denied by Bia.")
    await expect(form).to_have_count(0)
    await expect(page.locator(".card")).to_be_focused()


async def test_rows_are_a_table_and_odd_labels_and_values_stay_text(
    ponte: WebPonte, page: Page
) -> None:
    """Nothing that a table holds becomes HTML or takes the place of a property of the form. A value
    that a browser cannot read stays as it is. A form that may not be opened says why."""
    evil = "<img src=x onerror=alert(1)>"
    fields = tuple(
        FormField(f"{number}.{label}", label, "text", evil, row=row)
        for number, row in enumerate(("Ann", "Ann", "", evil), 1)
        for label in (evil, "remove", "querySelectorAll")
    )
    changes(ponte, Answer("x"), replace(FORM, title=evil, fields=fields))
    form = await open_form(page)
    names = form.locator("tbody th")
    await expect(names).to_have_text(["All rows", "Ann", "Ann", "Row 3", evil])
    await expect(form.locator("thead th").nth(1)).to_have_text(evil)
    await expect(form.locator("input").first).to_have_value(evil)
    assert await page.locator(".card img").count() == 0
    await page.keyboard.press("Escape")
    await expect(form).to_have_count(0)
    fields = (
        FormField("Due", "Due", "date", "20 November"),
        FormField("At", "At", "moment", "2026-11-20T15:00+01:00"),
        FormField("Kind", "Kind", "select", "Old", ("New",)),
        FormField("Empty", "Empty", "date"),
    )
    ponte.board.forms["abc234"] = replace(FORM, fields=fields)
    await page.get_by_role("button", name="Change…").click()
    await expect(form.get_by_label("Due")).to_have_value("20 November")
    await expect(form.get_by_label("At")).to_have_value("2026-11-20T15:00+01:00")
    await expect(form.get_by_label("Kind")).to_have_value("Old")
    await expect(form.get_by_label("Empty")).to_have_attribute("type", "date")
    await page.keyboard.press("Escape")
    ponte.board.forms["abc234"] = NotAllowed("Only Ana can change it.")
    await page.get_by_role("button", name="Change…").click()
    await expect(page.locator(".card .note")).to_have_text("Only Ana can change it.")
    await expect(form).to_have_count(0)


async def test_the_first_row_writes_into_all_and_an_error_stands_at_its_cell(
    ponte: WebPonte, page: Page
) -> None:
    fields = tuple(
        field
        for n, city in ((1, "Porto"), (2, "Faro"))
        for field in (
            FormField(f"{n}.City", "City", "text", city, row=f"{n}. Ann"),
            FormField(f"{n}.Status", "Status", "select", "Open", ("Open", "Paid"), f"{n}. Ann"),
        )
    )
    ponte.board.forms["abc234"] = replace(FORM, fields=fields)

    async def script(turn: Turn) -> Answer:
        if not turn.message.is_click:
            return Answer("Shall I?", cards=(OPEN,))
        return Answer("There is no City Evora.", "failed", code="bad_request")

    ponte.script = script
    form = await open_form(page)
    await expect(form.get_by_label("Status, All rows")).to_have_value("Open")
    await expect(form.get_by_label("City, All rows")).to_have_value("")
    await form.get_by_label("Status, All rows").select_option("Paid")
    await form.get_by_label("City, 2. Ann").fill("Evora")
    await page.keyboard.press("Enter")
    await expect(form.locator("[aria-invalid=true]")).to_have_count(1)
    await expect(form.get_by_label("City, 2. Ann")).to_have_attribute("aria-invalid", "true")
    error = "There is no City Evora."
    await expect(form.locator("td[data-error]")).to_have_attribute("data-error", error)
    assert ponte.rows[2].message.text == (
        'change abc234 {"1.Status": "Paid", "2.City": "Evora", "2.Status": "Paid"}'
    )


async def test_the_form_fits_and_axe_finds_nothing(ponte: WebPonte, axe_tab: Page) -> None:
    long = "Donaudampfschifffahrtsgesellschaft" * 3
    fields = (*FIELDS, FormField("x", long, "select", long, (long,)))
    rows = tuple(replace(one, key=f"{n}.{one.key}", row=long) for n in (1, 2) for one in fields)
    changes(ponte, Answer("x"), replace(FORM, fields=rows))
    await visit(axe_tab, ponte.link)
    await open_form(axe_tab)
    for width, dark in ((320, False), (1280, True)):
        await resize(axe_tab, width, dark=dark)
        assert await findings(axe_tab, axe_source()) == []
        assert await axe_tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
