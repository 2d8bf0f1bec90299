"""The ideal model behind a server whose context is small.

`python -m tests.evals.sizes [SIZE…]` runs all cases with each size, and prints how many are passed.
The server is the double of `tests/fakes/openai`: it counts the tokens of each request and, as
Ollama does, drops the beginning of what does not fit, without a word. The ideal model then knows
neither instructions nor tools, so its case fails.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from bot.operation_texts import format_table
from tests.evals.case import Case, Step, read_cases
from tests.evals.models import read_round
from tests.evals.score import CaseResult, find_ungrounded, run_case
from tests.evals.world import OPENAI_KEY_OF_CASES, ModelChoice
from tests.fakes.openai import FakeOpenAI, Script

SIZES = (4_096, 8_192, 32_768, 128_000)
MODEL = "small"
UNFIT = (
    "python/denied-in-the-channel",
    "python/stranger",
    "rights/may-not-change",
    "spending/no-money-left",
)
"""Cases in which the model calls a tool that it was not offered, or has a price."""


@dataclass(frozen=True, slots=True)
class SizedResult:
    """The result of a case. `dropped` are the tokens that the server dropped silently."""

    case: CaseResult
    dropped: Sequence[int]
    requests: int
    largest: int

    @property
    def faults(self) -> list[str]:
        name = self.case.case.key
        matches = [f"{name}: {each}" for each in self.case.findings]
        matches += [f"{name}: {each}" for each in find_ungrounded(self.case)]
        return matches + [f"{name}: {count} tokens were dropped" for count in self.dropped]


async def run_at(
    case: Case, size: int, *, kind: str = "Ollama", characters: float = 4
) -> SizedResult:
    """Run a case with the ideal model behind a server of this kind and size."""
    async with FakeOpenAI() as fake:
        fake.models, fake.without = [MODEL], {"conversations", "responses"}
        fake.kind, fake.context, fake.characters = kind, size, characters
        for step in case.steps:
            for text, calls in map(read_round, step.ideal):
                fake.say(Script(text=text, calls=tuple(calls)))
        settings = {
            "openai_api_key": SecretStr(OPENAI_KEY_OF_CASES),
            "openai_base_url": fake.base_url,
            "ponte_model": MODEL,
        }
        result = await run_case(case, ModelChoice(settings=settings))
        return SizedResult(
            result, tuple(fake.dropped), len(fake.used), max((n for n, _ in fake.used), default=0)
        )


def chat_of(turns: int) -> Case:
    """A chat in which each turn is answered, and the last one about the one before it."""
    steps = [
        Step(
            f"Message {n}: " + "the meeting moves to another room, and the agenda stays. " * 6,
            ideal=(f"Noted, message {n}. " + "The room changes and the agenda does not. " * 4,),
        )
        for n in range(1, turns + 1)
    ]
    return Case("chat", "context", tuple(steps))


def work_of(turns: int) -> Case:
    """Questions about the sample tables, a change, its approval and its undo, in turn."""
    steps: list[Step] = []
    for n in range(turns // 4):
        order = 90 + n
        overdue = [{"field": "Status", "op": "eq", "value": "Overdue"}]
        steps += [
            Step(
                f"Show me order O-{1000 + order} and its neighbours",
                ideal=(
                    {"nocodb_query": {"table": "Orders", "limit": 20}},
                    f"Here are 20 orders, O-{1000 + order} is among them.",
                ),
            ),
            Step(
                "What are the overdue invoices worth?",
                ideal=(
                    {
                        "nocodb_summarize": {
                            "table": "Invoices",
                            "filters": overdue,
                            "aggregates": [{"field": "Amount", "fn": "sum"}],
                        }
                    },
                    "They are worth 1,198.00.",
                ),
                told=("1198",),
            ),
            Step(
                f"Set the stock of product {n + 1} to 777",
                cards=("update Products 1",),
                ideal=(
                    {
                        "nocodb_update": {
                            "table": "Products",
                            "changes": [{"id": n + 1, "fields": {"Stock": 777}}],
                        }
                    },
                ),
            ),
            Step("approve {card}"),
            Step("undo {change}"),
            Step("approve {card}"),
        ]
    return Case("work", "context", tuple(steps))


SMALL = Case(
    "small-tables",
    "context",
    (
        Step(
            "Which tables are there?",
            ideal=({"nocodb_tables": {}}, "Customers, Products, Orders, Order lines and Invoices."),
            told=("Customers",),
        ),
        Step(
            "Who is customer 1?",
            ideal=({"nocodb_get": {"table": "Customers", "id": 1}}, "Customer 1 is Ana Souza."),
            told=("Ana Souza",),
        ),
        Step(
            "How many products do we have?",
            ideal=({"nocodb_summarize": {"table": "Products"}}, "You have 16 products."),
            told=("16",),
        ),
    ),
)
"""Questions about small tables, for the smallest context."""


async def _main() -> None:
    rows, faults = [], []
    cases = [case for case in read_cases() if case.key not in UNFIT]
    cases += [chat_of(50), work_of(20), SMALL]
    for size in map(int, sys.argv[1:] or SIZES):
        results = [await run_at(case, size) for case in cases]
        passed = sum(not each.faults for each in results)
        rows.append(
            [
                f"{size:,}",
                str(len(results)),
                str(passed),
                str(max(each.largest for each in results)),
                str(sum(len(each.dropped) for each in results)),
            ]
        )
        faults += [f"{size:,} {line}" for each in results for line in each.faults]
    head = ["context", "cases", "passed", "largest request", "requests with dropped tokens"]
    print(*format_table(head, rows), *faults, sep="\n")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(_main())
