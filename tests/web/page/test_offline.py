"""No network, no server, or a server that fails: it is said at once, and messages go out once."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, Page, Route, expect

from core.domain.messages import Answer
from tests.web.page.browser import ask, say, visit, wait_until
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

OFFLINE = (
    "You're offline. You can keep writing: your messages will be sent automatically when you're "
    "back online."
)
AWAY = "Ponte isn't available right now (HTTP {status}). It may be restarting."
BOTH_STORED = """(async () => {
    if ((await indexedDB.databases()).length === 0) return false;
    const opening = indexedDB.open("ponte", 1);
    await new Promise(done => { opening.onsuccess = done; });
    const counting = opening.result.transaction("messages").objectStore("messages").count();
    await new Promise(done => { counting.onsuccess = done; });
    opening.result.close();
    return counting.result === 2;
})()"""
PROXY_PAGE = "<html><body><h1>Bad Gateway</h1></body></html>"


def answer_with(status: int, body: str = PROXY_PAGE) -> object:
    async def answer(route: Route) -> None:
        await route.fulfill(status=status, body=body, content_type="text/html")

    return answer


async def test_offline_is_said_at_once_and_what_was_written_goes_out_once(
    ponte: WebPonte, browser: Browser
) -> None:
    context = await browser.new_context(service_workers="block")
    page = await context.new_page()
    await visit(page, ponte.link)
    await ask(page, "before")
    await context.set_offline(True)
    await expect(page.locator("#notice")).to_contain_text(OFFLINE)
    await say(page, "one")
    await say(page, "two")
    await expect(page.locator("#notice")).to_contain_text(OFFLINE)
    words = "No connection to Ponte. Your message will be sent automatically."
    await expect(page.locator(".progress").nth(1)).to_have_text(words)
    await expect(page.locator("#log").get_by_role("button", name="Try again")).to_have_count(1)
    await context.set_offline(False)
    bodies = [f"You said: {text}" for text in ("before", "one", "two")]
    await expect(page.locator(".body")).to_have_text(bodies)
    await expect(page.locator("#notice")).to_be_empty()
    assert len(ponte.rows) == 3
    await context.close()


async def test_a_network_is_not_needed_for_a_ponte_on_this_machine(page: Page) -> None:
    """A browser without a network says that it is offline, but reaches its own machine."""
    await page.evaluate("dispatchEvent(new Event('offline'))")
    async with page.expect_response("**/chat"):
        await ask(page, "hello")
    await expect(page.locator("#notice")).to_be_empty()


async def test_a_waiting_message_survives_a_reload_with_its_file(
    ponte: WebPonte, page: Page
) -> None:
    """The server had taken it: its answer was lost. The message is one turn all the same."""

    async def lose(route: Route) -> None:
        if not ponte.rows:
            await route.fetch()
        await route.abort()

    await expect(page.locator("#welcome")).to_be_visible()
    await page.route("**/chat", lose)
    file = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"one"}
    await page.set_input_files("#files", file)  # type: ignore[arg-type]
    async with page.expect_request("**/chat"):
        await say(page, "precious")
    await say(page, "and more")
    await expect(page.locator("#log > li")).to_have_count(2)
    await wait_until(page, BOTH_STORED)
    await page.reload()
    await expect(page.locator("#log > li")).to_have_count(2)
    await page.unroute("**/chat")
    await expect(page.locator(".body")).to_have_text(["You said: precious", "You said: and more"])
    await expect(page.locator(".said .words")).to_have_text(["precious", "and more"])
    assert [row.message.text for row in ponte.rows.values()] == ["precious", "and more"]
    assert [file["name"] for file in ponte.database.execute("SELECT name FROM files")] == ["a.txt"]


async def test_what_somebody_else_wrote_is_not_sent(ponte: WebPonte, page: Page) -> None:
    await page.route("**/chat", lambda route: route.abort())
    await say(page, "mine")
    await expect(page.locator(".progress")).to_contain_text("sent automatically")
    await page.evaluate("localStorage.setItem('person', 'web:ana')")
    await page.unroute("**/chat")
    async with page.expect_response("**/quick-commands*"):
        await page.reload()
    await ask(page, "hers")
    await expect(page.locator(".said .words")).to_have_text(["hers"])
    assert [row.message.text for row in ponte.rows.values()] == ["hers"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failing_server_is_worded_at_once(ponte: WebPonte, page: Page, status: int) -> None:
    """Each try is one press; a server that is away is tried again without one."""
    await expect(page.locator("#welcome")).to_be_visible()
    await page.route("**/chat", answer_with(status))  # type: ignore[arg-type]
    await say(page, "hello")
    words = AWAY.format(status=status) + " Your message will be sent automatically."
    if status == 500:
        words = (
            "Not sent: Something went wrong on the server (HTTP 500). Try again. If the problem "
            "continues, contact the person who runs Ponte."
        )
    await expect(page.locator(".progress")).to_have_text(words)
    again = page.locator("#log").get_by_role("button", name="Try again")
    await expect(again).to_be_visible()
    await page.unroute("**/chat")
    if status == 500:
        await again.click()
    await expect(page.locator(".body")).to_have_text(["You said: hello"])
    await expect(again).to_be_hidden()
    assert len(ponte.rows) == 1


@pytest.mark.parametrize("status", [200, 500, 502])
async def test_a_conversation_that_cannot_be_read_is_worded_and_read_again(
    page: Page, status: int
) -> None:
    """Status 200 is the page of a proxy that wants a sign-in."""
    await ask(page, "hello")
    await page.route("**/conversations/*?html=1", answer_with(status))  # type: ignore[arg-type]
    await page.evaluate("dispatchEvent(new Event('reread'))")
    words = AWAY.format(status=502)
    if status == 500:
        words = "Something went wrong on the server (HTTP 500)."
    await expect(page.locator("#notice")).to_contain_text(words)
    await page.unroute("**/conversations/*?html=1")
    await page.locator("#notice").get_by_role("button", name="Try again").click()
    await expect(page.locator(".body")).to_have_text("You said: hello")
    await expect(page.locator("#notice")).to_be_empty()


async def test_what_else_fails_is_worded_beside_a_button(ponte: WebPonte, page: Page) -> None:
    """Such as a search and the cost of an answer."""
    await ask(page, "hello")
    words = AWAY.format(status=502)
    for route in ("**/conversations?search=*", "**/usage"):
        await page.route(route, answer_with(502))  # type: ignore[arg-type]
    await page.fill("#search", "hello")
    await expect(page.locator("#matches")).to_contain_text(words)
    await page.unroute("**/conversations?search=*")
    again = page.locator("#matches").get_by_role("button", name="Try again")
    await again.evaluate_all("all => all.forEach(e => e.click())")  # unless it was read again
    await expect(page.locator("#matches")).to_have_text("Matches: 1")
    await page.get_by_role("button", name="Tokens and cost").click()
    await expect(page.locator(".usage")).to_contain_text(words)
    await page.unroute("**/usage")
    await page.locator(".usage").get_by_role("button", name="Try again").click()
    await expect(page.locator(".usage")).not_to_contain_text(words)
    await expect(page.locator(".usage")).not_to_be_empty()


async def test_an_answer_that_failed_says_try_again(ponte: WebPonte, page: Page) -> None:
    ponte.answers(Answer("That did not work.", "failed"))
    await say(page, "hello")
    button = page.locator("#log").get_by_text("Try again")
    await expect(button).to_be_visible()
    ponte.answers(Answer("Now it does."))
    await button.click()
    await expect(page.locator(".body")).to_have_text(["Now it does."])


async def test_the_page_waits_for_its_own_words(ponte: WebPonte, tab: Page) -> None:
    tries = asyncio.Semaphore(0)

    async def fail(route: Route) -> None:
        tries.release()
        await route.fulfill(status=502, body=PROXY_PAGE)

    await tab.route("**/page/words.json", fail)
    await tab.goto(ponte.link)
    await expect(tab.locator("#notice")).to_contain_text("Ponte isn't available right now.")
    await tries.acquire()
    await tab.unroute("**/page/words.json")
    await expect(tab.locator("#welcome")).to_be_visible()
    await expect(tab.locator("#notice")).to_be_empty()
