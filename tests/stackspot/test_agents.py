"""Agents: a question, an answer, and a conversation that goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from core.tools.stackspot import StackSpot
from core.tools.stackspot.source import AgentConversations
from tests.fakes.loop_clock import LoopClock
from tests.fakes.stackspot import FakeStackSpot, Trouble
from tests.fakes.stackspot.clock import SteppedClock
from tests.stackspot.command_scene import CommandScene, client, error_of

AGENT = "01AGENT"


async def test_a_question_is_answered(fake: FakeStackSpot, stackspot: StackSpot) -> None:
    answer = await stackspot.ask_agent(AGENT, "Who are you?")
    assert answer.text == "(1) You said: Who are you?"
    assert fake.refused == []
    again = await stackspot.ask_agent(AGENT, "And I?", conversation_id=answer.conversation)
    assert again.text == "(2) You said: And I?"
    assert again.conversation == answer.conversation


async def test_each_thread_has_its_own_conversation_with_each_agent(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.agents.add("02OTHER")
    scene, talks = CommandScene(), AgentConversations(stackspot)
    here, there = scene.ctx(thread="here"), scene.ctx(thread="there")
    assert (await talks.ask(here, AGENT, "a")).startswith("(1)")
    assert (await talks.ask(here, AGENT, "b")).startswith("(2)")
    assert (await talks.ask(there, AGENT, "c")).startswith("(1)")
    assert (await talks.ask(here, "02OTHER", "d")).startswith("(1)")
    after_a_restart = AgentConversations(stackspot)
    assert (await after_a_restart.ask(here, AGENT, "e")).startswith("(3)")
    apart = replace(here, own_memory="here.turn")
    assert (await talks.ask(apart, AGENT, "f")).startswith("(1)")


async def test_a_server_that_names_conversations_itself_is_followed(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.follows = False
    talks, ctx = AgentConversations(stackspot), CommandScene().ctx()
    messages = [await talks.ask(ctx, AGENT, word) for word in "abc"]
    assert [text[:3] for text in messages] == ["(1)", "(2)", "(3)"]


async def test_it_is_asked_again_only_where_it_cannot_have_heard(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    fake.answer("agent", 429, 503)
    assert (await stackspot.ask_agent(AGENT, "a")).text == "(1) You said: a"
    fake.fail("agent", Trouble("reset"))
    assert (await error_of(stackspot.ask_agent(AGENT, "b"))).code == "unknown"
    assert fake.count("agent") == 4


async def test_an_answer_that_does_not_come_is_given_up(
    fake: FakeStackSpot, clock: SteppedClock
) -> None:
    fake.fail("agent", Trouble("hang"))
    async with client(fake.url, clock) as stackspot:
        asking = asyncio.create_task(error_of(stackspot.ask_agent(AGENT, "a")))
        await fake.wait_for_requests("agent")
        LoopClock().skip(600.0)
        error = await asking
    assert (error.code, fake.count("agent")) == ("unknown", 1)


async def test_an_answer_without_words_is_not_asked_for_again(
    fake: FakeStackSpot, stackspot: StackSpot
) -> None:
    bodies: list[Any] = [{}, {"message": None}, {"message": 3}, "text", ["x"]]
    for number, body in enumerate(bodies, 1):
        fake.answer("agent", 200, body=body)
        assert (await error_of(stackspot.ask_agent(AGENT, "a"))).code == "unknown", body
        assert fake.count("agent") == number
