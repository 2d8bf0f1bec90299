"""kill -9 at random moments, while people write and the platform redelivers.

`PONTE_STORM` (kills, default 4) makes it a long one: `make storm`.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from core.domain.messages import Message
from core.journal.turn_runner import CRASHES_BEFORE_ALONE, MAX_CRASHES_ALONE
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import make_message
from tests.real.conftest import ToolContext
from tests.real.machines import cluster
from tests.real.wait_storm import WaitStorm

KILLS = int(os.environ.get("PONTE_STORM", "4"))
CONVERSATIONS = 8


def _messages(wave: int) -> list[Message]:
    text = f'call nocodb_execute {{"tool": "list_records", "args": {{"table_id": "{CUSTOMERS}"}}}}'
    return [
        make_message(
            [f"word {wave}", text, "\n\n".join(["long " * 30] * 4)][number % 3],
            key=f"w{wave}c{channel}n{number}",
            channel=f"C{channel}",
        )
        for channel in range(CONVERSATIONS)
        for number in range(3)
    ]


@pytest.mark.slow
async def test_random_kills_lose_and_repeat_no_answer(ctx: ToolContext) -> None:
    dice = random.Random(20261120)
    message: list[Message] = []
    await ctx.victim.start()
    for wave in range(KILLS):
        messages = _messages(wave)
        message += messages
        delivering = asyncio.create_task(_deliver(ctx, messages))
        await ctx.recorder.wait_for_calls(len(ctx.recorder.calls) + dice.randrange(30))
        await ctx.victim.kill()
        await ctx.victim.start()
        await delivering
    answers = await ctx.people.answers(message)

    posts = defaultdict(list)
    for post in ctx.recorder.posts:
        posts[post.channel].append(post.source)
    # Many kills in a row can hit one turn. Ponte gives it up, and says so in the next answer.
    with closing(sqlite3.connect(ctx.victim.home / "ponte.db")) as connection:
        sql = "SELECT event_key FROM inbox WHERE state = 'undeliverable' AND attempt >= ?"
        rows = connection.execute(sql, (CRASHES_BEFORE_ALONE + MAX_CRASHES_ALONE,)).fetchall()
    given_up = {key for (key,) in rows}
    assert len(given_up) <= KILLS / 10
    for one, answer in zip(message, answers, strict=True):
        assert answer.status == "done", answer
        visible, parts = ctx.recorder.visible(one.event_key), list(answer.parts)
        assert visible == (parts[: len(visible)] if one.event_key in given_up else parts)
    keys = [(post.source, post.key) for post in ctx.recorder.posts]
    assert len(keys) == len(set(keys)), "nothing was posted twice"
    for channel, sources in posts.items():
        first = list(dict.fromkeys(sources))
        expected = [m.event_key for m in message if m.address.channel == channel]
        assert first == expected, "answers stand in the order of the questions"


async def _deliver(ctx: ToolContext, messages: list[Message]) -> None:
    """Each conversation's messages in order; redelivered until acknowledged."""
    for one in messages:
        await ctx.people.say(one)


async def test_new_people_are_answered_while_approvals_are_killed(tmp_path: Path) -> None:
    """`wait_storm` has more rounds, and measures how long people wait."""
    async with cluster(None, tmp_path, "run", platforms=("slack",)) as machines:
        storm = WaitStorm(machines, seed=1)
        await storm.begin(owners=1)
        await storm.round(0)
        assert len(storm.waits) == 5
        assert (storm.wrong_posts(), storm.wrong_rows()) == (0, [])
