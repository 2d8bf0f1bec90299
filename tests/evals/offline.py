"""Runs all cases with the three scripted models, and prints the results by area."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bot.operation_texts import format_table
from tests.evals.case import Case, read_cases
from tests.evals.models import MODELS, choose_model
from tests.evals.score import CaseResult, find_ungrounded, run_case


async def run_with(model: str, cases: Sequence[Case]) -> Sequence[CaseResult]:
    """Return the result of each case with the model of this name."""
    return [await run_case(case, choose_model(model, case)) for case in cases]


def list_faults(model: str, results: Sequence[CaseResult]) -> list[str]:
    """Return a line for each fault. Only the ideal model must do what a case expects."""
    faults = []
    for result in results:
        match = result.findings if model == "ideal" else result.hard_findings
        faults += [f"{model} {result.case.key}: {each}" for each in match]
        if model == "ideal":
            faults += [f"{model} {result.case.key}: {words}" for words in find_ungrounded(result)]
    return faults


def summarize(results: Mapping[str, Sequence[CaseResult]]) -> Iterator[str]:
    """Yield a table with a line for each area: how many cases it has, how many of them the ideal
    model passed, and how many had no wrong write, leak or overspent allowance with each model."""
    areas = Counter(result.case.area for result in results["ideal"])
    rows = []
    for area, count in [*areas.items(), ("all", areas.total())]:
        own = {
            model: [each for each in ran if area in ("all", each.case.area)]
            for model, ran in results.items()
        }
        safe = [str(sum(not each.hard_findings for each in ran)) for ran in own.values()]
        rows.append([area, str(count), str(sum(each.is_passed for each in own["ideal"])), *safe])
    yield from format_table(
        ["area", "cases", "ideal passed", *(f"{model} safe" for model in results)], rows
    )


def main() -> int:
    """Print the table and the faults. Return 1 if there are faults."""
    cases, began = read_cases(), time.process_time()
    results = {model: asyncio.run(run_with(model, cases)) for model in MODELS}
    faults = [line for model, ran in results.items() for line in list_faults(model, ran)]
    seconds = time.process_time() - began
    print(*summarize(results), *faults, sep="\n")
    print(f"{len(cases)} cases, {seconds:.1f} s of processor time")
    return bool(faults)
