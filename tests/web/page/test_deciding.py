"""Cards on the page: before and after, who decided, what was refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from playwright.async_api import Page, expect

from core.domain.messages import Answer, Card
from tests.fakes.card_rows import card_row
from tests.web.page.browser import resize, say
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


BEFORE, AFTER = {"Name": "Ann", "City": "Lisbon"}, {"Name": "Ann", "City": "Porto"}
OPEN = Card(
    "abc234",
    "proposal",
    "Update 1 row",
    "In Customers.",
    (card_row(BEFORE, AFTER),),
    ("approve", "deny"),
)
DONE = Card(
    "abc234",
    "change",
    "Update 1 row",
    "Approved by the owner.",
    (card_row(BEFORE, AFTER),),
    ("undo",),
    "done",
)


async def test_a_card_is_decided_and_every_tab_sees_by_whom(ponte: WebPonte, page: Page) -> None:
    ponte.answers(Answer("Shall I?", cards=(OPEN,)), click=Answer("Updated 1 row.", cards=(DONE,)))
    other = await page.context.new_page()
    await other.goto(f"{ponte.web.address}/#main")
    await say(page, "rename Ann")
    card = page.locator(".card")
    await expect(card.locator(".row strong")).to_have_text("Ann")
    await expect(card.locator(".row > div")).to_have_text("City: Lisbon → Porto")
    await expect(card.locator("del")).to_have_count(0)
    await expect(card.locator("ins")).to_have_text("Porto")
    await card.get_by_role("button", name="Approve").click()
    for tab in (page, other):
        await expect(tab.locator(".said .words").first).to_have_text("rename Ann")
        await expect(tab.locator(".body").first).to_have_text("Shall I?")
        await expect(tab.locator(".card")).to_have_count(1)
        await expect(tab.locator(".card .words")).to_have_text("Approved by the owner.")
        await expect(tab.locator(".card .note")).to_have_text("Updated 1 row.")
        await expect(tab.get_by_role("button", name="Undo")).to_be_visible()
        await expect(tab.get_by_role("button", name="Approve")).to_have_count(0)
        await expect(tab.locator(".answer:visible")).to_have_count(1)
    assert ponte.rows[2].message.text == "approve abc234"


async def test_a_card_says_for_whom_it_waits(ponte: WebPonte, page: Page) -> None:
    """Whoever may not approve it has no button for that, and is not told that it waits for them."""

    async def script(turn: Turn) -> Answer:
        theirs = replace(OPEN, id="def567", actions=("deny",))
        return Answer("Shall I?", cards=(theirs if turn.message.text == "theirs" else OPEN,))

    ponte.script = script
    await say(page, "mine")
    card = page.locator("article.card[data-card=abc234]")
    await expect(card.locator(".state strong")).to_have_text("waiting for you")
    await expect(card.get_by_role("button")).to_have_text(["Deny", "Approve"])
    await say(page, "theirs")
    card = page.locator("article.card[data-card=def567]")
    await expect(card.locator(".state strong")).to_have_text("waiting for someone else")
    await expect(card.get_by_role("button")).to_have_text(["Deny"])


async def test_the_plan_of_an_import_is_downloaded_from_its_card(
    ponte: WebPonte, page: Page
) -> None:
    ponte.board.plans["abc234"] = b"PK plan"
    ponte.answers(Answer("Shall I?", cards=(replace(OPEN, has_plan=True),)))
    await say(page, "import")
    link = page.locator(".card").get_by_role("link", name="Open the plan (Excel)")
    async with page.expect_download() as download:
        await link.click()
    file = await download.value
    assert file.suggested_filename == "abc234.xlsx"
    assert (await file.path()).read_bytes() == b"PK plan"
    await expect(page.locator(".card .note")).to_have_text("")


async def test_several_rows_share_a_table_and_nothing_is_said_twice(
    ponte: WebPonte, page: Page
) -> None:
    payment = tuple(card_row({"Id": id, "Paid": False}, {"Id": id, "Paid": True}) for id in "123")
    missing_rows = (card_row({"Name": "Bo", "Note": "old"}, None),) * 2
    result = (card_row(None, {"Name": "Ada", "Note": "new"}),) * 2
    values = tuple(
        Card(id, "proposal", "Change rows", "Requested by Ann.", rows, ("approve",))
        for id, rows in (("abc234", payment), ("abc235", missing_rows), ("abc236", result))
    )

    async def script(turn: Turn) -> Answer:
        if turn.message.is_click:
            card = Card("abc234", "change", "Change rows", "Done.", payment, ("undo",), "done")
            return Answer("Done. To undo this change, type `undo abc234`.", cards=(card,))
        return Answer("Shall I?", cards=values)

    ponte.script = script
    await say(page, "pay")
    first, second, third = (page.locator(".card").nth(number) for number in range(3))
    await expect(first.locator("table")).to_have_count(1)
    await expect(first.locator("thead")).to_have_text("IdPaid")
    await expect(first.locator("tbody tr")).to_have_text(["1No → Yes", "2No → Yes", "3No → Yes"])
    await expect(second.locator("thead")).to_have_text("NameNote")
    await expect(second.locator("tbody tr")).to_have_text(["Boold", "Boold"])
    await expect(third.locator("table")).to_have_count(0)
    await expect(third.locator(".row")).to_have_text(["AdaNote: new"] * 2)
    await expect(page.locator(".card del")).to_have_text(["old"] * 2)
    await first.get_by_role("button", name="Approve").click()
    await expect(first.locator(".words")).to_have_text("Done.")
    await expect(first.locator(".note")).to_have_text("To undo this change, type undo abc234.")


async def test_a_schedule_is_approved(ponte: WebPonte, page: Page) -> None:
    """While the click is on its way, no button can be pressed. The answer draws the card anew, and
    nothing that it says is said twice."""
    question = Card(
        "abc234",
        "proposal",
        "Post: Hello",
        "When: daily.\nIt calls no model.",
        actions=("approve", "deny"),
    )
    variant = replace(
        question,
        text="When: daily.\nStarted. Type `schedule abc234 pause`.",
        actions=(),
        state="done",
    )
    go = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.is_click:
            await go.wait()
            return Answer(variant.text, cards=(variant,))
        return Answer("Prepared.", cards=(question,))

    ponte.script = script
    await say(page, "post Hello daily")
    card = page.locator(".card")
    note, buttons = card.locator(".note"), card.get_by_role("button")
    await expect(card.locator(".state strong")).to_have_text("waiting for you")
    await buttons.get_by_text("Approve").click()
    await expect(card.locator("button:disabled")).to_have_text(["Deny", "Approve"])
    go.set()
    await expect(buttons).to_have_count(0)
    await expect(card.locator(".state strong")).to_have_text("done")
    await expect(card.locator(".words code")).to_have_text("schedule abc234 pause")
    await expect(note).to_have_text("")
    await expect(page.locator(".answer:visible")).to_have_count(1)


async def test_what_the_card_says_itself_is_said_once(ponte: WebPonte, page: Page) -> None:
    async def script(turn: Turn) -> Answer:
        if turn.message.is_click:
            card = Card("abc234", "change", "Post", "> Hello\n\nApproved by Ana.", state="done")
            return Answer("Approved by Ana.", cards=(card,))
        text = "> Hello\n>\n> a > b, `c`\n\nRequested by `Ana`."
        question = Card("abc234", "proposal", "Post", text, actions=("approve", "deny"))
        return Answer("Shall I?", cards=(question,))

    ponte.script = script
    await say(page, "post")
    await expect(page.locator(".card blockquote")).to_have_text("Hello\n\na > b, `c`")
    await expect(page.locator(".card .words")).not_to_contain_text("> Hello")
    await expect(page.locator(".card .words code")).to_have_text("Ana")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator(".card .words")).to_contain_text("Approved by Ana.")
    await expect(page.locator(".card .note")).to_be_empty()


async def test_a_long_value_is_whole_until_the_decision_and_opens_after_it(
    ponte: WebPonte, page: Page
) -> None:
    """The moment of the decision is at the top, and the id of the change is last."""
    long = "Call her before noon. " * 20 + "The end"
    rows = (card_row(BEFORE, AFTER | {"Note": long}),)
    at = 1_800_000_000.0
    variant = replace(DONE, rows=rows, decided_at=at)
    ponte.answers(
        Answer("Shall I?", cards=(replace(OPEN, rows=rows),)),
        click=Answer("Updated 1 row.", cards=(variant,)),
    )
    await say(page, "rename Ann")
    card = page.locator(".card")
    await expect(card.get_by_text("The end")).to_be_visible()
    await expect(card.locator("details")).to_have_count(0)
    await card.get_by_role("button", name="Approve").click()
    await expect(card.locator(".state")).to_contain_text("doneJan 15, 2027")
    await expect(card.locator("details")).not_to_have_attribute("open", "")
    await expect(card.locator("details summary")).to_have_text(f"{long[:120]}…")
    await card.locator("summary").click()
    await expect(card.get_by_text("The end")).to_be_visible()
    await expect(card.locator(".state small")).to_have_text("abc234")


async def test_each_row_is_a_block_on_a_phone_and_nothing_scrolls_above_approve(
    ponte: WebPonte, page: Page
) -> None:
    rows = tuple(
        card_row({"Name": f"INV-{n}", "State": "Overdue"}, {"Name": f"INV-{n}", "State": "Paid"})
        for n in range(3)
    )
    ponte.answers(Answer("Shall I?", cards=(replace(OPEN, rows=rows),)))
    await resize(page, 390, 844)
    await say(page, "pay")
    card = page.locator(".card")
    await expect(card.locator("tbody tr")).to_have_text(
        ["INV-0Overdue → Paid", "INV-1Overdue → Paid", "INV-2Overdue → Paid"]
    )
    head = "e => getComputedStyle(e, '::before').content"
    assert await card.locator("td").first.evaluate(head) == '"State: "'
    assert await card.get_by_role("row").count() == 4, "it is read out as a table"
    inside = "e => [e, ...e.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1"
    inside += " && getComputedStyle(e).overflowX !== 'visible' && !e.closest('thead')).length"
    assert await card.evaluate(inside) == 0, "nothing is cut or scrolls"


async def test_a_new_row_is_a_list_and_the_digest_of_a_file_is_behind_a_click(
    ponte: WebPonte, page: Page
) -> None:
    new = card_row(None, {"Name": "Ann", "Note": "First line\nand second"})
    digest = {"title": "contract.pdf", "mimetype": "application/pdf", "size": 192}
    stored = {"title": "offer.pdf", "path": "download/x", "size": 7, "mimetype": "text/plain"}
    files = [stored, digest | {"sha256": "ab" * 32}]
    added = card_row({"Name": "Bo", "Files": [stored]}, {"Name": "Bo", "Files": files})
    ponte.answers(Answer("Shall I?", cards=(replace(OPEN, rows=(new, added)),)))
    await say(page, "create")
    fields = page.locator(".card .field .value")
    await expect(fields.nth(0)).to_have_text("First line\nand second", use_inner_text=True)
    await expect(fields.nth(1)).to_contain_text("+ contract.pdf (192 B)")
    await expect(fields.nth(1)).not_to_contain_text("offer.pdf")
    digest_shown = page.locator(".card .digest")
    await expect(digest_shown).to_have_text("#", use_inner_text=True)
    await digest_shown.locator("summary").click()
    words = "# application/pdf, SHA-256 abababababababab"
    await expect(digest_shown).to_have_text(words, use_inner_text=True)
