"""Many tabs and windows in one browser, which opens six connections to a site (HTTP/1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from core.domain.messages import Answer
from tests.web.page.browser import ask, choose, say, visit, wait_until
from tests.web.page.conftest import PAGE_TIMEOUT_MILLISECONDS
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABS = 10
"""More than a browser's connections to a site."""
HIDDEN = """
    window.isHidden = true;
    Object.defineProperty(document, "hidden", { get: () => window.isHidden, configurable: true });
    window.notices = [];
    ServiceWorkerRegistration.prototype.showNotification = async (title, options) => {
        window.notices.push(options.data);
    };
"""
CRASH = """() => {
    const { port1, port2 } = new MessageChannel();
    onconnect({ ports: [port2] });
    port1.postMessage({ key: 1, conversation: "crashed", cursor: "" });
}"""
"""Follows a conversation like a tab that says nothing more afterwards."""
WITHOUT_SHARED_WORKERS = "delete globalThis.SharedWorker;"
SHOW = """isHidden => {
    window.isHidden = isHidden;
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@asynccontextmanager
async def window(browser: Browser, ponte: WebPonte, *scripts: str) -> AsyncIterator[BrowserContext]:
    """Yield the context of a browser whose person is signed in. Its tabs run the scripts first."""
    expect.set_options(timeout=PAGE_TIMEOUT_MILLISECONDS)
    context = await browser.new_context()
    page = await context.new_page()
    await visit(page, ponte.link)
    await page.close()
    for script in scripts:
        await context.add_init_script(script)
    yield context
    await context.close()


async def open_tabs(context: BrowserContext, ponte: WebPonte, count: int = TABS) -> list[Page]:
    """Open that many tabs at once, each with a conversation of its own."""

    async def open_tab(number: int) -> Page:
        page = await context.new_page()
        await visit(page, f"{ponte.web.address}/#tab{number}")
        return page

    return await asyncio.gather(*map(open_tab, range(count)))


def answers_in_two_pieces(ponte: WebPonte) -> asyncio.Event:
    """Have each answer grow, and end once the event is set."""
    half = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show(f"Half of {turn.message.text}")
        await half.wait()
        return Answer(f"All of {turn.message.text}")

    ponte.script = script
    return half


async def send_in_each(pages: Sequence[Page]) -> None:
    """Send a message in each tab and wait until all show the beginning of their own answer."""
    for number, page in enumerate(pages):
        await say(page, f"m{number}")
    for number, page in enumerate(pages):
        await expect(page.locator(".body")).to_have_text(f"Half of m{number}")


async def expect_connections(ponte: WebPonte, page: Page, count: int) -> None:
    """Wait until so many connections of the browser have an event stream."""
    while ponte.stream_connections != count:
        await page.evaluate("new Promise(requestAnimationFrame)")


async def expect_each_is_answered(pages: Sequence[Page]) -> None:
    for number, page in enumerate(pages):
        await expect(page.locator(".body")).to_have_text([f"All of m{number}"])
        await expect(page.locator(".said .words")).to_have_text([f"m{number}"])


@pytest.mark.parametrize("is_hidden", [False, True])
@pytest.mark.parametrize("notifies", [False, True])
async def test_any_number_of_tabs_share_one_connection(
    ponte: WebPonte, browser: Browser, is_hidden: bool, notifies: bool
) -> None:
    half = answers_in_two_pieces(ponte)
    notify = "localStorage.setItem('notify', 'on');" if notifies else ""
    async with window(browser, ponte, notify, HIDDEN if is_hidden else "") as context:
        await context.grant_permissions(["notifications"], origin=ponte.web.address)
        pages = await open_tabs(context, ponte)
        await send_in_each(pages)
        half.set()
        await expect_each_is_answered(pages)
        if is_hidden and notifies:
            for number, page in enumerate(pages):
                await wait_until(page, "notices.length")
                assert await page.evaluate("notices") == [f"/#tab{number}"]
        await expect_connections(ponte, pages[0], 1)


async def test_the_others_go_on_when_the_tab_that_came_first_is_closed(
    ponte: WebPonte, browser: Browser
) -> None:
    half = answers_in_two_pieces(ponte)
    async with window(browser, ponte) as context:
        first, *others = await open_tabs(context, ponte, 3)
        await send_in_each([first, *others])
        await first.close()
        half.set()
        await expect(others[0].locator(".body")).to_have_text(["All of m1"])
        await expect(others[1].locator(".body")).to_have_text(["All of m2"])


async def test_nothing_is_lost_when_the_shared_worker_crashes(
    ponte: WebPonte, browser: Browser
) -> None:
    half = answers_in_two_pieces(ponte)
    async with window(browser, ponte) as context:
        pages = await open_tabs(context, ponte, 2)
        await send_in_each(pages)
        devtools = await browser.new_browser_cdp_session()
        targets = (await devtools.send("Target.getTargets"))["targetInfos"]
        (worker,) = (
            one
            for one in targets
            if one["url"].startswith(ponte.web.address) and one["type"] == "shared_worker"
        )
        await devtools.send("Target.closeTarget", {"targetId": worker["targetId"]})
        half.set()
        await expect_each_is_answered(pages)


async def test_without_shared_workers_only_tabs_that_are_seen_have_a_connection(
    ponte: WebPonte, browser: Browser
) -> None:
    """Of the hidden ones, the last one keeps its own while an answer is awaited."""
    half = answers_in_two_pieces(ponte)
    async with window(browser, ponte, WITHOUT_SHARED_WORKERS, HIDDEN) as context:
        pages = await open_tabs(context, ponte)
        assert ponte.stream_connections == 0
        for number, page in enumerate(pages):
            await page.evaluate(SHOW, False)
            await say(page, f"m{number}")
            await expect(page.locator(".body")).to_have_text(f"Half of m{number}")
            await page.evaluate(SHOW, True)
            await expect_connections(ponte, page, 1)
        half.set()
        await expect(pages[-1].locator(".body")).to_have_text(["All of m9"])
        for page in pages:
            await page.evaluate(SHOW, False)
            await expect(page.locator(".body")).to_contain_text("All of")
            await page.evaluate(SHOW, True)
        await expect_each_is_answered(pages)


async def test_a_tab_whose_person_signs_out_elsewhere_asks_who_is_there(
    ponte: WebPonte, browser: Browser
) -> None:
    async with window(browser, ponte) as context:
        first, second = await open_tabs(context, ponte, 2)
        await choose(first, "Sign out")
        await expect(second.get_by_role("dialog")).to_be_visible()
        await second.locator("#token").fill(ponte.token)
        await second.press("#token", "Enter")
        await expect(second.get_by_role("dialog")).to_be_hidden()
        await ask(second, "in")


async def test_a_connection_without_a_sign_of_life_is_opened_again(
    ponte: WebPonte, browser: Browser
) -> None:
    """As after a laptop slept. Tabs that crashed or sleep meanwhile are not followed any more."""
    async with window(browser, ponte, WITHOUT_SHARED_WORKERS) as context:
        (page,) = await open_tabs(context, ponte, 1)
        await page.clock.install()
        await page.reload()
        await ask(page, "one")
        for seconds, follower_count in ((0, 2), (60, 2), (300, 1)):
            async with page.expect_request(lambda request: "/events?" in request.url) as stream:
                await (page.clock.fast_forward(seconds * 1000) if seconds else page.evaluate(CRASH))
            assert (await stream.value).url.count("follow=") == follower_count
            # The stream's first bytes count as a sign of life: they must not come after the clock
            # moves on. The server sends them before it answers another request.
            await (await stream.value).response()
            await page.evaluate("() => fetch('/me').then((answer) => answer.text())")
        await page.clock.resume()
        await say(page, "two")
        await expect(page.locator(".body").last).to_have_text("You said: two")
