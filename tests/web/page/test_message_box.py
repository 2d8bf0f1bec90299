"""What comes into the message box: files that change or cannot be read, pasted tables and pictures,
and what waits there while another conversation is open."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from core.domain.messages import Answer
from tests.web.page.browser import ask, choose, resize, say, show_sign_in, visit
from tests.web.page.test_loading import file
from tests.web.page.test_models import give_models
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNREADABLE = (
    "Couldn't read {}. It may be a folder, or the file was changed, moved or deleted. "
    "Attach the file again."
)
PASTE = """entries => {
    const data = new DataTransfer();
    for (const [type, content] of entries) {
        if (type.startsWith("text/")) data.setData(type, content);
        else data.items.add(new File(["bytes"], content, { type }));
    }
    const options = { clipboardData: data, bubbles: true, cancelable: true };
    const event = new ClipboardEvent("paste", options);
    document.getElementById("text").dispatchEvent(event);
    return event.defaultPrevented;
}"""
CELLS = "Name\tPrice\nSoap\t3"
PICTURE = ("image/png", "image.png")


async def attach_by_path(page: Page, path: Path) -> None:
    """Playwright would send the contents to a browser that it did not start, and no file."""
    devtools = await page.context.new_cdp_session(page)
    root = (await devtools.send("DOM.getDocument"))["root"]["nodeId"]
    query = {"nodeId": root, "selector": "#files"}
    node = (await devtools.send("DOM.querySelector", query))["nodeId"]
    await devtools.send("DOM.setFileInputFiles", {"files": [str(path)], "nodeId": node})
    await devtools.detach()


@pytest.mark.parametrize("change", ["saved again", "deleted"])
async def test_a_file_that_changed_after_it_was_attached_is_named_at_once(
    page: Page, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("a,b\n1,2\n")
    await attach_by_path(page, path)
    await expect(page.locator("#attached bdi")).to_have_text(["prices.csv"])
    if change == "deleted":
        path.unlink()
    else:
        path.write_text("a,b\n1,2\n3,4\n")
        os.utime(path, (1e9, 1e9))
    await say(page, "see")
    await expect(page.locator(".progress")).to_have_text(
        f"Not sent: {UNREADABLE.format('prices.csv')}"
    )
    await page.locator(".unsent").click()
    await expect(page.locator("#text")).to_have_value("see")
    await expect(page.locator("#refused")).to_have_text(UNREADABLE.format("prices.csv"))
    await expect(page.locator("#attached li")).to_have_count(0)
    path.write_text("a,b\n1,2\n3,4\n")
    await page.set_input_files("#files", path)
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text("You said: see")


async def test_what_cannot_be_read_is_refused_when_it_is_attached(page: Page) -> None:
    await page.evaluate("""() => {
        const read = Blob.prototype.arrayBuffer;
        const folder = new File([], "folder");
        folder.slice = () => ({ arrayBuffer: () => Promise.reject(new Error("a folder")) });
        const data = { types: ["Files"], files: [new File(["ok"], "small.txt"), folder] };
        const event = new Event("drop", { bubbles: true });
        Object.defineProperty(event, "dataTransfer", { value: data });
        document.getElementById("text").dispatchEvent(event);
    }""")
    await expect(page.locator("#refused")).to_have_text(UNREADABLE.format("folder"))
    await expect(page.locator("#attached bdi")).to_have_text(["small.txt"])


@pytest.mark.parametrize(
    ("entries", "is_attached"),
    [
        ([("text/plain", CELLS), ("text/html", "<table></table>"), PICTURE], False),
        ([("text/plain", CELLS), PICTURE], False),
        ([("text/plain", "image.png"), ("text/html", "<b>image.png</b>"), PICTURE], False),
        ([PICTURE], True),
        ([("text/html", "<img src='x.png'>"), PICTURE], True),
        ([("text/plain", " \n"), ("text/html", "<img src='x.png'>"), PICTURE], True),
        ([("text/plain", "image.png"), PICTURE], True),
        ([("text/plain", "/home/a/image.png\n/home/a/b.csv"), PICTURE, ("x/csv", "b.csv")], True),
    ],
)
async def test_pasted_text_is_text_and_a_picture_alone_is_attached(
    page: Page, entries: list[tuple[str, str]], is_attached: bool
) -> None:
    assert await page.evaluate(PASTE, entries) is is_attached
    files = [name for type, name in entries if not type.startswith("text/")]
    await expect(page.locator("#attached bdi")).to_have_text(files if is_attached else [])


async def test_cells_of_a_spreadsheet_are_pasted_as_text(page: Page) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.evaluate(
        """async text => {
            const canvas = document.createElement("canvas");
            const picture = await new Promise((resolve) => canvas.toBlob(resolve));
            const html = new Blob(["<table><tr><td>Name</td></tr></table>"], { type: "text/html" });
            await navigator.clipboard.write([new ClipboardItem({
                "text/plain": new Blob([text], { type: "text/plain" }),
                "text/html": html, "image/png": picture })]);
        }""",
        CELLS,
    )
    await page.focus("#text")
    await page.keyboard.press("Control+V")
    await expect(page.locator("#text")).to_have_value(CELLS)
    await expect(page.locator("#attached li")).to_have_count(0)


async def test_what_waits_in_the_box_stays_with_its_conversation(page: Page) -> None:
    await ask(page, "first")
    await page.fill("#text", "a draft")
    await page.set_input_files("#files", file("a.txt", 3))
    await page.click("#new")
    await expect(page.locator("#attached li")).to_have_count(0)
    await page.set_input_files("#files", file("b.txt", 3))
    await say(page, "in b")
    await expect(page.locator(".said .files a")).to_have_text(["b.txt"])
    await page.evaluate("location.hash = 'main'")
    await expect(page.locator("#attached bdi")).to_have_text(["a.txt"])
    await expect(page.locator("#text")).to_have_value("a draft")
    await page.press("#text", "Enter")
    await expect(page.locator(".said .files a")).to_have_text(["a.txt"])


async def test_an_edit_waits_in_its_conversation_with_the_draft_and_files_before_it(
    page: Page,
) -> None:
    await ask(page, "first")
    await page.set_input_files("#files", file("a.txt", 3))
    await page.fill("#text", "a draft")
    await page.locator(".said").hover()
    await page.get_by_role("button", name="Edit").click()
    await page.fill("#text", "first, but better")
    await page.click("#new")
    await expect(page.locator("#editing")).to_be_hidden()
    await expect(page.locator("#text")).to_have_value("")
    await page.go_back()
    await expect(page.locator("#text")).to_have_value("first, but better")
    await expect(page.locator("#editing")).to_be_visible()
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text(["You said: first, but better"])
    await expect(page.locator("#text")).to_have_value("a draft")
    await expect(page.locator("#attached bdi")).to_have_text(["a.txt"])


async def test_files_of_a_message_that_fails_elsewhere_wait_in_its_conversation(page: Page) -> None:
    failing = asyncio.Event()

    async def refuse(route: Route) -> None:
        await failing.wait()
        await route.fulfill(status=422, json={"error": {"code": "x", "message": "No."}})

    await page.route("**/chat", refuse)
    await page.set_input_files("#files", file("a.txt", 3))
    async with page.expect_request("**/chat"):
        await say(page, "precious")
    await page.click("#new")
    await expect(page.locator(".said")).to_have_count(0)
    failing.set()
    await expect(page.locator("#notice")).to_have_text("Not sent: No.")
    await page.go_back()
    await expect(page.locator("#text")).to_have_value("precious")
    await expect(page.locator("#attached bdi")).to_have_text(["a.txt"])


async def test_each_field_on_a_phone_has_letters_of_16_pixels(ponte: WebPonte, tab: Page) -> None:
    """A phone's browser zooms in on a field with smaller ones."""
    give_models(ponte)
    await ponte.restart()
    await visit(tab, ponte.link)
    await resize(tab, 390)
    await expect(tab.locator("#model-choice")).to_be_visible()
    await tab.locator("#menu").click()
    for entry in ("Change name", "API tokens"):
        await choose(tab, entry)
        await expect(tab.locator("dialog[open]")).to_be_visible()
        await tab.keyboard.press("Escape")
        await expect(tab.locator("dialog[open]")).to_have_count(0)
    await show_sign_in(tab)
    sizes = await tab.locator("input, select, textarea").evaluate_all(
        "all => all.map(one => [one.id, parseFloat(getComputedStyle(one).fontSize)])"
    )
    assert len(sizes) >= 8
    assert [one for one in sizes if one[1] < 16] == []


