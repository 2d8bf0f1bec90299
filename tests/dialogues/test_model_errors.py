"""What people read when the model cannot answer, and that their next message works."""

from __future__ import annotations

import asyncio

import pytest

from tests.dialogues.openai import open_served_stage
from tests.dialogues.stage import BotHome
from tests.fakes.choices import ANA
from tests.fakes.loop_clock import LoopClock
from tests.fakes.openai import FakeOpenAI, Script

REFUSALS = [
    (Script(status=429, code="insufficient_quota"), "no_quota",
     "The model account has no credit left. Add credit, then try again."),
    (Script(status=429, code="rate_limit_exceeded", headers={"retry-after": "90"}),
     "rate_limited", "The model's server is busy. Try again in 90 s."),
    (Script(status=503, times=3), "model_down",
     "The model's server is not responding. Your message is saved. Try again in a minute."),
    (Script(status=400, code="context_length_exceeded"), "too_long",
     "This conversation is too long for the model. Type `new` to start a new one."),
    (Script(status=400, code="content_policy_violation"), "refused",
     "The model declined to answer."),
]  # fmt: skip


@pytest.mark.parametrize(("script", "code", "words"), REFUSALS)
async def test_refusals_are_worded(theatre: BotHome, script: Script, code: str, words: str) -> None:
    async with FakeOpenAI() as fake, open_served_stage(theatre, fake) as stage:
        fake.say(script)
        answer = await stage.ask("hello")
        assert (answer.status, answer.code, answer.text) == ("failed", code, words)
        assert (await stage.ask("again")).text == "You said: again"


async def test_a_silent_model_ends_the_turn_with_an_error(theatre: BotHome) -> None:
    async with FakeOpenAI() as fake, open_served_stage(theatre, fake, silence=60.0) as stage:
        fake.say(Script(text="Hm, let me", fail="hang", on_disconnect="nothing"))
        _, receipt = await stage.send("hello")
        await fake.wait_for_failures()
        answering = asyncio.create_task(stage.wait_for_answer(receipt))
        await LoopClock().skip_until_done(answering, 60.0)
        answer = await answering
        assert answer.code == "model_silent"
        assert (await stage.ask("again")).text == "You said: again"


async def test_a_wrong_key_and_an_unknown_model_start_and_are_told(theatre: BotHome) -> None:
    async with FakeOpenAI(key="sk-right") as fake:
        async with open_served_stage(theatre, fake, key="sk-wrong") as stage:
            answer = await stage.ask("hello")
            assert answer.code == "wrong_key"
            assert "OPENAI_API_KEY" in answer.text
        async with open_served_stage(theatre, fake, key="sk-right", model="gpt-6-lunar") as stage:
            answer = await stage.ask("hello")
            assert "PONTE_MODEL; the nearest name is 'gpt-6-luna'" in answer.text


async def test_a_person_whom_openai_refuses_reads_it_alone(theatre: BotHome) -> None:
    async with FakeOpenAI() as fake, open_served_stage(theatre, fake) as stage:
        fake.say(
            Script(status=400, code="identifier_blocked", message="This identifier is blocked.")
        )
        answer = await stage.ask("hello", person=ANA, shared=True)
        assert (answer.code, answer.private) == ("person_refused", True)
