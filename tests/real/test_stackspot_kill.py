"""kill -9 while a quick command is waited for: it is not started again, and its answer comes."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
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
    message = make_message(await propose(ctx) if text == "approve" else text, "asked")
    stackspot.held = True
    await ctx.people.say(message)
    for _ in range(kills):
        await stackspot.wait_for_requests("status", stackspot.count("status") + 3)
        await ctx.victim.kill()
        await start(ctx, stackspot)
    stackspot.held = False
    assert (await ctx.people.answer(message)).text == end
    assert stackspot.count("create") == 1
    assert len(ctx.recorder.visible("asked")) == 1


@pytest.mark.parametrize("text", ["quick-command explain a", asks("explain", "a"), "approve"])
async def test_one_whose_beginning_was_not_recorded(
    ctx: ToolContext, stackspot: FakeStackSpot, text: str
) -> None:
    """StackSpot has begun it, but its answer was never read: nobody can tell, so nobody repeats."""
    await start(ctx, stackspot)
    message = make_message(await propose(ctx) if text == "approve" else text, "asked")
    stackspot.fail("create", Trouble("hang", after=True))
    await ctx.people.say(message)
    await stackspot.wait_for_requests("create")
    await ctx.victim.kill()
    stackspot.release.set()
    await start(ctx, stackspot)
    answer = await ctx.people.answer(message)
    assert "unknown" in answer.text or "I don't know whether" in answer.text, answer.text
    assert stackspot.count("create") == 1


@pytest.mark.parametrize("text", ["quick-command explain a", asks("explain", "a")])
async def test_a_run_has_its_audit_line_at_whichever_commit_the_bot_dies(
    ctx: ToolContext, stackspot: FakeStackSpot, text: str
) -> None:
    """A typed command that is waited for again after a crash may have two."""
    number, has_died = 0, True
    while has_died:
        number += 1
        shutil.rmtree(ctx.victim.home, ignore_errors=True)
        creation, message = stackspot.count("create"), make_message(text, f"at {number}")
        await ctx.victim.start("--stackspot", stackspot.url, "--die-at-commit", f"{number}:before")
        with suppress(aiohttp.ClientError):  # it is dead
            if await ctx.people.deliver(message):
                await ctx.people.answer(message)
        has_died = await ctx.victim.terminate() == -signal.SIGKILL
        await start(ctx, stackspot)
        answer = await ctx.people.ask(message)
        assert await ctx.victim.terminate() == 0
        outcomes = read_runs(ctx.victim.home)
        is_known = "explain: a" in answer.text
        assert set(outcomes) == {"ok" if is_known else "unknown"}, (number, answer.text)
        assert len(outcomes) == 1 or (is_known and text.startswith("quick-command"))
        assert stackspot.count("create") - creation <= 1


def read_runs(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        rows = connection.execute("SELECT line FROM audit").fetchall()
    lines = [json.loads(line) for (line,) in rows]
    return [line["outcome"] for line in lines if line["event"] == "tool-run"]
