"""What a hosted run costs: its tokens, and a container for each 20 minutes of its life."""

from __future__ import annotations

import asyncio

import pytest

from core.base.errors import ToolError
from core.observability import metrics
from tests.code.conftest import Make
from tests.fakes.loop_clock import LoopClock
from tests.fakes.openai import Script
from tests.fakes.openai.script import Run

COUNTED = {"input": 10_000, "cached": 0, "output": 1_000, "reasoning": 300}
TOKENS = (10_000 * 0.10 + 1_000 * 0.50) / 1e6


def counted_script(times: int = 1) -> Script:
    return Script(runs=(Run(logs="1"),), usage=COUNTED, times=times)


async def test_the_first_run_pays_the_container(make: Make) -> None:
    bench = make(official=True)
    bench.fake.runs(counted_script(0))
    first, second = (await bench.run("1")).usage, (await bench.run("1")).usage
    assert (first.input, first.output, first.reasoning) == (10_000, 1_000, 300)
    assert first.cost == pytest.approx(TOKENS + 0.03)
    assert second.cost == pytest.approx(TOKENS)
    assert bench.fake.containers.cost == pytest.approx(0.03)


async def test_each_twenty_minutes_of_its_life_are_paid(make: Make) -> None:
    bench = make(official=True)
    bench.fake.runs(counted_script(0))
    costs = []
    for _ in range(4):
        costs.append((await bench.run("1")).usage.cost)
        bench.fake.later += 10 * 60
    assert costs == pytest.approx([TOKENS + 0.03, TOKENS, TOKENS + 0.03, TOKENS])


async def test_a_run_without_an_end_pays_its_container(make: Make) -> None:
    bench = make(official=True, seconds=60.0)
    bench.fake.runs(Script(runs=(Run(logs=""),), fail="hang"))
    running = asyncio.create_task(bench.run("1"))
    await bench.fake.wait_for_failures()
    LoopClock().skip(60.0)
    assert (await running).usage.cost == pytest.approx(0.03)


async def test_elsewhere_the_price_is_not_known(make: Make) -> None:
    bench = make(official=False)
    bench.fake.runs(counted_script())
    usage = (await bench.run("1")).usage
    assert (usage.input, usage.cost) == (10_000, None)


def value(name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_the_tokens_of_each_run_are_counted(make: Make) -> None:
    def count_input_tokens() -> float:
        return value("ponte_model_tokens_total", model="gpt-6-luna", kind="input")

    bench, before = make(official=True), count_input_tokens()
    bench.fake.runs(counted_script(), Script(refusal="no", usage=COUNTED))
    await bench.run("1")
    with pytest.raises(ToolError):
        await bench.run("2")
    await bench.run("1 / 0")
    assert count_input_tokens() - before > 20_000
