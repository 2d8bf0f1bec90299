"""Tokens and what they cost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.messages import Item, Usage
from core.models.model_input import estimate_tokens, find_turn_starts, keep_newest_turns
from core.models.served_model import Level
from core.money.usage import (
    CONTAINER_SESSION_DOLLARS,
    MAX_PLAUSIBLE_TOKENS,
    NANODOLLARS_PER_DOLLAR,
    PRICES,
    PaidRun,
    Price,
    Prices,
    parse_usage,
)
from tests.fakes.config import FixedConfig
from tests.fakes.openai import FakeOpenAI, Script
from tests.model.conftest import Make, every_level
from tests.model.talk import Talk

COUNTED = {"input": 10_000, "cached": 4_000, "output": 1_000, "reasoning": 300}


@every_level
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
        None, [], "many", 7, {}, {"total_tokens": 120}, {"input_tokens": 0, "output_tokens": None},
        {"input_tokens": -1, "output_tokens": True}, {"output_tokens": math.nan},
        {"input_tokens": MAX_PLAUSIBLE_TOKENS + 1, "output_tokens": 10**17},
        {"input_tokens": "1" * 30, "output_tokens": "²"},
    ],
)  # fmt: skip
def test_counts_that_cannot_be_are_no_counts(usage: object) -> None:
    assert parse_usage({"usage": usage}) == Usage(is_estimated=True)
    assert parse_usage({}) == Usage(is_estimated=True)


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"input_tokens": 100}, Usage(100, is_estimated=True)),
        ({"output_tokens": 20}, Usage(output=20, is_estimated=True)),
        ({**WHOLE, "input_tokens": 0}, Usage(output=20, is_estimated=True)),
        ({**WHOLE, "output_tokens": -1}, Usage(100, is_estimated=True)),
        ({**WHOLE, "input_tokens": 1.5}, Usage(output=20, is_estimated=True)),
        ({"input_tokens": "100", "output_tokens": 20.0}, Usage(100, output=20)),
        ({"input_tokens": 100, "total_tokens": 150}, Usage(100, output=50)),
        ({"output_tokens": 20, "total_tokens": 120}, Usage(100, output=20)),
        ({**WHOLE, "total_tokens": 300}, Usage(100, output=200)),
        ({**WHOLE, "total_tokens": 10**17}, Usage(100, output=20)),
        ({**WHOLE, "total_tokens": 7}, Usage(100, output=20)),
        ({**WHOLE, "prompt_tokens": 130, "completion_tokens": 5}, Usage(130, output=20)),
        ({"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 303}, Usage(12, output=291)),
        ({**WHOLE, "output_tokens_details": {"reasoning_tokens": 290}},
         Usage(100, output=310, reasoning=290)),
        ({**WHOLE, "reasoning_tokens": 15}, Usage(100, output=20, reasoning=15)),
        ({**WHOLE, "output_tokens_details": {"reasoning_tokens": -5}}, Usage(100, output=20)),
        ({**WHOLE, "output_tokens_details": {"reasoning_tokens": 10**20}}, Usage(100, output=20)),
        ({**WHOLE, "input_tokens_details": {"cached_tokens": 101}}, Usage(100, output=20)),
        ({**WHOLE, "input_tokens_details": {"cached_tokens": -1}}, Usage(100, output=20)),
        ({**WHOLE, "input_tokens_details": {"cache_write_tokens": 101}},
         Usage(100, output=20, cache_writes=100)),
        ({"prompt_tokens": 12, "completion_tokens": 5, "cache_read_input_tokens": 10_000,
          "total_tokens": 10_017}, Usage(10_012, 10_000, 5)),  # Portkey
        ({"prompt_tokens": 12, "completion_tokens": 5, "cache_read_input_tokens": 10_000,
          "total_tokens": 17}, Usage(10_012, 10_000, 5)),
        ({"prompt_tokens": 12, "completion_tokens": 5, "cache_read_input_tokens": 10_000,
          "cache_creation_input_tokens": 500, "total_tokens": 10_017},
         Usage(10_512, 10_000, 5, cache_writes=500)),
        ({"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40, "completion_tokens": 20},
         Usage(100, 60, 20)),
        ({**WHOLE, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 50},
         Usage(1_050, 900, 20, cache_writes=50)),  # Anthropic
        ({**WHOLE, "cache_read_input_tokens": 90, "total_tokens": 120},
         Usage(100, 90, 20)),  # LiteLLM
        ({**WHOLE, "cache_read_input_tokens": 90, "prompt_tokens_details": {"cached_tokens": 90}},
         Usage(100, 90, 20)),  # LiteLLM without a total
        ({**WHOLE, "cached_tokens": 60, "total_tokens": 120}, Usage(100, 60, 20)),  # Moonshot
        ({**WHOLE, "prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40},
         Usage(100, 60, 20)),  # DeepSeek
        ({**WHOLE, "cached_tokens": 150}, Usage(250, 150, 20)),
        ({**WHOLE, "input_tokens_details": {"cached_tokens": 150}, "total_tokens": 270},
         Usage(250, 150, 20)),
        ({**WHOLE, "input_tokens_details": {"cached_tokens": 150}, "total_tokens": 120},
         Usage(100, output=20)),  # Grok on Azure
        ({**WHOLE, "cached_tokens": 60, "total_tokens": 300}, Usage(100, 60, 200)),
        ({**WHOLE, "cache_read_input_tokens": -1, "total_tokens": 120}, Usage(100, output=20)),
        ({**WHOLE, "input_tokens_details": [7], "output_tokens_details": "x"}, Usage(100, 0, 20)),
    ],
)  # fmt: skip
def test_each_count_is_judged_for_itself_and_the_dearer_reading_counts(
    usage: object, read: Usage
) -> None:
    assert parse_usage({"usage": usage}) == read


@pytest.mark.parametrize(
    ("named", "cost"),
    [
        ({"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}, 0.95),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, 1.05),
        ({"cost": {"input_tokens_cost": 0.001, "total_cost": 0.006}}, 0.006),
        ({"cost": "0.0091175"}, 0.0091175), ({"cost": "9.1e-05"}, 0.000091), ({"cost": 0}, 0.0),
        ({"total_cost": 0.5, "cost": 0.25}, 0.5), ({"estimated_cost": 0.125}, 0.125),
        ({"cost": -1}, None), ({"cost": 10**9}, None), ({"cost": math.inf}, None),
        ({"cost": "free"}, None), ({"cost": None}, None), ({"cost": True}, None),
    ],
)  # fmt: skip
def test_a_cost_that_a_server_names(named: dict[str, object], cost: float | None) -> None:
    assert parse_usage({"usage": {**WHOLE, **named}}).cost == pytest.approx(cost)


@pytest.mark.parametrize("price", [None, Price(1.0, 1.0, 1.0, 1.0)])
async def test_the_larger_cost_counts(make: Make, fake: FakeOpenAI, price: Price | None) -> None:
    """A server's text can make an answer dearer, never cheaper."""
    prices = Prices({"gpt-6-luna": price} if price else {})
    talk = Talk(await make("chat", config=FixedConfig(price_list=prices)))
    ours = 0.011 if price else None
    for name, cost in ((0.5, 0.5), (0.001, ours or 0.001), (-1.0, ours)):
        fake.say(Script(text="Hello.", usage={**COUNTED, "cost": name}))
        talk.begin("hello")
        assert (await talk.round()).usage.cost == pytest.approx(cost)


