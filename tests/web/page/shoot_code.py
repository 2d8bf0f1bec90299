"""Takes the screenshots of code on the page: python -m tests.web.page.shoot_code FOLDER.

The whole bot with the sandbox of this machine; only the model is a script.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import FilePayload, expect

from tests.dialogues.plotting import PLOT, SALES, calls, sandboxed_ponte
from tests.fakes.openai import FakeOpenAI
from tests.web.page.browser import chromium, say
from tests.web.page.shoot import SIZES

SAID = "Sales grew in each month; March, with 31, was the best so far."


async def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        async with (
            FakeOpenAI() as fake,
            sandboxed_ponte(Path(home) / "home", fake) as ponte,
            chromium() as browser,
        ):
            for size, (width, height) in SIZES.items():
                page = await browser.new_page(viewport={"width": width, "height": height})
                await page.goto(ponte.app.link())
                await expect(page.locator("#tries button")).to_have_count(3)
                await page.goto(f"{ponte.web.base_url}#{size}")
                csv = FilePayload(name="sales.csv", mimeType="text/csv", buffer=SALES)
                await page.set_input_files("#files", csv)
                fake.say(calls(PLOT), SAID)
                await say(page, "Plot sales by month from this CSV")
                await expect(page.locator(".answer .files img")).to_be_visible(timeout=20_000)
                await page.get_by_text("The code that ran").click()
                await expect(page.locator(".ran pre")).to_contain_text("read_csv")
                await page.locator(".ran pre").scroll_into_view_if_needed()
                await page.screenshot(path=folder / f"code-{size}.png")
                await page.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
