"""kill -9 while a quick command is waited for: it is not started again, and its answer comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.domain.messages import Answer
from tests.dialogues.stackspot import asks
from tests.fakes.choices import make_message
from tests.fakes.stackspot import FakeStackSpot, Trouble
from tests.real.conftest import ToolContext


@pytest.fixture
async def stackspot() -> AsyncIterator[FakeStackSpot]:
    async with FakeStackSpot() as fake:
        yield fake
        assert fake.refused == []


async def start(ctx: ToolContext, stackspot: FakeStackSpot) -> None:
    await ctx.victim.start("--stackspot", stackspot.url)


async def killed_while_waiting(
    ctx: ToolContext, stackspot: FakeStackSpot, text: str, kills: int = 2
) -> Answer:
    """It is asked, begins, dies in the middle of its polling each time, and ends in the end."""
    asked = make_message(text, "asked")
    stackspot.held = True
    await ctx.people.say(asked)
    for _ in range(kills):
        await stackspot.wait_for_requests("status", stackspot.count("status") + 3)
        await ctx.victim.kill()
        await start(ctx, stackspot)
    stackspot.held = False
    return await ctx.people.answer(asked)


async def test_a_typed_command(ctx: ToolContext, stackspot: FakeStackSpot) -> None:
    await start(ctx, stackspot)
    answer = await killed_while_waiting(ctx, stackspot, "quick-command explain a bridge")
    assert answer.text == "explain: a bridge"
    assert stackspot.count("create") == 1
    assert ctx.recorder.visible("asked") == ["explain: a bridge"]


async def test_a_models_call(ctx: ToolContext, stackspot: FakeStackSpot) -> None:
    await start(ctx, stackspot)
    answer = await killed_while_waiting(ctx, stackspot, asks("explain", "a bridge"))
    assert answer.text == "You said: explain: a bridge"
    assert stackspot.count("create") == 1


async def test_an_approved_proposal(ctx: ToolContext, stackspot: FakeStackSpot) -> None:
    await start(ctx, stackspot)
    (card,) = (await ctx.people.ask(make_message(asks("translate-all", "it"), "k1"))).cards
    answer = await killed_while_waiting(ctx, stackspot, f"approve {card.id}")
    assert answer.text == "Approved by Ana. Done.\n\ntranslate-all: it"
    assert stackspot.count("create") == 1


@pytest.mark.parametrize("text", ["quick-command explain a", asks("explain", "a"), "approve"])
async def test_one_whose_beginning_was_not_recorded(
    ctx: ToolContext, stackspot: FakeStackSpot, text: str
) -> None:
    """StackSpot has begun it, but its answer was never read: nobody can tell, so nobody repeats."""
    await start(ctx, stackspot)
    if text == "approve":
        (card,) = (await ctx.people.ask(make_message(asks("translate-all", "a"), "k1"))).cards
        text = f"approve {card.id}"
    stackspot.fail("create", Trouble("hang", after=True))
    asked = make_message(text, "asked")
    await ctx.people.say(asked)
    await stackspot.wait_for_requests("create")
    await ctx.victim.kill()
    stackspot.release.set()
    await start(ctx, stackspot)
    answer = await ctx.people.answer(asked)
    assert "unknown" in answer.text or "I don't know whether" in answer.text, answer.text
    assert stackspot.count("create") == 1