async def test_an_answer_without_output_is_estimated(make: Make, fake: FakeOpenAI) -> None:
    talk = Talk(await make("chat"))
    fake.say(Script(text="Hello.", usage={**COUNTED, "output": 0}))
    talk.begin("hello")
    usage = (await talk.round()).usage
    assert (usage.is_estimated, usage.input, usage.output) == (True, 10_000, len("Hello."))


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
    assert cost("gpt-6-luna", Usage(1000, cache_writes=1000)) == pytest.approx(1000 * 0.125 / 1e6)
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
    usage = Usage(input, cached, output, cache_writes=(input - cached) // 2)
    cost = Prices().cost(model, usage)
    assert cost is not None
    assert round(cost * NANODOLLARS_PER_DOLLAR) <= price.max_cost(input, output)
    remaining = price.max_cost(input, output)
    assert (
        price.max_cost(input, min(price.affordable_output(remaining, input), output)) <= remaining
    )


def user(text: str, name: str = "") -> Item:
    return Item(kind="message", role="user", text=text, name=name)


def test_the_window_is_cut_at_a_persons_message() -> None:
    call = Item(kind="call", call_id="c", name="f", arguments="x" * 400)
    output = Item(kind="output", call_id="c", text="y" * 400)
    bot = Item(kind="message", role="assistant", text="z" * 400)
    turn = [user("quoted", name="context"), user("a" * 400), call, output, bot]
    items = turn * 5
    assert find_turn_starts(items) == [0, 5, 10, 15, 20]
    assert list(keep_newest_turns(items, estimate_tokens(turn) * 2 + 1)) == turn * 2
    assert list(keep_newest_turns(items, 0)) == turn, "the last turn always goes out"
    assert list(keep_newest_turns(items, 10**6)) == items
    assert list(keep_newest_turns([bot], 0)) == [bot]
