"""Nothing is cut, nothing is painted over what it should not cover, and the page can be printed."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from core.domain.messages import Answer, Card
from core.domain.records import Health
from tests.fakes.card_rows import card_row
from tests.web.page.browser import choose, resize, say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORD = "Donaudampfschifffahrtsgesellschaftskapitaensmuetze" * 4
CODE = f'```python\nprint("{"a long line of code " * 20}")\n```'
NUMBER = "1,234,567,890,123,456,789.00"
ACCOUNT = "DE89 3704 0044 0532 0130 00"
NAMES = (NUMBER, ACCOUNT, "Companhia Ponte", "A name of thirty-five characters so")
WIDTHS = (320, 390, 1280)
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""A browser reports a scroll at the beginning of the next frame."""

CUT = """cells => cells.filter(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const inner = range.getBoundingClientRect(), outer = cell.getBoundingClientRect();
    return inner.left < outer.left - 1 || inner.right > outer.right + 1
        || inner.bottom > outer.bottom + 1;
}).map(cell => cell.textContent)"""
"""The text of each cell that does not show all of it."""


def card_of(rows: int, name: str = "Ann") -> Card:
    before = {"Name": name, "Balance": NUMBER}
    values = tuple(card_row(before, {**before, "Balance": "1.00"}) for _ in range(rows))
    return Card("abc234", "proposal", WORD, WORD, values, ("approve", "deny"))


async def answer_with(ponte: WebPonte, page: Page, answer: Answer) -> None:
    ponte.answers(answer)
    await say(page, "show")
    await expect(page.locator(".answer[aria-busy=false]").last).to_be_visible()


async def test_a_long_line_of_code_in_ones_own_message_scrolls_in_its_box(page: Page) -> None:
    await say(page, CODE)
    await expect(page.locator(".answer[aria-busy=false]")).to_be_visible()
    for width in WIDTHS:
        await resize(page, width)
        box = await page.locator(".said pre").bounding_box()
        assert box
        assert box["x"] >= 0, width
        assert box["x"] + box["width"] <= width
        await expect(page.locator(".said pre")).to_be_in_viewport()
        overflow = "e => e.scrollWidth > e.clientWidth"
        assert await page.locator(".said pre").evaluate(overflow), width


FIND_COVERED = """bars => {
    const stuck = "#log thead th, #log tbody :is(td, th):first-child, #log .bar";
    const tops = [...document.querySelectorAll(stuck)].map(
        e => e.getBoundingClientRect().top + scrollY);
    const places = [10, 40, innerHeight - 20, innerHeight - 60];
    const points = [0.1, 0.3, 0.5, 0.7, 0.9].flatMap(x => [0.1, 0.5, 0.9].map(y => [x, y]));
    const covered = [];
    for (const [top, place] of tops.flatMap(top => places.map(place => [top, place]))) {
        scrollTo(0, top - place);
        for (const bar of bars) {
            const box = document.querySelector(bar).getBoundingClientRect();
            for (const [x, y] of points) {
                const found = document.elementFromPoint(
                    box.left + x * box.width, box.top + y * box.height);
                if (!found?.closest(bar)) covered.push([bar, top, place, found?.tagName]);
            }
        }
    }
    return { tops: tops.length, covered };
}"""
"""Scroll each sticky cell to places behind both bars. Return what is painted over a bar."""


async def test_no_part_of_an_answer_is_painted_over_the_page_s_bars(
    ponte: WebPonte, page: Page
) -> None:
    """Each sticky cell of a table is scrolled behind the header and behind the message box."""
    lines = "\n".join(["| Name | Balance |", "| --- | --: |", *["| Ann | 1 |"] * 12])
    code = f"```python\nprint('{'x' * 300}')\n```"
    await answer_with(ponte, page, Answer(f"{lines}\n\n{code}", cards=(card_of(12),)))
    await page.locator(".card .table").wait_for()
    for width in (390, 1280):
        await resize(page, width, 500)
        value = await page.evaluate(FIND_COVERED, ["header", "#ask"])
        assert (value["tops"] > 24, value["covered"]) == (True, []), width


async def test_a_first_column_shows_all_of_each_name_and_number(
    ponte: WebPonte, page: Page
) -> None:
    tables = [
        "\n".join(["| No. | City |", "| --- | --- |", *[f"| {name} | Porto |"] * 3, "| 1 | x |"])
        for name in NAMES
    ]
    cards = tuple(
        Card(f"abc23{n}", "proposal", "Update", "", card_of(3, name).rows, ("approve",))
        for n, name in enumerate(NAMES)
    )
    await answer_with(ponte, page, Answer("\n\n".join(tables), cards=cards))
    await expect(page.locator(".card .table")).to_have_count(len(NAMES))
    ellipsis = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    split = """all => all.filter(e => {
        const range = document.createRange();
        range.selectNodeContents(e);
        return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1;
    }).map(e => e.textContent)"""
    text = """all => all.map(e => {
        const [left, ...others] = [...e.rows].map(row => row.cells[0].getBoundingClientRect().left);
        return others.every(one => Math.abs(one - left) < 1);
    })"""
    # On a phone, the heading of a card's table is for screen readers.
    cells = page.locator("#log tr > :not(.card thead *)")
    tables_shown = page.locator("#log .table")
    numbers = page.locator(".body :is(td, th):first-child", has_text=NUMBER)
    assert await numbers.count() == 3
    for width in WIDTHS:
        await resize(page, width)
        await tables_shown.evaluate_all("all => all.forEach(e => e.scrollTo(0, 0))")
        assert await cells.evaluate_all(CUT) == [], width
        assert await cells.evaluate_all(ellipsis) == [], width
        assert await numbers.evaluate_all(split) == [], ("a number is on one line", width)
        await tables_shown.evaluate_all("all => all.forEach(e => e.scrollTo(60, 0))")
        assert all(await page.locator("#log table").evaluate_all(text)), "a column moves as one"
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_long_words_stay_in_titles_cards_dialogs_and_forms(
    ponte: WebPonte, page: Page
) -> None:
    await answer_with(ponte, page, Answer(f"# {WORD}\n\n- {WORD}", cards=(card_of(1, WORD),)))
    conversation = ponte.rows[1].message.address.conversation
    await ponte.journal.set_listing(conversation, WORD, None)
    await page.reload()
    await expect(page.locator("#title")).to_have_text(WORD)
    await expect(page.locator(".card")).to_be_visible()
    for width in (320, 1280):
        await resize(page, width)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await choose(page, "Delete", "#options")
    await expect(page.locator("#sure")).to_be_visible()
    for width in (1280, 320):
        await resize(page, width)
        for dialog in await page.query_selector_all("dialog"):
            fits = "e => { e.close(); e.showModal(); return e.scrollWidth <= e.clientWidth; }"
            heading = await dialog.query_selector("h2, p, label")
            if heading:
                await heading.evaluate("(e, text) => { e.textContent = text; }", WORD)
            assert await dialog.evaluate(fits), (await dialog.get_attribute("id"), width)
            await dialog.evaluate("e => e.close()")


