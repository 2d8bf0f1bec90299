"""Tables as NocoDB's answers have them: 2 to 20 columns, on a phone and on a screen."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import openpyxl
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from core.domain.messages import Answer, Card
from core.domain.rows import Chart, Placed, RowColumn, RowsResult, Series
from tests.fakes.card_rows import card_row
from tests.web.page.browser import axe_source, findings, resize, say, visit
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEADS = ("Name", "City", "Balance", "Since", "Status", "Owner", "E-mail", "Phone", "Notes", "Score")
CALLED = "Called twice; wants the new contract before the end of the year, by post"
CELLS = (
    "Companhia Ponte",
    "São Paulo",
    "12,300.50",
    "2026-11-20",
    "Active",
    "Élise Dubois",
    "elise.dubois@ponte.example",
    "+55 11 91234-5678",
    CALLED,
    "97.25",
)
WIDTHS, COLUMNS = (390, 1280), (2, 8, 20)


def table(columns: int) -> str:
    """Rows as a tool's answer shows them."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells[n % len(cells)] for n in range(columns))} |"

    rows = [line(CELLS)] * 4
    return "\n".join([line(HEADS), line(["---"]), *rows])


SIZES = RowsResult(
    "Things",
    (RowColumn("Name"), RowColumn("Size", "number")),
    (("b", "9 kg"), ("c", "10 kg"), ("a", "–")),
    ((None, 9), (None, 10), (None, None)),
)


AMOUNTS = RowsResult(
    "Sums",
    (RowColumn("Name"), RowColumn("Sum", "number")),
    (("a; b", "R$ 1.234,50"), ("＝1+1", "-R$ 3,00")),
    ((None, "1234.5"), (None, -3)),
)


async def script(turn: Turn) -> Answer:
    text = turn.message.text
    if text.isdigit():
        return Answer(f"Here they are:\n\n{table(int(text))}")
    if text == "sums":
        return Answer(AMOUNTS.to_markdown(), placed=(Placed(AMOUNTS.to_markdown(), AMOUNTS),))
    if text == "sales":
        chart = Chart("bar", "Sales", ("a", "b"), (Series("Sum", (9.0, 10.0), ("9", "10")),))
        places = (Placed(SIZES.to_markdown(), SIZES), Placed(chart.to_markdown(), chart))
        return Answer("\n\n".join(each.text for each in places), placed=places)
    cells = dict(zip(HEADS, CELLS, strict=True))
    rows = [card_row(cells, {**cells, "City": "Porto"})] * 3
    return Answer(
        "Please look.",
        cards=(
            Card("abc234", "proposal", "Update 3 rows", "In Customers.", tuple(rows), ("approve",)),
        ),
    )


@pytest_asyncio.fixture(loop_scope="session")
async def ponte() -> AsyncIterator[WebPonte]:
    ponte = WebPonte(script)
    await ponte.open()
    yield ponte
    await ponte.close()


async def open_page(ponte: WebPonte, page: Page, width: int) -> None:
    await resize(page, width)
    await visit(page, ponte.link)


LINES = """cells => cells.map(cell => [
    cell.textContent, Math.round(cell.clientHeight / parseFloat(getComputedStyle(cell).lineHeight)),
    cell.classList.contains("long")])"""


async def test_words_and_figures_stay_whole_and_the_first_column_in_sight(
    ponte: WebPonte, tab: Page
) -> None:
    await open_page(ponte, tab, 390)
    for columns in COLUMNS:
        await say(tab, str(columns))
        frame = tab.locator(".body .table")
        await expect(frame).to_be_visible()
        for width in WIDTHS:
            await resize(tab, width)
            await check_table(tab, frame, columns, width)
        await tab.locator("#new").click()
    await resize(tab, 390)
    await say(tab, "change them")
    await expect(tab.locator(".card .table").first).to_be_visible()
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 390


