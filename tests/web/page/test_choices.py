"""The buttons of a question on the page."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from core.chat import buttons
from core.domain.messages import Answer, Question
from tests.web.page.browser import say
from tests.web.web_ponte import Turn, WebPonte

pytestmark = pytest.mark.asyncio(loop_scope="session")
CHOICES = ("<b>This</b> month", "The last 30 days")


@pytest.fixture
def messages(ponte: WebPonte) -> list[Turn]:
    """What was sent. The first question is asked back."""
    turns = list[Turn]()

    def answer(turn: Turn) -> Answer:
        turns.append(turn)
        if turn.message.text == "How many?":
            return Answer("Which one?", question=Question("Which one?", CHOICES))
        return Answer(f"{len(turns)}: {turn.message.text}")

    ponte.answers(answer)
    return turns


async def test_a_press_is_a_message_of_its_own_origin(page: Page, messages: list[Turn]) -> None:
    await say(page, "How many?")
    group = page.get_by_role("group", name="Answers")
    await expect(group.get_by_role("button")).to_have_text([*CHOICES, "Something else…"])
    await group.get_by_role("button", name="Something else…").click()
    await expect(page.locator("#text")).to_be_focused()
    await group.get_by_role("button", name=CHOICES[0]).click()
    await expect(page.locator(".said .words").last).to_have_text(CHOICES[0])
    await expect(page.locator(".answer").last).to_contain_text("2: <b>This</b> month")
    await expect(group).to_have_count(0)
    choice = messages[1].message
    assert (choice.text, choice.origin.name) == (CHOICES[0], "choice")
    await page.get_by_role("button", name="Ask again").last.click()
    await expect(page.locator(".answer").last).to_contain_text("3: <b>This</b> month")
    assert messages[2].message.origin.name == "choice", "also if it is asked again"
    assert [choice.is_click, choice.may_be_command, choice.origin.is_authored] == [False] * 3


async def test_a_typed_answer_takes_the_buttons_away(page: Page, messages: list[Turn]) -> None:
    await say(page, "How many?")
    group = page.get_by_role("group", name="Answers")
    await expect(group).to_be_visible()
    await say(page, "This year")
    await expect(group).to_have_count(0)
    assert messages[1].message.origin.is_authored


async def test_a_press_after_a_day_says_so(
    page: Page, messages: list[Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(page, "How many?")
    group = page.get_by_role("group", name="Answers")
    await expect(group).to_be_visible()
    monkeypatch.setattr(buttons, "CHOICE_SECONDS", -1.0)
    await group.get_by_role("button", name=CHOICES[1]).click()
    await expect(page.get_by_text("This question is closed.")).to_be_visible()
    await expect(group).to_have_count(0)
    assert len(messages) == 1


async def test_a_choice_is_taken_in_its_own_conversation_alone(
    ponte: WebPonte, page: Page, messages: list[Turn]
) -> None:
    await say(page, "How many?")
    await expect(page.get_by_role("group", name="Answers")).to_be_visible()
    body = {"message": "", "choice": f"1:{messages[0].message.turn}", "conversation": "other"}
    async with ponte.client() as client:
        assert (await client.post("/chat", json=body)).status_code == 404
    assert len(messages) == 1
