"""What people read when the model cannot answer, and that their next message works."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from core.models.served_model import Level
from tests.dialogues.bot_home import BotHome
from tests.dialogues.openai import WITHOUT, open_served_bot
from tests.fakes.choices import ANA
from tests.fakes.loop_clock import LoopClock
from tests.fakes.memory_table import MemoryTable
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.errors import GatewayError

REFUSALS = [
    (Script(status=429, code="insufficient_quota"), "no_quota",
     "The account at the model's provider has no credit left. Add credit, then try again."),
    (Script(status=429, code="rate_limit_exceeded", headers={"retry-after": "90"}),
     "rate_limited", "The model's server is busy. Try again in 2 minutes."),
    (Script(status=503, times=3), "model_down",
     "The model's server isn't responding. Your message is saved. Try again in a minute."),
    (Script(status=400, code="context_length_exceeded"), "too_long",
     "This conversation is too long for the model. Type `new` to start a new one."),
    (Script(status=400, code="content_policy_violation"), "refused",
     "The model declined to answer."),
]  # fmt: skip


async def test_refusals_are_worded(bot_home: BotHome) -> None:
    """A person whom OpenAI refuses reads it alone."""
    async with FakeOpenAI() as fake, open_served_bot(bot_home, fake) as ponte:
        for script, code, words in REFUSALS:
            fake.say(script)
            answer = await ponte.ask("hello", channel=code)
            assert (answer.status, answer.code, answer.text) == ("failed", code, words)
            assert (await ponte.ask("again", channel=code)).text == "You said: again"
        fake.say(Script(status=400, code="identifier_blocked", message="It is blocked."))
        answer = await ponte.ask("hello", person=ANA, shared=True)
        assert (answer.code, answer.is_private) == ("person_refused", True)


async def test_a_silent_model_ends_the_turn_and_keeps_its_text(bot_home: BotHome) -> None:
    async with FakeOpenAI() as fake, open_served_bot(bot_home, fake, silence=60.0) as ponte:
        fake.say(Script(text="Hm, let me", fail="hang", on_disconnect="nothing"))
        _, receipt = await ponte.send("hello")
        await fake.wait_for_failures()
        answering = asyncio.create_task(ponte.wait_for_answer(receipt))
        await LoopClock().skip_until_done(answering, 60.0)
        answer = await answering
        assert re.match(r"Hm, let\s+_I stopped here\. The model's server stopped", answer.text)
        assert (await ponte.ask("again")).text == "You said: again"


@pytest.mark.parametrize("level", list(WITHOUT))
async def test_refused_calls_do_not_end_the_conversation(bot_home: BotHome, level: Level) -> None:
    """DeepSeek and Gemini refuse calls without their thoughts (continue#11711, mastra#12592)."""
    table = MemoryTable()
    text = "The `reasoning_content` in the thinking mode must be passed back to the API."
    refusal = GatewayError(400, {"error": {"message": text, "type": "invalid_request_error"}})

    def refuses(body: dict[str, Any]) -> GatewayError | None:
        has_calls = any(word in json.dumps(body) for word in ('"tool_calls"', '"function_call'))
        return refusal if has_calls else None

    async with (
        FakeOpenAI(without=WITHOUT[level]) as fake,
        open_served_bot(bot_home, fake, [table], level=level) as ponte,
    ):
        fake.refuses = refuses
        fake.say(Script(calls=(("table_read", "{}"),)), "No rows.", "You're welcome.")
        assert (await ponte.ask("Which rows?")).text == "No rows."
        assert (await ponte.ask("thanks")).text == "You're welcome."


async def test_a_wrong_key_and_an_unknown_model_start_and_are_told(bot_home: BotHome) -> None:
    async with FakeOpenAI(key="sk-right") as fake:
        async with open_served_bot(bot_home, fake, key="sk-wrong") as ponte:
            answer = await ponte.ask("hello")
            assert answer.code == "wrong_key"
            assert "OPENAI_API_KEY" in answer.text
        async with open_served_bot(bot_home, fake, key="sk-right", model="gpt-6-lunar") as ponte:
            answer = await ponte.ask("hello")
            assert "PONTE_MODEL setting. Did you mean `gpt-6-luna`?" in answer.text
