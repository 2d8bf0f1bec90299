"""What people read when the model cannot answer, and that their next message works."""

from __future__ import annotations

import asyncio

import pytest

from tests.dialogues.openai import served
from tests.dialogues.stage import Theatre
from tests.fakes.choices import ANA
from tests.fakes.loop_clock import LoopClock
from tests.fakes.openai import FakeOpenAI, Script

REFUSALS = [
    (Script(status=429, code="insufficient_quota"), "no_quota",
     "The model's account has no credit left. The operator must top it up."),
    (Script(status=429, code="rate_limit_exceeded", headers={"retry-after": "90"}),
     "rate_limited", "The model's server is busy. Please try again in 90 s."),
    (Script(status=503, times=3), "model_down",
     "The model's server does not answer. Your message is kept; try again in a minute."),
    (Script(status=400, code="context_length_exceeded"), "too_long",
     "This conversation is too long for the model. Write `new` to start a fresh one."),
    (Script(status=400, code="content_policy_violation"), "refused",
     "The model declined to answer that."),
]  # fmt: skip


@pytest.mark.parametrize(("script", "code", "words"), REFUSALS)
async def test_refusals_are_worded(theatre: Theatre, script: Script, code: str, words: str) -> None:
    async with FakeOpenAI() as fake, served(theatre, fake) as stage:
        fake.say(script)
        answer = await stage.said("hello")
        assert (answer.status, answer.code, answer.text) == ("failed", code, words)
        assert (await stage.said("again")).text == "You said: again"


async def test_silence(theatre: Theatre) -> None:
    async with FakeOpenAI() as fake, served(theatre, fake, silence=60.0) as stage:
        fake.say(Script(text="Hm, let me", fail="hang", on_disconnect="nothing"))
        _, receipt = await stage.says("hello")
        await fake.wait_for_failures()
        answering = asyncio.create_task(stage.answered(receipt))
        await LoopClock().skip_until_done(answering, 60.0)
        answer = await answering
        assert answer.code == "model_silent"
        assert (await stage.said("again")).text == "You said: again"


async def test_a_wrong_key_and_an_unknown_model_start_and_are_told(theatre: Theatre) -> None:
    async with FakeOpenAI(key="sk-right") as fake:
        async with served(theatre, fake, key="sk-wrong") as stage:
            answer = await stage.said("hello")
            assert answer.code == "wrong_key"
            assert "OPENAI_API_KEY" in answer.text
        async with served(theatre, fake, key="sk-right", model="gpt-6-lunar") as stage:
            answer = await stage.said("hello")
            assert "PONTE_MODEL, perhaps to 'gpt-6-luna'" in answer.text


async def test_a_person_whom_openai_refuses_reads_it_alone(theatre: Theatre) -> None:
    async with FakeOpenAI() as fake, served(theatre, fake) as stage:
        fake.say(
            Script(status=400, code="identifier_blocked", message="This identifier is blocked.")
        )
        answer = await stage.said("hello", person=ANA, shared=True)
        assert (answer.code, answer.private) == ("person_refused", True)
