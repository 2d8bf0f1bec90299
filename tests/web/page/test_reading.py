"""An answer is read from its beginning, and nothing in view moves when it ends."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, expect

from core.domain.messages import Answer, Card, Progress
from core.domain.rows import Chart, Placed, Series
from tests.fakes.card_rows import card_row
from tests.web.page.browser import resize, say, visit
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = "\n".join(
    [
        "| Name | Sum | E-mail |",
        "| --- | --- | --- |",
        *[f"| Customer {n} | {n}00.00 | c{n}@ponte.example |" for n in range(18)],
    ]
)
CODE = "```python\ndef double(x):\n    return 2 * x  # twice\n```"
FORMULA = "It is $x^2 + y_1$, and\n\n$$\\sum_{n=1}^9 \\frac{n}{2}$$"
CHART = Chart("bar", "Sales", ("a", "b"), (Series("Sum", (9.0, 10.0), ("9", "10")),))
DRAWN = (Placed(CHART.to_markdown(), CHART),)
LONG = "\n\n".join(f"line {n}" for n in range(80))
SOURCE = "Source: Customers: 3 of 3 rows, Nov 28, 2026, 8:50\u202fPM (America/Sao_Paulo)."
LINKED = f"{SOURCE} [NocoDB](https://nocodb.example/dashboard)"

RECORD_SHIFTS = """() => {
    globalThis.shifts = [];
    globalThis.watched = new PerformanceObserver(list => shifts.push(...list.getEntries().map(
        one => one.sources.map(({ node }) => node?.textContent.slice(0, 30)))));
    watched.observe({ type: "layout-shift" });
}"""
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""A browser reports what moved, and a scroll, at the beginning of the next frame."""
TOP = "document.querySelector('#log > li:last-child').getBoundingClientRect().top"


async def wait_for_end(page: Page) -> None:
    await expect(page.locator("#log > li:last-child .answer[aria-busy=false]")).to_be_visible()
    await page.evaluate(TWO_FRAMES)


@pytest.mark.parametrize(
    "text",
    [CODE, ROWS, FORMULA, CHART.to_markdown()],
    ids=["code", "rows", "formulas", "chart"],
)
async def test_nothing_in_view_moves_when_an_answer_ends(
    ponte: WebPonte, page: Page, text: str
) -> None:
    """Colours, buttons and formulas have their room before; the source has it below."""
    event = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.reply.show(Progress(f"{text}\n\n{words}", placed=placed))
        await event.wait()
        return Answer(f"{text}\n\n{words}\n\n{LINKED}", placed=placed)

    placed = DRAWN if text == CHART.to_markdown() else ()
    ponte.script = script
    for width, words in ((1280, "And that is all."), (390, LONG)):
        event.clear()
        await page.click("#new")
        await expect(page.locator("#welcome")).to_be_visible()
        await resize(page, width)
        await say(page, "go on")
        await expect(page.locator(".body").get_by_text(words.split("\n")[-1])).to_be_attached()
        for late in await page.locator(".body .math").all():
            await expect(late.locator("math")).to_be_attached()
        await page.evaluate("document.fonts.ready")
        await page.evaluate(TWO_FRAMES)
        await page.evaluate(RECORD_SHIFTS)
        places = "[...document.querySelectorAll('.body *')].map(e => e.getBoundingClientRect().top)"
        before = await page.evaluate(f"[scrollY, document.body.scrollHeight, {places}.at(-1)]")
        event.set()
        await wait_for_end(page)
        for frame in await page.locator(".body .table").all():
            await expect(frame.locator("th button")).to_have_count(3 if text == ROWS else 1)
        await page.evaluate(TWO_FRAMES)
        assert await page.evaluate("shifts") == [], width
        after = await page.evaluate(f"[scrollY, document.body.scrollHeight, {places}.at(-1)]")
        assert after == before, width
        await expect(page.locator(".source")).to_be_visible()


@pytest.mark.parametrize("lines", range(5))
async def test_the_source_below_ten_rows_is_not_cut_by_the_message_box(
    ponte: WebPonte, page: Page, lines: int
) -> None:
    rows = "\n".join(ROWS.split("\n")[:12])
    ponte.answers(Answer("\n".join([*["Here they are.  "] * lines, "", rows, "", SOURCE])))
    await say(page, "show")
    await wait_for_end(page)
    await expect(page.locator(".source")).to_be_attached()
    await page.evaluate(TWO_FRAMES)
    tops = await page.evaluate(
        "['.source', '#ask'].map(one => document.querySelector(one).getBoundingClientRect())"
        ".map(({ top, bottom }) => [top, bottom])"
    )
    (top, bottom), (box, _) = tops
    assert bottom <= box + 0.5 or top >= box, "it is whole, or wholly below"


