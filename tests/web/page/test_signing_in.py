"""Signing in with a provider of another site, in a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import ConsoleMessage, Page, Response, expect

from core.people.sign_ins import Identity
from tests.web.oidc.scene import Scene, scene
from tests.web.page.browser import ask, axe_source, findings, visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(name="scene", loop_scope="session")
async def _scene() -> AsyncIterator[Scene]:
    """The provider is on `localhost`, another site than the page on 127.0.0.1, and signs everybody
    in as the owner."""
    async with scene("", provider_host="localhost") as made:
        auth: Any = made.auth

        async def open_session(identity: Identity, session: str = "") -> str:
            return made.auth.new_session()

        auth.open_session = open_session
        yield made


async def test_the_sign_in_page_asks_for_nothing_that_is_refused(scene: Scene, tab: Page) -> None:
    lines: list[str] = []

    def on_console(line: ConsoleMessage) -> None:
        if line.type in ("error", "warning") and "Playwright" not in line.text:
            lines.append(line.text)

    def on_response(response: Response) -> None:
        if response.status >= 400:
            lines.append(response.url)

    tab.on("console", on_console)
    tab.on("response", on_response)
    await tab.goto(scene.ponte.web.address)
    await expect(tab.get_by_role("heading", name="Sign in to Ponte")).to_be_visible()
    await expect(tab.locator("#ways a")).to_have_text(["Sign in with Slack", "Sign in with Acme"])
    await expect(tab.get_by_label("Your link")).to_be_hidden()
    await expect(tab.locator("#ask")).to_be_hidden()
    await tab.get_by_text("Sign in with a link").click()
    await tab.get_by_label("Your link").fill(scene.ponte.link)
    await tab.keyboard.press("Enter")
    await expect(tab.locator("#ask")).to_be_visible()
    await ask(tab, "in")
    tab.remove_listener("console", on_console)
    tab.remove_listener("response", on_response)
    assert lines == []


async def test_a_person_comes_back_to_where_they_were(scene: Scene, tab: Page) -> None:
    """The session's cookie is strict, and is used although another site sent the browser here."""
    await tab.goto(f"{scene.ponte.web.address}/#plans")
    await tab.get_by_role("link", name="Sign in with Acme").click()
    await expect(tab.locator("#ask")).to_be_visible()
    await expect(tab).to_have_url(f"{scene.ponte.web.address}/#plans")
    await ask(tab, "in")
    await tab.reload()
    await expect(tab.locator(".body")).to_have_text("You said: in")
    assert "Acme" not in await tab.evaluate("JSON.stringify({...sessionStorage})")
    (session,) = [one for one in await tab.context.cookies() if one["name"] == scene.auth.cookie]
    assert session["sameSite"] == "Strict"
    # A link on another site opens the page, without the cookie at first.
    await tab.goto(f"{scene.acme.origin}/link?to={scene.ponte.web.address}")
    await tab.get_by_role("link").click()
    await expect(tab.locator("#ask")).to_be_visible()
    await expect(tab.get_by_role("dialog")).to_be_hidden()


async def test_a_failure_is_a_sentence_on_the_sign_in_page(scene: Scene, tab: Page) -> None:
    scene.acme.is_signed_in = False
    await tab.goto(f"{scene.ponte.web.address}/#plans")
    await tab.get_by_role("link", name="Sign in with Acme").click()
    sentence = "You didn't finish signing in with Acme. Try again."
    await expect(tab.locator("#trouble")).to_have_text(sentence)
    await expect(tab.get_by_role("dialog")).to_be_visible()
    await expect(tab).to_have_url(f"{scene.ponte.web.address}/#plans")
    scene.acme.is_signed_in = True
    await tab.get_by_role("link", name="Sign in with Acme").click()
    await expect(tab.locator("#ask")).to_be_visible()
    scene.acme.is_signed_in = False
    await tab.evaluate("location.assign('/sign-in/acme')")
    await expect(tab.locator("#notice")).to_contain_text(sentence)
    await expect(tab.get_by_role("dialog")).to_be_hidden()


async def test_a_session_that_ends_offers_the_ways_over_the_page(scene: Scene, tab: Page) -> None:
    await visit(tab, scene.ponte.link)
    await tab.fill("#text", "half a thought")
    await tab.context.clear_cookies()
    await tab.evaluate("location.hash = 'other'")
    await expect(tab.get_by_role("link", name="Sign in with Slack")).to_be_visible()
    await expect(tab.locator("#ask")).to_be_visible()


async def test_axe_finds_nothing_on_the_sign_in_page(scene: Scene, axe_tab: Page) -> None:
    await axe_tab.goto(scene.ponte.web.address)
    await expect(axe_tab.get_by_role("dialog")).to_be_visible()
    assert await findings(axe_tab, axe_source()) == []
