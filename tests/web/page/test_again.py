"""Asking again, changing one's last message, and code, pictures and shortcuts."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import replace

import pytest
from playwright.async_api import FilePayload, Page, Route, expect

from core.domain.messages import Answer, Card, MessageOrigin, encode_json
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


async def test_a_post_of_a_schedule_is_no_message_of_the_person(
    ponte: WebPonte, page: Page
) -> None:
    """Its text is the answer, which nobody asked for."""
    await ask(page, "Late orders")
    origin = MessageOrigin("schedule", "abc234", data={"kind": "post"})
    message = encode_json(replace(ponte.rows[1].message, origin=origin))
    ponte.database.execute("UPDATE inbox SET message = ?", message)
    await page.reload()
    await expect(page.locator(".body")).to_contain_text("You said: ")
    await expect(page.locator(".said")).to_be_hidden()
    await expect(page.locator(".answer .sender")).to_have_text(re.compile(r"^Ponte · \d"))
    await expect(page.locator(".sender .at")).to_be_visible()
    await expect(page.get_by_role("button", name="Copy answer")).to_be_visible()
    await expect(page.get_by_role("button", name="Ask again")).to_have_count(0)


async def test_the_last_answer_alone_can_be_asked_again_and_keeps_the_earlier_ones(
    ponte: WebPonte, page: Page
) -> None:
    numbers, bodies = itertools.count(1), page.locator(".body")
    ponte.answers(lambda _: Answer(f"Answer **{next(numbers)}**"))
    for number, text in enumerate(("one", "two"), 1):
        await say(page, text)
        await expect(bodies.last).to_have_text(f"Answer {number}")
    again = page.get_by_role("button", name="Ask again")
    await expect(again).to_have_count(1)
    for number in (3, 4):
        await again.click()
        await expect(bodies).to_have_text(["Answer 1", f"Answer {number}"])
    await expect(page.locator(".said .words")).to_have_text(["one", "two"])
    assert [row.message.text for row in ponte.rows.values()] == ["one", "two", "two", "two"]
    await page.reload()
    button = page.get_by_role("button", name="Earlier answer")
    await button.click()
    await expect(page.locator(".earlier strong")).to_have_text(["3", "2"])
    await button.click()
    await expect(page.locator(".earlier")).to_have_count(0)
    await expect(bodies).to_have_text(["Answer 1", "Answer 4"])


def csv_file(name: str) -> FilePayload:
    return FilePayload(name=name, mimeType="text/csv", buffer=b"1")


async def test_a_file_alone_is_asked_about_again_and_stays_if_a_change_is_refused(
    ponte: WebPonte, page: Page
) -> None:
    """What is written and attached meanwhile is not sent with it."""

    async def refuse(route: Route) -> None:
        await route.fulfill(status=422, json={"error": {"code": "x", "message": "Too much."}})

    ponte.answers(lambda turn: Answer("Again" if turn.message.replaced_turn else "First"))
    names, request = page.locator("#attached bdi"), page.locator(".said .files a")
    await page.set_input_files("#files", csv_file("a.csv"))
    await page.press("#text", "Enter")
    await expect(page.locator(".body")).to_have_text(["First"])
    await page.set_input_files("#files", csv_file("b.csv"))
    await expect(names).to_have_text(["b.csv"])
    await page.fill("#text", "draft")
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".body")).to_have_text(["Again"])
    assert [one.name for one in ponte.rows[2].message.attachments] == ["a.csv"]
    await expect(names).to_have_text(["b.csv"])
    await expect(page.locator("#text")).to_have_value("draft")
    await expect(page.locator("#editing")).to_be_hidden()
    await page.get_by_role("button", name="Edit").click()
    await page.route("**/chat", refuse)
    await say(page, "sum it")
    await expect(page.locator("#notice")).to_have_text("Not sent: Too much.")
    await expect(names).to_have_text(["a.csv"])
    await expect(page.locator("#editing")).to_be_visible()
    await page.unroute("**/chat")
    await page.press("#text", "Enter")
    await expect(page.locator(".said .words")).to_have_text(["sum it"])
    await expect(request).to_have_text(["a.csv"])
    await expect(names).to_have_text(["b.csv"])
    assert [one.name for one in ponte.rows[3].message.attachments] == ["a.csv"]


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
    requests = [[one.name for one in row.message.attachments] for row in ponte.rows.values()]
    assert requests[1:] == [["old.csv", "right.csv"]] * 2


async def test_a_click_leaves_the_last_message_to_be_asked_again(
    ponte: WebPonte, page: Page
) -> None:
    """Stop, Approve and Deny are turns without words of their own."""
    card = Card("abc234", "proposal", "Change a row", "", (), ("approve", "deny"))
    variant = replace(card, state="denied", actions=(), text="Denied by you.")

    ponte.answers(
        lambda turn: Answer("Again." if turn.message.replaced_turn else "Shall I?", cards=(card,)),
        click=Answer("Denied by you.", cards=(variant,)),
    )
    await say(page, "change it")
    await page.get_by_role("button", name="Deny").click()
    await page.locator(".card form").get_by_role("button", name="Deny").click()
    await expect(page.locator(".card .words")).to_have_text("Denied by you.")
    await expect(page.locator("#log > li:visible")).to_have_count(1)
    for word in ("Edit", "Ask again"):
        await expect(page.get_by_role("button", name=word)).to_have_count(1)
    await page.reload()
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".body:visible")).to_have_text(["Again."])


async def test_ones_last_message_is_changed_and_a_draft_outlives_it(page: Page) -> None:
    text, editing = page.locator("#text"), page.locator("#editing")
    await ask(page, "helo")
    await page.press("#text", "ArrowUp")
    await expect(text).to_have_value("helo")
    await expect(editing).to_be_visible()
    await page.press("#text", "Escape")
    await expect(editing).to_be_hidden()
    for key in ("Escape", "Enter"):
        await page.fill("#text", "draft")
        await page.get_by_role("button", name="Edit").click()
        await expect(text).to_have_value("helo")
        await page.fill("#text", "hello")
        await page.press("#text", key)
        await expect(text).to_have_value("draft")
    await expect(page.locator(".said .words")).to_have_text(["hello"])
    await expect(page.locator(".body")).to_have_text(["You said: hello"])
    await expect(editing).to_be_hidden()


async def test_what_another_tab_sends_ends_the_change(page: Page) -> None:
    """A new message, and then a change of the last one."""
    await ask(page, "one")
    other = await page.context.new_page()
    await visit(other, page.url)
    bodies = ["You said: one"]
    for is_edit in (False, True):
        await expect(other.locator(".body")).to_have_text(bodies)
        await page.press("#text", "ArrowUp")
        await page.fill("#text", f"mine {is_edit}")
        if is_edit:
            await other.press("#text", "ArrowUp")
        await say(other, "theirs")
        bodies = [*(bodies[:-1] if is_edit else bodies), "You said: theirs"]
        await expect(page.locator(".body")).to_have_text(bodies)
        if not is_edit:  # nothing is read again before the server refuses the change
            await page.press("#text", "Enter")
            await expect(page.locator("#notice")).to_contain_text("Not sent")
        await expect(page.locator("#editing")).to_be_hidden()
        await expect(page.locator("#text")).to_have_value(f"mine {is_edit}")
        await page.press("#text", "Enter")
        bodies.append(f"You said: mine {is_edit}")
        await expect(page.locator(".body")).to_have_text(bodies)


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
    await page.keyboard.press("s")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("w")
    await expect(page.locator("#text")).to_be_focused()
    before = page.url
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("n")
    await page.wait_for_url(lambda url: url != before)
    await expect(page.locator("#text")).to_be_focused()  # as the last of what opens a conversation
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("?")
    await page.get_by_role("checkbox", name="Use single-key shortcuts").uncheck()
    await page.keyboard.press("Escape")
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("w")
    await expect(page.locator("#text")).not_to_be_focused()
