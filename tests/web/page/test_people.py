"""Two people at one page: each sees who they are and what is theirs."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from tests.web.page.browser import ask, choose, say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_people_see_different_lists(
    ponte: WebPonte, page: Page, browser: Browser
) -> None:
    await expect(page.locator("#who")).to_have_text("owner")
    await ask(page, "of the owner")
    tokens = {name: ponte.people.add(name) for name in ("ana", "bia")}
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    other = await context.new_page()
    await visit(other, f"{ponte.web.address}/#token={tokens['ana']}")
    await expect(other.locator("#who")).to_have_text("ana")
    await say(other, "of ana")
    await expect(other.locator("nav li a")).to_have_text(["of ana"])
    await expect(page.locator("nav li a")).to_have_text(["of the owner"])
    await other.fill("#text", "what nobody else is to read")
    await choose(other, "Sign out")
    await expect(other.get_by_role("dialog")).to_be_visible()
    assert await other.evaluate("localStorage.length") == 0
    assert await context.cookies() == []
    await other.get_by_label("Your link").fill(tokens["bia"])
    await other.keyboard.press("Enter")
    await expect(other.get_by_role("dialog")).to_be_hidden()
    await expect(other.locator("#who")).to_have_text("bia")
    await expect(other.locator("#welcome")).to_be_visible()
    await expect(other.locator("nav")).not_to_contain_text("ana")
    assert await other.input_value("#text") == ""
    ponte.people.remove("bia")
    await expect(other.get_by_role("dialog")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await context.close()


async def test_the_owner_changes_their_name_on_the_page(ponte: WebPonte, tab: Page) -> None:
    await ponte.owner_name.change("root")
    await visit(tab, ponte.link)
    await expect(tab.locator("#who")).to_have_text("root")
    await choose(tab, "Change name")
    await tab.get_by_role("textbox", name="Name").fill("Maya")
    await tab.get_by_role("button", name="Save").click()
    await expect(tab.locator("#who")).to_have_text("Maya")
    await expect(tab.locator("#naming")).not_to_be_visible()
    assert ponte.owner_name.current == "Maya"
    await ask(tab, "hello")
    assert [row.message.author.name for row in ponte.rows.values()] == ["Maya"]


async def test_a_person_makes_and_revokes_api_tokens_and_cannot_change_the_owner_s_name(
    ponte: WebPonte, tab: Page
) -> None:
    await visit(tab, f"{ponte.web.address}/#token={ponte.people.add('ana')}")
    await expect(tab.locator("#who")).to_have_text("ana")
    await tab.locator("#me").click()
    await expect(tab.get_by_role("menu", name="Signed in as ana")).to_be_visible()
    names = ["API tokens", "Guide", "Administration", "Sign out"]
    await expect(tab.get_by_role("menuitem")).to_have_text(names)
    await tab.get_by_role("menuitem", name="API tokens").click()
    dialog = tab.get_by_role("dialog", name="API tokens")
    await dialog.get_by_role("textbox", name="What is the new token for?").fill("notebook")
    await dialog.get_by_role("button", name="Create token").click()
    token = await dialog.get_by_role("textbox", name="Copy this token now").input_value()
    assert token.startswith("ponte-api-")
    await expect(dialog.get_by_role("listitem")).to_contain_text("notebook · never used")
    async with ponte.person(token) as program:
        assert (await program.get("/v1/models")).status_code == 200
        await dialog.get_by_role("button", name="Close").click()
        await choose(tab, "API tokens")
        await expect(dialog.get_by_role("listitem")).to_contain_text("last used")
        await expect(tab.locator("#tokens-made")).to_be_hidden()
        assert await tab.locator("#token-text").input_value() == "", "shown once"
        await dialog.get_by_role("button", name="Revoke").click()
        await expect(dialog.get_by_role("listitem")).to_have_count(0)
        assert (await program.get("/v1/models")).status_code == 401
    await dialog.get_by_role("textbox", name="What is the new token for?").fill("Claude Code")
    await dialog.get_by_role("button", name="Create MCP token").click()
    token = await dialog.get_by_role("textbox", name="Copy this token now").input_value()
    lines = dialog.locator("#token-lines")
    await expect(lines.locator("dt")).to_have_text(
        ["Claude Code", "Cursor", "VS Code", "claude.ai"]
    )
    text = await lines.locator("dd").all_inner_texts()
    assert all(f"{ponte.web.address}/mcp" in each and token in each for each in text)
    assert [each.kind for each in ponte.people.tokens.values()] == ["mcp"]
    await dialog.get_by_role("button", name="Close").click()
    assert await lines.locator("dd").count() == 0, "shown once"


async def test_the_language_that_a_person_chooses_holds_in_that_browser(
    ponte: WebPonte, tab: Page
) -> None:
    await visit(tab, ponte.link)
    await choose(tab, "Français")
    await expect(tab.locator("html")).to_have_attribute("lang", "fr")
    await say(tab, "bonjour")
    await expect(tab.locator(".body")).to_have_count(1)
    assert [row.message.locale for row in ponte.rows.values()] == ["fr"]
    await tab.locator("#me").click()
    chosen = tab.get_by_role("menuitemradio", checked=True)
    await expect(chosen).to_have_text("Français")
