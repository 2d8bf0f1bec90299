"""Limits of the account: a request that never fits into a minute's tokens, and a limit of a day."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import pytest

from core.base.errors import ModelError, TooLong
from core.base.i18n import use_locale
from core.domain.records import Thread
from core.models.context_size import CONTEXT_KNOWN_SECONDS
from core.models.model_server import LimitReached
from core.models.served_model import LIMIT_RETRY_SECONDS, MAX_LIMIT_SECONDS, Level
from core.money.usage import Prices
from tests.fakes.loop_clock import LoopClock
from tests.fakes.openai import FakeOpenAI, errors
from tests.fakes.openai.context import count_tokens
from tests.fakes.openai.errors import GatewayError
from tests.model.conftest import Make, every_level
from tests.model.talk import Talk
from tests.model.test_faults import Paying, at_levels, question_bodies

LIMIT = 9_000
SMALL = "small-model"
Refusal = Callable[[int, int], GatewayError]


def limit_tokens(fake: FakeOpenAI, refusal: Refusal, limit: int = LIMIT) -> None:
    """Refuse what has more than `limit` tokens together with its answer, as servers count it."""

    def refuses(body: Mapping[str, Any]) -> GatewayError | None:
        items = fake.conversations[body["conversation"]].items if "conversation" in body else []
        count = count_tokens([body, items], 4)
        count += body.get("max_tokens") or body.get("max_output_tokens") or 0
        return refusal(limit, count) if count > limit else None

    fake.refuses = refuses


@every_level
@pytest.mark.parametrize("refusal", errors.MINUTE_LIMITS.values(), ids=list(errors.MINUTE_LIMITS))
async def test_a_request_that_never_fits_into_a_minute_is_shortened_once(
    make: Make,
    fake: FakeOpenAI,
    level: Level,
    refusal: Refusal,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limit is the account's: other conversations know it at once, for a while."""
    fake.models = [SMALL]
    model = await make(level, model=SMALL)
    size, talk = model.context_size, Talk(model, preface="", payment=Paying())
    for number in range(5):
        await talk.say(f"message {number} " + "word " * 1_500)
    limit_tokens(fake, refusal)
    fake.requests.clear()
    assert await talk.say("hello") == "You said: hello"
    assert (len(question_bodies(fake)), waits) == (2, [])
    assert "tokens at a time" in (await model.health()).words
    other = Talk(model, preface="", thread=Thread("web:d", "T2"), payment=Paying())
    other.transcript = list(talk.transcript)
    other.seq = talk.seq
    fake.requests.clear()
    assert await other.say("hello") == "You said: hello"
    assert len(question_bodies(fake)) == 1
    clock = Mock(monotonic=lambda: asyncio.get_running_loop().time() + CONTEXT_KNOWN_SECONDS)
    monkeypatch.setattr("core.models.context_size.time", clock)
    assert model.context_size == size


@at_levels(errors.MINUTE_LIMITS)
async def test_a_message_that_cannot_be_shortened_is_refused_at_once(
    make: Make, fake: FakeOpenAI, level: Level, error: Refusal, waits: list[float]
) -> None:
    fake.models = [SMALL]
    talk = Talk(await make(level, model=SMALL), preface="")
    limit_tokens(fake, error)
    with pytest.raises(TooLong, match="too long for the model"):
        await talk.say("word " * 9_000)
    assert (len(question_bodies(fake)), waits) == (1, [])


@at_levels({name: errors.MINUTE_LIMITS[name] for name in ("OpenAI", "Groq", "gateway")})
async def test_a_limit_that_even_the_shortened_request_exceeds_is_told(
    make: Make, fake: FakeOpenAI, level: Level, error: Refusal, waits: list[float]
) -> None:
    fake.models = [SMALL]
    talk = Talk(await make(level, model=SMALL), preface="", payment=Paying())
    fake.refuses = lambda body: error(9_000, 45_000)
    with pytest.raises(TooLong) as new_error:
        await talk.say("hello")
    assert "9,000 tokens at a time" in new_error.value.words()
    assert (len(question_bodies(fake)), waits) == (2, [])


async def test_a_limit_of_requests_shortens_nothing(
    make: Make, fake: FakeOpenAI, waits: list[float]
) -> None:
    fake.models = [SMALL]
    model = await make("chat", model=SMALL)
    talk, size = Talk(model, preface=""), model.context_size
    await talk.say("word " * 9_000)
    words = "Rate limit reached on requests per min (RPM): Limit 5000, Used 5000, Requested 1."
    remaining = [GatewayError(429, {"error": {"message": words}})]
    fake.refuses = lambda body: remaining.pop() if remaining else None
    fake.requests.clear()
    assert await talk.say("hello") == "You said: hello"
    assert question_bodies(fake)[0] == question_bodies(fake)[1]
    assert (len(waits), model.context_size) == (1, size)


class Config:
    """A configuration that can be read again."""

    price_list = Prices()


@pytest.mark.parametrize("name", errors.day_limits(0))
async def test_a_limit_of_a_day_is_told_with_its_end_and_the_server_is_left_alone(
    make: Make, fake: FakeOpenAI, name: str, waits: list[float]
) -> None:
    fake.models = [SMALL, "other-model"]
    model = await make("chat", model=SMALL)
    error, seconds = errors.day_limits(time.time())[name]
    fake.refuses = lambda body: error if body["model"] == SMALL else None
    for thread in ("T1", "T2"):
        talk = Talk(model)
        with pytest.raises(LimitReached) as new_error:
            await talk.say("hello")
        text = min(seconds, MAX_LIMIT_SECONDS) if thread == "T2" else seconds
        assert new_error.value.values["seconds"] == pytest.approx(text, abs=60)
    with use_locale("fr"):
        assert "Le compte chez le fournisseur du modèle" in new_error.value.words()
    assert (len(question_bodies(fake)), waits) == (1, [])
    fake.refuses = None
    LoopClock().skip(min(seconds, MAX_LIMIT_SECONDS) + 60)
    assert await talk.say("hello")
    assert json.dumps(question_bodies(fake)).count("hello") >= 2


@every_level
async def test_a_limit_of_a_day_is_one_of_that_model_and_ends_with_a_reload(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    config = Config()
    model = await make(level, config=config)
    error, _ = errors.day_limits(time.time())["header"]
    fake.refuses = lambda body: error
    with pytest.raises(LimitReached):
        await Talk(model).say("hello")
    fake.refuses = None
    with pytest.raises(ModelError, match="reached its limit"):
        await Talk(model).say("hello")
    config.price_list = Prices()
    assert await Talk(model, preface="").say("hello") == "You said: hello"


async def test_a_limit_of_a_day_is_tried_every_ten_minutes_and_after_a_check(
    make: Make, fake: FakeOpenAI
) -> None:
    """Credit may have been bought meanwhile."""
    model = await make("chat")
    error, _ = errors.day_limits(time.time())["header"]
    fake.refuses = lambda body: error

    async def ask() -> int:
        """Return how many requests a message causes."""
        fake.requests.clear()
        with suppress(LimitReached):
            await Talk(model, preface="").say("hello")
        return len(question_bodies(fake))

    assert [await ask(), await ask()] == [1, 0]
    for _ in "twice":
        LoopClock().skip(LIMIT_RETRY_SECONDS + 1)
        assert [await ask(), await ask()] == [1, 0]
    model.retry_limits()
    fake.refuses = None
    assert [await ask(), await ask()] == [1, 1]
