"""Asking again, changing one's last message, and code, pictures and shortcuts."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from playwright.async_api import FilePayload, Page, Route, expect

from core.domain.messages import Answer, Card
from tests.web.page.browser import ask, say, visit
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_failed_is_tried_again_in_its_place(ponte: WebPonte, page: Page) -> None:
    ponte.answers(
        lambda turn: (
            Answer("Now it works.")
            if turn.message.replaced_turn
            else Answer("The model is away.", "failed", code="model_down")
        )
    )
    await say(page, "hello")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".body")).to_have_text(["Now it works."])
    await expect(page.locator(".said .words")).to_have_text(["hello"])
    assert [row.message.replaced_turn for row in ponte.rows.values()] == [
        "",
        ponte.rows[1].message.turn,
    ]


async def test_the_last_answer_alone_can_be_asked_again(ponte: WebPonte, page: Page) -> None:
    async def script(turn: Turn) -> Answer:
        again = " again" if turn.message.replaced_turn else ""
        return Answer(f"You said: {turn.message.text}{again}")

    ponte.script = script
    for text in ("one", "two"):
        await say(page, text)
        await expect(page.locator(".body").last).to_have_text(f"You said: {text}")
    await expect(page.get_by_role("button", name="Ask again")).to_have_count(1)
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".said .words")).to_have_text(["one", "two"])
    await expect(page.locator(".body")).to_have_text(["You said: one", "You said: two again"])
    assert len(ponte.rows) == 3


async def test_asking_again_keeps_the_earlier_answer(ponte: WebPonte, page: Page) -> None:
    numbers = itertools.count(1)
    ponte.answers(lambda _: Answer(f"Answer **{next(numbers)}**"))
    await say(page, "how many?")
    again = page.get_by_role("button", name="Ask again")
    for number in (2, 3):
        await again.click()
        await expect(page.locator(".body")).to_have_text([f"Answer {number}"])
    await page.reload()
    button = page.get_by_role("button", name="Earlier answer")
    await button.click()
    await expect(page.locator(".earlier strong")).to_have_text(["2", "1"])
    await button.click()
    await expect(page.locator(".earlier")).to_have_count(0)
    await expect(page.locator(".body")).to_have_text(["Answer 3"])


async def test_a_file_alone_is_asked_about_again(ponte: WebPonte, page: Page) -> None:
    """What is written and attached meanwhile is not sent with it."""
    ponte.answers(lambda turn: Answer("Again" if turn.message.replaced_turn else "First"))
    names = page.locator("#attached bdi")
    for name in ("a.csv", "b.csv"):
        file = FilePayload(name=name, mimeType="text/csv", buffer=b"1")
        await page.set_input_files("#files", file)
        await expect(names).to_have_text([name])
        if name == "a.csv":
            await page.press("#text", "Enter")
            await expect(page.locator(".body")).to_have_text(["First"])
    await page.fill("#text", "draft")
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".body")).to_have_text(["Again"])
    assert [one.name for one in ponte.rows[2].message.attachments] == ["a.csv"]
    await expect(names).to_have_text(["b.csv"])
    await expect(page.locator("#text")).to_have_value("draft")
    await expect(page.locator("#editing")).to_be_hidden()


def csv_file(name: str) -> FilePayload:
    return FilePayload(name=name, mimeType="text/csv", buffer=b"1")


async def test_a_file_is_dropped_from_a_message_and_another_added(
    ponte: WebPonte, page: Page
) -> None:
    """A file that waited in the box comes back after the change, and "Ask again" keeps all."""
    names = page.locator("#attached bdi")
    await page.set_input_files("#files", [csv_file("old.csv"), csv_file("wrong.csv")])
    await ask(page, "sum it")
    await page.set_input_files("#files", csv_file("later.csv"))
    edit = page.get_by_role("button", name="Edit")
    await edit.click()
    await expect(names).to_have_text(["old.csv", "wrong.csv"])
    await page.press("#text", "Escape")
    await expect(names).to_have_text(["later.csv"])
    await edit.click()
    await page.get_by_role("button", name="Remove wrong.csv").click()
    await page.set_input_files("#files", csv_file("right.csv"))
    await say(page, "sum this")
    await expect(page.locator(".body")).to_have_text(["You said: sum this"])
    await expect(page.locator(".said .files a")).to_have_text(["old.csv", "right.csv"])
    await expect(names).to_have_text(["later.csv"])
    await page.reload()
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".said .files a")).to_have_text(["old.csv", "right.csv"])
    sent = [[one.name for one in row.message.attachments] for row in ponte.rows.values()]
    assert sent[1:] == [["old.csv", "right.csv"]] * 2


async def test_a_message_keeps_its_files_if_its_change_is_refused(page: Page) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=422, json={"error": {"code": "x", "message": "Too much."}})

    await page.set_input_files("#files", csv_file("old.csv"))
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text("You said:")
    await page.get_by_role("button", name="Edit").click()
    await page.route("**/chat", refuse)
    await say(page, "sum it")
    await expect(page.locator("#notice")).to_have_text("Not sent: Too much.")
    await expect(page.locator("#attached bdi")).to_have_text(["old.csv"])
    await expect(page.locator("#editing")).to_be_visible()
    await page.unroute("**/chat")
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text("You said: sum it")
    await expect(page.locator(".said .files a")).to_have_text(["old.csv"])


async def test_a_click_leaves_the_last_message_to_be_asked_again(
    ponte: WebPonte, page: Page
) -> None:
    """Stop, Approve and Deny are turns without words of their own."""
    card = Card("abc234", "proposal", "Change a row", "", (), ("approve", "deny"))
    denied = replace(card, state="denied", actions=(), text="Denied by you.")

    ponte.answers(
        lambda turn: Answer("Again." if turn.message.replaced_turn else "Shall I?", cards=(card,)),
        click=Answer("Denied by you.", cards=(denied,)),
    )
    await say(page, "change it")
    await page.get_by_role("button", name="Deny").click()
    await expect(page.locator(".card .words")).to_have_text("Denied by you.")
    await expect(page.locator("#log > li:visible")).to_have_count(1)
    for word in ("Edit", "Ask again"):
        await expect(page.get_by_role("button", name=word)).to_have_count(1)
    await page.reload()
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".body:visible")).to_have_text(["Again."])


async def test_stop_leaves_the_last_message_to_be_asked_again(ponte: WebPonte, page: Page) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.is_click:
            stopped.set()
            return Answer("Stopped.")
        begun.set()
        await stopped.wait()
        return Answer("Half of it.", "stopped")

    ponte.script = script
    await say(page, "a long one")
    await begun.wait()
    await expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".body:visible")).to_have_text(["Half of it."])
    for word in ("Edit", "Ask again"):
        await expect(page.get_by_role("button", name=word)).to_have_count(1)


async def test_ones_last_message_is_changed(page: Page) -> None:
    await ask(page, "helo")
    await page.press("#text", "ArrowUp")
    await expect(page.locator("#text")).to_have_value("helo")
    await expect(page.locator("#editing")).to_be_visible()
    await page.press("#text", "Escape")
    await expect(page.locator("#editing")).to_be_hidden()
    await page.get_by_role("button", name="Edit").click()
    await say(page, "hello")
    await expect(page.locator(".said .words")).to_have_text(["hello"])
    await expect(page.locator(".body")).to_have_text(["You said: hello"])
    await expect(page.locator("#editing")).to_be_hidden()


async def test_a_draft_outlives_the_change_of_a_message(page: Page) -> None:
    await ask(page, "one")
    for key in ("Escape", "Enter"):
        await page.fill("#text", "draft")
        await page.get_by_role("button", name="Edit").click()
        await expect(page.locator("#text")).to_have_value("one")
        await page.press("#text", key)
        await expect(page.locator("#text")).to_have_value("draft")


@pytest.mark.parametrize("is_edit", [False, True])
async def test_what_another_tab_sends_ends_the_change(page: Page, is_edit: bool) -> None:
    await ask(page, "one")
    other = await page.context.new_page()
    await visit(other, page.url)
    await expect(other.locator(".body")).to_have_text("You said: one")
    await page.press("#text", "ArrowUp")
    await page.fill("#text", "mine")
    if is_edit:
        await other.press("#text", "ArrowUp")
    await say(other, "theirs")
    bodies = [*([] if is_edit else ["You said: one"]), "You said: theirs"]
    await expect(page.locator(".body")).to_have_text(bodies)
    if not is_edit:  # nothing is read again before the server refuses the change
        await page.press("#text", "Enter")
        await expect(page.locator("#notice")).to_contain_text("Not sent")
    await expect(page.locator("#editing")).to_be_hidden()
    await expect(page.locator("#text")).to_have_value("mine")
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text([*bodies, "You said: mine"])


async def test_code_is_coloured_and_ones_own_is_shown_as_code(ponte: WebPonte, page: Page) -> None:
    code = '```python\nfor n in range(3):  # all\n    print("n", n)\n```'
    ponte.answers(Answer(code))
    await say(page, f"what is this?\n{code}\nthanks")
    for place in (".body", ".said .words"):
        await expect(page.locator(f"{place} pre .keyword")).to_have_text(["for", "in"])
        await expect(page.locator(f"{place} pre .comment")).to_have_text("# all")
        await expect(page.locator(f"{place} pre .string")).to_have_text('"n"')
    await expect(page.locator(".said .words")).to_contain_text("thanks")


async def test_a_selection_outlives_what_is_said_after_it(ponte: WebPonte, page: Page) -> None:
    go_on = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show("First **words** of")
        await go_on.wait()
        await turn.show("First **words** of an answer.\n\nAnd more.")
        return Answer("First **words** of an answer.\n\nAnd more.")

    ponte.script = script
    await say(page, "tell me")
    await expect(page.locator(".body strong")).to_have_text("words")
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('.body strong'))")
    go_on.set()
    await expect(page.locator(".body")).to_contain_text("And more.")
    await expect(page.get_by_role("button", name="Copy answer")).to_be_visible()
    assert await page.evaluate("getSelection().toString()") == "words"


async def test_shortcuts_are_listed_and_do_what_they_say(page: Page) -> None:
    await expect(page.locator("#text")).to_be_focused()  # as the last of what opens the page
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("?")
    await expect(page.locator("#keys-list")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#keys-list")).to_be_hidden()
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("w")
    await expect(page.locator("#text")).to_be_focused()
    before = page.url
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("n")
    await page.wait_for_url(lambda url: url != before)
