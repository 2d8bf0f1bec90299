"""Sessions of people who sign in with a provider, in a browser: they are confirmed again without a
loss of what was written, and end in all tabs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Response, Route, expect

from adapters.web.visitor import SignInMethods
from tests.web.oidc.scene import Scene, scene
from tests.web.page.browser import ask, choose, wait_until
from tests.web.test_signed_in_people import Directory

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def office() -> AsyncIterator[Scene]:
    """A page with Slack and Acme, with sessions as they are."""
    async with scene() as made:
        auth: Any = made.auth
        del auth.open_session
        auth.access.methods = SignInMethods(Directory().policy, bool)
        yield made


def expire(office: Scene, key: str, *, closes_streams: bool = True) -> None:
    """Let an hour pass since the provider confirmed the person."""
    people = office.ponte.people
    people.signed_in[key] = replace(people.signed_in[key], confirmed_at=1.0)
    if closes_streams:
        office.ponte.web.hub.recheck_visitors()


async def sign_in_with(page: Page, name: str) -> None:
    await page.get_by_role("link", name=f"Sign in with {name}").click()
    await expect(page.locator("#who")).to_have_text("Ana")


async def test_an_hour_later_the_provider_is_asked_and_the_draft_is_there(
    office: Scene, browser: Browser
) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page, place = await context.new_page(), f"{office.ponte.web.address}/#work"
    await page.goto(place)
    await sign_in_with(page, "Acme")
    await ask(page, "hello")
    assert page.url == place
    await page.fill("#text", "half a thought")
    asked = office.acme.requests.count("/authorize")
    signed_in_at = office.ponte.people.signed_in["oidc:acme:42"].last_at
    async with page.expect_event("load"):
        expire(office, "oidc:acme:42")
    await expect(page.locator("#who")).to_have_text("Ana")
    await expect(page.locator("#text")).to_have_value("half a thought")
    assert page.url == place
    assert office.acme.requests.count("/authorize") == asked + 1
    assert office.ponte.people.signed_in["oidc:acme:42"].last_at == signed_in_at
    await context.close()


async def test_one_tab_confirms_for_all(office: Scene, browser: Browser) -> None:
    """Also with a provider that is slow: no tab is refused, and what was written stays."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    drafts = {name: await context.new_page() for name in ("work", "plans", "home")}
    for name, page in drafts.items():
        await page.goto(f"{office.ponte.web.address}/#{name}")
        if name == "work":
            await sign_in_with(page, "Acme")
        await expect(page.locator("#who")).to_have_text("Ana")
        await page.fill("#text", f"half a thought about {name}")
    asked, refused, may_go = asyncio.Semaphore(0), list[str](), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.release()
        await may_go.wait()
        await route.continue_()

    def on_response(response: Response) -> None:
        if response.status == 401:
            asked.release()
        if response.status == 403:
            refused.append(response.url)

    await context.route("**/conversations?search=x", hold)
    context.on("response", on_response)
    for page in drafts.values():
        await page.get_by_role("searchbox").fill("x")
        await asked.acquire()
    office.acme.requests.clear()
    office.acme.hold = "/token"
    expire(office, "oidc:acme:42", closes_streams=False)
    async with AsyncExitStack() as loads:
        for page in drafts.values():
            await loads.enter_async_context(page.expect_event("load"))
        may_go.set()
        for _ in drafts:
            await asked.acquire()
        await office.acme.wait_for("/token")
        office.acme.release()
    for name, page in drafts.items():
        await expect(page.locator("#who")).to_have_text("Ana")
        await expect(page.locator("#text")).to_have_value(f"half a thought about {name}")
        await expect(page.get_by_role("dialog")).to_be_hidden()
    assert office.acme.requests.count("/authorize") == 1
    assert refused == []
    await context.close()


async def test_without_a_session_at_the_provider_the_person_is_asked_once(
    office: Scene, browser: Browser
) -> None:
    """And what was written waits for them."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page, place = await context.new_page(), f"{office.ponte.web.address}/#work"
    await page.goto(place)
    await sign_in_with(page, "Acme")
    await page.fill("#text", "half a thought")
    office.acme.is_signed_in = False
    asked = office.acme.requests.count("/authorize")
    expire(office, "oidc:acme:42")
    await expect(page.get_by_role("dialog")).to_contain_text("Sign in with Acme")
    await expect(page.locator("#trouble")).not_to_be_empty()
    assert office.acme.requests.count("/authorize") == asked + 1
    office.acme.is_signed_in = True
    await sign_in_with(page, "Acme")
    await expect(page.locator("#text")).to_have_value("half a thought")
    assert page.url == place
    await context.close()


async def test_a_file_that_is_not_sent_yet_is_not_lost(office: Scene, browser: Browser) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    await page.goto(office.ponte.web.address)
    await sign_in_with(page, "Acme")
    note: Any = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"x"}
    await page.locator("input[type=file]").first.set_input_files([note])
    await expect(page.locator("#attached")).to_contain_text("note.txt")
    expire(office, "oidc:acme:42")
    await expect(page.get_by_role("dialog")).to_contain_text("confirm your account")
    await expect(page.locator("#attached")).to_contain_text("note.txt")
    await context.close()


async def test_a_file_that_is_attached_while_another_tab_confirms_is_not_lost(
    office: Scene, browser: Browser
) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page, other = await context.new_page(), await context.new_page()
    await page.goto(office.ponte.web.address)
    await sign_in_with(page, "Acme")
    await other.goto(f"{office.ponte.web.address}/guide")
    await other.evaluate("localStorage.setItem('confirming', Date.now())")
    async with page.expect_response(lambda answer: answer.status == 401):
        expire(office, "oidc:acme:42")
    await wait_until(page, "sessionStorage.getItem('confirmed')")
    note: Any = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"x"}
    await page.locator("input[type=file]").first.set_input_files([note])
    await expect(page.locator("#attached")).to_contain_text("note.txt")
    await other.evaluate("localStorage.setItem('confirmed', Date.now())")
    await expect(page.get_by_role("dialog")).to_contain_text("confirm your account")
    await expect(page.locator("#attached")).to_contain_text("note.txt")
    await context.close()


async def test_a_clock_that_was_set_back_keeps_no_tab_waiting(
    office: Scene, browser: Browser
) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    await page.goto(office.ponte.web.address)
    await sign_in_with(page, "Acme")
    await page.evaluate("localStorage.setItem('confirming', Date.now() + 3600000)")
    async with page.expect_event("load"):
        expire(office, "oidc:acme:42")
    await expect(page.locator("#who")).to_have_text("Ana")
    await context.close()


async def test_sign_out_everywhere_ends_every_tab(office: Scene, browser: Browser) -> None:
    contexts = [await browser.new_context(viewport={"width": 1280, "height": 800}) for _ in "ab"]
    pages = [await one.new_page() for one in contexts]
    for page in pages:
        await page.goto(office.ponte.web.address)
        await sign_in_with(page, "Slack")
    await choose(pages[0], "Sign out everywhere")
    for page in pages:
        await expect(page.get_by_role("dialog")).to_be_visible()
    await expect(pages[1].get_by_role("dialog")).to_contain_text("Sign in again")
    assert await contexts[0].cookies() == []
    for one in contexts:
        await one.close()
