"""The books of what is spent, read beside the processes that keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.money.usage import NANODOLLARS_PER_DOLLAR

SUM = "SELECT coalesce(sum(input + output), 0), sum(cost) FROM"
Query = Callable[[str], list[tuple[Any, ...]]]


def find_imbalances(query: Query) -> list[str]:
    """What is not as it must be when nothing is under way, where one allowance is for everybody:
    its counter is the sum of what was spent, which is what is reported, and nothing is held."""
    ((tokens, money),) = query(
        "SELECT coalesce(sum(tokens), 0), coalesce(sum(money), 0) FROM counters"
        " WHERE scope NOT LIKE 'cap%'"
    )
    ((result,),) = query("SELECT count(*) FROM holds")
    match = [f"{result} are held still"] if result else []
    for table in ("spendings", "usage"):
        ((spending, dollars),) = query(f"{SUM} {table}")
        if (
            int(spending) != int(tokens)
            or abs((dollars or 0) * NANODOLLARS_PER_DOLLAR - int(money)) > 100
        ):
            match.append(
                f"counted {tokens} and {money / NANODOLLARS_PER_DOLLAR} USD; "
                f"{table} {spending}, {dollars}"
            )
    return match
