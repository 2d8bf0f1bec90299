"""`ponte eval`: all cases with the configured model, within a budget.

Nothing of this installation is used but the model's server: the home is temporary, tables and quick
commands are doubles, and nothing is posted. The report and the model's answers stay in the folder
`evals` of the data folder.
"""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bot.compose import dependencies, model_client
from bot.config import PriceTable
from bot.evals.case import read_cases
from bot.evals.cassettes import make_cassette, write_cassette
from bot.evals.score import CaseResult, run_case
from bot.evals.world import ModelChoice
from bot.start import Start
from bot.text_table import format_table
from core.clients.http import HttpClient
from core.clients.openai import OPENAI_URL, ModelEndpoint
from core.domain.errors import OverBudget, PonteError
from core.models import MODEL_INTEGRATION
from core.text.i18n import format_money, format_number, say

EVALS_FOLDER = "evals"
"""The folder in the data folder with the report of the last run and with the cassettes."""
REPORT_FILE = "last.json"
CASSETTES_FOLDER = "cassettes"
MODEL_SETTINGS = (
    "openai_api_key", "openai_base_url", "ponte_model", "ponte_model_effort", "ponte_instructions",
    "https_proxy", "http_proxy", "no_proxy",
)  # fmt: skip
"""The settings of this installation that count in an evaluation, besides PONTE_MODEL_API."""
Write = Callable[[str], None]


@dataclass(slots=True)
class CaseReport:
    """The runs of one case: whether each passed, what they cost in US dollars, and how many
    seconds the model took for each turn."""

    area: str
    passed: list[bool] = field(default_factory=list)
    cost: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @property
    def always_passes(self) -> bool:
        """Return True if each run passed."""
        return bool(self.passed) and all(self.passed)

    def add(self, result: CaseResult) -> None:
        """Add a run."""
        self.passed.append(result.is_passed)
        self.cost += result.cost
        for step in dict.fromkeys(each.step for each in result.rounds):
            own = [each.seconds for each in result.rounds if each.step == step]
            self.seconds.append(round(sum(own), 3))


@dataclass(slots=True)
class EvalReport:
    """The report of one evaluation: its start, model and cost in US dollars, and the cases by
    key."""

    at: str
    model: str
    cost: float = 0.0
    cases: dict[str, CaseReport] = field(default_factory=dict)


class NoEvalModel(PonteError):
    """There is no model to evaluate."""

    code = "no_model"
    sentence = (
        "`ponte eval` evaluates the model of a server. Set OPENAI_API_KEY or OPENAI_BASE_URL."
    )


class NoEvalPrice(PonteError):
    """The price of the model is unknown, so that the budget could be exceeded."""

    code = "no_price"
    sentence = (
        "The price of {model} is unknown, so Ponte cannot keep the budget. Add "
        '[prices.models."{model}"] with input and output to ponte.toml.'
    )


async def evaluate(begun: Start, trials: int, budget: float, write: Write) -> int:
    """Run each case `trials` times, as far as `budget` (US dollars) goes. Write each failure and
    the report. Return 1 if there was a wrong write, a leak or an overspent allowance, else 0.

    Raise NoEvalModel, NoEvalPrice, and another PonteError or HttpError if the server refuses.
    """
    choice = choose_configured_model(begun)
    await _check_model(begun)
    folder = begun.settings.ponte_home / EVALS_FOLDER
    before = read_report(folder / REPORT_FILE)
    report = EvalReport(datetime.now(UTC).isoformat(timespec="seconds"), begun.settings.ponte_model)
    cases = [case for case in read_cases() if case.live]
    hard_findings = 0
    for _, case in itertools.product(range(trials), cases):
        result = await run_case(case, replace(choice, budget=budget - report.cost))
        report.cost += result.cost
        if OverBudget.code in result.codes:
            words = "Stopped before the end: what is left of {amount} does not cover the next case."
            write(say(words, amount=format_money(budget)))
            break
        own = report.cases.setdefault(case.key, CaseReport(case.area))
        own.add(result)
        hard_findings += len(result.hard_findings)
        for finding in result.findings:
            write(f"{case.key}: {finding}")
        if cassette := make_cassette(case, report.model, result.rounds):
            write_cassette(cassette, folder / CASSETTES_FOLDER)
    for line in (*describe_report(report), *compare_reports(before, report)):
        write(line)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_FILE).write_bytes(_adapter().dump_json(report, indent=1))
    return int(hard_findings > 0)


