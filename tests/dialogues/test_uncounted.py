"""A server that does not count what it used, counts wrong, or answers under another model's name,
makes no turn free: what was reserved is charged, at the higher price."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC
from typing import Any

import pytest

from bot.operation_texts import View, format_usage
from bot.reports import report_usage
from core.base.openai import ModelEndpoint, ModelServerClient
from core.models.served_model import Level
from core.money.allowances import (
    MAX_OUTPUT_TOKENS,
    Allowance,
    describe_estimates,
)
from core.money.usage import NANODOLLARS_PER_DOLLAR, Price, Prices
from core.tools.code.hosted import (
    RESERVED_INPUT_TOKENS,
    RESERVED_OUTPUT_TOKENS,
    HostedBackend,
    HostedOptions,
)
from core.tools.code.source import CodeSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.openai import open_served_bot
from tests.dialogues.test_allowances import LEVELS, OWNER, PRICES, read_counters
from tests.fakes.choices import ANA
from tests.fakes.config import FixedConfig
from tests.fakes.loop_clock import LoopClock
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import Run

every_level = pytest.mark.parametrize("level", LEVELS)
ROOM = [Allowance("each person", money=5 * NANODOLLARS_PER_DOLLAR)]
ROOM_FOR_ONE = [Allowance("each person", tokens=18_500)]
"""A reservation is 16,000 tokens of answer and what the thread weighs."""
UNCOUNTED: Mapping[str, dict[str, Any]] = {
    "missing": {"counted": "no"},
    "null": {"counted": "null"},
    "zero": {"usage": {"input": 0, "output": 0}},
    "negative": {"usage": {"input": -3_800_000, "output": -10}},
    "negative output": {"usage": {"output": -3_800_000}},
    "huge": {"usage": {"output": 10**17}},
    "words": {"usage": {"input": "many", "output": "few"}},
    "a half": {"usage": {"input": 12.5}},
    "yes": {"usage": {"output": True}},
}


@every_level
async def test_a_turn_is_charged_what_was_reserved(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    async with open_served_bot(
        bot_home, fake, allowed=ROOM_FOR_ONE, prices=PRICES, level=level
    ) as ponte:
        for number, (what, message) in enumerate(UNCOUNTED.items()):
            fake.say(Script(text="Hi.", **message))
            person = replace(ANA, id=f"{ANA.id}{number}")
            answers = [await ponte.ask("hello", f"C{n}", person) for n in range(2)]
            assert [answer.status for answer in answers] == ["done", "failed"], what
            assert len(fake.used) == number + 1, what
        counters = await read_counters(ponte)
        text = (await ponte.ask("usage", person=OWNER)).text
    assert len(counters) == len(UNCOUNTED)
    assert all(MAX_OUTPUT_TOKENS < tokens <= 18_500 for tokens, _ in counters), counters
    assert describe_estimates(len(UNCOUNTED)) in text


@every_level
async def test_money_only_ever_goes_down(bot_home: BotHome, fake: FakeOpenAI, level: Level) -> None:
    """Whatever the server says, turn after turn."""
    rule = Allowance("each person", money=5 * NANODOLLARS_PER_DOLLAR)
    fake.say(*(Script(text="Hi.", **value) for value in UNCOUNTED.values()))
    spendings = [0]
    async with open_served_bot(bot_home, fake, allowed=[rule], prices=PRICES, level=level) as ponte:
        for n in range(len(UNCOUNTED)):
            assert (await ponte.ask("hello", channel=f"C{n}")).status == "done"
            ((_, money),) = await read_counters(ponte)
            spendings.append(money)
        usage = (await ponte.engine.people.budget.usage_today()).usage
    output = round(
        MAX_OUTPUT_TOKENS * PRICES.models["gpt-6-luna"].output * NANODOLLARS_PER_DOLLAR / 10**6
    )
    steps = [after - before for before, after in itertools.pairwise(spendings)]
    assert all(output < step < 2 * output for step in steps), steps
    assert usage.cost == pytest.approx(spendings[-1] / NANODOLLARS_PER_DOLLAR)


@every_level
async def test_without_an_allowance_what_is_not_counted_is_estimated_from_its_length(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    fake.say(Script(text="Hi. " * 100, counted="no"), Script(text="Hi."))
    async with open_served_bot(bot_home, fake, prices=PRICES, level=level) as ponte:
        await ponte.ask("hello")
        spending = await ponte.engine.people.budget.usage_today()
        assert spending.estimates == 1
        assert spending.usage.output == 400
        assert fake.used[0][0] < spending.usage.input < 100_000
        assert spending.usage.cost
        await ponte.ask("hello", channel="C2")
        assert (await ponte.engine.people.budget.usage_today()).estimates == 1
        channels = [
            (await ponte.ask("usage channel", person=OWNER, channel=channel)).text
            for channel in ("C1", "C2")
        ]
        assert [describe_estimates(1) in text for text in channels] == [True, False]
        rows = {
            by: await ponte.engine.people.budget.report(by) for by in ("person", "model", "day")
        }
    assert [row["estimated"] for value in rows.values() for row in value] == [1, 1, 1]


CHEAP, DEAR = Price(1.0, 0.1, 1.25, 4.0), Price(10.0, 1.0, 12.5, 40.0)
COUNTED = {"input": 10_000, "cached": 0, "output": 1_000}
COST = {1: 14_000_000, 10: 140_000_000}


@pytest.mark.parametrize(
    ("level", "models", "times"),
    [
        ("chat", {"gpt-6-luna": CHEAP}, 1),
        ("chat", {"other": CHEAP}, 1),
        *((level, {"gpt-6-luna": CHEAP, "other": DEAR}, 10) for level in LEVELS),
        ("chat", {"gpt-6-luna": DEAR, "other": CHEAP}, 10),
    ],
)
async def test_another_models_name_is_charged_at_the_higher_price(
    bot_home: BotHome, fake: FakeOpenAI, level: Level, models: Mapping[str, Price], times: int
) -> None:
    fake.say(Script(text="Hi.", model="other", usage=COUNTED))
    allowed = [Allowance("each person", money=5 * NANODOLLARS_PER_DOLLAR)]
    async with open_served_bot(
        bot_home, fake, allowed=allowed, prices=Prices(models, official=False), level=level
    ) as ponte:
        assert (await ponte.ask("hello")).text == "Hi."
        ((_, money),) = await read_counters(ponte)
    assert money == COST[times]


@every_level
async def test_a_cost_that_the_server_names_is_shown_as_its_own(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    """It counts towards allowances. Where ponte.toml has a price, the larger figure counts."""
    for prices, name, cost, is_named in (
        (Prices(official=False), 0.25, 0.25, True),
        (Prices({"gpt-6-luna": DEAR}, official=False), 0.05, 0.25 + 0.14, False),
    ):
        fake.say(Script(text="Hi.", usage={**COUNTED, "cost": name}))
        async with open_served_bot(
            bot_home, fake, allowed=ROOM, prices=prices, level=level
        ) as ponte:
            await ponte.ask("hello")
            ((_, money),) = await read_counters(ponte)
            text = (await ponte.ask("usage")).text.replace("`", "")
            budget = ponte.engine.people.budget
            report = await report_usage(budget, "person", "today")
        assert money == round(cost * NANODOLLARS_PER_DOLLAR)
        assert report.server_costs == (["gpt-6-luna"] if is_named else [])
        assert ("come from an earlier price" in text) is is_named
        assert f"${cost:.2f}" in text


@every_level
async def test_calls_that_no_limit_of_money_counts_are_reported(
    bot_home: BotHome, fake: FakeOpenAI, level: Level
) -> None:
    """Their models are named, in the chat and in reports, also after a price was removed."""
    prices = [Prices({"gpt-6-luna": DEAR}, official=False), Prices(official=False)]
    for each, models in zip(prices, ([], ["gpt-6-luna"]), strict=True):
        fake.say(Script(text="Hi.", usage=COUNTED))
        async with open_served_bot(bot_home, fake, allowed=ROOM, prices=each, level=level) as ponte:
            await ponte.ask("hello")
            text = (await ponte.ask("usage")).text
            report = await report_usage(ponte.engine.people.budget, "person", "today")
        assert (report.server_costs, report.unpriced) == (models, models)
        shell = "\n".join(format_usage(asdict(report), View(UTC)))
        for words in (text, shell):
            assert ("Ponte doesn't know the price of gpt-6-luna" in words.replace("`", "")) is bool(
                models
            )


HOSTED_RUN_SECONDS = 20.0


@asynccontextmanager
async def hosted_bot(
    bot_home: BotHome, fake: FakeOpenAI, prices: Prices
) -> AsyncIterator[RunningBot]:
    """With Python in containers of a server that is not OpenAI's."""

    async def no_pause(_: float) -> None:
        return None

    client = ModelServerClient(ModelEndpoint("sk-test", fake.base_url), sleep=no_pause)
    source = CodeSource(
        HostedBackend(
            client, HostedOptions(config=FixedConfig(price_list=prices), seconds=HOSTED_RUN_SECONDS)
        )
    )
    async with open_served_bot(bot_home, fake, [source], allowed=ROOM, prices=prices) as ponte:
        yield ponte
    await client.close()