async def test_a_printed_conversation_has_all_of_it_and_nothing_of_the_page(
    ponte: WebPonte, page: Page
) -> None:
    await resize(page, 700, dark=True)
    heads = " | ".join(f"Column {n}" for n in range(9))
    cells = " | ".join(f"{n},000.50" for n in range(9))
    lines = [f"| {heads} |", f"| {'|'.join(['---'] * 9)} |", *[f"| {cells} |"] * 60]
    text = "\n".join(lines) + f"\n\n{CODE}"
    await answer_with(ponte, page, Answer(text, cards=(card_of(12),)))
    await page.locator(".card .table").wait_for()
    await page.emulate_media(media="print", color_scheme="dark")
    for secrets in (
        "#side",
        "#ask",
        "#options",
        ".tools",
        ".above",
        ".bar button",
        ".actions",
        "#notice",
    ):
        await expect(page.locator(secrets).first).to_be_hidden()
    cut = """all => all.filter(e => e.scrollHeight > e.clientHeight + 1
        || e.scrollWidth > e.clientWidth + 1).map(e => e.className || e.tagName)"""
    assert await page.locator("#log .table, #log pre").evaluate_all(cut) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 700
    sticky = """[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length
        && ['sticky', 'fixed'].includes(getComputedStyle(e).position)).length"""
    assert await page.evaluate(sticky) == 0, "these would be painted over the text"
    ink = await page.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(27, 35, 38)", "dark on white, whatever the theme"
    await page.emulate_media(media="screen")


async def test_a_new_conversation_opens_at_its_beginning(ponte: WebPonte, page: Page) -> None:
    """Also one that is opened from the end of another one that has no messages yet."""
    ponte.board.parts = [Health(f"part {n}", "on", "ready") for n in range(30)]
    await resize(page, 1280, 400)
    for _ in range(3):
        await answer_with(ponte, page, Answer("\n\n".join(["line"] * 30)))
    for _ in range(2):
        await page.click("#new")
        await expect(page.locator("#welcome")).to_be_visible()
        await expect(page.locator("#parts li")).to_have_count(30)
        await expect(page.locator("#welcome h2")).to_be_in_viewport()
        await page.wait_for_function("scrollY === 0")
        await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        await page.evaluate(TWO_FRAMES)


async def test_a_long_conversation_is_laid_out_once(ponte: WebPonte, page: Page) -> None:
    """Once for each message took 12 seconds for 300 messages."""
    async with ponte.client() as client:
        for number in range(30):
            body = {"message": f"message {number}", "conversation": "long"}
            await client.post("/chat", json=body)
    await page.evaluate("""() => {
        const scroll = scrollTo;
        globalThis.scrolls = 0;
        globalThis.scrollTo = (...to) => { scrolls += 1; scroll(...to); };
    }""")
    await page.evaluate("location.hash = 'long'")
    await expect(page.locator("#log > li")).to_have_count(30)
    await expect(page.locator(".body").last).to_be_in_viewport()
    assert await page.evaluate("scrolls") < 10


async def test_an_opened_conversation_shows_where_its_newest_answer_begins(
    ponte: WebPonte, page: Page
) -> None:
    """Also after the reader had scrolled up in another one."""
    await visit(page, f"{ponte.web.address}/#long")
    await answer_with(ponte, page, Answer("\n\n".join(["line"] * 60)))
    await page.evaluate("scrollTo(0, 0)")
    await page.evaluate(TWO_FRAMES)
    await page.click("#new")
    await expect(page.locator("#welcome")).to_be_visible()
    await answer_with(ponte, page, Answer("\n\n".join(["the beginning", *["line"] * 60])))
    await expect(page.locator(".body").get_by_text("the beginning")).to_be_in_viewport()
    await page.evaluate("scrollTo(0, 0)")
    await page.evaluate(TWO_FRAMES)
    await page.locator("#list a[href='#long']").click()
    await expect(page.locator(".body p")).to_have_count(60)
    await expect(page.locator(".body p").first).to_be_in_viewport()
    await page.click("#newest")
    await expect(page.locator(".body p").last).to_be_in_viewport()
    await expect(page.locator("#newest")).to_be_hidden()
    await page.evaluate("history.back()")
    await expect(page.locator(".body").get_by_text("the beginning")).to_be_in_viewport()