async def test_the_buttons_around_the_box_take_a_click(page: Page) -> None:
    async with page.expect_file_chooser() as choice:
        await page.locator("#attach").click()
    assert (await choice.value).is_multiple()
    await page.locator("#shortcuts").click()
    await page.locator("#keys-list").get_by_role("button", name="Close").click()
    await expect(page.locator("#keys-list")).to_be_hidden()
    await page.locator("#tries [data-kind=help]").click()
    await expect(page.locator("#welcome")).to_be_hidden()


async def test_one_button_sends_and_stops(ponte: WebPonte, page: Page) -> None:
    """While an answer grows, the button sends only what has been written meanwhile."""
    stopped = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if not turn.message.is_click:
            await stopped.wait()
        stopped.set()
        return Answer("Done.")

    ponte.script = script
    send, stop = page.locator("#send"), page.locator("#stop")
    await expect(stop).to_be_hidden()
    await page.fill("#text", "count")
    await send.click()
    await expect(stop).to_be_visible()
    await expect(send).to_be_hidden()
    await expect(page.locator("#text")).to_be_focused()
    await page.fill("#text", "and then")
    await expect(send).to_be_visible()
    await page.fill("#text", "")
    await stop.click()
    await expect(page.locator(".body").first).to_have_text("Done.")
    await expect(send).to_be_visible()
    await expect(stop).to_be_hidden()


async def test_a_suggestion_is_a_button_that_only_fills_it_in(ponte: WebPonte, page: Page) -> None:
    texts = ("Draw the sales by month", "approve abc234-1234", "Ask @everyone", "See www.evil.test")
    ponte.answers(Answer("\n\n".join(f"Next, try: `{text}`" for text in texts)))
    await say(page, "next?")
    chips = page.locator(".body [data-fill]")
    await expect(chips).to_have_text(texts[:1])
    await page.fill("#text", "Please:")
    await chips.click()
    await expect(page.locator("#text")).to_have_value(f"Please:\n{texts[0]}")
    await expect(page.locator("#text")).to_be_focused()
    assert len(ponte.rows) == 1
