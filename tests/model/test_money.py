"""Tokens and what they cost."""

from __future__ import annotations

import pytest

from core.messages import Item
from core.models.input import cut, size, starts
from core.models.served import Level
from core.usage import cost
from tests.fakes.openai import FakeOpenAI, Script
from tests.model.conftest import Make
from tests.model.talk import Talk

LEVELS: tuple[Level, ...] = ("conversations", "responses", "chat")
COUNTED = {"input": 10_000, "cached": 4_000, "output": 1_000, "reasoning": 300}


@pytest.mark.parametrize("level", LEVELS)
async def test_tokens_and_cost_of_a_round(make: Make, fake: FakeOpenAI, level: Level) -> None:
    talk = Talk(await make(level, official=True))
    fake.say(Script(text="Hello.", usage=COUNTED))
    talk.begin("hello")
    usage = (await talk.round()).usage
    assert (usage.input, usage.cached, usage.output, usage.reasoning) == (10_000, 4_000, 1_000, 300)
    assert usage.cost == pytest.approx((6_000 * 0.10 + 4_000 * 0.01 + 1_000 * 0.50) / 1e6)


async def test_elsewhere_the_price_is_not_known(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make("chat"))
    fake.say(Script(text="Hello.", usage=COUNTED))
    talk.begin("hello")
    usage = (await talk.round()).usage
    assert (usage.input, usage.cost) == (10_000, None)


def test_prices() -> None:
    one = {"cached": 0, "written": 0}
    million = 1_000_000
    assert cost("gpt-6-luna", input=100_000, output=0, **one) == pytest.approx(0.01)
    assert cost("gpt-6-luna-2026-09-22", input=0, output=million, **one) == pytest.approx(0.5)
    assert cost("my-own-model", input=1, output=1, **one) is None
    assert cost("gpt-6-luna", input=1000, cached=0, written=1000, output=0) == pytest.approx(
        1000 * 0.125 / 1e6
    )
    long = cost("gpt-6-luna", input=300_000, output=1000, **one)
    assert long == pytest.approx((300_000 * 0.10 * 2 + 1000 * 0.50 * 1.5) / 1e6)
    assert cost("gpt-4.1-mini", input=million, cached=million, written=0, output=0) == 0.1


def user(text: str, name: str = "") -> Item:
    return Item(kind="message", role="user", text=text, name=name)


def test_the_window_is_cut_at_a_persons_message() -> None:
    call = Item(kind="call", call_id="c", name="f", arguments="x" * 400)
    output = Item(kind="output", call_id="c", text="y" * 400)
    bot = Item(kind="message", role="assistant", text="z" * 400)
    turn = [user("quoted", name="context"), user("a" * 400), call, output, bot]
    items = turn * 5
    assert starts(items) == [0, 5, 10, 15, 20]
    assert list(cut(items, size(turn) * 2 + 1)) == turn * 2
    assert list(cut(items, 0)) == turn, "the last turn always goes out"
    assert list(cut(items, 10**6)) == items
    assert list(cut([bot], 0)) == [bot]