async def test_nothing_in_view_moves_when_a_card_takes_the_place_of_its_sentence(
    ponte: WebPonte, page: Page
) -> None:
    event = asyncio.Event()
    sentence = "I've prepared this change for approval."
    deletion = (card_row({"Name": "Ann"}, None),)
    card = Card("abc234", "proposal", "Delete 1 row", "", deletion, ("approve", "deny"))

    async def script(turn: Turn) -> Answer:
        await turn.show(sentence)
        await event.wait()
        return Answer("", cards=(card,), card_sentence=sentence)

    ponte.script = script
    for width in (1280, 390):
        event.clear()
        await page.click("#new")
        await resize(page, width)
        await say(page, "delete it")
        await expect(page.locator(".body").get_by_text(sentence)).to_be_visible()
        await page.evaluate(TWO_FRAMES)
        await page.evaluate(RECORD_SHIFTS)
        event.set()
        await wait_for_end(page)
        await expect(page.locator(".card .danger")).to_be_visible()
        await expect(page.locator(".body")).not_to_contain_text(sentence)
        await expect(page.locator("#spoken")).to_have_text(sentence)
        await page.evaluate(TWO_FRAMES)
        assert await page.evaluate("shifts") == [], width


async def test_a_long_answer_that_streams_begins_in_view_and_stays_there(
    ponte: WebPonte, page: Page
) -> None:
    steps = asyncio.Semaphore(0)

    async def script(turn: Turn) -> Answer:
        for n in range(1, 9):
            await steps.acquire()
            await turn.show("\n\n".join(LONG.split("\n\n")[: 10 * n]))
        await steps.acquire()
        return Answer(LONG)

    ponte.script = script
    await say(page, "a long one")
    for n in range(1, 9):
        steps.release()
        await expect(page.locator(".body p")).to_have_count(10 * n)
        await page.evaluate(TWO_FRAMES)
        await expect(page.locator(".said .words")).to_be_in_viewport()
    place = await page.evaluate("scrollY")
    assert 50 < await page.evaluate(TOP) < 80, "right under the header"
    await expect(page.locator("#newest")).to_be_visible()
    steps.release()
    await wait_for_end(page)
    assert await page.evaluate("scrollY") == place
    await page.click("#newest")
    await expect(page.locator(".body p").last).to_be_in_viewport()


async def test_who_goes_to_the_end_of_a_growing_answer_follows_it(
    ponte: WebPonte, page: Page
) -> None:
    event = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show(LONG)
        await event.wait()
        return Answer(f"{LONG}\n\n{LONG}\n\nthe end")

    ponte.script = script
    await say(page, "a long one")
    await expect(page.locator(".body p")).to_have_count(80)
    await page.click("#newest")
    await page.evaluate(TWO_FRAMES)
    event.set()
    await wait_for_end(page)
    await expect(page.locator(".body").get_by_text("the end")).to_be_in_viewport()


async def test_a_conversation_opens_where_its_last_turn_begins(ponte: WebPonte, page: Page) -> None:
    """At its end if that turn is short, so that what came before is in view too."""
    async with ponte.client() as client:
        for text, answer in (("one", "short"), ("two", LONG), ("three", LONG)):
            ponte.answers(Answer(answer))
            await client.post("/chat", json={"message": text, "conversation": "long"})
    await visit(page, f"{ponte.web.address}/#long")
    await expect(page.locator("#log > li")).to_have_count(3)
    await page.evaluate(TWO_FRAMES)
    assert 50 < await page.evaluate(TOP) < 80
    async with ponte.client() as client:
        ponte.answers(Answer("short again"))
        await client.post("/chat", json={"message": "four", "conversation": "long"})
    await expect(page.locator("#log > li")).to_have_count(4)
    await page.evaluate(TWO_FRAMES)
    await expect(page.locator("#log > li").nth(2).locator(".words")).to_be_in_viewport()
    await page.reload()
    await expect(page.locator("#log > li")).to_have_count(4)
    await expect(page.locator(".body").last).to_be_in_viewport()


async def test_an_answer_to_a_long_message_begins_in_view(ponte: WebPonte, page: Page) -> None:
    ponte.answers(Answer(LONG))
    await page.fill("#text", "\n".join(["words"] * 100))
    await page.click("#send")
    await wait_for_end(page)
    await expect(page.locator(".body p").first).to_be_in_viewport()
    await expect(page.locator(".body p").last).not_to_be_in_viewport()


async def test_all_of_a_source_is_in_sight_and_its_zone_on_demand(
    ponte: WebPonte, page: Page
) -> None:
    wide = SOURCE.replace("Customers", "Customers, " + "Name contains “something”, " * 9)
    ponte.answers(Answer(f"Three.\n\n{LINKED}\n\n{wide} Sample data."))
    await say(page, "how many?")
    await wait_for_end(page)
    lines = page.locator(".sources > .source")
    await expect(lines).to_have_count(2)
    await expect(page.locator(".body")).to_have_text("Three.")
    for width in (390, 1280):
        await resize(page, width)
        cut = await lines.evaluate_all("all => all.some(e => e.scrollWidth > e.clientWidth)")
        assert not cut, "a filter that is cut would be another one"
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await expect(lines.first).to_have_attribute("title", f"{SOURCE} NocoDB")
    seen = """e => {
        const copy = e.cloneNode(true);
        copy.querySelector('.unseen').remove();
        return copy.textContent;
    }"""
    without_zone = SOURCE.replace(" (America/Sao_Paulo)", "")
    assert await lines.first.evaluate(seen) == f"{without_zone} NocoDB"
    await expect(lines.first.get_by_role("link")).to_have_attribute(
        "href", "https://nocodb.example/dashboard"
    )
    ponte.answers(Answer(f"{SOURCE}\n\nThat was a quote (of mine)."))
    await say(page, "quote it")
    await wait_for_end(page)
    await expect(page.locator(".source")).to_have_count(2)
