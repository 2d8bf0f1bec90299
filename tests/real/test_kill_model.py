"""kill -9 while a real model speaks: nothing is asked twice that the server still has."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator

import pytest

from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.choices import make_message
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.items import text_of
from tests.fakes.openai.script import LONG_ANSWER, Disconnect
from tests.real.books import find_imbalances
from tests.real.conftest import ToolContext

COMMITS = range(1, 8)
"""In the first turn of a thread, its acceptance among them."""
STORM = [(number, moment) for moment in ("before", "inside", "after") for number in COMMITS]
CHOSEN = [(1, "after"), (3, "inside"), *((n, m) for n in COMMITS[2:] for m in ("before", "after"))]
MOMENTS = STORM if "PONTE_STORM" in os.environ else CHOSEN
"""Between the first commits, and within one, nothing happens outside of the database: to die there
is to die before the commit."""
READ = json.dumps({"tool": "list_records", "args": {"table_id": CUSTOMERS, "limit": 1}})


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        yield fake


def last_item_kinds(fake: FakeOpenAI) -> list[str]:
    """What each question ended in: the kind of its last item. Probes are none."""
    bodies = fake.request_bodies("/responses") + fake.request_bodies("/chat/completions")
    texts = [body.get("input") or body["messages"] for body in bodies if "stream" in body]
    return [items[-1].get("type", "message") for items in texts]


async def test_in_mid_stream_and_the_server_has_it(ctx: ToolContext, fake: FakeOpenAI) -> None:
    """The response is taken from there: one create, one answer, one conversation."""
    fake.say(Script(text=LONG_ANSWER, fail="hang", after=3))
    one = make_message("Tell me something long.", "k1")
    await ctx.victim.start("--model", fake.base_url)
    await ctx.people.say(one)
    await fake.wait_for_failures()
    await ctx.recorder.wait_for_calls(1)
    await ctx.victim.kill()

    await ctx.victim.start("--model", fake.base_url)
    assert (await ctx.people.answer(one)).text == LONG_ANSWER
    assert ctx.recorder.visible("k1") == [LONG_ANSWER]
    assert last_item_kinds(fake) == ["message"]
    thanks = make_message("thanks", "k2")
    assert (await ctx.people.ask(thanks)).text == "You said: thanks"
    (conversation,) = fake.conversations.values()
    assert [text_of(item) for item in conversation.items] == [
        "Tell me something long.",
        LONG_ANSWER,
        "thanks",
        "You said: thanks",
    ]


@pytest.mark.parametrize("left", ["response", "nothing"])
async def test_in_mid_stream_and_the_server_has_less(
    ctx: ToolContext, fake: FakeOpenAI, left: Disconnect
) -> None:
    """The conversation lacks the turn, or the server lost the answer too."""
    fake.say(
        Script(text=LONG_ANSWER, fail="hang", after=3, on_disconnect=left), "Again, from the start."
    )
    one = make_message("Tell me something long.", "k1")
    await ctx.victim.start("--model", fake.base_url)
    await ctx.people.say(one)
    await fake.wait_for_failures()
    await ctx.recorder.wait_for_calls(1)
    await ctx.victim.kill()
    await fake.wait_until(lambda: fake.running == 0)

    await ctx.victim.start("--model", fake.base_url)
    answer = await ctx.people.answer(one)
    assert answer.text == (LONG_ANSWER if left == "response" else "Again, from the start.")
    assert ctx.recorder.visible("k1") == [answer.text]
    thanks = make_message("thanks", "k2")
    await ctx.people.ask(thanks)
    # The kill came before the thread's record was stored. Without its response, the next process
    # makes a new conversation; the old one is erased with the thread.
    *_, conversation = fake.conversations.values()
    assert [text_of(item) for item in conversation.items][:3] == [
        "Tell me something long.",
        answer.text,
        "thanks",
    ]
    await ctx.people.say(make_message("forget", "k3"))
    await fake.wait_until(lambda: not fake.conversations)


@pytest.mark.parametrize("without", [set(), {"conversations"}, {"conversations", "responses"}])
async def test_while_a_tool_runs(ctx: ToolContext, fake: FakeOpenAI, without: set[str]) -> None:
    """The round before is not asked again; the read is, and the model hears its outcome once."""
    fake.without = without
    fake.say(
        Script(calls=(("nocodb_execute", READ),), match="first customer"),
        Script(text="It is Ada Almeida.", match="totalRows"),
    )
    one = make_message("Who is the first customer?", "k1")
    ctx.bridge.hang()
    await ctx.victim.start("--model", fake.base_url)
    await ctx.people.say(one)
    await ctx.bridge.wait_for_held_call()
    await ctx.victim.kill()
    ctx.bridge.release()

    await ctx.victim.start("--model", fake.base_url)
    assert (await ctx.people.answer(one)).text == "It is Ada Almeida."
    assert ctx.recorder.visible("k1") == ["It is Ada Almeida."]
    assert len(last_item_kinds(fake)) == 2
    if not without:
        await ctx.people.say(make_message("forget", "k2"))
        await fake.wait_until(lambda: not fake.conversations)


async def test_a_drain_in_mid_stream(ctx: ToolContext, fake: FakeOpenAI) -> None:
    """SIGTERM: the turn is put back with its response's id, and the next start takes it up."""
    fake.say(Script(text=LONG_ANSWER, fail="hang", after=3))
    one = make_message("Tell me something long.", "k1")
    await ctx.victim.start("--model", fake.base_url, "--grace", "0")
    await ctx.people.say(one)
    await fake.wait_for_failures()
    await ctx.recorder.wait_for_calls(1)
    assert await ctx.victim.terminate() == 0

    await ctx.victim.start("--model", fake.base_url)
    assert (await ctx.people.answer(one)).text == LONG_ANSWER
    assert last_item_kinds(fake) == ["message"]


@pytest.mark.slow
async def test_at_each_commit_of_a_plain_turn(ctx: ToolContext, fake: FakeOpenAI) -> None:
    """Accepted, begun, heard, the conversation's id, the response's, answered, ended: each is one
    commit, and at none of them is anything lost, posted twice or left with the server unlisted."""
    for number, moment in MOMENTS:
        name = f"{number} {moment}"
        one = make_message(f"hello {name}", name, channel=f"C{name}")
        await ctx.victim.start("--model", fake.base_url, "--die-at-commit", f"{number}:{moment}")
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.people.say(one))
            await ctx.victim.wait_for_exit()
            await ctx.victim.start("--model", fake.base_url)
        assert (await ctx.people.answer(one)).text == f"You said: hello {name}"
        assert ctx.recorder.visible(name) == [f"You said: hello {name}"]
        await ctx.victim.kill()
    database = sqlite3.connect(ctx.victim.home / "ponte.db")
    ids = {id for (id,) in database.execute("SELECT id FROM remotes")}
    assert {id for id, message in fake.conversations.items() if message.items} <= ids
    assert len(ctx.recorder.posts) == len(MOMENTS)
    assert find_imbalances(lambda sql: database.execute(sql).fetchall()) == []
    assert len(database.execute("SELECT * FROM usage").fetchall()) == len(MOMENTS)
