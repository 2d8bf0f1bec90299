"""Which model answers, what an answer used, and the way to the newest message."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from core.people.rules import Rule, RuleBook
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.web.page.browser import say, visit
from tests.web.web_ponte import WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")


def give_models(ponte: WebPonte) -> None:
    policy = allow_list(frozenset({"web:owner"}))
    rules = Rule("1", frozenset({"web:owner"}), allow=("model:gpt-large", "model:gpt-small"))
    policy.read_rules = fixed_rules(RuleBook((rules,)))
    ponte.policy = policy


async def test_a_model_is_chosen_where_a_rule_allows_more_than_one(
    ponte: WebPonte, page: Page
) -> None:
    await expect(page.locator("#model-choice")).to_be_hidden()
    give_models(ponte)
    await ponte.restart()
    await visit(page, ponte.link)
    choice = page.get_by_role("combobox", name="Model")
    await expect(choice.locator("option")).to_have_text(["Default model", "gpt-large", "gpt-small"])
    await say(page, "one")
    await choice.select_option("gpt-large")
    await say(page, "two")
    await expect(page.locator(".body")).to_have_text(["You said: one", "You said: two"])
    assert [row.message.model for row in ponte.rows.values()] == ["", "gpt-large"]
    await page.reload()
    await expect(choice).to_have_value("gpt-large")


async def test_a_model_that_no_rule_gives_is_refused(ponte: WebPonte) -> None:
    give_models(ponte)
    await ponte.restart()
    async with ponte.client() as client:
        for name, status in (("gpt-large", 200), ("gpt-other", 404), ("*", 404)):
            answer = await client.post("/chat", json={"message": "hi", "model": name})
            assert answer.status_code == status, (name, answer.text)


async def test_an_answer_says_what_it_used_and_a_button_leads_to_the_newest_message(
    page: Page,
) -> None:
    await say(page, "hello")
    button = page.get_by_role("button", name="Tokens and cost")
    await button.click()
    await expect(page.locator(".usage")).to_contain_text("tokens in,")
    await expect(button).to_have_attribute("aria-expanded", "true")
    await button.click()
    await expect(page.locator(".usage")).to_have_count(0)
    for number in range(2, 8):
        await say(page, f"message {number}\n" * 8)
        await expect(page.locator(".body")).to_have_count(number)
    button = page.get_by_role("button", name="Go to the newest message")
    await expect(button).to_be_hidden()
    await page.evaluate("scrollTo(0, 0)")
    await button.click()
    await expect(button).to_be_hidden()
    assert await page.evaluate("scrollY + innerHeight > document.body.scrollHeight - 50")
