"""What is sent while a conversation loads, and what is not sent at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from playwright.async_api import FilePayload, Page, Request, Route, expect

from tests.web.page.browser import ask, say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

MiB = 2**20


def hold_until(ready: asyncio.Event) -> Callable[[Route], object]:
    """Return a handler that lets requests go on once `ready` is set."""

    async def wait(route: Route) -> None:
        await ready.wait()
        await route.continue_()

    return wait


async def test_a_message_sent_while_a_conversation_loads_stands_below_the_older_ones(
    ponte: WebPonte, page: Page
) -> None:
    """First it is in the list that arrives late, with a newer one of another tab; then it is not
    stored before the list arrives."""
    words = page.locator(".said .words")
    async with ponte.client() as client:
        for is_stored in (True, False):
            old = f"old{is_stored}"
            for text in ("one", "two"):
                await client.post("/chat", json={"message": text, "conversation": old})
            ready, event = asyncio.Event(), asyncio.Event()
            await page.route(f"**/conversations/{old}?html=1", hold_until(ready))
            if not is_stored:
                await page.route("**/chat", hold_until(event))
            async with page.expect_request(f"**/conversations/{old}?html=1"):
                await page.evaluate(f"location.hash = '{old}'")
            waiting = page.expect_response if is_stored else page.expect_request
            async with waiting("**/chat"):
                await say(page, "three")
            await expect(words).to_have_text(["three"])
            await expect(page.locator("#list")).not_to_contain_text("New conversation")
            expected = ["one", "two", "three"]
            if is_stored:
                await client.post("/chat", json={"message": "four", "conversation": old})
                expected.append("four")
            ready.set()
            await expect(words).to_have_text(expected)
            event.set()
            bodies = [f"You said: {text}" for text in expected]
            await expect(page.locator(".body")).to_have_text(bodies)
            await expect(words).to_have_text(expected)
            await expect(page.locator("#welcome")).to_be_hidden()


async def test_the_first_message_of_a_conversation_that_loads_ends_the_welcome(page: Page) -> None:
    ready, event = asyncio.Event(), asyncio.Event()
    await page.route("**/conversations/new1?html=1", hold_until(ready))
    await page.route("**/chat", hold_until(event))
    async with page.expect_request("**/conversations/new1?html=1"):
        await page.evaluate("location.hash = 'new1'")
    await say(page, "hello")
    await expect(page.locator("#list [aria-current]")).to_have_text("hello")
    async with page.expect_response("**/conversations/new1?html=1"):
        ready.set()
    await expect(page.locator(".said .words")).to_have_text(["hello"])
    event.set()
    await expect(page.locator(".body")).to_have_text("You said: hello")
    await expect(page.locator("#welcome")).to_be_hidden()
    await expect(page.locator("#list")).not_to_contain_text("New conversation")


async def test_an_old_conversation_is_not_called_empty_while_the_list_loads(
    ponte: WebPonte, page: Page
) -> None:
    async with ponte.client() as client:
        await client.post("/chat", json={"message": "one", "conversation": "old"})
    ready = asyncio.Event()
    await page.route("**/conversations?search=*", hold_until(ready))
    await page.goto("about:blank")
    await page.goto(f"{ponte.web.address}/#old")
    await expect(page.locator(".body")).to_have_text("You said: one")
    await expect(page.locator("#list")).not_to_contain_text("New conversation")
    ready.set()
    await expect(page.locator("#list [aria-current]")).to_have_text("one")


async def test_a_message_that_fails_after_the_page_moved_on_is_a_draft_again(
    ponte: WebPonte, page: Page
) -> None:
    await visit(page, f"{ponte.web.address}/#a1")
    ready = asyncio.Event()

    async def refuse(route: Route) -> None:
        await ready.wait()
        await route.fulfill(status=422, json={"error": {"code": "x", "message": "No."}})

    await page.route("**/chat", refuse)
    async with page.expect_request("**/chat"):
        await say(page, "precious")
    await page.fill("#text", "written since")
    await page.evaluate("location.hash = 'b2'")
    await expect(page.locator(".said")).to_have_count(0)
    ready.set()
    await expect(page.locator("#notice")).to_have_text("Not sent: No.")
    await page.evaluate("location.hash = 'a1'")
    await expect(page.locator("#text")).to_have_value("precious\n\nwritten since")


async def test_a_refused_message_survives_a_page_that_was_drawn_again(page: Page) -> None:
    ready = asyncio.Event()

    async def refuse(route: Route) -> None:
        await ready.wait()
        await route.fulfill(status=500, json={"error": {"code": "x", "message": "No."}})

    await page.route("**/chat", refuse)
    async with page.expect_request("**/chat"):
        await say(page, "precious")
    async with page.expect_response("**/conversations/*?html=1"):
        await page.evaluate("dispatchEvent(new Event('reread'))")
    ready.set()
    await expect(page.locator(".said .words")).to_have_text(["precious"])
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()
    await expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    await page.press("#text", "ArrowUp")  # no server knows a message that could be changed
    await expect(page.locator("#text")).to_have_value("")


async def test_a_message_that_was_not_sent_waits_in_its_conversation(
    ponte: WebPonte, page: Page
) -> None:
    """After another conversation was open, and after the person has signed in again."""
    await expect(page.locator("#welcome")).to_be_visible()
    # The list, which is loaded a little later, would ask for the token before the message is sent.
    await page.route("**/conversations?search=*", lambda route: route.abort())
    await page.set_input_files("#files", file("a.txt", 3))
    await page.context.clear_cookies()
    await say(page, "precious")
    await page.locator("#token").fill(ponte.token)
    await page.press("#token", "Enter")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.locator(".said .words")).to_have_text(["precious"])
    await page.click("#new")
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.locator(".said")).to_have_count(0)
    await page.go_back()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".body")).to_have_text(["You said: precious"])
    await expect(page.locator(".said .files a")).to_have_text(["a.txt"])
    await page.evaluate("dispatchEvent(new Event('reread'))")
    await expect(page.locator(".said .words")).to_have_text(["precious"])


async def test_nobody_finds_what_another_person_did_not_send(ponte: WebPonte, page: Page) -> None:
    await page.context.clear_cookies()
    await say(page, "precious")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.evaluate("localStorage.setItem('person', 'web:ana')")
    await page.set_input_files("#files", file("a.txt", 3))
    await page.locator("#token").fill(ponte.token)
    await page.press("#token", "Enter")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.locator(".said")).to_have_count(0)
    await expect(page.locator("#attached li")).to_have_count(0)


async def test_a_notice_stays_until_it_is_no_longer_true(page: Page) -> None:
    """An error of reading ends with the next reading. A refused edit is still not sent."""

    async def fail(route: Route) -> None:
        await route.fulfill(status=500, json={"error": {"code": "x", "message": "Broken."}})

    await page.route("**/conversations/n1?html=1", fail, times=1)
    await page.evaluate("location.hash = 'n1'")
    await expect(page.locator("#notice")).to_contain_text("Broken.")
    await expect(page.locator("#notice")).to_be_empty()
    await ask(page, "one")
    await page.route("**/chat", fail)
    await page.press("#text", "ArrowUp")
    async with page.expect_response("**/conversations/n1?html=1"):
        await say(page, "two")
    await expect(page.locator(".said .words")).to_have_text(["one"])
    await expect(page.locator("#text")).to_have_value("two")
    await expect(page.locator("#editing")).to_be_visible()
    await expect(page.locator("#notice")).to_have_text("Not sent: Broken.")


async def test_a_second_visit_loads_no_file_of_the_page_again(ponte: WebPonte, page: Page) -> None:
    text = """performance.getEntriesByType("resource").filter(
        one => one.transferSize > 0 && /[.](js|css|svg)$/.test(one.name)).map(one => one.name)"""
    assert len(await page.evaluate(text)) > 10
    await page.goto("about:blank")
    await visit(page, ponte.web.address)
    assert await page.evaluate(text) == []


def file(name: str, size: int) -> FilePayload:
    return FilePayload(name=name, mimeType="text/plain", buffer=b"x" * size)


async def test_a_file_that_is_too_large_is_refused_before_it_is_sent(
    ponte: WebPonte, page: Page
) -> None:
    requests: list[str] = []

    def on_request(request: Request) -> None:
        requests.append(f"{request.method} {request.url}")

    page.on("request", on_request)
    refusal = page.locator("#refused")
    for number, how in enumerate(("button", "drop", "paste"), 1):
        await page.evaluate(
            """([how, size]) => {
                const data = new DataTransfer(), text = document.getElementById("text");
                const big = new File([new Uint8Array(size)], "big.csv", { type: "text/csv" });
                data.items.add(new File(["ok"], "small.txt", { type: "text/plain" }));
                data.items.add(big);
                if (how === "button") {
                    document.getElementById("files").files = data.files;
                    document.getElementById("files").dispatchEvent(new Event("change"));
                } else if (how === "drop") {
                    const more = { dataTransfer: data, bubbles: true };
                    text.dispatchEvent(new DragEvent("drop", more));
                } else {
                    const more = { clipboardData: data, bubbles: true };
                    text.dispatchEvent(new ClipboardEvent("paste", more));
                }
            }""",
            [how, (30 + number) * MiB],
        )
        await expect(refusal).to_have_text(
            f"big.csv is too large ({30 + number} MB). The limit is 20 MB. Send a smaller file."
        )
        await expect(page.locator("#attached bdi")).to_have_text(["small.txt"] * number)
    tops = "all => all.map(e => e.getBoundingClientRect().top)"
    boxes = await page.locator("#refused, #attached, #text, #keys").evaluate_all(tops)
    assert boxes == sorted(boxes), "above the message box"
    row = await page.locator("#attach, #send").evaluate_all(tops)
    assert max(row) - min(row) < 10, "side by side"
    await page.get_by_role("button", name="Remove small.txt").first.click()
    await ask(page, "see")
    await expect(refusal).to_be_empty()
    await expect(page.locator(".said .files a")).to_have_text(["small.txt"] * 2)
    await expect(page.locator("#attached bdi")).to_have_count(0)
    assert [one.name for one in ponte.rows[1].message.attachments] == ["small.txt"] * 2
    page.remove_listener("request", on_request)
    assert [one for one in requests if one.startswith("POST")] == [f"POST {ponte.web.address}/chat"]


async def test_too_many_files_and_too_many_bytes_are_refused_too(page: Page) -> None:
    await page.set_input_files("#files", [file(f"{n}.txt", 1) for n in range(12)])
    await expect(page.locator("#refused")).to_have_text(
        "Not attached: 10.txt, 11.txt. A message can have up to 10 files, 100 MB in total."
    )
    await expect(page.locator("#attached li")).to_have_count(10)
    await page.reload()
    await expect(page.locator("#welcome")).to_be_visible()  # the conversation is open
    await page.evaluate(
        """size => {
            const data = new DataTransfer();
            const bytes = new Uint8Array(size);
            for (let n = 0; n < 6; n += 1) data.items.add(new File([bytes], `${n}.bin`));
            document.getElementById("files").files = data.files;
            document.getElementById("files").dispatchEvent(new Event("change"));
        }""",
        19 * MiB,
    )
    await expect(page.locator("#attached li")).to_have_count(5)
    await expect(page.locator("#refused")).to_contain_text("Not attached: 5.bin.")


async def test_what_would_be_refused_again_can_be_edited_instead(page: Page) -> None:
    async def refuse(route: Route) -> None:
        body = {"error": {"code": "x", "message": f"Too much ({status})."}}
        await route.fulfill(status=status, json=body)

    await page.set_input_files("#files", file("a.txt", 3))
    for status in (400, 403, 413, 415, 422):
        await page.route("**/chat", refuse)
        await say(page, "precious")
        await expect(page.locator(".progress")).to_have_text(f"Not sent: Too much ({status}).")
        await expect(page.get_by_role("button", name="Try again")).to_have_count(0)
        await page.unroute("**/chat")
        await page.locator(".unsent").click()
        await expect(page.locator("#text")).to_have_value("precious")
        await expect(page.locator("#text")).to_be_focused()
        await expect(page.locator("#attached bdi")).to_have_text(["a.txt"])
        await expect(page.locator(".said")).to_have_count(0)
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text("You said: precious")