async def check_table(tab: Page, frame: Locator, columns: int, width: int) -> None:
    cells = await tab.locator(".body td:not(:first-child)").evaluate_all(LINES)
    assert len(cells) == 4 * (columns - 1)
    for text, _, is_long in cells:
        assert is_long == (len(text) > 36), text
    height = await tab.locator(".body td:not(.long)").first.evaluate("e => e.offsetHeight")
    longest = await tab.locator(".body tbody tr").first.evaluate("e => e.offsetHeight")
    assert longest <= 6 * height, ("no letter a line", columns, width)
    split = await tab.locator(".body td:not(.long)").evaluate_all(
        "all => all.filter(e => { const r = document.createRange(); r.selectNodeContents(e);"
        " return new Set([...r.getClientRects()].map(b => Math.round(b.top))).size > 1; }).length"
    )
    assert split == 0, ("a short cell stands in one line", columns, width)
    assert await tab.evaluate("document.documentElement.scrollWidth") <= width, columns
    await frame.evaluate("e => { e.scrollLeft = 10_000; }")
    first = await tab.locator(".body td").first.bounding_box()
    box = await frame.bounding_box()
    assert first
    assert box
    assert abs(first["x"] - box["x"]) <= 1, ("it stays", columns, width)
    assert first["width"] <= 0.5 * width, columns


async def test_a_wide_table_uses_the_window_and_keeps_its_header_in_sight(
    ponte: WebPonte, tab: Page
) -> None:
    await open_page(ponte, tab, 1800)
    for columns, wide in (("2", False), ("8", True)):
        await say(tab, columns)
        frame = tab.locator(".body .table").last
        await expect(frame).to_be_visible()
        column = await tab.locator(".body").last.bounding_box()
        box = await frame.bounding_box()
        assert column is not None
        assert box is not None
        assert (box["width"] > column["width"] + 50) == wide
        assert abs(box["x"] - column["x"]) <= 1, "it begins with the text"
        assert box["x"] + box["width"] <= 1800
        await tab.locator("#new").click()
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 1800


async def test_figures_stand_to_the_right_and_all_of_it_in_the_whole_window(
    ponte: WebPonte, axe_tab: Page
) -> None:
    tab = axe_tab
    await open_page(ponte, tab, 1280)
    await say(tab, "20")
    right = tab.locator(".body th.right")
    await expect(right).to_have_text(["Balance", "Score"] * 2)
    await tab.get_by_role("button", name="Full screen").click()
    frame = tab.locator("#wide .table")
    await expect(frame).to_be_focused()
    await frame.evaluate("e => { e.scrollTo(400, 0); }")
    source = axe_source()
    assert await findings(tab, source) == []
    await resize(tab, 390, dark=True)
    assert await findings(tab, source) == []
    await tab.keyboard.press("Escape")
    await expect(frame).to_be_hidden()
    header = tab.locator(".body .table thead th").first
    assert await header.evaluate("e => getComputedStyle(e).position") == "sticky"


async def test_rows_are_sorted_by_their_numbers_and_a_chart_is_readable(
    ponte: WebPonte, tab: Page
) -> None:
    await open_page(ponte, tab, 1280)
    await say(tab, "sales")
    names = tab.locator("#log .body > .table tbody td:first-child")
    heading = tab.locator("#log .body > .table th").nth(1)
    await heading.get_by_role("button").click()
    await expect(names).to_have_text(["b", "c", "a"])
    await expect(heading).to_have_attribute("aria-sort", "ascending")
    await heading.get_by_role("button").click()
    await expect(heading).to_have_attribute("aria-sort", "descending")
    await expect(names).to_have_text(["a", "c", "b"])
    await expect(tab.get_by_role("img", name="Sales")).to_be_visible()
    await expect(tab.locator(".chart path.bar").first).to_have_css("stroke", "none")
    assert await findings(tab, axe_source()) == []


async def test_a_csv_file_opens_in_the_spreadsheet_of_the_reader(
    ponte: WebPonte, browser: Browser
) -> None:
    context = await browser.new_context(locale="pt-BR")
    page = await context.new_page()
    await visit(page, ponte.link)
    await say(page, "sums")
    text = (await download(page, page.locator(".download"), "CSV")).read_text("utf-8")
    assert text.splitlines() == ["\ufeffName;Sum", '"a; b";1234,5', "'＝1+1;-3"]
    await context.close()


