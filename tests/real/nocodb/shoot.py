"""Takes the screenshots of `docs/nocodb.md`, with a real NocoDB behind the page:
python -m tests.real.nocodb.shoot FOLDER."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, expect
from pydantic import SecretStr

from bot.app import App
from bot.config import Config
from bot.home import Home
from bot.settings import Settings
from tests.fakes.openai import FakeOpenAI, Script
from tests.real.nocodb.seed import Seeded, call, seeded
from tests.real.nocodb.server import nocodb
from tests.web.page.browser import chromium, say

SIZES = {"phone": (390, 844), "desk": (1280, 800)}
ASKED = "Which customers became leads this month?"
CHANGED = "Mark orders 11 and 12 as paid"
NAMES = ("Ana Sousa", "Bruno Dias", "Carla Reis", "Davi Lopes", "Elisa Prado")
"""The first three became leads this month, the others long ago."""


@dataclass(frozen=True)
class Shot:
    """Of the answer, of the card beside it, or of the card when it was approved."""

    folder: Path
    of: Literal["answer", "card", "done"]
    size: Literal["phone", "desk"]
    theme: Literal["light", "dark"]

    @property
    def path(self) -> Path:
        return self.folder / f"nocodb-{self.of}-{self.size}-{self.theme}.png"


def filled(real: Seeded) -> str:
    """The id of a base with Customers and Orders."""
    base = str(call(f"{real.url}/api/v2/meta/bases", {"title": "Sales"}, xc_token=real.token)["id"])
    since = {"title": "Lead since", "type": "Date"}
    value = {"title": "Value", "type": "Decimal"}
    _table(real, base, "Customers", [since, value], [
        {"Name": name, "Lead since": str(_day(number)), "Value": 320.5 * (number + 1)}
        for number, name in enumerate(NAMES)
    ])  # fmt: skip
    fields = [{"title": "Amount", "type": "Decimal"}, {"title": "Paid", "type": "Checkbox"}]
    _table(real, base, "Orders", fields, [
        {"Name": f"{10 + number} chairs", "Amount": 49.5 * (10 + number), "Paid": number < 10}
        for number in range(1, 13)
    ])  # fmt: skip
    return base


def _table(real: Seeded, base: str, title: str, fields: list[Any], rows: list[Any]) -> None:
    body = {"title": title, "fields": [{"title": "Name", "type": "SingleLineText"}, *fields]}
    meta = f"{real.url}/api/v3/meta/bases/{base}/tables"
    table = call(meta, body, xc_token=real.token)["id"]
    call(f"{real.url}/api/v2/tables/{table}/records", rows, xc_token=real.token)


def _day(number: int) -> date:
    first = datetime.now(UTC).date().replace(day=1)
    return first + timedelta(days=number) if number < 3 else first - timedelta(days=40 * number)


def scripts() -> tuple[Script, ...]:
    lead = [{"field": "Lead since", "op": "eq", "value": "this_month"}]
    rows = "\n".join(
        f"| {name} | {_day(number)} | {320.5 * (number + 1):,.2f} |"
        for number, name in enumerate(NAMES[:3])
    )
    table = f"| Customer | Lead since | Value |\n|---|---|--:|\n{rows}"
    paid = [{"id": id, "fields": {"Paid": True}} for id in (11, 12)]
    return (
        _calls(ASKED, "query", table="Customers", filters=lead),
        Script(f"Three customers became leads this month:\n\n{table}", match=NAMES[0], times=0),
        _calls(CHANGED, "update", table="Orders", changes=paid),
    )


def _calls(match: str, tool: str, **arguments: Any) -> Script:
    return Script(calls=((f"nocodb_{tool}", json.dumps(arguments)),), match=match, times=0)


@asynccontextmanager
async def running(real: Seeded, openai: FakeOpenAI, home: Path) -> AsyncIterator[str]:
    """The address of the page of a Ponte before a base of its own."""
    settings = Settings(
        openai_api_key=SecretStr("sk-test"), openai_base_url=openai.base_url,
        nocodb_url=SecretStr(real.url), nocodb_token=SecretStr(real.token),
        nocodb_base_id=filled(real), ponte_home=home, ponte_web_port=0, ponte_grace=1,
    )  # fmt: skip
    place = Home(home)
    with place.take():
        app = App(settings, Config(), place)
        await app.start(surfaces=True)
        try:
            yield app.link()
        finally:
            await app.stop()


async def shoot(url: str, browser: Browser, shot: Shot) -> None:
    width, height = SIZES[shot.size]
    page = await browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=shot.theme,
        timezone_id="America/Sao_Paulo",
    )  # fmt: skip
    await page.goto(url)
    await expect(page.locator("#tries button")).to_have_count(3)
    await say(page, ASKED)
    await expect(page.locator(".body").get_by_text("Source:")).to_be_visible()
    if shot.of == "answer":
        await page.screenshot(path=shot.path)
        return
    await say(page, CHANGED)
    approve = page.locator(".card .approve")
    await expect(approve).to_be_visible()
    if shot.of == "done":
        await approve.click()
        await expect(page.locator(".card .undo")).to_be_visible()
    await page.screenshot(path=shot.path)


async def main(folder: Path) -> None:
    shots = (
        Shot(folder, "answer", "phone", "dark"),
        Shot(folder, "card", "desk", "light"),
        Shot(folder, "done", "phone", "light"),
    )
    with tempfile.TemporaryDirectory() as scratch, nocodb(Path(scratch)) as url:
        real = seeded(url, Path(scratch))
        async with chromium() as browser, FakeOpenAI() as openai:
            openai.say(*scripts())
            for shot in shots:
                async with running(real, openai, Path(scratch) / shot.of) as page:
                    await shoot(page, browser, shot)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
