"""Tokens and what they cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.messages import Item, Usage
from core.models.input import cut, size, starts
from core.models.served import Level
from core.rights.usage import (
    CONTAINER_SESSION_DOLLARS,
    MAX_PLAUSIBLE_TOKENS,
    NANODOLLARS_PER_DOLLAR,
    PRICES,
    PaidRun,
    Price,
    Prices,
    parse_usage,
)
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


WHOLE = {"input_tokens": 100, "output_tokens": 20}


@pytest.mark.parametrize(
    "usage",
    [
        None, [], "many", 7, {}, {"total_tokens": 120},
        {"input_tokens": 100}, {"output_tokens": 20},
        {**WHOLE, "input_tokens": 0}, {**WHOLE, "input_tokens": 2e1},
        {**WHOLE, "output_tokens": -1},
        {**WHOLE, "input_tokens": MAX_PLAUSIBLE_TOKENS + 1}, {**WHOLE, "output_tokens": 10**17},
        {**WHOLE, "input_tokens_details": {"cached_tokens": 101}},
        {**WHOLE, "input_tokens_details": {"cached_tokens": -1}},
        {**WHOLE, "input_tokens_details": {"cache_write_tokens": 101}},
        {**WHOLE, "output_tokens_details": {"reasoning_tokens": -5}},
        {**WHOLE, "output_tokens_details": {"reasoning_tokens": 10**20}},
    ],
)  # fmt: skip
def test_counts_that_cannot_be_are_no_counts(usage: object) -> None:
    assert parse_usage({"usage": usage}) == Usage(estimated=True)
    assert parse_usage({}) == Usage(estimated=True)


@pytest.mark.parametrize(
    "usage",
    [
        {**WHOLE, "input_tokens_details": {"cached_tokens": 60}},
        {
            "prompt_tokens": 100, "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 60},
        },
        {**WHOLE, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": None}},
        {**WHOLE, "input_tokens_details": {"cached_tokens": 60}, "output_tokens_details": None},
    ],
)  # fmt: skip
def test_counts_of_either_api_are_read(usage: object) -> None:
    assert parse_usage({"usage": usage}) == Usage(100, 60, 20)


def test_the_higher_price_holds_where_two_names_are_known() -> None:
    usage = Usage(1_000_000)
    prices = Prices({"a": Price(1.0, 1.0, 1.0, 1.0), "b": Price(2.0, 1.0, 1.0, 1.0)})
    assert prices.highest_cost(("a", "b"), usage) == prices.highest_cost(("b", "a"), usage) == 2.0
    assert prices.highest_cost(("a", "unknown"), usage) == 1.0
    assert prices.highest_cost(("unknown", ""), usage) is None


def test_a_containers_price_is_the_operators_or_openais_own() -> None:
    run = PaidRun("container")
    assert Prices().run_cost(run) == CONTAINER_SESSION_DOLLARS
    assert Prices(official=False).run_cost(run) is None
    assert Prices(container=0.5, official=False).run_cost(run) == 0.5
    assert Prices(container=0.0).run_cost(run) == 0.0


def test_usage_is_priced_by_model() -> None:
    cost, million = Prices().cost, 1_000_000
    assert cost("gpt-6-luna", Usage(100_000)) == pytest.approx(0.01)
    assert cost("gpt-6-luna-2026-09-22", Usage(output=million)) == pytest.approx(0.5)
    assert cost("my-own-model", Usage(1, output=1)) is None
    assert cost("gpt-6-luna", Usage(1000, written=1000)) == pytest.approx(1000 * 0.125 / 1e6)
    long = cost("gpt-6-luna", Usage(300_000, output=1000))
    assert long == pytest.approx((300_000 * 0.10 * 2 + 1000 * 0.50 * 1.5) / 1e6)
    assert cost("gpt-4.1-mini", Usage(million, cached=million)) == 0.1


def test_the_operators_prices_hold_before_the_list_and_on_any_server() -> None:
    own = Price(1.0, 0.5, 1.25, 2.0)
    prices = Prices({"my-model": own, "gpt-6-luna": own}, official=False)
    assert prices.cost("my-model", Usage(1000, output=1000)) == pytest.approx(0.003)
    assert prices.cost("gpt-6-luna-2026-09-22", Usage(1000)) == pytest.approx(0.001)
    assert prices.find("gpt-6-sol") is None
    assert Prices({"gpt-6-luna": own}).find("gpt-6-sol") is not None


@given(
    model=st.sampled_from(sorted(PRICES)),
    input=st.integers(0, 900_000),
    output=st.integers(0, 100_000),
    share=st.floats(0, 1),
)
def test_a_bound_is_never_less_than_what_it_bounds(
    model: str, input: int, output: int, share: float
) -> None:
    cached, price = int(input * share), PRICES[model]
    usage = Usage(input, cached, output, written=(input - cached) // 2)
    cost = Prices().cost(model, usage)
    assert cost is not None
    assert round(cost * NANODOLLARS_PER_DOLLAR) <= price.max_cost(input, output)
    left = price.max_cost(input, output)
    assert price.max_cost(input, min(price.affordable_output(left, input), output)) <= left


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
