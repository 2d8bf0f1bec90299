"""The operator's page in a browser: both themes, a phone, and an invitation by hand."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.dialogues.office import PAID
from tests.web.page.browser import axe_source, findings, resize, visit
from tests.web.test_admin import TABS, Desk, open_desk

pytestmark = pytest.mark.asyncio(loop_scope="session")


SMALL = """all => {
    for (const one of document.querySelectorAll("details")) one.open = true;
    const shown = all.filter((one) => one.checkVisibility());
    const small = shown.filter((one) => one.getBoundingClientRect().height < 32);
    return small.map((one) => one.outerHTML);
}"""
"""The buttons with less than 32 pixels."""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk") / "home") as desk:
        yield desk


async def test_it_is_accessible_and_fits(desk: Desk, axe_tab: Page) -> None:
    source = axe_source()
    desk.config.write_text('[[allowances]]\nof = "nobody"\n')
    await desk["bob"].post("/chat", json={"message": PAID, "conversation": "work"})
    await visit(axe_tab, f"{desk.address}/#token={desk.tokens['owner']}")
    paths = [f"/admin{tab}" for tab in TABS]
    # A run of axe takes 0.3 s of processor time. So it looks at each page in one width and theme:
    # neighbours, which have the same style sheet, differ in both.
    for number, path in enumerate(paths):
        await axe_tab.goto(f"{desk.address}{path}")
        await expect(axe_tab.locator("nav a[aria-current]")).to_be_visible()
        if path == "/admin":
            await axe_tab.locator("[data-request] summary").first.click()
            await expect(axe_tab.locator(".card")).to_be_visible()
        for width, dark in ((1100, False), (390, True)):
            await resize(axe_tab, width, dark=dark)
            root = "document.documentElement"
            too_wide = f"{root}.scrollWidth > {root}.clientWidth"
            assert not await axe_tab.evaluate(too_wide), (path, width)
            smallest = await axe_tab.locator("input, select, textarea").evaluate_all(
                "all => Math.min(16, ...all.map(one => parseFloat(getComputedStyle(one).fontSize)))"
            )
            assert smallest == 16, (path, "a phone zooms in on smaller letters")
            if path == "/admin/setup":
                small = await axe_tab.locator("button").evaluate_all(SMALL)
                assert small == [], "too small for a finger"
            if dark == bool(number % 2):
                assert await findings(axe_tab, source) == [], (path, width, dark)


async def test_a_request_is_opened_and_decided_by_keyboard(desk: Desk, tab: Page) -> None:
    ask = {"message": PAID, "conversation": "keyboard"}
    (card,) = (await desk["bob"].post("/chat", json=ask)).json()["cards"]
    await visit(tab, f"{desk.address}/#token={desk.tokens['owner']}")
    await tab.goto(f"{desk.address}/admin")
    request = tab.locator(f'[data-request="{card["id"]}"]')
    await expect(request.locator("summary")).to_contain_text("Change a row in Orders bob · page · ")
    await request.locator("summary").press("Enter")
    article = request.get_by_role("article", name="Change a row in Orders")
    await expect(article).to_contain_text("Requested by bob.")
    await expect(article.locator("ins")).to_have_text("Yes")
    await article.get_by_role("button", name="Deny").press("Enter")
    await expect(article.get_by_label("Reason")).to_be_focused()
    await tab.keyboard.press("Escape")
    await expect(article.get_by_role("button", name="Deny")).to_be_focused()
    await article.locator(".approve").press("Enter")
    await expect(article.locator(".badge")).to_have_text("done")
    await article.get_by_role("button", name="Undo").press("Enter")
    await expect(article.locator(".badge")).to_have_text("undone")


async def test_who_cannot_approve_a_request_reads_why(desk: Desk, tab: Page) -> None:
    ask = {"message": PAID, "conversation": "named"}
    (card,) = (await desk["bob"].post("/chat", json=ask)).json()["cards"]
    desk.config.write_text('[tables.Orders]\napprovers = ["web:bob"]\napprovers_only = true\n')
    assert (await desk.send("owner", "reload", "config")).status_code == 200
    await visit(tab, f"{desk.address}/#token={desk.tokens['owner']}")
    await tab.goto(f"{desk.address}/admin")
    request = tab.locator(f'[data-request="{card["id"]}"]')
    await request.locator("summary").click()
    why = f"Only a designated approver can decide on {card['id']}."
    await expect(request.get_by_text(why)).to_be_visible()
    await expect(request.locator("ins")).to_have_text("Yes")
    await expect(request.locator(".approve, .deny")).to_have_count(0)
    desk.config.write_text("")
    assert (await desk.send("owner", "reload", "config")).status_code == 200


async def test_after_the_session_has_ended_a_request_leads_to_signing_in(
    desk: Desk, tab: Page
) -> None:
    ask = {"message": PAID, "conversation": "session"}
    (card,) = (await desk["bob"].post("/chat", json=ask)).json()["cards"]
    await visit(tab, f"{desk.address}/#token={desk.tokens['owner']}")
    await tab.goto(f"{desk.address}/admin")
    await tab.context.clear_cookies()
    await tab.locator(f'[data-request="{card["id"]}"] summary').click()
    await expect(tab.locator("body.error a")).to_have_attribute("href", "/")


async def test_the_owner_invites_and_removes_by_hand(desk: Desk, tab: Page) -> None:
    await visit(tab, f"{desk.address}/#token={desk.tokens['owner']}")
    await tab.locator("#me").click()
    await tab.get_by_role("menuitem", name="Administration").click()
    await tab.get_by_role("link", name="People").click()
    await tab.get_by_label("Name").fill("eve")
    await tab.get_by_role("button", name="Invite").click()
    link = await tab.get_by_label("Link for eve").input_value()
    assert link.startswith(f"{desk.address}/#token=")
    row = tab.get_by_role("row", name=re.compile("^eve "))
    await row.get_by_text("Remove", exact=True).click()
    await row.get_by_role("button", name="Remove (eve)").click()
    await expect(tab.get_by_role("status")).to_contain_text("eve can no longer sign in")
    await expect(tab.get_by_role("row", name=re.compile("^eve "))).to_have_count(0)


async def test_an_example_of_the_file_is_opened_and_selected_by_keyboard(
    desk: Desk, tab: Page
) -> None:
    await visit(tab, f"{desk.address}/#token={desk.tokens['owner']}")
    await tab.goto(f"{desk.address}/admin/config")
    await tab.locator("summary", has_text="[limits]").focus()
    await tab.keyboard.press("Enter")
    example = tab.get_by_role("textbox", name="[limits]")
    await expect(example).to_be_visible()
    await tab.keyboard.press("Tab")
    await expect(example).to_be_focused()
    await tab.keyboard.press("ControlOrMeta+A")
    selection = await example.evaluate(
        "area => area.value.slice(area.selectionStart, area.selectionEnd)"
    )
    assert selection == await example.input_value()
    assert "\n[limits]\n" in selection
    await tab.locator("summary", has_text="[slack]").press("Enter")
    await expect(example).to_be_hidden()


async def test_a_person_whose_link_was_renewed_is_told(desk: Desk, tab: Page) -> None:
    await visit(tab, f"{desk.address}/#token={desk.tokens['bob']}")
    await tab.locator("#me").click()
    await expect(tab.get_by_role("menuitem", name="Guide")).to_be_visible()
    await expect(tab.get_by_role("menuitem", name="Administration")).to_have_count(0)
    assert (await desk.send("owner", "people renew", name="bob")).status_code == 200
    await expect(tab.locator("#trouble")).to_contain_text("Your sign-in link was replaced")
    page = (await desk.send("owner", "people renew", name="bob")).text
    link = re.findall(r'value="([^"]+#token=[^"]+)"', page)[0]
    await visit(tab, link)
    notices = tab.get_by_role("list", name="Notices").get_by_role("listitem")
    await expect(notices).to_have_count(2)
    await notices.first.get_by_role("button", name="Close").click()
    await expect(notices).to_have_count(1)
    await notices.get_by_role("button", name="Close").click()
    await expect(notices).to_have_count(0)
    await tab.reload()
    await expect(tab.locator("#who")).to_have_text("bob")
    await expect(notices).to_have_count(0)
