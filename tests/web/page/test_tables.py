"""Tables as NocoDB's answers have them: 2 to 20 columns, on a phone and on a screen."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from core.domain.messages import Answer, Card
from tests.web.house import Turn, WebPonte
from tests.web.page.browser import chromium, say, visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEADS = ("Name", "City", "Balance", "Since", "Status", "Owner", "E-mail", "Phone", "Notes", "Score")
CALLED = "Called twice; wants the new contract before the end of the year, by post"
CELLS = ("Companhia Ponte", "São Paulo", "12,300.50", "2026-11-20", "Active", "Élise Dubois",
         "elise.dubois@ponte.example", "+55 11 91234-5678", CALLED, "97.25")  # fmt: skip
WIDTHS, COLUMNS = (390, 1280), (2, 8, 20)


def table(columns: int) -> str:
    """Rows as a tool's answer shows them."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells[n % len(cells)] for n in range(columns))} |"

    rows = [line(CELLS)] * 4
    return "\n".join([line(HEADS), line(["---"]), *rows])


async def script(turn: Turn) -> Answer:
    asked = turn.message.text
    if asked.isdigit():
        return Answer(f"Here they are:\n\n{table(int(asked))}")
    cells = dict(zip(HEADS, CELLS, strict=True))
    rows = [{"before": cells, "after": {**cells, "City": "Porto"}}] * 2
    return Answer("Please look.", cards=(
        Card("abc234", "proposal", "Update 2 rows", "In Customers.", tuple(rows), ("approve",)),
    ))  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def house() -> WebPonte:
    return WebPonte(script)


async def open_page(house: WebPonte, browser: Browser, width: int, dark: bool = False) -> Page:
    page = await browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
    )
    await visit(page, house.link)
    return page


LINES = """cells => cells.map(cell => [
    cell.textContent, Math.round(cell.clientHeight / parseFloat(getComputedStyle(cell).lineHeight)),
    cell.classList.contains("long")])"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("columns", COLUMNS)
async def test_words_and_figures_stay_whole_and_the_first_column_in_sight(
    house: WebPonte, browser: Browser, width: int, columns: int
) -> None:
    await house.open()
    page = await open_page(house, browser, width)
    await say(page, str(columns))
    frame = page.locator(".body .table")
    await expect(frame).to_be_visible()
    cells = await page.locator(".body td:not(:first-child)").evaluate_all(LINES)
    assert len(cells) == 4 * (columns - 1)
    for text, _, is_long in cells:
        assert is_long == (len(text) > 36), text
    height = await page.locator(".body td:not(.long)").first.evaluate("e => e.offsetHeight")
    longest = await page.locator(".body tbody tr").first.evaluate("e => e.offsetHeight")
    assert longest <= 6 * height, "no letter a line"
    split = await page.locator(".body td:not(.long)").evaluate_all(
        "all => all.filter(e => { const r = document.createRange(); r.selectNodeContents(e);"
        " return new Set([...r.getClientRects()].map(b => Math.round(b.top))).size > 1; }).length"
    )
    assert split == 0, "a short cell stands in one line"
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await frame.evaluate("e => { e.scrollLeft = 10_000; }")
    first = await page.locator(".body td").first.bounding_box()
    box = await frame.bounding_box()
    assert first
    assert box
    assert abs(first["x"] - box["x"]) <= 1, "it stays"
    assert first["width"] <= 0.5 * width
    await page.close()
    await house.close()


async def test_a_card_with_several_rows_is_as_readable(house: WebPonte, browser: Browser) -> None:
    await house.open()
    page = await open_page(house, browser, 390)
    await say(page, "change them")
    await expect(page.locator(".card .table").first).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await page.close()
    await house.close()


async def main(folder: Path) -> None:
    """The same as pictures, for who looks: `python -m tests.web.page.test_tables FOLDER`."""
    house = WebPonte(script)
    await house.open()
    async with chromium() as browser:
        for width in WIDTHS:
            for dark in (False, True):
                page = await open_page(house, browser, width, dark)
                for asked in (*map(str, COLUMNS), "card"):
                    await say(page, asked)
                await expect(page.locator(".card").first).to_be_visible()
                await page.screenshot(
                    path=folder / f"tables-{width}-{'dark' if dark else 'light'}.png",
                    full_page=True,
                )
                await page.close()
    await house.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
