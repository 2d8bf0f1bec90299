"""kill -9 while a quick command is waited for: it is not started again, and its answer comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

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


async def propose(ctx: ToolContext) -> str:
    """Return what approves a command that waits for a person."""
    (card,) = (await ctx.people.ask(make_message(asks("translate-all", "it"), "k1"))).cards
    return f"approve {card.id}"


@pytest.mark.parametrize(
    ("text", "end", "kills"),
    [
        ("quick-command explain a bridge", "explain: a bridge", 2),
        (asks("explain", "a bridge"), "You said: explain: a bridge", 1),
        ("approve", "Approved by Ana. Done.\n\ntranslate-all: it", 1),
    ],
)
async def test_one_that_dies_while_it_polls(
    ctx: ToolContext, stackspot: FakeStackSpot, text: str, end: str, kills: int
) -> None:
    """A typed command, a model's call, and an approved proposal."""
    await start(ctx, stackspot)
    asked = make_message(await propose(ctx) if text == "approve" else text, "asked")
    stackspot.held = True
    await ctx.people.say(asked)
    for _ in range(kills):
        await stackspot.wait_for_requests("status", stackspot.count("status") + 3)
        await ctx.victim.kill()
        await start(ctx, stackspot)
    stackspot.held = False
    assert (await ctx.people.answer(asked)).text == end
    assert stackspot.count("create") == 1
    assert len(ctx.recorder.visible("asked")) == 1


@pytest.mark.parametrize("text", ["quick-command explain a", asks("explain", "a"), "approve"])
async def test_one_whose_beginning_was_not_recorded(
    ctx: ToolContext, stackspot: FakeStackSpot, text: str
) -> None:
    """StackSpot has begun it, but its answer was never read: nobody can tell, so nobody repeats."""
    await start(ctx, stackspot)
    asked = make_message(await propose(ctx) if text == "approve" else text, "asked")
    stackspot.fail("create", Trouble("hang", after=True))
    await ctx.people.say(asked)
    await stackspot.wait_for_requests("create")
    await ctx.victim.kill()
    stackspot.release.set()
    await start(ctx, stackspot)
    answer = await ctx.people.answer(asked)
    assert "unknown" in answer.text or "I don't know whether" in answer.text, answer.text
    assert stackspot.count("create") == 1