ASKS = Script(calls=(("run_python", '{"code": "print(1)"}'),), usage=COUNTED)
SAYS = Script(text="One.", usage=COUNTED)
TWO_ROUNDS = 2 * COST[1]


async def test_a_containers_price_is_counted_on_every_server(
    bot_home: BotHome, fake: FakeOpenAI
) -> None:
    prices = Prices({"gpt-6-luna": CHEAP}, container=0.25, official=False)
    fake.say(ASKS, SAYS, ASKS, SAYS)
    fake.runs(Script(text="done", runs=(Run(logs="1"),), usage=COUNTED, times=2))
    async with hosted_bot(bot_home, fake, prices) as ponte:
        assert (await ponte.ask("one?")).text == "One."
        ((_, first),) = await read_counters(ponte)
        assert (await ponte.ask("again?")).text == "One."
        ((_, second),) = await read_counters(ponte)
        (row,) = await ponte.engine.people.budget.report("tool")
    assert first == TWO_ROUNDS + COST[1] + NANODOLLARS_PER_DOLLAR // 4
    assert second == 2 * (TWO_ROUNDS + COST[1]) + NANODOLLARS_PER_DOLLAR // 4, "the session goes on"
    assert (row["name"], row["cost"]) == (
        "container",
        pytest.approx(2 * COST[1] / NANODOLLARS_PER_DOLLAR + 0.25),
    )


