"""How the page looks: axe-core, both themes, a phone's width."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from core.domain.changes import ChangeForm, FormField
from core.domain.messages import Answer, Card
from core.domain.records import Health
from core.people.rules import Rule, RuleBook
from tests.fakes.card_rows import card_row
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.web.page.browser import (
    axe_source,
    choose,
    findings,
    resize,
    say,
    show_picture,
    show_sign_in,
    visit,
)
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
ROWS = (card_row({"Name": "Ann"}, {"Name": "Ann Lee"}),)
CARDS = (
    Card(
        "abc234",
        "proposal",
        "Update 1 row",
        "In Customers.",
        ROWS,
        ("approve", "change", "deny"),
        label="Approve 1 row",
    ),
    Card(
        "bcd345",
        "proposal",
        "Delete 1 row",
        "In Customers.",
        (card_row({"Name": "Bob"}, None),),
        ("approve", "deny"),
        label="Delete 1 row",
    ),
    Card("cde456", "change", "Update 1 row", "Approved by you.", ROWS, ("undo",), "done"),
    Card("def567", "proposal", "Update 1 row", "Denied by you.", ROWS, ("again",), "denied"),
)
NAME = FormField("Name", "Name", "text", "Ann Lee")


@pytest_asyncio.fixture(loop_scope="session")
async def ponte() -> AsyncIterator[WebPonte]:
    async def script(turn: Turn) -> Answer:
        is_failed = turn.message.text == "fail"
        return Answer(TEXT, "failed" if is_failed else "done", cards=() if is_failed else CARDS)

    ponte = WebPonte(script)
    ponte.board.parts = [Health("model", "on", "the demo model"), Health("slack", "off", "no")]
    ponte.board.forms["abc234"] = ChangeForm("abc234", 1, "Update 1 row", (NAME,))
    await ponte.open()
    yield ponte
    await ponte.close()


CHOOSE = "number => [...document.querySelectorAll('[role^=menuitem]')].at(number).click()"
PASSES = ((390, "en", 0), (768, "fr", None), (1280, "pt-BR", 1))
"""Width, language, and the theme of the first view (1 is dark; None: all light, and axe does not
look). Themes take turns, so that axe sees each view in two widths and both themes."""
OPENED = {
    "sure": ("#options", 3),
    "keys-list": ("#shortcuts", None),
    "naming": ("#me", 0),
    "tokens": ("#me", -4),
}
"""Dialogs with the button, and the entry of its menu, that open them. Some of it is hidden on a
phone, so it is clicked by script."""


@pytest.mark.parametrize(("width", "language", "theme"), PASSES)
async def test_axe_finds_nothing_serious_and_nothing_overflows(
    ponte: WebPonte, axe_tab: Page, width: int, language: str, theme: int | None
) -> None:
    """Approvals, quick commands, wide tables, formulas and the operator's page have tests of their
    own."""
    source, page, themes = axe_source(), axe_tab, itertools.count(theme or 0)
    policy = allow_list(frozenset({"web:owner"}))
    allowed = ("model:gpt-large",)
    policy.read_rules = fixed_rules(RuleBook((Rule("1", frozenset({"web:owner"}), allow=allowed),)))
    ponte.policy = policy
    await ponte.restart()

    async def check(view: str) -> None:
        if theme is not None:
            await resize(page, width, dark=next(themes) % 2 == 1)
            assert await findings(page, source) == [], view
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, view

    await page.set_extra_http_headers({"Accept-Language": language})
    await resize(page, width)
    await visit(page, ponte.link)
    await expect(page.locator("html")).to_have_attribute("lang", language)
    await expect(page.locator("#tries button")).to_have_count(2)
    await check("welcome")
    for text in ("show", "fail"):
        await say(page, text)
    await expect(page.locator(".answer[data-status=failed]")).to_be_visible()
    await page.locator(".answer .tools button[aria-expanded]").last.click()
    await expect(page.locator(".usage")).to_be_visible()
    await check("answers")
    for action in ("deny", "change"):
        await page.locator(f'.card [data-action="{action}"]').first.click()
        await expect(page.locator(".card form")).to_be_visible()
        await check(action)
        await page.keyboard.press("Escape")
        await expect(page.locator(".card form")).to_have_count(0)
    for dialog, (opener, entry) in OPENED.items():
        await page.evaluate("on => document.body.classList.toggle('menu', on)", opener == "#me")
        await page.evaluate("id => document.querySelector(id).click()", opener)
        if entry is not None:
            entries = page.locator("[role=menu] [role^=menuitem]")
            await expect(entries.first).to_be_focused()
            await check(f"menu of {opener}")
            await page.evaluate(CHOOSE, entry)
        await expect(page.locator(f"#{dialog}")).to_be_visible()
        if dialog == "tokens":
            await page.fill("#token-name", "backup")
            await page.locator("#tokens-new button[value=api]").click()
            await expect(page.locator("#tokens-list li")).to_have_count(1)
        await check(dialog)
        await page.evaluate("id => document.getElementById(id).close()", dialog)
    await show_sign_in(page)
    await check("signin")
    await page.evaluate("document.getElementById('signin').close()")
    await show_picture(page)
    await check("picture")
    await page.evaluate("document.getElementById('picture').close()")
    await page.evaluate("document.body.classList.add('menu')")
    await page.fill("#search", "show")
    await expect(page.locator(".hit")).to_have_count(1)
    await check("search")


async def test_the_side_list_on_a_phone(ponte: WebPonte, tab: Page) -> None:
    await resize(tab, 390)
    await visit(tab, ponte.link)
    await expect(tab.locator("nav")).to_be_hidden()
    await tab.get_by_role("button", name="Show conversations").click()
    await tab.get_by_role("button", name="New conversation").focus()
    await tab.keyboard.press("Escape")
    await expect(tab.locator("nav")).to_be_hidden()
    await expect(tab.locator("#menu")).to_be_focused()
    await tab.keyboard.press("Enter")
    await tab.locator("#me").focus()
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("menuitem").first).to_be_focused()
    await tab.keyboard.press("Escape")
    await expect(tab.locator("#me")).to_be_focused()
    await choose(tab, "API tokens")
    await expect(tab.get_by_role("dialog")).to_be_visible()
    await tab.keyboard.press("Escape")
    await expect(tab.get_by_role("dialog")).to_be_hidden()
    await expect(tab.locator("#me")).to_be_focused()
    await tab.keyboard.press("Escape")
    await expect(tab.locator("#menu")).to_be_focused()
    await tab.fill("#text", "not yet")
    await tab.get_by_role("button", name="Show conversations").click()
    send = await tab.locator("#send").bounding_box()
    assert send is not None
    await tab.mouse.click(send["x"] + send["width"] - 5, send["y"] + 5)
    await expect(tab.locator("nav")).to_be_hidden()
    await expect(tab.locator("#text")).to_have_value("not yet")
