"""Takes the page's screenshots for `docs/`: python -m tests.web.page.shoot FOLDER."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Browser, expect

from core.messages import Answer, Card
from core.records import Health
from tests.web.house import House, Turn
from tests.web.page.browser import chromium, say

SIZES = {"phone": (390, 844), "desk": (1280, 800)}
ROWS = (
    {
        "before": {"Name": "Ana Sousa", "City": "Lisbon"},
        "after": {"Name": "Ana Sousa", "City": "Porto"},
    },
    {
        "before": {"Name": "Bruno Dias", "City": "Lisboa"},
        "after": {"Name": "Bruno Dias", "City": "Porto"},
    },
)
TABLE = """Three customers have moved since spring:

| Customer | City | Balance |
|---|---|--:|
| Ana Sousa | Lisbon | 120.50 |
| Bruno Dias | Lisboa | 1,204.00 |
| Carla Reis | Faro | 87.10 |
"""


async def script(turn: Turn) -> Answer:
    if "Porto" in turn.message.text:
        card = Card("k3r7wd", "proposal", "Update 2 rows in Customers", "Asked by you.", ROWS,
                    ("approve", "deny"))  # fmt: skip
        return Answer("I have prepared this; nothing is changed until you decide.", cards=(card,))
    return Answer(TABLE)


async def shoot(house: House, browser: Browser, folder: Path, size: str, dark: bool) -> None:
    width, height = SIZES[size]
    house.rows.clear()
    page = await browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    await page.goto(house.link)
    await expect(page.locator("#tries button")).to_have_count(3)
    theme = "dark" if dark else "light"
    await page.screenshot(path=folder / f"welcome-{size}-{theme}.png")
    await say(page, "Who moved since spring?")
    await expect(page.locator(".body table")).to_be_visible()
    await say(page, "Ana and Bruno live in Porto now")
    await expect(page.locator(".card .approve")).to_be_visible()
    await page.screenshot(path=folder / f"talk-{size}-{theme}.png")
    await page.close()


async def main(folder: Path) -> None:
    house = House(script)
    house.board.parts = [
        Health("model", "on", "the demo model; OPENAI_API_KEY in .env adds a real one"),
        Health("nocodb", "on", "3 tables"),
        Health("slack", "off", "set SLACK_BOT_TOKEN and SLACK_APP_TOKEN"),
    ]
    await house.open()
    async with chromium() as browser:
        for size in SIZES:
            for dark in (False, True):
                await shoot(house, browser, folder, size, dark)
    await house.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