@pytest.mark.parametrize(
    "outcome",
    [
        Script(text="done", runs=(Run(logs="1"),), counted="no"),
        Script(refusal="No.", counted="null"),
        Script(fail="drop", on_disconnect="nothing"),
        Script(fail="error_event"),
        Script(fail="hang"),
        Script(text="done", runs=(Run(logs="1"),), usage={"input": -(10**9)}),
    ],
    ids=["no usage", "declined", "lost", "broken", "timeout", "negative"],
)
async def test_a_run_that_nobody_counted_is_charged_what_was_reserved(
    bot_home: BotHome, fake: FakeOpenAI, outcome: Script
) -> None:
    prices = Prices({"gpt-6-luna": CHEAP}, container=0.25, official=False)
    fake.say(ASKS, SAYS)
    fake.runs(outcome)
    async with hosted_bot(bot_home, fake, prices) as ponte:
        _, receipt = await ponte.send("one?")
        if outcome.fail == "hang":
            await fake.wait_for_failures()
            LoopClock().skip(HOSTED_RUN_SECONDS)
        await ponte.wait_for_answer(receipt)
        ((_, money),) = await read_counters(ponte)
        assert (await ponte.engine.people.budget.usage_today()).estimates == 1
    reservations = (
        CHEAP.max_cost(RESERVED_INPUT_TOKENS, RESERVED_OUTPUT_TOKENS) + NANODOLLARS_PER_DOLLAR // 4
    )
    assert reservations <= money - TWO_ROUNDS < reservations + NANODOLLARS_PER_DOLLAR // 1000


@pytest.mark.parametrize(
    ("prices", "run", "cost"),
    [
        (
            Prices({"gpt-6-luna": CHEAP}, official=False),
            Script(text="done", runs=(Run(logs="1"),), usage=COUNTED),
            COST[1],
        ),
        (
            Prices({"gpt-6-luna": CHEAP}, container=0.25, official=False),
            Script(status=400, code="invalid_prompt"),
            0,
        ),
    ],
    ids=["no price for containers", "refused"],
)
async def test_a_container_costs_nothing_without_a_price_or_if_the_server_refused_the_run(
    bot_home: BotHome, fake: FakeOpenAI, prices: Prices, run: Script, cost: int
) -> None:
    fake.say(ASKS, SAYS)
    fake.runs(run)
    async with hosted_bot(bot_home, fake, prices) as ponte:
        await ponte.ask("one?")
        ((_, money),) = await read_counters(ponte)
    assert money == TWO_ROUNDS + cost
