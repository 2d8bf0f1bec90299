"""One decision under twenty rules, beside one look into a dict; and a turn whose money is reserved
and settled, beside one that nothing bounds. `python -m benchmarks.rights`."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
import timeit
from collections.abc import Sequence

import structlog

from benchmarks.engine import engine
from bot.integrations import PLATFORM_RIGHTS
from core.domain.messages import Address, Person
from core.money.allowances import Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR, Price, Prices
from core.people.policy import PlatformPeople, Policy
from core.people.rules import Rule, RuleBook
from tests.fakes.choices import make_message, make_spending
from tests.fakes.config import fixed_rules

TIMES = 20_000
RULES = 20
TURNS, ROUNDS = 400, 5
BOUND = (
    Allowance("each person", tokens=10**9),
    Allowance("each channel", "month", money=10**6 * NANODOLLARS_PER_DOLLAR),
    Allowance("everybody", "month", money=10**6 * NANODOLLARS_PER_DOLLAR),
)
PRICES = Prices({"echo": Price(1.0, 0.1, 1.25, 4.0)}, official=False)


async def _groups(person: Person, max_age: float) -> frozenset[str]:
    return frozenset({f"S{RULES - 1}"})


async def _guest(person: Person, max_age: float) -> bool:
    return False


async def decisions() -> None:
    rules = [
        Rule(f"ponte.toml:{n}", frozenset({f"slack:S{n}"}), allow=(f"read:Table {n}", f"tool:t{n}"))
        for n in range(RULES)
    ]
    channels = {"slack:T1:C1": Rule("ponte.toml:99", deny=("read:Salaries",))}
    book = RuleBook(tuple(rules), channels)
    policy = Policy(
        PLATFORM_RIGHTS,
        fixed_rules(book),
        frozenset({"slack:U5"}),
        frozenset({"slack:U9"}),
        PlatformPeople({"slack": _groups}, {"slack": _guest}),
    )
    address = Address("slack", "C1", "T1", thread="1.2", is_shared=True)
    rights = await policy.rights(Person("slack", "U1", "T1"), address)
    known = {("chat", ""): True}
    floor = timeit.timeit(lambda: known[("chat", "")], number=TIMES) / TIMES
    print(f"{'a look into a dict':<34}{floor * 1e6:8.2f} µs")
    for asked in (("chat",), ("read", "Orders", "m1"), ("read", "Table 19", "m19"), ("tool", "x")):
        each = timeit.timeit(lambda a=asked: rights.may(*a), number=TIMES) / TIMES  # type: ignore[misc]
        print(f"{':'.join(asked[:2]):<34}{each * 1e6:8.2f} µs{each / floor:8.0f}")


async def turns(allowances: Sequence[Allowance]) -> tuple[float, float]:
    """Seconds of one turn after the other, and of processor time, with an instant model."""
    async with engine(spending=make_spending(allowances=allowances, prices=PRICES)) as opened:
        opened.start()
        cpu, begun = time.process_time(), time.perf_counter()
        for number in range(TURNS):
            receipt = await opened.conversations.inbox.accept(
                make_message("hello", f"k{number}", f"C{number % 50}")
            )
            await opened.conversations.inbox.wait_for_answer(receipt.seq)
        return (time.perf_counter() - begun) / TURNS, (time.process_time() - cpu) / TURNS


async def allowances() -> None:
    """In rounds that follow each other, and of these the median."""
    rounds = [(*await turns(()), *await turns(BOUND)) for _ in range(ROUNDS)]
    free, cpu, bound, more = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"{'a turn that nothing bounds':<34}{free * 1e3:8.2f} ms, CPU {cpu * 1e3:.2f} ms")
    print(
        f"{'under three allowances':<34}{bound * 1e3:8.2f} ms, CPU {more * 1e3:.2f} ms"
        f"{bound / free:8.2f}{more / cpu:6.2f}"
    )


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    await decisions()
    await allowances()


if __name__ == "__main__":
    asyncio.run(main())