def choose_configured_model(begun: Start) -> ModelChoice:
    """Return the model that the settings choose. Raise NoEvalModel, NoEvalPrice.

    The server stores nothing of an evaluation, so the API of conversations is not used.
    """
    settings = begun.settings
    if settings.demo:
        raise NoEvalModel
    official = ModelEndpoint("", settings.openai_base_url or OPENAI_URL).is_official
    if replace(begun.config.price_list, official=official).find(settings.ponte_model) is None:
        raise NoEvalPrice(model=settings.ponte_model)
    own = {name: getattr(settings, name) for name in MODEL_SETTINGS}
    own["ponte_model_api"] = "chat" if settings.ponte_model_api == "chat" else "responses"
    return ModelChoice(MODEL_INTEGRATION, own, PriceTable(models=begun.config.prices.models))


async def _check_model(begun: Start) -> None:
    """Ask the server for its models, as `ponte doctor` does. Raise PonteError, HttpError."""
    client = model_client(begun.settings)
    try:
        async with HttpClient(proxies=begun.settings.proxies) as http:
            found = dependencies(begun.settings, begun.config, begun.home, http, client)
            await MODEL_INTEGRATION.check(found)
    finally:
        await client.close()


def read_report(file: Path) -> EvalReport | None:
    """Return the report of the last run; None if there is none that this version can read."""
    try:
        return _adapter().validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def describe_report(report: EvalReport) -> Iterator[str]:
    """Yield a table: for each area its cases, the share of runs that passed (pass^1), the share of
    cases of which every run passed (pass^k), the cost, and the seconds of a turn."""
    trials = max((len(each.passed) for each in report.cases.values()), default=1)
    areas = dict.fromkeys(each.area for each in report.cases.values())
    rows = [
        _row_of(area, [each for each in report.cases.values() if area in ("", each.area)])
        for area in (*areas, "")
    ]
    headings = (
        say("area"), say("cases"), "pass^1", f"pass^{trials}", say("cost"), say("seconds"), "p95",
    )  # fmt: skip
    yield from format_table(headings, rows, right={1, 2, 3, 4, 5, 6})


def _row_of(area: str, cases: Sequence[CaseReport]) -> Sequence[str]:
    runs = [passed for each in cases for passed in each.passed] or [False]
    seconds = sorted(turn for each in cases for turn in each.seconds) or [0.0]
    return (
        area or say("all"),
        format_number(len(cases)),
        f"{sum(runs) / len(runs):.0%}",
        f"{sum(each.always_passes for each in cases) / max(1, len(cases)):.0%}",
        format_money(sum(each.cost for each in cases)),
        f"{statistics.median(seconds):.1f}",
        f"{seconds[int(0.95 * (len(seconds) - 1))]:.1f}",
    )


def compare_reports(before: EvalReport | None, now: EvalReport) -> Iterator[str]:
    """Yield what differs from the last run: cases that always passed in only one of the two, and
    the cost."""
    if before is None:
        return
    yield say("Last run: {at}, {model}, {cost}.", at=before.at, model=before.model,
              cost=format_money(before.cost))  # fmt: skip
    for key, own in now.cases.items():
        earlier = before.cases.get(key)
        if earlier and earlier.always_passes != own.always_passes:
            words = "{case} passes now." if own.always_passes else "{case} does not pass any more."
            yield say(words, case=key)


@functools.cache
def _adapter() -> TypeAdapter[EvalReport]:
    return TypeAdapter(EvalReport)
