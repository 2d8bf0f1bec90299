"""kill -9 while a quick command is waited for: it is not started again, and its answer comes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress

import aiohttp
import pytest

from tests.dialogues.stackspot import asks
from tests.fakes.choices import make_message
from tests.fakes.stackspot import FakeStackSpot, Trouble
from tests.real.conftest import ToolContext
from tests.real.postgres import Postgres, expire_leases
from tests.real.storm import open_database, read_audit_lines

COUNTED_ON_POSTGRES = () if "PONTE_STORM" in os.environ else ("--counted", "Journal.", "audit_step")
"""A start takes longer there: only the commits of the turn and of lines."""


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


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize("text", ["quick-command explain a", asks("explain", "a")])
async def test_a_run_has_its_audit_line_at_whichever_commit_the_bot_dies(
    ctx: ToolContext,
    stackspot: FakeStackSpot,
    text: str,
    engine: str,
    request: pytest.FixtureRequest,
) -> None:
    """A typed command that is waited for again after a crash may have two."""
    server: Postgres | None = None
    if engine == "postgres":
        server = request.getfixturevalue("real_postgres")
    number, has_died = 0, True
    while has_died:
        number += 1
        with server.migrated_database() if server else nullcontext("") as url:
            has_died = await run_and_die(ctx, stackspot, text, number, url)


async def run_and_die(
    ctx: ToolContext, stackspot: FakeStackSpot, text: str, number: int, url: str
) -> bool:
    """Let the bot die at that commit, and check the lines of the next one; return whether it
    died."""
    shutil.rmtree(ctx.victim.home, ignore_errors=True)
    start = ("--stackspot", stackspot.url, "--postgres", url)
    creation, message = stackspot.count("create"), make_message(text, f"at {number}")
    counting = COUNTED_ON_POSTGRES if url else ()
    moment = "after" if url else "before"
    await ctx.victim.start(*start, "--die-at-commit", f"{number}:{moment}", *counting)
    with suppress(aiohttp.ClientError):  # it is dead
        if await ctx.people.deliver(message):
            await ctx.people.answer(message)
    has_died = await ctx.victim.terminate() == -signal.SIGKILL
    if url:
        expire_leases(url)
    await ctx.victim.start(*start)
    answer = await ctx.people.ask(message)
    assert await ctx.victim.terminate() == 0
    async with open_database(ctx.victim.home, url) as database:
        lines = await read_audit_lines(database)
    outcomes = [line["outcome"] for line in lines if line["event"] == "tool-run"]
    is_known = "explain: a" in answer.text
    assert set(outcomes) == {"ok" if is_known else "unknown"}, (number, answer.text)
    assert len(outcomes) == 1 or (is_known and text.startswith("quick-command"))
    assert stackspot.count("create") - creation <= 1
    return has_died
