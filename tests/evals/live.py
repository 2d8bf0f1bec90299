"""Runs the cases with the model of a server, within a budget, and prints the results by area.

Nothing of this machine is used but the settings of the model: the home is temporary, tables and
quick commands are doubles, and nothing is posted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bot.config.ponte_toml import ModelPrice, PriceTable
from bot.operation_texts import format_table
from bot.parts import model_client
from bot.settings import Settings
from core.base.errors import OverBudget, PonteError
from core.base.model_faults import ModelServerFault
from core.base.openai import OPENAI_URL, ModelEndpoint
from core.models.model_server import ModelOptions, explain_fault
from core.models.served_model import probe_level
from core.money.usage import Prices
from tests.evals.case import Case
from tests.evals.score import CaseResult, run_case
from tests.evals.world import ModelChoice

MODEL_SETTINGS = (
    "openai_api_key",
    "openai_base_url",
    "ponte_model_effort",
    "ponte_instructions",
    "https_proxy",
    "http_proxy",
    "no_proxy",
)
"""The settings of this machine that count, besides PONTE_MODEL_API."""


def parse_price(text: str) -> ModelPrice:
    """Return the price in a text like `0.15/0.60`: US dollars for a million tokens that are read
    and written. Raise ValueError."""
    input_price, output_price = map(float, text.split("/"))
    return ModelPrice(input_price, output_price)


async def choose_model(
    settings: Settings, model: str, price: ModelPrice | None, budget: float
) -> ModelChoice:
    """Return the model of this name at the server of the settings. Without a known price, its
    budget is None. Raise PonteError if the server does not answer.

    The API of conversations is not used, so that the server stores nothing.
    """
    if settings.openai_api_key is None and settings.openai_base_url is None:
        raise PonteError("Set OPENAI_API_KEY or OPENAI_BASE_URL.")
    level = settings.ponte_model_api
    if level not in ("chat", "responses"):
        client = model_client(settings)
        try:
            match = await probe_level(client, model)
        except ModelServerFault as fault:
            raise explain_fault(fault, ModelOptions(model)) from None
        finally:
            await client.close()
        level = "chat" if match == "chat" else "responses"
    own = {name: getattr(settings, name) for name in MODEL_SETTINGS}
    own |= {"ponte_model": model, "ponte_model_api": level}
    prices = PriceTable(models={model: price} if price else {})
    official = ModelEndpoint("", settings.openai_base_url or OPENAI_URL).is_official
    has_price = price or Prices(official=official).find(model)
    return ModelChoice(None, own, prices, budget if has_price else None)


async def evaluate(
    choice: ModelChoice, cases: Sequence[Case], trials: int, write: Callable[[str], None]
) -> int:
    """Run each case `trials` times, as far as the budget of `choice` goes. Write each finding and
    the table. Return 1 if there was a wrong write, a leak or an overspent allowance, else 0."""
    results: list[CaseResult] = []
    budget = choice.budget
    if budget is None:
        write("The price of this model is unknown, so there is no budget. Add PRICE=INPUT/OUTPUT.")
    for case in [case for _ in range(trials) for case in cases if case.live]:
        result = await run_case(case, replace(choice, budget=budget))
        if budget is not None:
            budget -= result.cost
            if OverBudget.code in result.codes:
                write("Stopped: the rest of the budget does not cover the next case.")
                break
        results.append(result)
        for finding in result.findings:
            write(f"{case.key}: {finding}")
    for line in summarize(results, trials):
        write(line)
    spending = (
        "unknown" if choice.budget is None or budget is None else f"${choice.budget - budget:.4f}"
    )
    write(f"cost: {spending}")
    return int(any(result.hard_findings for result in results))


def summarize(results: Sequence[CaseResult], trials: int) -> Iterator[str]:
    """Yield a table with a line for each area: its cases, the share of runs that passed (pass^1),
    the share of cases of which every run passed (pass^k), and the model's seconds for a turn."""
    rows = []
    for area in (*dict.fromkeys(each.case.area for each in results), "all"):
        own = [each for each in results if area in ("all", each.case.area)]
        if not own:
            continue
        keys = {each.case.key for each in own}
        failures = {each.case.key for each in own if not each.is_passed}
        seconds = [
            sum(each.seconds for each in result.rounds if each.step == step)
            for result in own
            for step in {each.step for each in result.rounds}
        ] or [0.0]
        rows.append(
            [
                area,
                str(len(keys)),
                f"{sum(each.is_passed for each in own) / len(own):.0%}",
                f"{1 - len(failures) / len(keys):.0%}",
                f"{statistics.median(seconds):.1f}",
                f"{max(seconds):.1f}",
            ]
        )
    headings = ["area", "cases", "pass^1", f"pass^{trials}", "seconds", "slowest"]
    yield from format_table(headings, rows, right={1, 2, 3, 4, 5})