async def download(page: Page, button: Locator, form: str) -> Path:
    """Choose a form from the menu of a button with the keyboard. Return where it was saved."""
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("menu")).to_be_visible()
    await page.keyboard.press(form[0])
    async with page.expect_download() as saved:
        await page.keyboard.press("Enter")
    assert (await saved.value).suggested_filename.endswith(form.lower())
    return await (await saved.value).path()


async def test_every_table_is_offered_as_a_file(ponte: WebPonte, tab: Page) -> None:
    await open_page(ponte, tab, 390)
    await say(tab, "sales")
    await tab.locator(".chart summary").click()
    files = tab.locator(".table").locator(
        "xpath=preceding-sibling::div[@class='above'][1]/button[contains(@class,'download')]"
    )
    rows = json.loads((await download(tab, files.nth(0), "JSON")).read_text("utf-8"))
    assert rows[0] == {"Name": "b", "Size": 9}
    book = openpyxl.load_workbook(
        io.BytesIO((await download(tab, files.nth(1), "XLSX")).read_bytes())
    )
    assert [[cell.value for cell in row] for row in book.active] == [
        [None, "Sum"],
        ["a", 9],
        ["b", 10],
    ]
    for width, dark in ((390, False), (1280, True)):
        await resize(tab, width, dark=dark)
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width
        assert await findings(tab, axe_source()) == []


async def test_a_long_table_shows_ten_rows_and_all_at_a_press(ponte: WebPonte, page: Page) -> None:
    lines = [f"| INV-{n} | {'Ann' if n % 2 else 'Bo'} |" for n in range(28)]
    ponte.answers(Answer("\n".join(["| Invoice | Customer |", "| --- | --- |", *lines])))
    await say(page, "invoices")
    rows = page.locator(".body tbody tr:visible")
    await expect(page.locator(".body .above").first).to_be_attached()
    await expect(rows).to_have_count(10)
    # Sorted, the ten are others. The whole heading is the button, once its style is loaded.
    await expect(page.locator(".body thead th").nth(1)).to_have_css("padding", "0px")
    box = await page.locator(".body thead th").nth(1).bounding_box()
    assert box
    await page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4)
    await expect(rows.locator("td:last-child")).to_have_text(["Ann"] * 10)
    await page.get_by_role("searchbox", name="Filter rows").fill("bo")
    await expect(rows.locator("td:last-child")).to_have_text(["Bo"] * 14)
    await page.get_by_role("searchbox", name="Filter rows").fill("")
    await expect(rows).to_have_count(10)
    await page.get_by_role("button", name="Show all 28").click()
    await expect(rows).to_have_count(28)
    # The heading stays while the page scrolls, below the page's own.
    await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    await expect(page.locator(".body thead th").first).to_be_in_viewport()
    await expect(page.locator(".body td.right")).to_have_count(0)  # a number of an invoice


async def test_a_table_of_ten_rows_offers_no_more(ponte: WebPonte, page: Page) -> None:
    lines = [f"| {n} | Ann |" for n in range(10)]
    ponte.answers(Answer("\n".join(["| No. | Customer |", "| --- | --- |", *lines])))
    await say(page, "invoices")
    await expect(page.locator(".body tbody tr:visible")).to_have_count(10)
    await expect(page.locator(".body .above").first).to_be_attached()
    await expect(page.locator(".rows")).to_have_count(0)


async def test_a_chart_is_saved_as_a_picture_and_as_a_drawing(ponte: WebPonte, tab: Page) -> None:
    await open_page(ponte, tab, 1280)
    await say(tab, "sales")
    for form, begin in (("PNG", b"\x89PNG"), ("SVG", b"<svg ")):
        data = (await download(tab, tab.locator(".download").last, form)).read_bytes()
        assert data.startswith(begin), form
    assert b'fill="rgb(' in data
    assert b"<text" in data
    await resize(tab, 390)
    size = "e => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.clientWidth / 640"
    assert await tab.locator(".chart text").first.evaluate(size) >= 11
