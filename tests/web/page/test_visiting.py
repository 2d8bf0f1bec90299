"""The first visit, the keyboard alone, signing in, right-to-left text."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Page, Request, Route, expect

from core.domain.messages import Answer, Card
from core.domain.records import Health, QuickCommand
from core.people.rules import Rule, RuleBook
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.web.page.browser import ask, say, visit
from tests.web.web_ponte import WebPonte

MAY_NOT_CHAT = "You don't have permission to chat here."
HELP_CARDS = ["Learn moreWhat can you do?", "All commandshelp"]
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_first_visit_shows_what_is_connected_and_what_will_work(
    ponte: WebPonte, tab: Page
) -> None:
    ponte.board.parts = [
        Health("model", "on", "the demo model. To use a real one, open Setup on the page."),
        Health("nocodb", "failing", "it doesn't answer"),
    ]
    await visit(tab, ponte.link)
    await expect(tab.locator("#connected summary")).to_have_text("NocoDB  failing")
    await expect(tab.locator("#parts li").first).to_be_hidden()
    await expect(tab.locator("#parts li")).to_have_text(
        [re.compile("^model · on · the demo model"), "NocoDB · failing · it doesn't answer"]
    )
    tries = tab.locator("#tries button")
    await expect(tries).to_have_text(HELP_CARDS)
    await expect(tab.locator("#model")).to_contain_text("such as these. For a real model, set")
    ponte.board.parts = [Health("model", "on", "gpt-large"), Health("slack", "off")]
    ponte.board.titles = ["Customers", "Orders"]
    ponte.board.known = [QuickCommand("other", "Other"), QuickCommand("explain", "Explain code")]
    await tab.reload()
    await expect(tab.locator("#tables")).to_have_text("Tables: Customers, Orders")
    await expect(tab.locator("#missing")).to_have_text("Not connected: Slack")
    await expect(tab.locator("#connected")).to_be_hidden()
    await expect(tries).to_have_text(
        [re.compile("show Customers$"), re.compile("list tables$"), re.compile("do\\?$")]
    )
    ponte.board.is_demo = False
    ponte.board.parts[0] = Health("model", "on", "gpt-large at host: conversations stored there")
    await tab.reload()
    await expect(tab.locator("#model summary")).to_have_text("Model: gpt-large")
    await expect(tab.locator("#model p")).to_be_hidden()
    await tab.locator("#model summary").click()
    await expect(tab.locator("#model p")).to_have_text(re.compile("^gpt-large at host: conv"))
    edges = "all => all.map(e => e.getBoundingClientRect()).flatMap(e => [e.top, e.bottom])"
    places = await tab.locator("#welcome, #box, #tries").evaluate_all(edges)
    assert places == sorted(places), "greeting, box, cards"
    await tab.locator("#commands").get_by_role("button", name="Explain code").click()
    await expect(tab.locator("#quick-slug")).to_have_value("explain")
    await tab.keyboard.press("Escape")
    await tries.first.click()
    await expect(tab.locator(".body")).to_have_text(re.compile("^You said: Show me the newest"))


async def test_a_person_who_may_not_chat_reads_so(ponte: WebPonte, tab: Page) -> None:
    policy = allow_list(frozenset({"web:owner"}))
    rule = Rule("1", frozenset({"web:ana"}), deny=("chat",))
    policy.read_rules = fixed_rules(RuleBook((rule,)))
    ponte.policy = policy
    await ponte.restart()
    await visit(tab, f"{ponte.web.address}/#token={ponte.people.add('ana')}")
    await expect(tab.locator("#welcome-why")).to_have_text(MAY_NOT_CHAT)
    await expect(tab.locator("#tries button, #connected:visible")).to_have_count(0)


OPEN = Card("abc234", "proposal", "Update 1 row", "In Customers.", (), ("approve", "deny"))


async def test_everything_can_be_reached_by_keyboard(ponte: WebPonte, page: Page) -> None:
    ponte.answers(
        lambda turn: Answer("Denied." if turn.message.is_click else "Shall I?", cards=(OPEN,))
    )
    await page.locator("#text").focus()
    await page.keyboard.type("one\n")
    await expect(page.locator(".card")).to_be_visible()
    await page.keyboard.type("two lines")
    await page.keyboard.press("Shift+Enter")
    assert await page.input_value("#text") == "two lines\n"
    await page.evaluate("document.activeElement.blur()")
    values = set()
    await expect(page.locator("#options")).to_be_visible()
    for _ in range(40):
        await page.keyboard.press("Tab")
        values.add(
            await page.evaluate("document.activeElement.id || document.activeElement.className")
        )
    text = "search options new approve deny text attach send at"
    assert set(text.split()) <= values


async def test_one_click_opens_it_and_the_token_stays_nowhere(ponte: WebPonte, tab: Page) -> None:
    questions: list[str] = []

    def on_request(request: Request) -> None:
        questions.append(request.url)

    tab.on("request", on_request)
    await visit(tab, ponte.link)
    await ask(tab, "in")
    await expect(tab.get_by_role("dialog")).to_be_hidden()
    assert ponte.token not in tab.url
    tab.remove_listener("request", on_request)
    assert not any(ponte.token in url for url in questions)
    (cookie,) = await tab.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert ponte.token not in str(cookie)
    text = "JSON.stringify([history.state, {...localStorage}, {...sessionStorage}])"
    assert ponte.token not in await tab.evaluate(text)
    await tab.goto(ponte.web.address)
    await expect(tab.locator(".body")).to_have_text("You said: in")


async def test_a_link_pasted_into_an_open_page_signs_in(ponte: WebPonte, tab: Page) -> None:
    """One that is old says so, and the next one opens the page as it stands."""
    await tab.goto(f"{ponte.web.address}/#token=an-older-token-of-this-ponte")
    await expect(tab.get_by_role("dialog")).to_be_visible()
    await expect(tab.get_by_role("alert")).to_have_text("Invalid token.")
    assert "token" not in tab.url
    await tab.evaluate(f"location.href = {ponte.link!r}")
    await expect(tab.get_by_role("dialog")).to_be_hidden()
    await ask(tab, "in")


async def test_a_person_signs_in_without_the_link(ponte: WebPonte, tab: Page) -> None:
    """A refusal from before it, which comes too late, does not ask them again."""
    came, go_on = asyncio.Event(), asyncio.Event()
    async with ponte.stranger() as stranger:
        refusal = await stranger.get("/quick-commands")
    assert refusal.status_code == 401

    async def late(route: Route) -> None:
        came.set()
        await go_on.wait()
        await route.fulfill(status=401, content_type="application/json", body=refusal.text)

    dialog, token = tab.get_by_role("dialog"), tab.get_by_label("Your link")
    await tab.goto(ponte.web.address)
    await token.fill("wrong")
    await dialog.get_by_role("button", name="Sign in").click()
    await expect(tab.get_by_role("alert")).to_have_text("Invalid token.")
    await tab.route("**/quick-commands", late, times=1)
    script = await tab.locator("script").get_attribute("src") or ""
    module = script.replace("ponte.js", "server.js")
    text = f"import('{module}').then(server => server.request('/quick-commands'))"
    await tab.evaluate(f"window.refused = {text}.catch(() => true), null")
    await came.wait()
    await token.fill(ponte.token)
    await tab.keyboard.press("Enter")
    await expect(dialog).to_be_hidden()
    go_on.set()
    assert await tab.evaluate("window.refused") is True
    await expect(dialog).to_be_hidden()
    await ask(tab, "in")
    assert ponte.token not in str(await tab.context.cookies())


async def test_right_to_left_text_is_unharmed(ponte: WebPonte, page: Page) -> None:
    await say(page, "مرحبا بالعالم")
    await expect(page.locator(".said .words")).to_have_css("direction", "rtl")
    ponte.answers(Answer("שלום עולם"))
    await say(page, "again")
    await expect(page.locator(".body p").last).to_have_css("direction", "rtl")
    ponte.answers(Answer("- שלום\n- עולם\n\n1. שלום\n\n> שלום\n\n- hello"))
    await say(page, "a list")
    for tag, direction in (("ul", "rtl"), ("ol", "rtl"), ("blockquote", "rtl"), ("ul", "ltr")):
        part = page.locator(f".body {tag}:not([class])")
        part = part.last if direction == "ltr" else part.first
        await expect(part).to_have_css("direction", direction)
    await expect(page.locator("body")).to_have_css("direction", "ltr")
