"""How the page looks: axe-core, both themes, a phone's width."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from core.domain.messages import Answer, Card
from core.domain.records import Health
from tests.web.page.browser import axe_source, findings, resize, visit
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = """Here are the **customers**, with `code`:

| Name | City | A column with a rather long title | Balance |
|---|:-:|---|--:|
| Ann | Lisbon | and a cell with so much text that no phone is wide enough | 12.50 |

1. First, [a link](https://example.com)

> A quote

```python
print("a line that is long enough to scroll on a phone, whatever its width may be today")
```
"""
ROWS = ({"before": {"Name": "Ann"}, "after": {"Name": "Ann Lee"}},)


@pytest_asyncio.fixture(loop_scope="session")
async def ponte() -> AsyncIterator[WebPonte]:
    async def script(turn: Turn) -> Answer:
        card = Card(
            "abc234", "proposal", "Update 1 row", "In Customers.", ROWS, ("approve", "deny")
        )
        failed = turn.message.text == "fail"
        return Answer(TEXT, "failed" if failed else "done", cards=() if failed else (card,))

    ponte = WebPonte(script)
    ponte.board.parts = [Health("model", "on", "the demo model"), Health("slack", "off", "no")]
    await ponte.open()
    yield ponte
    await ponte.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_and_nothing_overflows(
    ponte: WebPonte, axe_tab: Page, width: int, scheme: str
) -> None:
    source = axe_source()
    await resize(axe_tab, width, dark=scheme == "dark")
    await visit(axe_tab, ponte.link)
    await expect(axe_tab.locator("#tries button")).to_have_count(3)
    assert await findings(axe_tab, source) == []
    for text in ("show", "fail"):
        await axe_tab.fill("#text", text)
        await axe_tab.press("#text", "Enter")
    await expect(axe_tab.locator(".answer[data-status=failed]")).to_be_visible()
    assert await findings(axe_tab, source) == []
    assert await axe_tab.evaluate("document.documentElement.scrollWidth") <= width
    await axe_tab.get_by_role("button", name="More actions for this conversation").click()
    assert await findings(axe_tab, source) == []
    for dialog in ("conversation", "keys-list", "picture"):
        await axe_tab.evaluate(
            """id => {
                for (const one of document.querySelectorAll("dialog[open]")) one.close();
                document.getElementById(id).showModal();
            }""",
            dialog,
        )
        found = await findings(axe_tab, source)
        assert [one for one in found if not one.startswith("empty-heading")] == [], dialog


async def test_the_side_list_on_a_phone(ponte: WebPonte, tab: Page) -> None:
    await resize(tab, 390)
    await visit(tab, ponte.link)
    await expect(tab.locator("nav")).to_be_hidden()
    await tab.get_by_role("button", name="Show conversations").click()
    await expect(tab.get_by_role("button", name="New conversation")).to_be_visible()
    await tab.keyboard.press("Escape")
    await expect(tab.locator("nav")).to_be_hidden()
