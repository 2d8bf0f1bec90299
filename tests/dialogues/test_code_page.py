"""A plot as a person sees it: the whole bot, the sandbox, a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import FilePayload, expect

from tests.dialogues.plotting import PLOT, SALES, calls, sandboxed_ponte
from tests.fakes.openai import FakeOpenAI
from tests.web.page.browser import chromium, say, visit


async def test_a_plot_is_seen_and_its_code_unfolds(tmp_path: Path) -> None:
    async with (
        FakeOpenAI() as fake,
        sandboxed_ponte(tmp_path / "home", fake) as ponte,
        chromium() as browser,
    ):
        page = await browser.new_page()
        page.set_default_timeout(20_000)
        await visit(page, ponte.app.links()[1])
        csv = FilePayload(name="sales.csv", mimeType="text/csv", buffer=SALES)
        await page.set_input_files("#files", csv)
        fake.say(calls(PLOT), "Sales went up.")
        await say(page, "Plot sales by month from this CSV")
        image = page.locator(".answer .files img")
        await expect(image).to_be_visible(timeout=20_000)
        width = await image.evaluate("image => image.decode().then(() => image.naturalWidth)")
        assert width > 400
        await page.get_by_text("Code that ran").click()
        await expect(page.locator(".ran pre")).to_have_text(PLOT)
        await say(page, "```python\nint(sales.total.sum())\n```")
        await expect(page.locator(".answer pre").last).to_have_text("73")
