"""The page as an installed application: its manifest, its service worker, and notifications."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Browser, expect

from core.domain.messages import Answer
from tests.web.page.browser import ask, choose, say, visit, wait_until
from tests.web.page.test_approvals import waits
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAME_KEPT = """async () => {
    const match = (path) => caches.match(path, { ignoreVary: true });
    return Boolean(await match("/") && await match("/page/words.json"));
}"""
SPY = """() => {
    window.notices = [];
    ServiceWorkerRegistration.prototype.showNotification = async (title, options) => {
        window.notices.push([title, options.body, options.data]);
    };
    Object.defineProperty(document, "hidden", { get: () => window.isHidden });
    window.isHidden = true;
}"""


async def test_the_manifest_and_the_worker_are_served(ponte: WebPonte) -> None:
    async with httpx.AsyncClient(base_url=ponte.web.address) as client:
        manifest = await client.get("/page/manifest.webmanifest")
        assert manifest.headers["content-type"] == "application/manifest+json"
        assert (await client.get(manifest.json()["icons"][0]["src"])).status_code == 200
        worker = await client.get("/page/worker.js")
        assert worker.headers["service-worker-allowed"] == "/"
        for script in ("/page/ponte.js", "/page/notices.js"):
            assert "service-worker-allowed" not in (await client.get(script)).headers


async def test_only_files_of_the_page_are_kept(ponte: WebPonte, browser: Browser) -> None:
    """Not what anybody wrote, and not who is signed in."""
    context = await browser.new_context()
    page = await context.new_page()
    await visit(page, ponte.link)
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await page.evaluate("caches.open('/page/0123456789abcdef/')")
    await page.reload()
    await ask(page, "a secret")
    value = await page.evaluate("""async () => {
        const [version, ...others] = await caches.keys();
        if (others.length) throw new Error("files of another version are cached");
        const cache = await caches.open(version);
        return (await cache.keys()).map((one) => new URL(one.url).pathname);
    }""")
    assert await page.locator("script").get_attribute("src") in value
    assert {path for path in value if not path.startswith("/page/")} == {"/"}
    await context.close()


async def test_without_a_network_the_empty_frame_opens_and_says_so(
    ponte: WebPonte, browser: Browser
) -> None:
    context = await browser.new_context(locale="pt-BR")
    page = await context.new_page()
    await visit(page, ponte.link)
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await ask(page, "a secret")
    await wait_until(page, FRAME_KEPT)
    for signs_out in (False, True):
        if signs_out:
            await context.set_offline(False)
            await page.reload()
            await expect(page.locator(".body")).to_have_text("You said: a secret")
            await page.locator("#me").click()
            await page.get_by_role("menuitem", name="Sair", exact=True).click()
            await expect(page.locator("#signin")).to_be_visible()
        await context.set_offline(True)
        await page.reload()
        # Chromium may tell a new page late that it has no network.
        sentences = re.compile(r"Você está sem internet\.|Conexão perdida\.")
        await expect(page.locator("#notice")).to_contain_text(sentences)
        await expect(page.locator("#text")).to_be_visible()
        assert "secret" not in await page.content()
    cached = await page.evaluate("""async () => {
        const cache = await caches.open((await caches.keys())[0]);
        const answers = await Promise.all((await cache.keys()).map((one) => cache.match(one)));
        return (await Promise.all(answers.map((one) => one.text()))).join("");
    }""")
    assert "secret" not in cached
    await context.close()


async def test_a_hidden_tab_is_notified_if_the_person_wants_it(
    ponte: WebPonte, browser: Browser
) -> None:
    go_on = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await go_on.wait()
        return Answer("a secret answer")

    ponte.script = script
    context = await browser.new_context()
    await context.grant_permissions(["notifications"], origin=ponte.web.address)
    page = await context.new_page()
    await visit(page, ponte.link)
    # The menu offers notifications as soon as the browser has the page's worker.
    await page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    await page.locator("#me").click()
    await expect(page.get_by_role("menuitemcheckbox", checked=False)).to_have_text(
        "Turn on notifications"
    )
    await page.keyboard.press("Escape")
    await page.evaluate(SPY)
    waits(ponte, "abc234")
    await expect(page.locator("#approvals-count")).to_have_text("1")
    assert await page.evaluate("notices") == [], "only if they want it"
    await choose(page, "Turn on notifications")
    await page.locator("#me").click()
    await expect(page.get_by_role("menuitemcheckbox", checked=True)).to_be_visible()
    await page.keyboard.press("Escape")
    await say(page, "hello")
    go_on.set()
    await expect(page.locator(".body")).to_have_text("a secret answer")
    waits(ponte, "abc234", "def567")
    await expect(page.locator("#approvals-count")).to_have_text("2")
    assert await page.evaluate("notices") == [
        ["Ponte", "Your answer is ready.", "/#main"],
        ["Ponte", "A request is waiting for your approval.", "/"],
    ]
    await page.evaluate("isHidden = false")
    await say(page, "more")
    await expect(page.locator(".body")).to_have_count(2)
    await choose(page, "Turn on notifications")
    await page.locator("#me").click()
    await expect(page.get_by_role("menuitemcheckbox", checked=False)).to_be_visible()
    assert len(await page.evaluate("notices")) == 2
    await context.close()
